"""From responses back to the photograph: which of the candidates was seen.

*Likelihood*: an encoder predicts the responses to every candidate, and candidates are ranked by the likelihood of the
measured responses, with Gaussian noise (Kay et al. 2008; covariance shrunk after Ledoit and Wolf 2004). *Decoding*:
ridge predicts a layer's principal components, of equal variance, from the responses, and candidates are ranked by
how much likelier they become: components count by their R² in the inner folds. Nothing that is fitted knows the
photographs of the gallery: candidates are those of the test fold, targets, R² and noise covariance come from folds
within the train set.

Chance is what remains when photographs of a fold are exchanged, which whoever saw nothing would not notice: the
permutation test is exact at any correlation among targets, and its maximum over layers and times corrects for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import clone

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import EXCHANGED_PHOTOGRAPHS
from brainmap.encoding.cross_validation import cross_val_encode
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.ridge import EncodingRidgeCV

Float64 = NDArray[np.float64]
Cell = tuple[str, float]
Method = Literal["likelihood", "decoding"]
MOST_COMPONENTS = 100
MOST_EXPLAINED = 0.99  # of a component
VANISHED = 1e-6  # of the largest singular value
LEAST_GALLERY = 6  # photographs: top-5 of five would always be right


@dataclass(frozen=True)
class RetrievalOptions:
    """Settings of :func:`retrieval`.

    Parameters
    ----------
    method : {"likelihood", "decoding"}
        See :mod:`brainmap.statistics.retrieval`.
    n_targets : int
        Of the likelihood: targets that count, those with the highest r within the train set.
    n_permutations : int
        Exchanges of the photographs of a fold.
    seed : int
        Of folds and permutations.

    Examples
    --------
    >>> from brainmap.statistics import RetrievalOptions
    >>> RetrievalOptions(method="decoding").n_targets
    200
    """

    method: Method = "likelihood"
    n_targets: int = 200
    n_permutations: int = 999
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"Photographs are retrieved by likelihood or decoding, not by {self.method!r}.")
        if self.n_targets < 1 or self.n_permutations < 19:
            raise InputError("Retrieval needs one target and 19 permutations or more.")


def retrieval(
    X: Mapping[str, ArrayLike],
    Y: ArrayLike,
    *,
    times: ArrayLike | None = None,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    estimator: EncodingRidgeCV | None = None,
    options: RetrievalOptions | None = None,
) -> pd.DataFrame:
    """Say how often the photograph that was seen is found among all of its test fold.

    Parameters
    ----------
    X : mapping of str to array-like, (n_photographs, n_features)
        Layers.
    Y : array-like, (n_photographs, n_targets)
        Responses of one subject, mean over repeats.
    times : array-like, (n_targets,), optional
        Moment of each target (MEG, EEG): photographs are retrieved at each moment, from all its sensors.
    cv, groups, estimator
        As in :func:`~brainmap.encoding.cross_val_encode`; penalties are chosen by squared error, as it is the size of
        predictions that a likelihood weighs. Of photographs in one group (crops of one scene) the first of
        each is asked for and offered; the others are fitted only.
    options : RetrievalOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        One row per layer (and time): ``layer``, ``time`` (s, NaN without), ``top1``, ``top5`` (share of photographs
        that are first, or among the first five), ``chance1``, ``chance5`` (1 and 5 over the size of the gallery, mean
        over photographs), ``rank`` (mean rank, from 1), ``n`` (photographs), ``gallery`` (mean size), ``p`` (of top-1,
        permutations), ``p_corrected`` (maximum over all rows) and ``p_rank`` (of the mean rank, which asks for less).

    Raises
    ------
    InputError
        If rows disagree, or a fold has fewer than six photographs of different groups.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import retrieval
    >>> rng = np.random.default_rng(0)
    >>> seen, other = rng.standard_normal((100, 8)), rng.standard_normal((100, 8))
    >>> Y = seen @ rng.standard_normal((8, 40)) + rng.standard_normal((100, 40))
    >>> table = retrieval({"seen": seen, "other": other}, Y)
    >>> table["top1"].gt(0.5).tolist(), table["chance1"].round(2).tolist()
    ([True, False], [0.05, 0.05])
    """
    options = options or RetrievalOptions()
    responses = np.asarray(Y, dtype=np.float64)
    layers = {name: np.asarray(x, dtype=np.float64) for name, x in X.items()}
    if not layers or responses.ndim != 2 or any(len(x) != len(responses) for x in layers.values()):
        raise InputError("Retrieval needs layers with one row for each row of the responses.")
    moments = np.zeros(responses.shape[1]) if times is None else np.asarray(times, dtype=float)
    if moments.shape != (responses.shape[1],):
        raise InputError(f"There are {moments.size} times for {responses.shape[1]} targets; give one for each.")
    estimator = clone(EncodingRidgeCV() if estimator is None else estimator).set_params(scoring="r2")
    plan = plan_splits(len(responses), cv, groups=groups, inner_cv=estimator.cv, seed=options.seed)
    splits = [(train, test) for train, test in plan.outer]
    galleries = _galleries(splits, groups, len(responses))
    asked = _Asked(layers, responses, moments, estimator, splits, groups, galleries, options.n_targets)
    ranks = (_likelihood if options.method == "likelihood" else _decoding)(asked)
    cells = [(name, moment) for name in layers for moment in np.unique(moments)]
    table = _table([ranks[cell] for cell in cells], galleries, options)
    table.insert(0, "time", [np.nan if times is None else float(moment) for _, moment in cells])
    table.insert(0, "layer", [name for name, _ in cells])
    return table


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is looked for, in what, and by which ridge.

    Parameters
    ----------
    layers : dict of str to ndarray, (n, d)
    y : ndarray, (n, n_targets)
    moments : ndarray, (n_targets,)
    estimator : EncodingRidgeCV
    splits : list of (train, test)
    groups : array-like, (n,), optional
    galleries : list of ndarray
        Rows of each test set that are asked for and offered.
    n_targets : int
        Targets that a likelihood counts.
    """

    layers: Mapping[str, Float64]
    y: Float64
    moments: Float64
    estimator: EncodingRidgeCV
    splits: list[Any]
    groups: Any
    galleries: list[NDArray[np.int64]]
    n_targets: int

    def labels(self, rows: NDArray[np.int64]) -> NDArray[Any] | None:
        """Groups of some rows."""
        return None if self.groups is None else np.asarray(self.groups)[rows]


