"""What `cross_val_encode` returns: scores with their names, their provenance, and warnings about them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError, printable_names
from brainmap.common.names import as_names
from brainmap.common.readable import counted, html_table
from brainmap.common.storage.digests import sealed_folder
from brainmap.encoding.score_files import KIND, jsonable, load_scores, save_scores
from brainmap.encoding.settings import RidgeSettings

SCORES = ("r", "r2", "alpha")
EDGE_SHARE = 0.2
NEAR_SQUARE = 0.1
ABOVE_CHANCE = 3.1  # standard errors of r: one null target in a thousand


class EncodingResult:
    """Scores of one cross-validated encoding analysis.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables ``r`` (Pearson correlation), ``r2`` (coefficient of determination) and ``alpha`` (the penalty chosen
        inside each train set; NaN for estimators without one) with dimensions ``(layer, split, target)``. Attributes
        say how the scores were made. NaN scores mark targets that are constant in a test set.
    predictions : mapping, optional
        ``{layer: (n_rows, n_targets) array}`` of out-of-fold predictions; NaN in rows that no split tested.
    estimators : mapping, optional
        ``{layer: [fitted estimator of each split]}``.

    Examples
    --------
    >>> import numpy as np
    >>> import brainmap
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 5))
    >>> Y = X @ rng.standard_normal((5, 2)) + rng.standard_normal((60, 2))
    >>> result = brainmap.cross_val_encode({"block.0": X}, Y, cv=3)
    >>> result.r.dims, result.to_frame().shape
    (('layer', 'split', 'target'), (6, 6))
    >>> result.save("scores.zarr")
    PosixPath('scores.zarr')
    >>> bool((brainmap.EncodingResult.load("scores.zarr").r == result.r).all())
    True
    """

    def __init__(
        self,
        dataset: xr.Dataset,
        *,
        predictions: Mapping[str, Any] | None = None,
        estimators: Mapping[str, list[Any]] | None = None,
    ) -> None:
        for name in SCORES:
            if name not in dataset:
                raise InputError(f"an encoding result needs the variables {', '.join(SCORES)}; {name!r} is missing.")
        self.dataset = dataset
        self.predictions = predictions
        self.estimators = estimators

    @classmethod
    def from_arrays(
        cls,
        scores: Mapping[str, NDArray[Any]],
        *,
        layers: Sequence[str],
        attrs: Mapping[str, Any],
        predictions: Mapping[str, Any] | None = None,
        estimators: Mapping[str, list[Any]] | None = None,
    ) -> EncodingResult:
        """Build a result from arrays of shape (n_layers, n_splits, n_targets), one per name in ``r, r2, alpha``."""
        n_splits, n_targets = scores["r"].shape[1:]
        variables = {}
        for name, values in scores.items():
            variables[name] = ("layer", "split", "target"), np.asarray(values)
        names = [layers] if isinstance(layers, str) else list(layers)
        coords = {"layer": names, "split": np.arange(n_splits), "target": np.arange(n_targets)}
        dataset = xr.Dataset(variables, coords=coords, attrs=dict(attrs))
        return cls(dataset, predictions=predictions, estimators=estimators)

    @property
    def r(self) -> xr.DataArray:
        """Pearson correlation of prediction and held-out response, per split."""
        return self.dataset["r"]

    @property
    def r2(self) -> xr.DataArray:
        """Coefficient of determination on the held-out rows, per split (negative when worse than their mean)."""
        return self.dataset["r2"]

    @property
    def alpha(self) -> xr.DataArray:
        """Penalty chosen by inner cross-validation, per split and target."""
        return self.dataset["alpha"]

    @property
    def provenance(self) -> dict[str, Any]:
        """How the scores were made: number of trials, splits and their hash, alphas, scoring, versions."""
        return dict(self.dataset.attrs)

    def with_targets(self, table: pd.DataFrame) -> EncodingResult:
        """Return the result with the columns of a target table (ROI, coordinates, sensor, time …) as coordinates.

        Raises
        ------
        InputError
            If the table does not have one row per target.
        """
        n_targets = self.dataset.sizes["target"]
        if len(table) != n_targets:
            raise InputError(f"the target table has {len(table)} rows but the result has {n_targets} targets.")
        dataset = self.dataset.assign_coords(target_coords(table))
        return EncodingResult(dataset, predictions=self.predictions, estimators=self.estimators)

    def to_frame(self) -> pd.DataFrame:
        """Return a long pandas table, one row per cell: all coordinates and ``r``, ``r2``, ``alpha`` as columns."""
        return self.dataset.to_dataframe().reset_index()

    def save(self, path: str | Path) -> Path:
        """Write scores and provenance to a Zarr directory with digests and return its path.

        A directory of that name that holds an earlier result is replaced once the new one is complete.

        Raises
        ------
        InputError
            If there is anything else of that name.
        """
        path = Path(path)
        with sealed_folder(path, KIND) as folder:
            save_scores(self.dataset, folder)
        return path

    @classmethod
    def load(cls, path: str | Path, *, lazy: bool = False) -> EncodingResult:
        """Read what `save` wrote; with ``lazy``, scores stay on disk until some are asked for.

        Raises
        ------
        InputError
            If there is no encoding result at `path`.
        DamagedError
            If it is not what was written; names the file.
        """
        return cls(load_scores(Path(path), lazy=lazy))

    def __repr__(self) -> str:
        sizes = " × ".join(counted(size, str(name)) for name, size in self.dataset.sizes.items())
        return f"<EncodingResult {sizes}; mean Pearson r {float(self.r.mean()):.4f}>"

    def _repr_html_(self) -> str:
        """Return how the scores were made, and their mean by layer, as a small table for notebooks."""
        attrs = self.dataset.attrs
        rows: dict[str, object] = {
            "scores": " × ".join(counted(n, str(name)) for name, n in self.dataset.sizes.items())
        }
        rows |= {key: attrs[key] for key in ("n_trials", "scheme", "scoring") if attrs.get(key)}
        mean = self.r.mean([dim for dim in self.r.dims if dim != "layer"])
        rows["mean Pearson r"] = f"{float(self.r.mean()):.3f}"
        if mean.notnull().any():
            best = int(np.nanargmax(mean.values))
            rows["best layer on average"] = f"{mean['layer'].values[best]} ({float(mean[best]):.3f})"
        return html_table("Encoding result", rows)


def concat(results: Sequence[EncodingResult], dim: str, labels: Sequence[Any]) -> EncodingResult:
    """Stack results along a new dimension (``'subject'``, ``'signal'``, ``'model'`` …), which comes first.

    Parameters
    ----------
    results : sequence of EncodingResult
        With the same layers, splits and targets.
    dim : str
        Name of the new dimension.
    labels : sequence
        One label per result.

    Returns
    -------
    EncodingResult
        Attributes that all results share stay as they are; one that differs becomes a list in the order of `labels`.
        Predictions and estimators are not carried over.

    Raises
    ------
    InputError
        If numbers of results and labels differ, or layers, splits or targets do.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import concat, cross_val_encode
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((60, 5)), rng.standard_normal((60, 2))
    >>> both = concat([cross_val_encode(X, Y, cv=3), cross_val_encode(X[:, :2], Y, cv=3)], "model", ["wide", "narrow"])
    >>> both.r.dims
    ('model', 'layer', 'split', 'target')
    """
    if not results:
        raise InputError(f"There are no results to stack along {dim!r}.")
    return EncodingResult(stack_datasets([result.dataset for result in results], dim, labels))


def stack_datasets(datasets: Sequence[xr.Dataset], dim: str, labels: Sequence[Any]) -> xr.Dataset:
    """Stack datasets of results; see :func:`concat`."""
    labels = as_names(labels)
    if len(datasets) != len(labels):
        raise InputError(f"{len(datasets)} results and {len(labels)} labels for {dim!r}; give one label per result.")
    if dim in datasets[0].dims:
        raise InputError(f"the results already have a dimension {dim!r}; choose another name.")
    for label, dataset in zip(labels, datasets, strict=True):
        for name in datasets[0].dims:
            if not datasets[0][name].equals(dataset[name]):
                raise InputError(f"result {label!r} has another {name!r} axis than {labels[0]!r}; stack alike results.")
    stacked = xr.concat(
        [dataset.drop_attrs() for dataset in datasets],
        dim=pd.Index(list(labels), name=dim),
        join="exact",
        coords="different",
        compat="equals",
        combine_attrs="drop",
    )
    stacked.attrs = _merge_attrs([dataset.attrs for dataset in datasets])
    return stacked


def _merge_attrs(attrs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in attrs for key in part):
        values = [part.get(key) for part in attrs]
        texts = {json.dumps(value, default=jsonable, sort_keys=True) for value in values}
        merged[key] = values[0] if len(texts) == 1 else values
    return merged


def target_coords(table: pd.DataFrame) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return the columns of a target table as coordinates."""
    coords = {}
    for name in table.columns:
        values = printable_names(table[name]).to_numpy()
        coords[str(name)] = ("target", values.astype(str) if values.dtype.kind not in "biuf" else values)
    return coords


