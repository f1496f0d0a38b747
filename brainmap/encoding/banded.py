"""Banded ridge for two feature spaces, by a grid: exact inner cross-validation over alpha *and* the bands' balance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.encoding.options import RidgeOptions, Scoring
from brainmap.encoding.ridge import DEFAULT_ALPHAS, EncodingRidgeCV
from brainmap.encoding.scores import TargetScores
from brainmap.encoding.settings import RidgeSettings
from brainmap.errors import InputError

DEFAULT_SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


class BandedRidgeCV(EncodingRidgeCV):
    """Ridge with two penalties per target, for features that are two bands side by side.

    Penalties of the bands are ``alpha / (2 share)`` and ``alpha / (2 (1 − share))``: at ``share`` one half both are
    `alpha`, at 0 or 1 one band is left out. Every share is one more ridge on rescaled features, so the statistics of
    the data are accumulated once for all of them; time grows with the number of shares otherwise. For more bands, or a
    random search, use `brainmap.encoding.himalaya_models.HimalayaRidgeCV`.

    Parameters
    ----------
    bands : (int, int)
        Number of features of the first and the second band; `fit` gets them side by side.
    shares : array-like
        Balances to choose from, between 0 (second band alone) and 1 (first band alone).
    alphas, cv, scoring, fit_intercept, scale, options
        As in `EncodingRidgeCV`.

    Attributes
    ----------
    share_ : ndarray, shape (n_targets,)
        Chosen balance; other attributes as in `EncodingRidgeCV`.
    """

    fitted: ClassVar[tuple[str, ...]] = (*EncodingRidgeCV.fitted, "share_")

    def __init__(
        self,
        bands: tuple[int, int] = (1, 1),
        shares: ArrayLike = DEFAULT_SHARES,
        alphas: ArrayLike = DEFAULT_ALPHAS,
        *,
        cv: Any = 5,
        scoring: Scoring = "pearsonr",
        fit_intercept: bool = True,
        scale: bool = True,
        options: RidgeOptions | None = None,
    ) -> None:
        super().__init__(
            alphas, cv=cv, scoring=scoring, fit_intercept=fit_intercept, scale=scale, pca=None, options=options
        )
        self.bands = bands
        self.shares = shares

    def settings(self) -> RidgeSettings:
        """Return the parameters, checked, as the engine takes them.

        Raises
        ------
        InputError
            If there are not two bands or a share is outside 0 … 1.
        """
        sizes, shares = [int(size) for size in self.bands], np.atleast_1d(np.asarray(self.shares, dtype=np.float64))
        if len(sizes) != 2 or min(sizes) < 1:
            raise InputError(f"`bands` must be the sizes of two bands, got {self.bands!r}.")
        if shares.size == 0 or shares.min() < 0 or shares.max() > 1:
            raise InputError(f"`shares` must lie between 0 and 1, got {self.shares!r}.")
        factors = np.sqrt(2 * np.column_stack([shares, 1 - shares]))
        return replace(super().settings(), bands=np.repeat(factors, sizes, axis=1))

    def allocate(self, n_targets: int, n_features: int) -> None:
        """Make room for fitted attributes."""
        super().allocate(n_targets, n_features)
        self.share_: NDArray[np.float64] = np.empty(n_targets)

    def take(self, part: slice, scores: TargetScores, split: int) -> None:
        """Take over what was chosen for some targets in one outer split."""
        super().take(part, scores, split)
        self.share_[part] = np.atleast_1d(np.asarray(self.shares))[scores.candidate[split].astype(int)]

    def named_scores(self, scores: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Return scores with the chosen share instead of its number."""
        shares = np.atleast_1d(np.asarray(self.shares, dtype=np.float64))
        named = {name: values for name, values in scores.items() if name != "candidate"}
        return {**named, "share": shares[scores["candidate"].astype(int)]}

    def extra_provenance(self) -> dict[str, Any]:
        """Return bands and shares."""
        return {"bands": [int(size) for size in self.bands], "shares": np.atleast_1d(self.shares).tolist()}
