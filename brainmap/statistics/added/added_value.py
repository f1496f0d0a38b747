"""Residual of added features beyond a baseline: how much of the held-out score only the gradients bring.

``nested`` (default): the baseline is the activations of all layers, reduced by PCA on the train split; the gradients
are residualised there on the same components, so the two parts of the train set are orthogonal, a ridge with one
penalty each splits into two ridges, and the gradients cannot help merely by relieving the baseline's regularisation.
``matched`` is Study A's (Raugel et al. 2026): ``R([PCA150(activations); PCA150(gradients)]) − R(PCA300(activations))``.

Effects are differences of held-out Pearson r. Whether they are more than noise is decided by
:mod:`brainmap.statistics.added.conditional_test`, whose null distribution refits; intervals here are cluster
jackknifes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.encoding.cross_validation import encoding_provenance
from brainmap.encoding.engine import blas_controller, make_problem, make_settings
from brainmap.encoding.folds import plan_splits
from brainmap.encoding.layer.factors import parallel
from brainmap.encoding.layer.notation import LayerFactors
from brainmap.encoding.layer.nuisance import without_nuisance
from brainmap.encoding.layer.scores import score_batch, target_batch, target_block
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import Problem, RidgeOptions, RowDesign, Scoring
from brainmap.statistics.added.conditional_test import ConditionalOptions, ConditionalTest, conditional_test
from brainmap.statistics.added.penalty_choice import DRAWS, held_out, taught_changes
from brainmap.statistics.checked_arrays import (
    Features,
    check_responses,
    feature_arrays,
    target_blocks,
)
from brainmap.statistics.correction import adjust
from brainmap.statistics.jackknife import HeldOutRows, Score, half_width, score_gradient, sum_by_group
from brainmap.statistics.two_bands import TwoBands, factorise_bands

FloatArray = NDArray[np.floating]
AT_ONCE = 4  # blocks of targets, whose arrays take some 200 MB each


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
    alphas : tuple of float, optional
        Ridge penalties to choose from, per target, by inner cross-validation of r; default as in
        :class:`~brainmap.encoding.EncodingRidgeCV`, multiples of the baseline's mean eigenvalue.
    cv, inner_cv : int
        Outer and inner folds, grouped.
    seed : int
        Seed of the folds.
    score : {'r', 'r2'}
        What is gained, and penalties are chosen by: held-out Pearson r, or R², whose gain is variance explained.

    Examples
    --------
    >>> from brainmap.statistics import ResidualOptions
    >>> ResidualOptions(method="matched", matched_components=50).method
    'matched'
    """

    method: Literal["nested", "matched"] = "nested"
    explained: float = 0.999
    max_components: int = 200
    matched_components: int = 150
    alphas: tuple[float, ...] | None = None
    cv: int = 5
    inner_cv: int = 5
    seed: int = 0
    score: Score = "r"

    def __post_init__(self) -> None:
        if self.method not in ("nested", "matched"):
            raise InputError(f"The residual method {self.method!r} is unknown; choose 'nested' or 'matched'.")
        if self.score not in ("r", "r2"):
            raise InputError(f"The score {self.score!r} is unknown; choose 'r' or 'r2'.")
        make_settings(self.ridge)

    @property
    def ridge(self) -> EncodingRidgeCV:
        """The ridge of both bands."""
        scoring: Scoring = "pearsonr" if self.score == "r" else "r2"
        return EncodingRidgeCV(self.alphas, cv=self.inner_cv, scoring=scoring, options=RidgeOptions(seed=self.seed))


