"""The engine against an explicit nested cross-validation in float64 with scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from brainmap.encoding import EncodingRidgeCV, RidgeOptions, RowDesign, cross_val_encode, plan_splits
from brainmap.encoding.any_estimator import pearson, r_squared

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
ALPHAS = np.logspace(0, 8, 10)
WIDE = np.logspace(-8, 8, 9)


def spectrum(rng, n, d, exponent):
    """Features with a power-law spectrum in a random rotation."""
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -exponent @ rotation


def features(kind, n, d, rng):
    X = rng.standard_normal((n, d))
    if kind == "power law":
        return 10 * spectrum(rng, n, d, 1.5)
    if kind == "steep":
        return spectrum(rng, n, d, 3.0)
    if kind == "duplicated":
        X[:, d // 2 :] = X[:, : d - d // 2]
    if kind == "nearly duplicated":
        X[:, d // 2 :] = X[:, : d - d // 2] + 1e-3 * X[:, d // 2 :]
    if kind == "large means":
        return X + 1000 * (1 + np.arange(d))
    if kind == "one-hot":
        return np.eye(d)[np.arange(n) % min(d, n // 3)]  # a category never trained on predicts only a constant
    if kind == "constant column":
        X[:, 0] = 3.25
    if kind == "tiny units":
        return X * 1e-9
    return X


def responses(X, n_targets, rng):
    Z = (X - X.mean(0)) / np.maximum(X.std(0), 1e-12)
    Y = Z @ (rng.standard_normal((X.shape[1], n_targets)) * rng.random(X.shape[1])[:, None])
    Y /= np.maximum(Y.std(0), 1e-12)
    return Y + rng.standard_normal(Y.shape) * np.linspace(0.3, 6, n_targets) + 50 * rng.standard_normal(n_targets)


class RidgePath:
    """Ridge(solver='svd') for many alphas with one decomposition; equality with scikit-learn is a test below."""

    def __init__(self, X, Y, intercept=True, weight=None):
        weight = np.ones(len(X)) if weight is None else weight
        self.mean = np.average(X, axis=0, weights=weight) if intercept else np.zeros(X.shape[1])
        self.level = np.average(Y, axis=0, weights=weight) if intercept else np.zeros(Y.shape[1])
        root = np.sqrt(weight)[:, None]
        left, self.values, self.right = np.linalg.svd(root * (X - self.mean), full_matrices=False)
        keep = self.values > 1e-15
        left, self.values, self.right = left[:, keep], self.values[keep], self.right[keep]
        self.rotated = left.T @ (root * (Y - self.level))

    def predict(self, X, alpha):
        shrunk = (self.values / (self.values**2 + alpha))[:, None] * self.rotated
        return (X - self.mean) @ (self.right.T @ shrunk) + self.level


def explicit(
    X, Y, plan, alphas, *, scoring="pearsonr", scale=True, pca=None, intercept=True, weight=None, nuisance=None
):
    """Return inner scores, test r and test R2, each (split, alpha, target), looping over everything."""
    score = {"pearsonr": pearson, "r2": r_squared}[scoring]
    inner, r, r2 = [], [], []
    for (train, test), pairs in zip(plan.outer, plan.inner, strict=True):
        Z, T = X, Y
        if nuisance is not None:
            Z = Z - LinearRegression().fit(nuisance[train], Z[train]).predict(nuisance)
            T = T - LinearRegression().fit(nuisance[train], T[train]).predict(nuisance)
        if scale:
            Z = StandardScaler().fit(Z[train]).transform(Z)
        if pca:
            keep = min(pca, len(train) - 1, Z.shape[1])
            Z = PCA(keep, svd_solver="full").fit(Z[train]).transform(Z)

        def fit(rows, Z=Z, T=T):
            return RidgePath(Z[rows], T[rows], intercept, None if weight is None else weight[rows])

        paths = [(held, fit(rows)) for rows, held in pairs]
        inner.append(
            [
                np.mean([np.nan_to_num(score(T[held], path.predict(Z[held], alpha))) for held, path in paths], axis=0)
                for alpha in alphas
            ]
        )
        final = fit(train)
        predictions = [final.predict(Z[test], alpha) for alpha in alphas]
        r.append([pearson(T[test], one) for one in predictions])
        r2.append([r_squared(T[test], one) for one in predictions])
    return np.array(inner), np.array(r), np.array(r2)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("n", "d"), [(60, 12), (40, 40), (30, 50)])
def test_the_oracle_is_scikit_learn(n, d, weighted, intercept):
    rng = np.random.default_rng([n, d])
    X, weight = features("power law", n, d, rng) + 1, rng.random(n) if weighted else None
    Y = responses(X, 4, rng)
    for alpha in (1e-8, 1.0, 1e8):
        expected = Ridge(alpha, solver="svd", fit_intercept=intercept).fit(X, Y, sample_weight=weight).predict(X)
        np.testing.assert_allclose(RidgePath(X, Y, intercept, weight).predict(X, alpha), expected, rtol=1e-7, atol=1e-7)


def compare(X, Y, alphas=ALPHAS, *, groups=None, cv=5, options=None, tolerance=1e-5, slack=1e-6, **model):
    """Assert agreement with the explicit loop: the same scores at equal alpha, and no inner score lost."""
    options = options or RidgeOptions(threads=1)
    rows = {name: model.pop(name, None) for name in ("weight", "nuisance")}
    estimator = EncodingRidgeCV(
        alphas,
        scoring=model.get("scoring", "pearsonr"),
        scale=model.get("scale", True),
        pca=model.get("pca"),
        fit_intercept=model.get("intercept", True),
        options=options,
    )
    result = cross_val_encode(X, Y, estimator=estimator, cv=cv, groups=groups, rows=RowDesign(**rows))
    plan = plan_splits(len(X), cv, groups=groups, inner_cv=5, inner=options.inner, seed=options.seed)
    assert plan.hash == result.provenance["split_hash"]
    inner, r, r2 = explicit(X, Y, plan, alphas, **model, **rows)
    alpha = result.alpha.values[0]
    chosen = np.searchsorted(alphas, alpha * (1 - 1e-9))
    np.testing.assert_allclose(alphas[chosen], alpha)
    at = np.take_along_axis(inner, chosen[:, None], axis=1)[:, 0]
    lost = inner.max(axis=1) - at
    assert lost.max() <= slack, f"lost inner score {lost.max():.2e} with {(lost > slack).sum()} other alphas"
    worst = np.abs(result.r.values[0] - np.take_along_axis(r, chosen[:, None], axis=1)[:, 0])
    worst2 = np.abs(result.r2.values[0] - np.take_along_axis(r2, chosen[:, None], axis=1)[:, 0])
    assert worst.max() < tolerance, f"r differs by {worst.max():.2e}"
    scale2 = 1 + np.abs(result.r2.values[0])
    assert (worst2 / scale2).max() < tolerance, f"R2 differs by {(worst2 / scale2).max():.2e}"


KINDS = [
    "white",
    "power law",
    "steep",
    "duplicated",
    "nearly duplicated",
    "large means",
    "one-hot",
    "constant column",
    "tiny units",
]
SIZES = [(260, 20), (150, 60), (100, 63), (100, 79), (100, 80), (100, 81), (60, 150)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_equals_explicit_nested_cross_validation(kind, n, d):
    rng = np.random.default_rng([n, d, KINDS.index(kind)])
    X = features(kind, n, d, rng)
    compare(X, responses(X, 12, rng))


@pytest.mark.parametrize("kind", ["white", "power law", "duplicated", "large means"])
@pytest.mark.parametrize(("n", "d"), SIZES)
def test_sixteen_decades_of_alphas(kind, n, d):
    rng = np.random.default_rng([n, d, 7])
    X = features(kind, n, d, rng)
    compare(X, responses(X, 12, rng), WIDE)


CASES = {
    "scored by r2": {"scoring": "r2"},
    "not scaled": {"scale": False},
    "no intercept": {"scale": False, "intercept": False},
    "scaled, no intercept": {"intercept": False},
    "principal components": {"pca": 15},
    "more components than rows": {"pca": 300},
    "shared folds": {"options": RidgeOptions(inner="shared", threads=1)},
    "shared folds, not scaled": {"scale": False, "options": RidgeOptions(inner="shared", threads=1)},
    "float64": {"options": RidgeOptions(precision="float64", threads=1)},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("n", "d"), [(200, 24), (90, 60), (60, 130)])
def test_variants_equal_the_explicit_loop(case, n, d):
    rng = np.random.default_rng([n, d])
    X = features("power law", n, d, rng) + 1
    Y = responses(X, 12, rng)
    compare(X, Y, groups=rng.integers(0, n // 3, n), **CASES[case])


@pytest.mark.parametrize("what", ["weight", "nuisance", "both"])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(("n", "d"), [(200, 24), (90, 60), (60, 130)])
def test_weights_and_nuisance_equal_the_explicit_loop(what, scale, n, d):
    rng = np.random.default_rng([n, d])
    X = features("white", n, d, rng)
    nuisance = np.column_stack([np.linspace(0, 1, n), rng.standard_normal(n)])
    Y = responses(X, 12, rng) + nuisance @ rng.standard_normal((2, 12)) * 5
    X = X + nuisance[:, :1] * 3
    rows = {"weight": rng.random(n) * 3, "nuisance": nuisance}
    compare(X, Y, scale=scale, **(rows if what == "both" else {what: rows[what]}))


def fixed(n):
    order = np.random.default_rng(5).permutation(n)
    return [(order[: n // 2], order[n // 2 : 2 * n // 3]), (order[n // 4 :], order[: n // 4])]


@pytest.mark.parametrize(("n", "d"), [(200, 24), (80, 100)])
def test_fixed_splits_equal_the_explicit_loop(n, d):
    rng = np.random.default_rng([n, d])
    X = features("white", n, d, rng)
    compare(X, responses(X, 12, rng), cv=fixed(n))


@pytest.mark.parametrize(("n", "d"), [(200, 24), (80, 100)])
def test_single_and_constant_targets(n, d):
    rng = np.random.default_rng([n, d])
    X = features("white", n, d, rng)
    Y = responses(X, 3, rng)
    Y[:, 1] = 7.5
    result = cross_val_encode(X, Y)
    assert np.isnan(result.r.values[0, :, 1]).all()
    assert np.isnan(result.r2.values[0, :, 1]).all()
    assert np.isfinite(result.r.values[0][:, [0, 2]]).all()
    alone = cross_val_encode(X, Y[:, :1])
    np.testing.assert_allclose(alone.r.values[..., 0], result.r.values[..., 0], atol=2e-6)