def _galleries(splits: list[Any], groups: ArrayLike | None, n_rows: int) -> list[NDArray[np.int64]]:
    """Rows of each test set that are asked for and offered: the first of every group."""
    labels = np.arange(n_rows) if groups is None else np.asarray(groups)
    galleries = []
    for _, test in splits:
        first = np.sort(np.unique(labels[test], return_index=True)[1])
        galleries.append(np.asarray(test)[first])
    smallest = min(map(len, galleries))
    if smallest < LEAST_GALLERY:
        raise InputError(
            f"A gallery of {smallest} photographs is too small to rank; use fewer folds, of {LEAST_GALLERY} or more."
        )
    return galleries


def _likelihood(asked: _Asked) -> dict[Cell, list[Float64]]:
    """Rank candidates by the likelihood of each measured response, by layer and moment."""
    ranks = {}
    for name, x in asked.layers.items():
        settings = {"estimator": asked.estimator, "cv": asked.splits, "groups": asked.groups}
        result = cross_val_encode({"x": x}, asked.y, **settings, return_predictions=True)
        assert result.predictions is not None
        predicted = np.asarray(result.predictions["x"])
        inside = [_inside(x, train, asked) for train, _ in asked.splits]
        for moment in np.unique(asked.moments):
            mine = np.flatnonzero(asked.moments == moment)
            matrices = []
            for rows, (score, noise) in zip(asked.galleries, inside, strict=True):
                best = mine[np.argsort(-score[mine], kind="stable")[: asked.n_targets]]
                expected = predicted[np.ix_(rows, best)]
                matrices.append(_log_likelihood(asked.y[np.ix_(rows, best)], expected, noise[:, best]))
            ranks[name, moment] = _ranks(matrices)
    return ranks


def _inside(x: Float64, train: NDArray[np.int64], asked: _Asked) -> tuple[Float64, Float64]:
    """Score of each target, and what is left of each response, within a train set that knows nothing of the gallery."""
    settings = {"estimator": asked.estimator, "cv": asked.estimator.cv, "groups": asked.labels(train)}
    result = cross_val_encode({"x": x[train]}, asked.y[train], **settings, return_predictions=True)
    assert result.predictions is not None
    score = np.nan_to_num(result.r.isel(layer=0).mean("split").values, nan=-1.0)
    return score, asked.y[train] - np.asarray(result.predictions["x"])


def _log_likelihood(measured: Float64, expected: Float64, noise: Float64) -> Float64:
    """Log likelihood of each response (row) given each candidate (column), but for what all candidates share."""
    from sklearn.covariance import ledoit_wolf

    covariance = ledoit_wolf(noise)[0]
    covariance += 1e-10 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weighted = cho_solve(cho_factor(covariance), expected.T)
    likelihood: Float64 = measured @ weighted - 0.5 * np.einsum("jt,tj->j", expected, weighted)
    return likelihood


