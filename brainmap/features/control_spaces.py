"""Control feature spaces: what a model must beat, and what a gradient effect must not be explained by.

Each is an array (images, features), row-aligned to the stimuli, and goes through encoding or RSA like any layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from PIL import Image

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.progress import track
from brainmap.features.steerable_pyramid import V1, SteerablePyramid, pyramid_energy
from brainmap.features.texture_statistics import texture_statistics

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet


CONTROLS = ("pixels", "gabor", "texture", "category", "gradient norm", "loss")
"""Names of the control spaces, in the order in which :func:`control_spaces` returns them."""

OF_PHOTOGRAPHS = ("pixels", "gabor", "texture", "category")
"""Those that need photographs alone."""

ON_REQUEST = ("texture",)
"""Control spaces that are computed only where they are named."""


class HasGradients(Protocol):
    """What the gradient controls need of ``Features``."""

    @property
    def losses(self) -> Any:
        """Loss of each image, (n,)."""

    @property
    def gradient_norms(self) -> Mapping[str, Any]:
        """Layer → norm of each image's gradient, (n,)."""


def control_spaces(
    stimuli: StimulusSet,
    features: HasGradients | None = None,
    *,
    names: Iterable[str] | None = None,
    kept: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Compute control spaces.

    Parameters
    ----------
    stimuli : StimulusSet
        The photographs.
    features : Features, optional
        Of the same stimuli, for the spaces ``gradient norm`` and ``loss``.
    names : iterable of str, optional
        Which of :data:`CONTROLS`. By default all that the stimuli and features allow (without a column ``category``
        there is no space ``category``, without gradients none of theirs), but ``texture``, which is asked for by name.
    kept : dict of str to numpy.ndarray, optional
        Spaces of these photographs that were computed before, whatever the model: they are taken from here, and new
        ones added.

    Returns
    -------
    dict of str to numpy.ndarray, (images, features)
        In the order of :data:`CONTROLS`.

    Raises
    ------
    InputError
        For an unknown name, or a named space that the stimuli or features do not allow.
    """
    chosen = set(_possible(stimuli, features) if names is None else check_controls(names, stimuli))
    if features is None and chosen & {"gradient norm", "loss"}:
        raise InputError("Control spaces of gradients need features that were extracted with gradients.")
    compute: dict[str, Callable[[], np.ndarray]] = {
        "pixels": lambda: pixels(stimuli),
        "gabor": lambda: gabor_energy(stimuli),
        "texture": lambda: texture_statistics(stimuli),
        "category": lambda: category_one_hot(stimuli),
        "gradient norm": lambda: gradient_norms(cast(HasGradients, features)),
        "loss": lambda: losses(cast(HasGradients, features)),
    }
    kept = {} if kept is None else kept
    for name in OF_PHOTOGRAPHS:
        if name in chosen and name not in kept:
            kept[name] = compute[name]()
    return {name: kept[name] if name in OF_PHOTOGRAPHS else compute[name]() for name in CONTROLS if name in chosen}


def check_controls(names: Iterable[str], stimuli: StimulusSet) -> tuple[str, ...]:
    """Check names of control spaces before anything is computed.

    Raises
    ------
    InputError
        For an unknown name, or ``category`` where photographs have no labels.
    """
    chosen = as_names(names)
    for name in chosen:
        if name not in CONTROLS:
            raise InputError(f"There is no control space '{name}'; there are {', '.join(CONTROLS)}.")
    if "category" in chosen:
        category_one_hot(stimuli)
    return chosen


def _possible(stimuli: StimulusSet, features: HasGradients | None) -> list[str]:
    """Control spaces that stimuli and features allow, but those that are computed on request only."""
    table = stimuli.table
    impossible = set(ON_REQUEST)
    if "category" not in table or table["category"].isna().any():
        impossible.add("category")
    if features is None or not features.gradient_norms:
        impossible |= {"gradient norm", "loss"}
    return [name for name in CONTROLS if name not in impossible]


def pixels(stimuli: StimulusSet, *, side: int = 16) -> np.ndarray:
    """Compute low-resolution pixels: the whole photograph as a colour thumbnail.

    Parameters
    ----------
    stimuli : StimulusSet
        The photographs.
    side : int
        Side of the thumbnail. Aspect ratios are not kept, so that nothing is cropped away.

    Returns
    -------
    numpy.ndarray of float32, (images, side · side · 3)
        Mean sRGB values in [0, 1] of each cell; row by row, R G B last.
    """
    images = track(stimuli, "low-resolution pixels", total=len(stimuli), unit="images")
    return np.stack([_thumbnail(image, side).ravel() for image in images]).astype(np.float32)


def gabor_energy(stimuli: StimulusSet, *, pyramid: SteerablePyramid = V1, grid: int = 8) -> np.ndarray:
    """Compute contrast-normalised energy of a complex steerable pyramid, pooled on a grid.

    Parameters
    ----------
    stimuli : StimulusSet
        The photographs.
    pyramid : SteerablePyramid
        Size of the analysed image, number of scales and orientations.
    grid : int
        Energy is averaged in ``grid`` × ``grid`` cells; in coarse scales in as many as the wavelength supports.

    Returns
    -------
    numpy.ndarray of float32, (images, features)
        Ordered by scale (fine to coarse), cell (row by row), orientation. Square roots of energies: amplitudes.

    Raises
    ------
    InputError
        If there are more scales than the image has octaves.

    Notes
    -----
    Filters are polar-separable in the Fourier domain, as in the steerable pyramid [1]_: cosines in log frequency,
    cos^(K−1) in angle, over one half-plane. One-sided filters have complex outputs whose squared modulus is the energy
    of a quadrature pair: it does not change with the phase of a grating. Squared, the filters of all scales and
    orientations sum to one in the pass band. The image is luminance minus its mean. The energy of each cell is divided
    by the energy of all orientations and scales at the place (a cell of the coarsest scale) plus a constant (divisive
    normalisation [2]_), with the constant at 1 % of the energy of a full-contrast grating.

    References
    ----------
    .. [1] Simoncelli & Freeman 1995, *The steerable pyramid*; Portilla & Simoncelli 2000.
    .. [2] Heeger 1992, *Normalization of cell responses in cat striate cortex*.
    """
    return pyramid.of_photographs(
        stimuli, "Gabor energy", lambda luminance, filters: _normalised_energy(luminance, filters, grid)
    )


def category_one_hot(stimuli: StimulusSet, *, column: str = "category") -> np.ndarray:
    """Return a column of 0 and 1 per category.

    Parameters
    ----------
    stimuli : StimulusSet
        Photographs whose table has ``column``.
    column : str
        Which labels.

    Returns
    -------
    numpy.ndarray of float32, (images, categories)
        Categories in sorted order.

    Raises
    ------
    InputError
        If there is no such column, or an image has no label.
    """
    table = stimuli.table
    if column not in table:
        raise InputError(f"The stimulus table has no column {column!r}; it has {', '.join(table.columns)}.")
    if table[column].isna().any():
        row = int(np.flatnonzero(table[column].isna())[0])
        raise InputError(f"Image {table['name'].iloc[row]!r} (row {row}) has no {column}; fill the cell.")
    labels = table[column].astype(str).to_numpy()
    return (labels[:, None] == np.unique(labels)[None]).astype(np.float32)


def gradient_norms(features: HasGradients, layers: Iterable[str] | None = None) -> np.ndarray:
    """Return the Euclidean norm of each image's gradient, one column per layer.

    Parameters
    ----------
    features : Features
        Extracted with gradients.
    layers : iterable of str, optional
        Which layers; all by default.

    Returns
    -------
    numpy.ndarray of float32, (images, layers)
    """
    norms = features.gradient_norms
    chosen = tuple(norms) if layers is None else as_names(layers)
    if not chosen:
        raise InputError("The features hold no gradients; extract them with signals=('activation', 'gradient').")
    for layer in chosen:
        if layer not in norms:
            raise InputError(f"There is no gradient norm of layer {layer!r}; there are {', '.join(norms)}.")
    return np.stack([np.asarray(norms[layer], dtype=np.float32) for layer in chosen], axis=1)


def losses(features: HasGradients) -> np.ndarray:
    """Return the loss of each image as the only column.

    Parameters
    ----------
    features : Features
        Extracted with gradients.

    Returns
    -------
    numpy.ndarray of float32, (images, 1)
    """
    if features.losses is None:
        raise InputError("The features hold no losses; extract them with signals=('activation', 'gradient').")
    return np.asarray(features.losses, dtype=np.float32).reshape(-1, 1)


def _normalised_energy(luminance: np.ndarray, filters: np.ndarray, grid: int) -> np.ndarray:
    energy = pyramid_energy(luminance, filters)
    scales, size = energy.shape[0], energy.shape[-1]
    pools = [max(1, min(grid, round(size / 4 / 2**scale))) for scale in range(scales)]
    pools = [max(p for p in range(1, pool + 1) if size % p == 0) for pool in pools]
    coarsest = pools[-1]
    # The energy of a grating of amplitude 0.5, the largest that fits into luminances from 0 to 1, is 0.25.
    surround = _block_mean(energy.sum(axis=(0, 1)), coarsest) + 0.01 * 0.25
    parts = []
    for scale, pool in enumerate(pools):
        pooled = _block_mean(energy[scale], pool)
        nearest = np.arange(pool) * coarsest // pool
        parts.append(np.sqrt(pooled / surround[np.ix_(nearest, nearest)]).transpose(1, 2, 0).ravel())
    return np.concatenate(parts)


def _block_mean(maps: np.ndarray, cells: int) -> np.ndarray:
    """Mean over ``cells`` × ``cells`` blocks of the last two axes, whose length ``cells`` divides."""
    side = maps.shape[-1] // cells
    return maps.reshape(*maps.shape[:-2], cells, side, cells, side).mean(axis=(-3, -1))


def _thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """Area mean over ``side`` × ``side`` cells, float in [0, 1]."""
    resized = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float64) / 255