class NumericalWarning(UserWarning):
    """Something about the numbers limits what the scores mean.

    Examples
    --------
    >>> import warnings
    >>> from brainmap.encoding import NumericalWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", NumericalWarning)  # a run that should stop where scores mean little
    """


def warn_about(
    layers: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, Any],
    settings: RidgeSettings,
    *,
    n_rows: int,
    coarse: NDArray[np.bool_] | None = None,
) -> list[str]:
    """Emit one warning per kind of problem, naming the layers or targets it concerns, and return the texts.

    Parameters
    ----------
    layers : mapping of str to mapping
        `LayerFactors.info` of each layer.
    scores : mapping of str to array, shape (n_layers, n_splits, n_targets)
        Read a layer at a time: ``r``, NaN where a target is constant, and chosen penalties ``alpha``.
    settings : RidgeSettings
    n_rows : int
        Rows that the scores rest on.
    coarse : ndarray of bool, shape (n_targets,), optional
        Targets whose mean is so large that float32 leaves few digits for their variation. Without it nothing is said of
        single targets.
    """
    places: dict[str, list[str]] = {}
    constant = np.zeros(scores["r"].shape[-1], dtype=bool)
    for number, (name, info) in enumerate(layers.items()):
        r, alpha = scores["r"][number], scores["alpha"][number]
        constant |= np.isnan(r).any(axis=0)
        for text, detail in _notes(info, r, alpha, settings, n_rows):
            places.setdefault(text, []).append(f"{name} ({detail})")
    notes = []
    for text, names in places.items():
        rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
        notes.append(f"{text} Layers: {', '.join(names[:4])}{rest}.")
    for mask, text in (
        ()
        if coarse is None
        else (
            (constant, "constant in a test set; their scores there are NaN"),
            (coarse, "float32 with a mean 1e5 times their spread; subtract it before storing, few digits are left"),
        )
    ):
        if mask.any():
            shown, rest = ", ".join(map(str, np.flatnonzero(mask)[:5])), " …" if mask.sum() > 5 else ""
            notes.append(f"{mask.sum()} of {len(mask)} targets are {text}. Targets: {shown}{rest}.")
    for note in notes:
        warnings.warn(note, NumericalWarning, stacklevel=4)
    return notes


