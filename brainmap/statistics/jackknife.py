"""How much a cross-validated score depends on each group of images: as those it is tested on, and as those that teach.

A cross-validated score varies for two reasons. Other images could have been held out: the classical jackknife sees this
in finished predictions. And others could have been learned from: the predictions would then differ. Without effect both
parts are equally large (the score is a sum over pairs of groups, and each pair enters twice, each group once as the one
that teaches), so a jackknife of finished predictions misses half of the variance; with a strong effect the second part
vanishes, because at the best weights a correlation does not change to first order. Both are measured here, and added:

    Var(score) ≈ Σ_g (change when g is not tested)² + Σ_g (change when g does not teach)².

The second uses the closed form of ridge at the chosen penalties: a group of train images moves the weights by its
residuals times the inverse Gram matrix, and the score by the score's gradient times that. Residuals are corrected for
what the fit absorbed of them, per group (CR2 of Bell and McCaffrey 2002), as ridge's hat matrix says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainmap.statistics.two_bands import Band

FloatArray = NDArray[np.floating]
Float64 = NDArray[np.float64]
Score = Literal["r", "r2"]
ABSORBED_FLOOR = 0.05


def half_width(test: FloatArray, training: FloatArray, freedom: int, confidence: float) -> Float64:
    """Half width of an interval over groups of images.

    Parameters
    ----------
    test, training : ndarray, (n_groups, ...)
        Changes of the score from `HeldOutRows.tested_changes` and :func:`training_changes`, summed over splits.
    freedom : int
        Degrees of freedom: groups less splits.
    confidence : float
        Coverage.
    """
    variance = (test.astype(np.float64) ** 2).sum(axis=0) + (training.astype(np.float64) ** 2).sum(axis=0)
    width: Float64 = stats.t.ppf((1 + confidence) / 2, max(freedom, 1)) * np.sqrt(variance)
    return width


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Held-out responses whose predictions are scored, one after the other, with and without each group of rows.

    Parameters
    ----------
    truth : ndarray, (n, n_targets)
        Responses about their mean.
    mean : ndarray, (n_targets,)
        That mean.
    groups : ndarray of float, (n_groups, n), optional
        One where a row is of a group, sorted by code; None where every row is a group.
    order : ndarray of int, (n,)
        Rows sorted by code.
    sums : tuple of ndarray, (n_groups, n_targets) or (n_groups, 1)
        Per group: number of rows, sum and sum of squares of `truth`.
    score : {'r', 'r2'}
        Pearson r, or the coefficient of determination about the mean of all rows.
    """

    truth: Float64
    mean: FloatArray
    groups: Float64 | None
    order: NDArray[np.intp]
    sums: tuple[Float64, Float64, Float64]
    score: Score

    @classmethod
    def of(cls, truth: FloatArray, codes: NDArray[np.intp], score: Score = "r") -> HeldOutRows:
        """Prepare responses (n, n_targets) whose rows are of the groups in `codes`."""
        order = np.argsort(codes, kind="stable")
        names, own, counts = np.unique(codes[order], return_inverse=True, return_counts=True)
        mean = truth.mean(axis=0)
        values = truth[order].astype(np.float64) - mean
        groups = None if len(names) == len(codes) else (own == np.arange(len(names))[:, None]).astype(np.float64)
        sums = (counts[:, None].astype(np.float64), _grouped(groups, values), _grouped(groups, values * values))
        return cls(values, mean, groups, order, sums, score)

    def scores(self, prediction: FloatArray) -> tuple[Float64, Float64]:
        """Score a prediction (n, n_targets), as in :func:`leave_group_out`."""
        b = prediction[self.order].astype(np.float64)
        b -= prediction.mean(axis=0) if self.score == "r" else self.mean
        count, a, aa = self.sums
        sums = [count, a, *(_grouped(self.groups, x) for x in (b, self.truth * b)), aa]
        sums.append(_grouped(self.groups, np.multiply(b, b, out=b)))
        whole = [x.sum(axis=0) for x in sums]
        function = _pearson if self.score == "r" else _determination
        return function(whole), function([total - own for total, own in zip(whole, sums, strict=True)])

    def tested_changes(self, prediction: FloatArray) -> tuple[Float64, Float64]:
        """Score of a prediction per target, and its change when a group is not tested, as the jackknife weighs it.

        Returns
        -------
        score : ndarray, (n_targets,)
            NaN where the response is constant.
        changes : ndarray, (n_groups, n_targets)
            Sorted by code; their squares sum to the jackknife's variance. Zero where the response is constant.
        """
        whole, without = self.scores(prediction)
        shift = np.nan_to_num(without - whole)
        n = len(shift)
        shift -= shift.mean(axis=0)
        shift *= np.sqrt((n - 1) / n)
        return whole, shift


def _grouped(groups: Float64 | None, values: Float64) -> Float64:
    """Sums of rows by group, (n_groups, n_targets)."""
    sums: Float64 = values.copy() if groups is None else groups @ values
    return sums


