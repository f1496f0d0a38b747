"""Control feature spaces: what a model must beat, and what a gradient effect must not be explained by.

Each is an array (images, features), row-aligned to the stimuli, and goes through encoding or RSA like any layer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from scipy.fft import fft2, ifft2

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.progress import track

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet


LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of linear R, G and B in luminance (ITU-R BT.709)."""

CONTROLS = ("pixels", "gabor", "category", "gradient norm", "loss")
"""Names of the control spaces, as :func:`control_spaces` returns them."""


class HasGradients(Protocol):
    """What the gradient controls need of ``Features``."""

    @property
    def losses(self) -> Any:
        """Loss of each image, (n,)."""

    @property
    def gradient_norms(self) -> Mapping[str, Any]:
        """Layer → norm of each image's gradient, (n,)."""


def control_spaces(stimuli: StimulusSet, features: HasGradients | None = None) -> dict[str, np.ndarray]:
    """Compute all control spaces that the stimuli and features allow.

    Parameters
    ----------
    stimuli : StimulusSet
        The photographs. Without a column ``category`` in their table there is no space ``category``.
    features : Features, optional
        Of the same stimuli. Without gradients in them there are no spaces ``gradient norm`` and ``loss``.

    Returns
    -------
    dict of str to numpy.ndarray, (images, features)
        Names from :data:`CONTROLS`, in that order.
    """
    spaces = {"pixels": pixels(stimuli), "gabor": gabor_energy(stimuli)}
    table = stimuli.table
    if "category" in table and table["category"].notna().all():
        spaces["category"] = category_one_hot(stimuli)
    if features is not None and features.gradient_norms:
        spaces["gradient norm"] = gradient_norms(features)
        spaces["loss"] = losses(features)
    return spaces


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


def gabor_energy(
    stimuli: StimulusSet, *, size: int = 128, scales: int = 5, orientations: int = 8, grid: int = 8
) -> np.ndarray:
    """Compute contrast-normalised energy of a complex steerable pyramid, pooled on a grid.

    Parameters
    ----------
    stimuli : StimulusSet
        The photographs, brought to ``size`` × ``size`` px.
    size : int
        Side of the analysed image.
    scales : int
        Octave bands; the finest is centred on ``size`` / 4 cycles per image, each next one on half of that.
    orientations : int
        Orientations between 0° and 180°.
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
    filters = steerable_filters(size, scales, orientations)
    images = track(stimuli, "Gabor energy", total=len(stimuli), unit="images")
    return np.stack([_normalised_energy(photograph_luminance(image, size), filters, grid) for image in images]).astype(
        np.float32
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


# -- the pyramid ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def steerable_filters(size: int, scales: int, orientations: int) -> np.ndarray:
    """Transfer functions of the complex steerable pyramid.

    Parameters
    ----------
    size : int
        Side of the image in pixels.
    scales, orientations : int
        As in :func:`gabor_energy`.

    Returns
    -------
    numpy.ndarray of float64, (scales, orientations, size, size)
        In the frequency order of ``numpy.fft.fft2``. With both halves of the plane, Σ |H|² is 1 from the centre of the
        coarsest band to that of the finest. Orientation k responds best to wave vectors at k · 180° / orientations.
    """
    if scales < 1 or orientations < 2 or size / 4 / 2 ** (scales - 1) < 1:
        raise InputError(
            f"{scales} scales and {orientations} orientations do not fit an image of {size} px; "
            f"use at most {int(np.log2(max(size / 4, 1))) + 1} scales and at least 2 orientations."
        )
    frequency_y, frequency_x = np.meshgrid(np.fft.fftfreq(size) * size, np.fft.fftfreq(size) * size, indexing="ij")
    radius, angle = np.hypot(frequency_x, frequency_y), np.arctan2(frequency_y, frequency_x)
    octave = np.log2(np.where(radius > 0, radius, 1e-9))
    order = orientations - 1
    # Σ_k cos²ᵒ(θ − kπ/K) is constant over θ; dividing by it makes the orientations a partition of unity.
    gain = np.sqrt(sum(np.cos(k * np.pi / orientations) ** (2 * order) for k in range(orientations)))
    filters = np.zeros((scales, orientations, size, size))
    for scale in range(scales):
        distance = np.abs(octave - (np.log2(size / 4) - scale))
        radial = np.where(distance < 1, np.cos(np.pi / 2 * np.minimum(distance, 1)), 0.0)
        for k in range(orientations):
            offset = np.angle(np.exp(1j * (angle - k * np.pi / orientations)))
            one_sided = np.where(np.abs(offset) < np.pi / 2, np.abs(np.cos(offset)) ** order, 0.0)
            filters[scale, k] = radial * one_sided / gain
    filters.setflags(write=False)
    return filters


def pyramid_energy(luminance: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Energy of each scale and orientation at each pixel.

    Parameters
    ----------
    luminance : array, (size, size)
        Image.
    filters : array, (scales, orientations, size, size)
        From :func:`steerable_filters`.

    Returns
    -------
    numpy.ndarray, (scales, orientations, size, size)
        |2 · filtered image|²: the squared amplitude of a grating in the pass band.
    """
    spectrum = fft2(luminance - luminance.mean())
    return np.abs(2 * ifft2(filters * spectrum)) ** 2


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


def photograph_luminance(image: np.ndarray, size: int) -> np.ndarray:
    """Luminance of a photograph, gamma-compressed again: close to what early vision sees.

    Parameters
    ----------
    image : array, (h, w, 3), uint8
        sRGB.
    size : int
        Side it is brought to.

    Returns
    -------
    numpy.ndarray, (size, size)
        In [0, 1].
    """
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    encoded = np.asarray(resized, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) @ LUMA
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