def _notes(
    info: Mapping[str, Any], r: NDArray[Any], alpha: NDArray[Any], settings: RidgeSettings, n_rows: int
) -> Iterator[tuple[str, str]]:
    components, n_train = int(info["n_components"]), int(info["n_train"])
    grid = info["alphas"].astype(alpha.dtype)
    if info["n_constant"]:
        yield "Features are constant in all rows and carry nothing.", f"{info['n_constant']} of {info['n_features']}"
    if info["deficient"]:
        yield (
            "Features are duplicated or collinear; eigenvalues below "
            f"{settings.options.rank_tolerance:g} of the largest are treated as null space.",
            f"rank {info['rank']} of {components}",
        )
    if abs(components - n_train) <= NEAR_SQUARE * n_train and grid.min() < 1:
        yield (
            "Features and train rows are nearly as many: small alphas are unstable there; use larger ones or `pca`.",
            f"{components} features, {n_train} rows",
        )
    if info["unsafe"]:
        yield (
            "float32 products are not safe (validation rows reach directions that train rows hardly span, or a feature "
            "hardly varies in a train set); float64 was used.",
            "promoted",
        )
    # whether the grid ends too early is for targets above chance to show: others always take the largest alpha
    known = np.isfinite(r)
    mean = np.where(known, r, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    known &= mean > ABOVE_CHANCE / np.sqrt(n_rows)
    if grid.shape[1] < 3 or not known.any():
        return
    edges = [(grid[:, :1], "smallest", "smaller"), (grid[:, -1:], "largest", "larger")]
    for edge, word, other in edges[:1] if settings.relative else edges:  # relative: 1e5 mean eigenvalues
        share = float((known & (alpha == edge)).sum() / known.sum())
        if share > EDGE_SHARE:
            yield (
                f"Many targets that are predicted above chance chose the {word} of the alphas; try {other} ones.",
                f"{share:.0%}",
            )