def training_changes(band: Band, alpha: FloatArray, gradient: FloatArray, residual: FloatArray) -> Float64:
    """Change of a score, to first order, when a train row does not teach.

    Parameters
    ----------
    band : Band
        Components of one split.
    alpha : ndarray, (n_targets,)
        Ridge penalties.
    gradient : ndarray, (n_test, n_targets)
        Derivative of the score by the predictions (:func:`score_gradient`).
    residual : ndarray, (n_train, n_targets)
        Residuals of the train rows (:func:`corrected_residuals`).

    Returns
    -------
    ndarray, (n_train, n_targets)
        To be summed over the rows of a group.
    """
    back = band.left @ band.shrunk(band.test.T @ gradient, alpha)
    # Train rows also move the intercept, which matters for R² only: the gradient of r sums to zero.
    pull: Float64 = -(back + gradient.sum(axis=0) / len(band.left)) * residual
    return pull


def corrected_residuals(band: Band, alpha: FloatArray, residual: FloatArray, codes: NDArray[np.intp]) -> Float64:
    """Residuals of train rows, (I − H_gg)^(-1/2) times those of each group g, with H the hat matrix of the ridge.

    Parameters
    ----------
    band, alpha
        As in :func:`training_changes`.
    residual : ndarray, (n_train, n_targets)
        Responses less fitted values.
    codes : ndarray of int, (n_train,)
        Group of each row.
    """
    result = np.array(residual, dtype=np.float64)
    order = np.argsort(codes, kind="stable")
    _, start, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    penalties, which = np.unique(alpha, return_inverse=True)
    for size in np.unique(sizes):
        rows = order[start[sizes == size][:, None] + np.arange(size)]  # (groups of this size, size)
        left = band.left[rows].astype(np.float64)
        for number, penalty in enumerate(penalties):
            hat = (left * band.absorbed(penalty)) @ left.transpose(0, 2, 1) + 1.0 / len(codes)
            values, vectors = np.linalg.eigh(np.eye(size) - hat)
            root = (vectors / np.sqrt(np.maximum(values, ABSORBED_FLOOR))[:, None]) @ vectors.transpose(0, 2, 1)
            columns = np.flatnonzero(which == number)
            cells = np.ix_(rows.ravel(), columns)
            result[cells] = (root @ result[cells].reshape(*rows.shape, -1)).reshape(rows.size, -1)
    return result


def sum_by_group(values: FloatArray, codes: NDArray[np.intp]) -> tuple[NDArray[np.intp], Float64]:
    """Groups present, and sums of their rows, (n_groups, n_targets)."""
    order = np.argsort(codes, kind="stable")
    names, start = np.unique(codes[order], return_index=True)
    sums: Float64 = np.add.reduceat(values[order].astype(np.float64), start, axis=0)
    return names, sums


def score_gradient(truth: FloatArray, prediction: FloatArray, score: Score = "r") -> Float64:
    """Derivative of a score by each prediction, (n_test, n_targets); zero where it is not defined."""
    a, b = truth.astype(np.float64), prediction.astype(np.float64)
    spread = np.linalg.norm(a - a.mean(axis=0), axis=0)
    usable = spread > 1e-12 * np.maximum(np.linalg.norm(a, axis=0), 1e-300)
    if score == "r2":
        slope: Float64 = np.where(usable, 2.0 * (a - b) / np.where(usable, spread, 1.0) ** 2, 0.0)
        return slope
    b = b - b.mean(axis=0)
    norm = np.linalg.norm(b, axis=0)
    usable &= norm > 1e-12 * np.maximum(np.abs(prediction).max(axis=0), 1e-300)
    a, b = (a - a.mean(axis=0)) / np.where(usable, spread, 1.0), b / np.where(usable, norm, 1.0)
    slope = np.where(usable, (a - (a * b).sum(axis=0) * b) / np.where(usable, norm, 1.0), 0.0)
    return slope


def leave_group_out(
    truth: FloatArray, prediction: FloatArray, codes: NDArray[np.intp], score: Score = "r"
) -> tuple[Float64, Float64]:
    """Score per target, with all rows and with each group left out in turn.

    Parameters
    ----------
    truth, prediction : ndarray, (n, n_targets)
        Responses and predictions.
    codes : ndarray of int, (n,)
        Group of each row.
    score : {'r', 'r2'}
        As in :class:`HeldOutRows`.

    Returns
    -------
    score : ndarray, (n_targets,)
        r is 0 where the prediction is constant; both are NaN where the response is.
    without : ndarray, (n_groups, n_targets)
        Score without each group, in sorted order of the codes.
    """
    return HeldOutRows.of(truth, codes, score).scores(prediction)


def _pearson(sums: list[Float64]) -> Float64:
    count, a, b, ab, aa, bb = sums
    spread_a, spread_b = aa - a * a / count, bb - b * b / count
    tiny = 1e-12
    spread = np.sqrt(np.maximum(spread_a, 0.0) * np.maximum(spread_b, 0.0))
    r = np.where(spread_b > tiny * np.maximum(bb, 1e-300), (ab - a * b / count) / np.maximum(spread, 1e-300), 0.0)
    return np.where(spread_a > tiny * np.maximum(aa, 1e-300), np.clip(r, -1.0, 1.0), np.nan)


def _determination(sums: list[Float64]) -> Float64:
    count, a, _, ab, aa, bb = sums
    spread = aa - a * a / count
    known = spread > 1e-12 * np.maximum(aa, 1e-300)
    r2: Float64 = np.where(known, 1.0 - (aa - 2.0 * ab + bb) / np.where(known, spread, 1.0), np.nan)
    return r2