@dataclass(frozen=True, eq=False)
class ResidualScores:
    """Held-out scores with and without the added features.

    Parameters
    ----------
    dataset : xarray.Dataset
        ``r_base``, ``r_full`` and ``delta`` with dims (subject, split, target); settings in ``attrs``.
    test, training, choice : ndarray, (n_groups, n_targets)
        Change of a target's ``delta`` (mean over subjects and splits) when the group is not tested, does not teach, or
        has no say in how much of the added features is added (:mod:`brainmap.statistics.added.penalty_choice`).
    """

    dataset: xr.Dataset
    test: NDArray[np.float32]
    training: NDArray[np.float32]
    choice: NDArray[np.float32]

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
            ``unit``, ``delta``, ``low``, ``high``, ``r_base``, ``r_full``, ``n_targets``. The interval is
            over groups of images (:mod:`brainmap.statistics.jackknife`), and knows that other images might have led to
            adding more or less of the features (:mod:`brainmap.statistics.added.penalty_choice`).
        """
        labels = np.asarray(units)
        if labels.shape != (self.dataset.sizes["target"],):
            raise InputError(f"There are {self.dataset.sizes['target']} targets but units of shape {labels.shape}.")
        names, codes = np.unique(labels, return_inverse=True)
        means = self.dataset.mean(("subject", "split"), skipna=True)
        scored = np.isfinite(means["delta"].values)  # a target that is constant in every test set is missing
        known = np.bincount(codes, scored)
        known = np.where(known > 0, known, np.nan)
        table = pd.DataFrame({"unit": names})
        for name in ("delta", "r_base", "r_full"):
            table[name] = np.bincount(codes, np.where(scored, means[name].values, 0.0)) / known
        test, training, choice = (
            np.stack([np.bincount(codes, row * scored) for row in changes]) / known
            for changes in (self.test, self.training, self.choice)
        )
        # Another choice changes delta by a gain that is measured with noise, and what noise brings is in the standard
        # error already: the squared gain counts less its variance, and joins what the same group does when tested.
        given = half_width(test, training, 1, 0.5)  # standard error at the choices made: t's quartile with one is 1
        squared = np.maximum(table["delta"].to_numpy() ** 2, 1e-30)  # zero, with no error, where nothing was added
        test = test + np.sqrt(np.maximum(1.0 - given**2 / squared, 0.0)) * choice
        half = half_width(test, training, len(test) - self.dataset.sizes["split"], confidence)
        table.insert(2, "low", table["delta"] - half)
        table.insert(3, "high", table["delta"] + half)
        return table.assign(n_targets=np.bincount(codes))

    def by_target(self, *, level: float = 0.05) -> pd.DataFrame:
        """Size and test the gain of every target by itself, with a correction over targets of its own.

        Parameters
        ----------
        level : float
            False discovery rate over targets.

        Returns
        -------
        pandas.DataFrame
            One row per target: ``delta``, ``low``, ``high`` (95 %), ``p`` (one-sided t test of ``delta`` with the
            standard error over groups of images that the interval has), ``significant`` (Benjamini–Hochberg at
            ``level``). Targets to which nothing was added have p = 1. Unlike the test of units, whose null refits, this
            test knows other images by the jackknife only.
        """
        n_targets = self.dataset.sizes["target"]
        table = self.by_unit(np.arange(n_targets))[["delta", "low", "high"]]
        freedom = max(len(self.test) - self.dataset.sizes["split"], 1)
        delta = table["delta"].to_numpy()
        error = (table["high"].to_numpy() - delta) / stats.t.ppf(0.975, freedom)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = np.where(error > 0, stats.t.sf(delta / error, freedom), 1.0)
        tested = xr.DataArray(np.where(np.isfinite(delta), p, np.nan), dims="target")
        return table.assign(p=tested.values, significant=(adjust(tested, "bh", over=["target"]) <= level).values)

    def by_subject(self, units: ArrayLike) -> pd.DataFrame:
        """Average ``delta`` over splits and the targets of each unit, subject by subject.

        Parameters
        ----------
        units : array-like, (n_targets,)
            Unit (area, time) of each target.

        Returns
        -------
        pandas.DataFrame
            One row per unit (the index), one column per subject, numbered from 0; targets without a score do not count.
        """
        means = self.dataset["delta"].mean("split", skipna=True).transpose("target", "subject")
        return pd.DataFrame(means.values).groupby(np.asarray(units)).mean().rename_axis("unit")

    def __repr__(self) -> str:
        delta = float(self.dataset["delta"].mean(("subject", "split")).mean())
        sizes = f"{self.dataset.sizes['subject']} subjects × {self.dataset.sizes['target']} targets"
        return f"<ResidualScores ({self.dataset.attrs['method']}), {sizes}: mean Δr {delta:+.4f}>"


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

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, residual
    >>> rng = np.random.default_rng(0)
    >>> activations, gradients = rng.standard_normal((100, 5)), rng.standard_normal((100, 5))
    >>> responses = gradients @ rng.standard_normal((5, 3)) + rng.standard_normal((100, 3))
    >>> options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200))
    >>> gain = residual(activations, gradients, responses, units=["IT"] * 3, options=options)
    >>> gain.table[["unit", "significant"]].values.tolist()
    [['IT', True]]
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
    confounds: ArrayLike | None = None,
    options: ResidualOptions | None = None,
) -> ResidualScores:
    """Held-out score of a baseline with and without added features.

    Parameters
    ----------
    base, added : array-like (n_images, d) or mapping of layer to array-like
        Activations (of all layers) and gradients. Scaling and PCA are fitted on each outer train split, the gradients
        are residualised on each train split, outer and inner.
    responses : array-like (n_images, n_targets), or a sequence of them
        Responses to the same images; a sequence holds several subjects with the same targets.
    groups : array-like, (n_images,), optional
        Images that must stay in one fold; default: every image for itself.
    confounds : array-like, (n_images, n_confounds), optional
        Projected out of features and responses inside each outer split, as fitted on its train set.
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
    options = options or ResidualOptions()
    subjects = check_responses(responses)
    x = np.concatenate(list(feature_arrays(base, "baseline").values()), axis=1)
    g = np.concatenate(list(feature_arrays(added, "added").values()), axis=1)
    labels = np.arange(len(x)) if groups is None else np.asarray(groups)
    if not len(x) == len(g) == len(subjects[0]) == len(labels):
        sizes = (len(x), len(g), len(subjects[0]), len(labels))
        raise InputError(f"Baseline, added features, responses and groups have {sizes} rows; they must agree.")
    plan = plan_splits(len(x), options.cv, groups=groups, inner_cv=options.inner_cv, seed=options.seed)
    design = RowDesign(nuisance=confounds).checked(len(x))
    problem = make_problem(plan, make_settings(options.ridge), design)
    limits = (options.explained, min(options.max_components, len(x) // 4), options.max_components)
    matched = options.matched_components if options.method == "matched" else None
    layer, bands = factorise_bands(x, g, problem, limits=limits, matched=matched)
    codes = np.unique(labels, return_inverse=True)[1][plan.order]
    scored = [_score_subject(y, problem, layer, bands, codes) for y in subjects]
    base_r, full_r, changes = (np.stack(parts) for parts in zip(*scored, strict=True))
    dims = ("subject", "split", "target")
    dataset = xr.Dataset({"r_base": (dims, base_r), "r_full": (dims, full_r), "delta": (dims, full_r - base_r)})
    dataset.attrs = {**asdict(options), **encoding_provenance(options.ridge, problem)}
    words = "pearson r" if options.score == "r" else "R²"
    dataset.attrs |= {"scoring": f"{words}, difference of held-out scores"}
    return ResidualScores(dataset, *changes.mean(axis=0))


def residual(
    base: Features,
    added: Features,
    responses: ArrayLike | Sequence[ArrayLike],
    *,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    confounds: ArrayLike | None = None,
    options: tuple[ResidualOptions, ConditionalOptions] | None = None,
) -> ResidualResult:
    """Residual of added features per unit: its size, its interval, and a test with family-wise error control.

    Parameters
    ----------
    base, added, responses, groups, confounds
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
        As in :func:`residual_scores` and :func:`~brainmap.statistics.added.conditional_test.conditional_test`.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import ConditionalOptions, ResidualOptions, residual
    >>> rng = np.random.default_rng(0)
    >>> activations, gradients = rng.standard_normal((100, 5)), rng.standard_normal((100, 5))
    >>> responses = gradients @ rng.standard_normal((5, 3)) + rng.standard_normal((100, 3))
    >>> options = (ResidualOptions(cv=3), ConditionalOptions(n_flips=200))
    >>> gain = residual(activations, gradients, responses, units=["IT"] * 3, options=options).table.iloc[0]
    >>> bool(gain["delta"] > 0.3), bool(gain["low"] > 0)
    (True, True)
    """
    score_options, test_options = options or (ResidualOptions(), ConditionalOptions())
    scores = residual_scores(base, added, responses, groups=groups, confounds=confounds, options=score_options)
    test = conditional_test(
        base, added, responses, units=units, groups=groups, confounds=confounds, options=test_options
    )
    effects = scores.by_unit(units).drop(columns="n_targets")
    columns = ["unit", "statistic", "p", "p_fwer", "significant", "n_targets"]
    return ResidualResult(effects.merge(test.table[columns], on="unit"), scores, test)


def _score_subject(
    y: FloatArray, problem: Problem, layer: LayerFactors, bands: list[list[TwoBands]], codes: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Scores (split, target) without and with the added features, and the changes by group (3, group, target)."""
    n_splits, n_targets, grids = len(bands), y.shape[1], layer.info["alphas"]
    kind: Score = "r" if problem.settings.scoring == "pearsonr" else "r2"
    scores = np.full((2, n_splits, n_targets), np.nan, dtype=np.float32)
    changes = np.zeros((3, int(codes.max()) + 1, n_targets), dtype=np.float32)
    added = np.zeros(n_targets)

    def score(part: slice) -> None:
        block = target_block(np.asarray(y[:, part]), problem, name="the response", first=part.start)
        batch = target_batch(block, layer, problem)
        chosen = score_batch(batch)[0].alpha
        for number, (splits, outer) in enumerate(zip(bands, layer.outer, strict=True)):
            values = (without_nuisance(batch, outer, None) if problem.n_nuisance else batch).inputs
            own, penalties = splits[-1], (grids[number], problem.settings.tie_tolerance)
            fit = held_out(values, splits, chosen[number], penalties, codes, kind)
            truth, test_codes, train_codes = values[own.test], codes[own.test], codes[own.train]
            held = HeldOutRows.of(truth, test_codes, kind)
            without, both = map(held.tested_changes, fit.predictions)
            scores[:, number, part] = without[0], both[0]
            changes[0, np.unique(test_codes), part] += (both[1] - without[1]) / n_splits
            slopes = [score_gradient(truth, prediction, kind) for prediction in fit.predictions]
            taught = taught_changes(own, values[own.train], fit.penalties, slopes, train_codes)
            names, sums = sum_by_group(taught, train_codes)
            changes[1, names, part] += sums / n_splits
            changes[2, :, part] += fit.choice / n_splits
            added[part] += np.isfinite(fit.penalties[1])

    blocks = target_blocks(max(len(y), DRAWS) * (grids.shape[1] + 1), n_targets)
    with blas_controller("torch" in sys.modules).limit(limits=1, user_api="blas"):
        parallel(score, blocks, min(problem.threads, AT_ONCE))
    # A pair of groups enters twice only if both their splits chose to add anything: the share of the other splits did.
    changes[1] *= np.sqrt(np.maximum(added - 1, 0) / (n_splits - 1))
    return scores[0], scores[1], changes
