"""Residuals made whole again: the noise that a regression absorbed is replaced by drawn noise of the same kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainmap.statistics.added.hollow_matrices import remove

FloatArray = NDArray[np.float64]
COMMON = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])


@dataclass(frozen=True, eq=False)
class GroupNoise:
    """Noise of images in independent groups, of which a regression leaves only a part.

    The working covariance is ``S = I + t 11'`` in every group. Generalised least squares leave residuals of covariance
    ``S − U (U'S⁻¹U)⁻¹ U'``: lower than the noise's, and correlated between groups. Adding drawn noise of the covariance
    that is missing, which lies in the span of U, makes them independent between groups again. A quadratic form whose
    matrix annihilates U does not see what was added.

    Parameters
    ----------
    removed : ndarray, (n, k)
        Orthonormal columns U that are regressed out, k < n.
    blocks : list of slice
        Groups of images, contiguous, covering all rows in order.
    draws : ndarray, (n, k)
        Standard normal: the weights with which residuals are mixed to make the noise that is added. All targets share
        them, so it is correlated between targets as the residuals are.
    """

    removed: FloatArray
    blocks: list[slice]
    draws: FloatArray
    _known: dict[int, tuple[FloatArray, FloatArray]] = field(default_factory=dict, init=False, repr=False)

    def complete(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Residuals with the noise that U absorbed drawn anew, and the products that these draws lead to expect.

        Parameters
        ----------
        y : ndarray, (n, n_targets)
            Responses. The strength t is read from their residuals.

        Returns
        -------
        residual : ndarray, (n, n_targets)
            Completed residuals e.
        expected : ndarray, (n, n)
            Sum over targets of E[e e'] for these draws. All targets share one mixture, which leaves traces between
            groups that add up over targets where products of noise cancel. N does not see them either: in T they sum to
            zero.
        """
        residual = remove(self.removed, y)
        sums = np.add.reduceat(residual, [block.start for block in self.blocks], axis=0)
        share = np.sum(sums**2) / max(float(np.sum(residual**2)), 1e-300)
        number = int(np.argmin(np.abs(self.expected_shares - share)))
        if number not in self._known:
            self._known[number] = self._prepare(number)
        basis, covariance = self._known[number]
        white = remove(basis, self._scale(residual, number, -0.5))
        n_free = len(white) - basis.shape[1]
        whole = white + basis @ (self.draws.T @ white) / np.sqrt(n_free)
        return self._scale(whole, number, 0.5), float(np.sum(white**2)) / n_free * covariance

    @cached_property
    def expected_shares(self) -> FloatArray:
        """Squares of the groups' summed residuals over those of all residuals, expected for each t in ``COMMON``."""
        sums = np.stack([self.removed[block].sum(axis=0) for block in self.blocks])
        inner = np.diag([float(block.stop - block.start) for block in self.blocks]) - sums @ sums.T
        n_free = self.removed.shape[0] - self.removed.shape[1]
        shares: FloatArray = (np.trace(inner) + COMMON * np.sum(inner**2)) / (n_free + COMMON * np.trace(inner))
        return shares

    def _prepare(self, number: int) -> tuple[FloatArray, FloatArray]:
        """Orthonormal basis of whitened U, and the covariance of completed residuals for these draws."""
        basis = np.linalg.qr(self._scale(self.removed, number, -0.5))[0]
        n, k = basis.shape
        # (I + QG') (I − QQ') (I + GQ'): white noise without its part in Q, plus the mixture, in Q, of what is left.
        mixed = remove(basis, self.draws) / np.sqrt(n - k)
        half = (mixed + 0.5 * basis @ (mixed.T @ mixed - np.eye(k))) @ basis.T
        white = np.eye(n) + half + half.T
        return basis, self._scale(self._scale(white, number, 0.5).T, number, 0.5)

    def _scale(self, x: FloatArray, number: int, power: float) -> FloatArray:
        """Multiply by a power of S: 11' of a group of m images has the eigenvalue m, on the mean."""
        starts = [block.start for block in self.blocks]
        sizes = np.diff([*starts, len(x)])
        factor = ((1.0 + COMMON[number] * sizes) ** power - 1.0) / sizes
        scaled: FloatArray = x + np.repeat(factor[:, None] * np.add.reduceat(x, starts, axis=0), sizes, axis=0)
        return scaled