def _decoding(asked: _Asked) -> dict[Cell, list[Float64]]:
    """Rank candidates by their odds given what was decoded, by layer and moment."""
    matrices: dict[Cell, list[Float64]] = {}
    for (train, _), rows in zip(asked.splits, asked.galleries, strict=True):
        spaces = [_components(x, train) for x in asked.layers.values()]
        ends = np.cumsum([0, *(space.shape[1] for space in spaces)])
        together = np.concatenate(spaces, axis=1)
        for moment in np.unique(asked.moments):
            seen = asked.y[:, asked.moments == moment]
            model = clone(asked.estimator).fit(seen[train], together[train], groups=asked.labels(train))
            explained = np.clip(np.nan_to_num(model.best_score_), 0.0, MOST_EXPLAINED)
            decoded = model.predict(seen[rows])
            for name, (start, stop) in zip(asked.layers, pairwise(ends), strict=True):
                part = slice(start, stop)
                pair = _log_odds(decoded[:, part], together[rows, part], explained[part])
                matrices.setdefault((name, moment), []).append(pair)
    return {cell: _ranks(each) for cell, each in matrices.items()}


def _components(x: Float64, train: NDArray[np.int64]) -> Float64:
    """Principal components of a layer, (n, k), fitted to the train set and of unit variance there.

    A layer's features share few directions (early blocks: two or three hold nine tenths of the variance). Compared
    as they are, candidates are told apart by these alone, whether responses follow them or not.
    """
    mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
    z = (x[:, spread > 0] - mean[spread > 0]) / spread[spread > 0]
    _, values, axes = np.linalg.svd(z[train], full_matrices=False)
    kept = min(MOST_COMPONENTS, int((values > VANISHED * values[0]).sum()) if len(values) else 0)
    components: Float64 = z @ axes[:kept].T / values[:kept] * np.sqrt(len(train))
    return components


def _log_odds(decoded: Float64, features: Float64, explained: Float64) -> Float64:
    """How much likelier each decoded row (row) makes each candidate (column) than it was.

    Components have variance one; given the responses they are normal about what was decoded, with the variance that
    decoding leaves. Those that cannot be decoded say nothing.
    """
    left = 1.0 - explained
    away = np.square(decoded) @ (1 / left)
    odds: Float64 = (decoded / left) @ features.T - 0.5 * (away[:, None] + np.square(features) @ (1 / left - 1))
    return odds


def _ranks(matrices: list[Float64]) -> list[Float64]:
    """Rank from 0 of every candidate (column) for every response (row); ties count against it."""
    return [stats.rankdata(-matrix, method="max", axis=1) - 1.0 for matrix in matrices]


def _given(ranks: list[Float64], orders: list[NDArray[np.int64]]) -> Float64:
    """Rank of every photograph, if the responses of each fold belonged to them in this order."""
    return np.concatenate([matrix[np.arange(len(o)), o] for matrix, o in zip(ranks, orders, strict=True)])


def _table(ranks: list[list[Float64]], galleries: list[NDArray[np.int64]], options: RetrievalOptions) -> pd.DataFrame:
    sizes = np.repeat([len(rows) for rows in galleries], [len(rows) for rows in galleries])
    identity = [np.arange(len(rows)) for rows in galleries]
    own = np.stack([_given(each, identity) for each in ranks])  # (cells, photographs)
    top1 = (own < 1).mean(axis=1)
    null, drawn = np.empty((2, options.n_permutations, len(ranks)))
    rng = np.random.default_rng([options.seed, EXCHANGED_PHOTOGRAPHS])
    for number in range(options.n_permutations):
        orders = [rng.permutation(len(rows)) for rows in galleries]
        given = np.stack([_given(each, orders) for each in ranks])
        null[number], drawn[number] = (given < 1).mean(axis=1), given.mean(axis=1)
    above = 1 + (null >= top1 - 1e-12).sum(axis=0)
    most = 1 + (null.max(axis=1)[:, None] >= top1 - 1e-12).sum(axis=0)
    table = pd.DataFrame({"top1": top1, "top5": (own < 5).mean(axis=1)})
    table["chance1"], table["chance5"] = float((1 / sizes).mean()), float((5 / sizes).mean())
    table["rank"], table["n"], table["gallery"] = own.mean(axis=1) + 1, len(sizes), float(sizes.mean())
    table["p"], table["p_corrected"] = above / (len(null) + 1), most / (len(null) + 1)
    table["p_rank"] = (1 + (drawn <= own.mean(axis=1) + 1e-12).sum(axis=0)) / (len(null) + 1)
    return table
