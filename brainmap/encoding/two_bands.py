"""Ridge on two bands of features that are orthogonal on the train split, or side by side in one band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def held_out(
    y: Array, outer: Split, inner: tuple[Split, ...], bands: list[TwoBands], alphas: Array
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], tuple[Array, Array]]:
    """Predict the outer test rows without and with the added features, penalties chosen by inner cross-validation.

    Parameters
    ----------
    y : ndarray, (n, n_targets)
        Responses.
    outer : tuple of ndarray
        Outer train and test rows.
    inner : tuple of (train, validation)
        Inner splits.
    bands : list of TwoBands
        One per inner split, and the outer split's last.
    alphas : ndarray
        Penalties in increasing order. For an additive band infinity (nothing added) is tried, too.

    Returns
    -------
    predictions : tuple of ndarray, (n_test, n_targets)
        Of the baseline and of the full model.
    penalties : tuple of ndarray, (n_targets,)
        Chosen for the two bands.
    """
    additive = bands[-1].additive
    chosen = _best(y, inner, [b.base for b in bands[:-1]], alphas, None)
    offsets = None
    grid = alphas
    if additive:
        grid = np.append(alphas, np.float32(np.inf))
        centred = [y[train] - y[train].mean(axis=0) for train, _ in inner]
        offsets = [b.base.predict(b.base.weights(c), chosen) for b, c in zip(bands, centred, strict=False)]
    chosen_added = _best(y, inner, [b.added for b in bands[:-1]], grid, offsets)
    centred_outer = y[outer[0]] - y[outer[0]].mean(axis=0)
    base = bands[-1].base.predict(bands[-1].base.weights(centred_outer), chosen)
    full = bands[-1].added.predict(bands[-1].added.weights(centred_outer), chosen_added)
    return (base, base + full if additive else full), (chosen, chosen_added)


def _best(
    y: Array, inner: tuple[Split, ...], bands: list[Band], alphas: Array, offsets: list[NDArray[np.float32]] | None
) -> Array:
    """Penalty per target with the highest mean validation r; among ties the largest."""
    total = np.zeros((len(alphas), y.shape[1]))
    for number, ((train, validation), band) in enumerate(zip(inner, bands, strict=True)):
        weights = band.weights(y[train] - y[train].mean(axis=0))
        truth = y[validation] - y[validation].mean(axis=0)
        truth_norm = np.maximum(np.linalg.norm(truth, axis=0), 1e-20)
        for index, alpha in enumerate(alphas):
            prediction = band.predict(weights, alpha)
            if offsets is not None:
                prediction = prediction + offsets[number]
            prediction = prediction - prediction.mean(axis=0)
            norm = np.linalg.norm(prediction, axis=0)
            total[index] += (truth * prediction).sum(axis=0) / np.maximum(norm * truth_norm, 1e-20)
    close = total >= total.max(axis=0) - 1e-6 * len(inner)
    last = len(alphas) - 1 - np.argmax(close[::-1], axis=0)
    return alphas[last]


def _standardise(train: Array, test: Array) -> tuple[Array, Array]:
    """Scale both by the train rows' mean and spread; columns constant there become zero."""
    centre, spread = train.mean(axis=0), train.std(axis=0)
    spread = np.where(spread > 1e-9 * max(float(spread.max()), 1e-30), spread, np.inf)
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
        values, right = np.linalg.eigh(train.T @ train)
        return np.maximum(values[::-1], 0.0), right[:, ::-1]
    values, left = np.linalg.eigh(train @ train.T)
    values, left = np.maximum(values[::-1], 0.0), left[:, ::-1]
    return values, train.T @ (left / np.sqrt(np.maximum(values, 1e-30)))
