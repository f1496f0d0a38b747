"""Residual of added features beyond a baseline: how much of the held-out score only the gradients bring.

``nested`` (default): the baseline is the activations of all layers, reduced by PCA on the train split; the gradients
are residualised there on the same components, so the two parts of the train set are orthogonal, a ridge with one
penalty each splits into two ridges, and the gradients cannot help merely by relieving the baseline's regularisation.
``matched`` is Study A's (Raugel et al. 2026): ``R([PCA150(activations); PCA150(gradients)]) − R(PCA300(activations))``.

Effects are differences of held-out Pearson r. Whether they are more than noise is decided by
:mod:`brainmap.encoding.conditional`, whose null distribution refits; intervals here are cluster jackknifes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.encoding.checking import Features, check_responses, feature_arrays, target_blocks
from brainmap.encoding.conditional import ConditionalOptions, ConditionalTest, conditional_test
from brainmap.encoding.folds import SplitPlan, plan_splits
from brainmap.encoding.jackknife import half_width, leave_group_out
from brainmap.encoding.two_bands import TwoBands, fit_bands, held_out
from brainmap.errors import InputError

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class ResidualOptions:
    """Settings of :func:`residual_scores`.

    Parameters
    ----------
    method : {'nested', 'matched'}
        See the module's description.
    explained : float
        ``nested``: the baseline's components hold this share of its variance on the train split …
    max_components : int
        … but are at most so many, and at most a quarter of the images. Added features keep at most so many, too.
    matched_components : int
        ``matched``: components of each half; the baseline has twice as many.
    alphas : tuple of float
        Ridge penalties to choose from, per target, by inner cross-validation of r.
    cv, inner_cv : int
        Outer and inner folds, grouped.
    seed : int
        Seed of the folds.
    """

    method: Literal["nested", "matched"] = "nested"
    explained: float = 0.999
    max_components: int = 200
    matched_components: int = 150
    alphas: tuple[float, ...] = (1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
    cv: int = 5
    inner_cv: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("nested", "matched"):
            raise InputError(f"The residual method {self.method!r} is unknown; choose 'nested' or 'matched'.")
        if not self.alphas or min(self.alphas) <= 0:
            raise InputError(f"Ridge penalties must be positive, got {self.alphas}.")


@dataclass(frozen=True, eq=False)
class ResidualScores:
    """Held-out scores with and without the added features.

    Parameters
    ----------
    dataset : xarray.Dataset
        ``r_base``, ``r_full`` and ``delta`` with dims (subject, split, target); settings in ``attrs``.
    influence : ndarray, (n_groups, n_targets)
        Change of a target's ``delta`` (mean over subjects and splits) when the group is left out of the test sets.
    fold : ndarray of int, (n_groups,)
        Test fold of each group.
    """

    dataset: xr.Dataset
    influence: NDArray[np.float32]
    fold: NDArray[np.intp]

    def by_unit(self, units: ArrayLike, *, confidence: float = 0.95) -> pd.DataFrame:
        """Average over the targets of each unit.

        Parameters
        ----------
        units : array-like, (n_targets,)
            Unit (area, time) of each target.
        confidence : float
            Coverage of the interval.

        Returns
        -------
        pandas.DataFrame
            ``unit``, ``delta``, ``low``, ``high``, ``r_base``, ``r_full``, ``n_targets``. The interval is that of
            :func:`brainmap.encoding.jackknife.half_width`, over groups of images.
        """
        labels = np.asarray(units)
        if labels.shape != (self.dataset.sizes["target"],):
            raise InputError(f"There are {self.dataset.sizes['target']} targets but units of shape {labels.shape}.")
        names, codes = np.unique(labels, return_inverse=True)
        count = np.bincount(codes)
        means = self.dataset.mean(("subject", "split"), skipna=True)
        table = pd.DataFrame({"unit": names})
        for name in ("delta", "r_base", "r_full"):
            table[name] = np.bincount(codes, np.nan_to_num(means[name].values)) / count
        shift = np.stack([np.bincount(codes, row) for row in np.nan_to_num(self.influence)]) / count
        half = half_width(shift, self.fold, confidence)
        table.insert(2, "low", table["delta"] - half)
        table.insert(3, "high", table["delta"] + half)
        return table.assign(n_targets=count)

    def __repr__(self) -> str:
        delta = self.dataset["delta"].mean(("subject", "split"))
        sizes = f"{self.dataset.sizes['subject']} subjects × {self.dataset.sizes['target']} targets"
        return f"<ResidualScores ({self.dataset.attrs['method']}), {sizes}: mean Δr {float(delta.mean()):+.4f}>"


@dataclass(frozen=True, eq=False)
class ResidualResult:
    """Residual per unit, with a test.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per unit: ``unit``, ``delta`` (mean held-out gain in r), ``low``, ``high``, ``r_base``, ``r_full``,
        ``statistic``, ``p``, ``p_fwer``, ``significant``, ``n_targets``.
    scores : ResidualScores
        Per target.
    test : ConditionalTest
        The test behind ``p``.
    """

    table: pd.DataFrame
    scores: ResidualScores
    test: ConditionalTest

    def to_frame(self) -> pd.DataFrame:
        """Return the table; how it was made is in ``attrs``."""
        table = self.table.copy()
        table.attrs = {**self.scores.dataset.attrs, "p_method": self.test.method, "alpha": self.test.options.alpha}
        return table

    def __repr__(self) -> str:
        hits, row = int(self.table["significant"].sum()), int(self.table["delta"].to_numpy().argmax())
        largest = f"{self.table['delta'].iloc[row]:+.3f} at {self.table['unit'].iloc[row]}"
        return f"<ResidualResult: {hits} of {len(self.table)} units significant; largest Δr {largest}>"


def residual_scores(
    base: Features,
    added: Features,
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    groups: ArrayLike | None = None,
    options: ResidualOptions | None = None,
) -> ResidualScores:
    """Held-out score of a baseline with and without added features.

    Parameters
    ----------
    base, added : array-like (n_images, d) or mapping of layer to array-like
        Activations (of all layers) and gradients. Scaling, PCA and residualisation are fitted on each train split.
    responses : array-like (n_images, n_targets), or a sequence of them
        Responses to the same images; a sequence holds several subjects with the same targets.
    groups : array-like, (n_images,), optional
        Images that must stay in one fold; default: every image for itself.
    options : ResidualOptions, optional
        Settings.

    Returns
    -------
    ResidualScores

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, or there are too few groups for the folds.
    """
    setup = options or ResidualOptions()
    subjects = check_responses(responses)
    x = np.concatenate(list(feature_arrays(base, "baseline").values()), axis=1)
    g = np.concatenate(list(feature_arrays(added, "added").values()), axis=1)
    labels = np.arange(len(x)) if groups is None else np.asarray(groups)
    if not len(x) == len(g) == len(subjects[0]) == len(labels):
        found = (len(x), len(g), len(subjects[0]), len(labels))
        raise InputError(f"Baseline, added features, responses and groups have {found} rows; they must agree.")
    plan = plan_splits(len(x), setup.cv, groups=labels, inner_cv=setup.inner_cv, seed=setup.seed)
    bands = _all_bands(x, g, plan, setup)
    codes = np.unique(labels, return_inverse=True)[1]
    fold = np.zeros(int(codes.max()) + 1, dtype=np.intp)
    for number, (_, test) in enumerate(plan.outer):
        fold[codes[test]] = number
    scored = [_score_subject(y, plan, bands, codes, setup) for y in subjects]
    base_r, full_r, influence = (np.stack(parts) for parts in zip(*scored, strict=True))
    dims = ("subject", "split", "target")
    dataset = xr.Dataset({"r_base": (dims, base_r), "r_full": (dims, full_r), "delta": (dims, full_r - base_r)})
    dataset.attrs = {**asdict(setup), "n_images": len(x), "split_hash": plan.hash, "split_scheme": plan.scheme}
    dataset.attrs |= {"inner_scheme": plan.inner_scheme, "scoring": "pearson r, difference of held-out scores"}
    known = np.isfinite(influence).any(axis=0)  # constant targets have no score to influence
    return ResidualScores(dataset, np.where(known, np.nanmean(np.where(known, influence, 0.0), axis=0), np.nan), fold)


def residual(
    base: Features,
    added: Features,
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    options: tuple[ResidualOptions, ConditionalOptions] | None = None,
) -> ResidualResult:
    """Residual of added features per unit: its size, its interval, and a test with family-wise error control.

    Parameters
    ----------
    base, added, responses, groups
        As in :func:`residual_scores`.
    units : array-like, (n_targets,)
        Area or time of each target.
    options : tuple of (ResidualOptions, ConditionalOptions), optional
        Settings of the scores and of the test.

    Returns
    -------
    ResidualResult

    Raises
    ------
    InputError
        As in :func:`residual_scores` and :func:`~brainmap.encoding.conditional.conditional_test`.
    """
    score_options, test_options = options or (ResidualOptions(), ConditionalOptions())
    scores = residual_scores(base, added, responses, groups=groups, options=score_options)
    test = conditional_test(base, added, responses, units=units, groups=groups, options=test_options)
    effects = scores.by_unit(units).drop(columns="n_targets")
    columns = ["unit", "statistic", "p", "p_fwer", "significant", "n_targets"]
    return ResidualResult(effects.merge(test.table[columns], on="unit"), scores, test)


def _all_bands(x: FloatArray, g: FloatArray, plan: SplitPlan, setup: ResidualOptions) -> list[list[TwoBands]]:
    """For each outer split, its inner splits' bands and then its own."""
    limits = (setup.explained, min(setup.max_components, len(x) // 4), setup.max_components)
    matched = setup.matched_components if setup.method == "matched" else None
    return [
        [fit_bands(x, g, split, limits=limits, matched=matched) for split in [*inner, outer]]
        for outer, inner in zip(plan.outer, plan.inner, strict=True)
    ]


def _score_subject(
    y: FloatArray, plan: SplitPlan, bands: list[list[TwoBands]], codes: NDArray[np.intp], setup: ResidualOptions
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Scores (split, target) without and with the added features, and each group's influence (group, target)."""
    n_targets = y.shape[1]
    scores = np.full((2, len(plan.outer), n_targets), np.nan, dtype=np.float32)
    influence = np.zeros((int(codes.max()) + 1, n_targets), dtype=np.float32)
    alphas = np.sort(np.asarray(setup.alphas, dtype=np.float32))
    for part in target_blocks(int(y.shape[0]), n_targets):
        block = np.asarray(y[:, part], dtype=np.float32)
        for number, (outer, inner) in enumerate(zip(plan.outer, plan.inner, strict=True)):
            predictions = held_out(block, outer, inner, bands[number], alphas)
            truth, test_codes = block[outer[1]], codes[outer[1]]
            base_r, base_without = leave_group_out(truth, predictions[0], test_codes)
            full_r, full_without = leave_group_out(truth, predictions[1], test_codes)
            scores[0, number, part], scores[1, number, part] = base_r, full_r
            change = (full_without - base_without) - (full_r - base_r)
            influence[np.unique(test_codes), part] = change / len(plan.outer)
    return scores[0], scores[1], influence
