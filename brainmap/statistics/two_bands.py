"""Ridge on two bands of features that are orthogonal on the train split, or side by side in one band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.layer.z_scores import leading_eigenvectors, standard_deviations

Array = NDArray[np.floating]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Band:
    """Principal components of one set of features, fitted on the train rows.

    Parameters
    ----------
    left : ndarray, (n_train, k)
        Orthonormal left singular vectors of the train rows.
    singular : ndarray, (k,)
        Singular values.
    test : ndarray, (n_test, k)
        Scores of the test rows.
    """

    left: NDArray[np.float32]
    singular: NDArray[np.float32]
    test: NDArray[np.float32]

    def weights(self, y: Array) -> NDArray[np.float32]:
        """Projections of the centred train responses, (k, n_targets)."""
        return np.asarray(self.left.T @ y, dtype=np.float32)

    def predict(self, weights: Array, alpha: Array) -> NDArray[np.float32]:
        """Test predictions for one penalty per target (or one for all); an infinite penalty predicts zero."""
        return np.asarray(self.test @ self.shrunk(weights, alpha), dtype=np.float32)

    def fitted(self, weights: Array, alpha: Array) -> NDArray[np.float32]:
        """Fitted values of the (centred) train responses."""
        return np.asarray(self.left @ (self.singular[:, None] * self.shrunk(weights, alpha)), dtype=np.float32)

    def shrunk(self, weights: Array, alpha: Array) -> Array:
        """Ridge coefficients s / (s² + alpha) times the weights, (k, n_targets)."""
        s = self.singular[:, None]
        shrink: Array = np.where(np.isinf(alpha), 0.0, s / (s**2 + np.where(np.isinf(alpha), 1.0, alpha)))
        return shrink * weights

    def absorbed(self, alpha: float) -> Array:
        """Share s² / (s² + alpha) of each component that the fit takes from the train responses, (k,)."""
        return self.singular**2 / (self.singular**2 + alpha)


@dataclass(frozen=True, eq=False)
class TwoBands:
    """Bands of one split.

    Parameters
    ----------
    base : Band
        The baseline.
    added : Band
        ``additive``: what the added features hold beyond the baseline, to be added to its prediction. Otherwise the
        whole competing model.
    additive : bool
        Which of the two.
    """

    base: Band
    added: Band
    additive: bool


def fit_bands(
    x: Array, g: Array, split: Split, *, limits: tuple[float, int, int], matched: int | None = None
) -> TwoBands:
    """Reduce baseline and added features on the train rows of a split.

    Parameters
    ----------
    x, g : ndarray, (n, d)
        Baseline and added features.
    split : tuple of ndarray
        Train and test rows.
    limits : tuple of (float, int, int)
        Share of the baseline's variance to keep, its largest number of components, that of the added features.
    matched : int, optional
        Build the matched-dimension comparison with so many components of each kind instead.

    Returns
    -------
    TwoBands
    """
    train, test = split
    x_train, x_test = _standardise(x[train], x[test])
    g_train, g_test = _standardise(g[train], g[test])
    if matched is not None:
        base = _components(x_train, x_test, 2 * matched)
        halves = [_components(x_train, x_test, matched), _components(g_train, g_test, matched)]
        side_train = np.concatenate([half.left * half.singular for half in halves], axis=1)
        side_test = np.concatenate([half.test for half in halves], axis=1)
        return TwoBands(base, _components(side_train, side_test, 2 * matched), additive=False)
    explained, most, most_added = limits
    base = _components(x_train, x_test, most, explained)
    # Regressing the added features on the components: exact on the train rows, carried over to the test rows.
    slopes = base.left.T @ g_train
    rest_train = g_train - base.left @ slopes
    rest_test = g_test - (base.test / base.singular) @ slopes
    return TwoBands(base, _components(rest_train, rest_test, most_added), additive=True)


def principal_band(x: Array, split: Split) -> Band:
    """Standardise features on the train rows of a split and decompose them, all components kept."""
    train, test = split
    return _components(*_standardise(x[train], x[test]), min(len(train), x.shape[1]))


def _standardise(train: Array, test: Array) -> tuple[Array, Array]:
    """Scale both by the train rows' mean and spread, as the engine does; columns constant there become zero."""
    centre, spread = train.mean(axis=0), standard_deviations(train)
    return (train - centre) / spread, (test - centre) / spread


def _components(train: Array, test: Array, most: int, explained: float = 1.0) -> Band:
    """Leading principal components of the train rows, and the scores of the test rows."""
    values, right = _leading(train, most)
    keep = min(most, int(np.sum(values > 1e-8 * values[0])))
    if explained < 1.0:
        shares = np.cumsum(values) / np.einsum("ij,ij->", train, train)
        keep = min(keep, int(np.searchsorted(shares, explained)) + 1)
    right, singular = right[:, :keep], np.sqrt(values[:keep])
    return Band(*(part.astype(np.float32) for part in (train @ right / singular, singular, test @ right)))


def _leading(train: Array, most: int) -> tuple[Array, Array]:
    """Eigenvalues of the rows' covariance (times n) and its eigenvectors, largest first.

    From the Gram matrix of rows or of columns, whichever is smaller; where few of many are wanted, by randomised
    subspace iteration (Halko et al. 2011), as scikit-learn's PCA does.
    """
    if min(train.shape) > max(2000, 8 * most):
        from sklearn.utils.extmath import randomized_svd

        _, singular, rows = randomized_svd(train, most, n_oversamples=20, n_iter=5, random_state=0)
        return singular**2, rows.T
    if train.shape[1] <= train.shape[0]:
        return leading_eigenvectors(train.T @ train, 0.0)
    values, left = leading_eigenvectors(train @ train.T, 1e-15)
    return values, train.T @ (left / np.sqrt(values))
