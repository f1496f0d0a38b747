"""EncodingRidgeCV and its kin as scikit-learn estimators."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from brainmap.common.errors import InputError
from brainmap.encoding import (
    BandedRidgeCV,
    EncodingRidgeCV,
    HimalayaRidgeCV,
    PreparedEncoding,
    RidgeOptions,
    cross_val_encode,
    plan_splits,
)
from brainmap.encoding.any_estimator import pearson

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")


def data(n=90, d=14, t=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * rng.uniform(0.1, 20, d) + 7
    Y = (X / X.std(0)) @ rng.standard_normal((d, t)) + 3 * rng.standard_normal((n, t)) + 40
    return X, Y


@pytest.mark.parametrize("model", [EncodingRidgeCV, BandedRidgeCV])
def test_scikit_learn_checks(model):
    reason = "scaling and inner folds count rows, not weights, as StandardScaler and KFold before a Ridge would"
    expected = {"check_sample_weight_equivalence_on_dense_data": reason}
    check_estimator(model(cv=3, options=RidgeOptions(threads=1)), expected_failed_checks=expected)


@pytest.mark.parametrize("kind", ["ridge", "kernel"])
def test_scikit_learn_checks_of_himalaya_models(kind):
    check_estimator(HimalayaRidgeCV(kind, cv=3))


@pytest.mark.parametrize(("n", "d"), [(90, 14), (40, 30), (30, 60)])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_weights_are_those_of_ridge(n, d, scale, weighted):
    X, Y = data(n, d)
    weight = np.linspace(0.2, 3, n) if weighted else None
    model = EncodingRidgeCV(scale=scale).fit(X, Y, sample_weight=weight)
    Z = StandardScaler().fit_transform(X) if scale else X
    for target, alpha in enumerate(model.alpha_):
        expected = Ridge(alpha, solver="svd").fit(Z, Y[:, target], sample_weight=weight)
        np.testing.assert_allclose(model.predict(X)[:, target], expected.predict(Z), atol=2e-5)
        coef = expected.coef_ / (X.std(0) if scale else 1)
        np.testing.assert_allclose(model.coef_[target], coef, atol=2e-6 * np.abs(coef).max())
        assert model.intercept_[target] == pytest.approx(expected.intercept_ - (scale and X.mean(0) @ coef), abs=1e-4)


def test_alpha_and_best_score_come_from_the_inner_folds():
    X, Y = data()
    groups = np.arange(90) // 3
    model = EncodingRidgeCV(np.logspace(-1, 4, 6), scale=False, cv=4).fit(X, Y, groups=groups)
    plan = plan_splits(90, None, groups=groups, inner_cv=4)
    scores = [
        np.mean(
            [pearson(Y[val], Ridge(a, solver="svd").fit(X[t], Y[t]).predict(X[val])) for t, val in plan.inner[0]], 0
        )
        for a in np.logspace(-1, 4, 6)
    ]
    np.testing.assert_allclose(model.best_score_, np.max(scores, axis=0), atol=1e-6)
    assert model.alpha_.shape == (6,)
    splitter = EncodingRidgeCV(cv=GroupKFold(3)).fit(X, Y, groups=groups)
    explicit = EncodingRidgeCV(cv=list(GroupKFold(3).split(X, Y, groups))).fit(X, Y)
    np.testing.assert_array_equal(splitter.alpha_, explicit.alpha_)


def test_principal_components_are_those_of_the_rows_given():
    X, Y = data(40, 60)
    model = EncodingRidgeCV(pca=300).fit(X, Y)
    assert model.n_components_ == 39
    assert EncodingRidgeCV(pca=9).fit(X, Y).n_components_ == 9
    np.testing.assert_allclose(model.predict(X), EncodingRidgeCV().fit(X, Y).predict(X), atol=1e-4)


def test_clone_pipeline_and_grid_search():
    X, Y = data()
    model = EncodingRidgeCV(cv=3, options=RidgeOptions(seed=4))
    assert clone(model).get_params() == model.get_params()
    pipeline = make_pipeline(PolynomialFeatures(2), model).fit(X, Y)
    assert pipeline.predict(X).shape == Y.shape
    search = GridSearchCV(EncodingRidgeCV(cv=3), {"pca": [2, 14]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"pca": 14}


@pytest.mark.parametrize("single", [True, False])
def test_a_saved_encoder_predicts_the_same_on_new_rows(single, tmp_path):
    X, Y = data()
    model = EncodingRidgeCV(np.logspace(0, 3, 4), pca=9, options=RidgeOptions(seed=3)).fit(X, Y[:, 0] if single else Y)
    loaded = EncodingRidgeCV.load(model.save(tmp_path / "encoder.zarr"))
    new = data(seed=9)[0]
    np.testing.assert_array_equal(loaded.predict(new), model.predict(new))
    assert loaded.predict(new).shape == ((90,) if single else (90, 6))
    np.testing.assert_array_equal(loaded.alpha_, model.alpha_)
    assert loaded.options == RidgeOptions(seed=3)
    with pytest.raises(InputError, match="not a fitted BandedRidgeCV"):
        BandedRidgeCV.load(tmp_path / "encoder.zarr")
    with pytest.raises(InputError, match="no encoder at"):
        EncodingRidgeCV.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="not fitted"):
        EncodingRidgeCV().save(tmp_path / "other")


def test_estimators_of_each_split_predict_what_was_scored():
    X, Y = data()
    result = cross_val_encode({"a": X, "b": X[:, :5]}, Y, return_estimator=True, return_predictions=True)
    for split, (train, test) in enumerate(plan_splits(90, 5).outer):
        for row, layer in enumerate("ab"):
            model = result.estimators[layer][split]
            predicted = model.predict(X[test][:, : model.n_features_in_])
            np.testing.assert_allclose(result.predictions[layer][test], predicted, atol=1e-4)
            np.testing.assert_allclose(result.r.values[row, split], pearson(Y[test], predicted), atol=1e-5)
            np.testing.assert_array_equal(model.alpha_, result.alpha.values[row, split])
        assert len(train) + len(test) == 90


@pytest.mark.parametrize(("n", "d"), [(120, 10), (50, 40)])
def test_banded_ridge_equals_ridge_on_rescaled_bands(n, d):
    X, Y = data(n, d)
    Z = StandardScaler().fit_transform(X)
    shares = (0.0, 0.25, 1.0)
    sizes = (4, d - 4)
    alphas = np.logspace(0, 4, 5)
    model = BandedRidgeCV(sizes, shares, alphas).fit(X, Y)
    factors = [np.repeat(np.sqrt([2 * share, 2 - 2 * share]), sizes) for share in shares]
    single = [EncodingRidgeCV(alphas, scale=False).fit(Z * factor, Y) for factor in factors]
    best = np.argmax([one.best_score_ for one in single], axis=0)
    np.testing.assert_array_equal(model.share_, np.array(shares)[best])
    for target, index in enumerate(best):
        assert model.best_score_[target] == pytest.approx(single[index].best_score_[target], abs=1e-6)
        expected = single[index].predict(Z * factors[index])[:, target]
        np.testing.assert_allclose(model.predict(X)[:, target], expected, atol=1e-4)
    result = cross_val_encode(X, Y, estimator=BandedRidgeCV(sizes, shares, alphas), return_predictions=True)
    assert set(np.unique(result.dataset["share"])) <= set(shares)
    for split, (_, test) in enumerate(plan_splits(n, 5).outer):
        np.testing.assert_allclose(
            pearson(Y[test], result.predictions["X"][test]), result.r.values[0, split], atol=1e-5
        )


def test_banded_ridge_is_saved_and_checked(tmp_path):
    X, Y = data()
    model = BandedRidgeCV((4, 10)).fit(X, Y)
    loaded = BandedRidgeCV.load(model.save(tmp_path / "banded.zarr"))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.share_, model.share_)
    with pytest.raises(InputError, match="X has 14 features but the bands of the estimator add up to 12"):
        BandedRidgeCV((4, 8)).fit(X, Y)
    for bad in ({"bands": (1, 2, 3)}, {"bands": (13,)}, {"bands": (0, 14)}, {"bands": (4, 10), "shares": [2.0]}):
        with pytest.raises(InputError):
            BandedRidgeCV(**bad).fit(X, Y)


@pytest.mark.parametrize("kind", ["ridge", "kernel"])
def test_himalaya_agrees_at_equal_folds(kind):
    X, Y = data(60, 9)
    groups = np.arange(60) // 2
    ours = EncodingRidgeCV().fit(X, Y, groups=groups)
    theirs = HimalayaRidgeCV(kind).fit(X, Y, groups=groups)
    agree = np.isclose(theirs.alpha_, ours.alpha_)
    assert agree.sum() >= 3  # the rest lie on the plateau of r at large alpha, where only the tie rule decides
    np.testing.assert_allclose(theirs.predict(X)[:, agree], ours.predict(X)[:, agree], atol=1e-4)
    if kind == "ridge":
        np.testing.assert_allclose(theirs.model_.cv_scores_.ravel(), ours.best_score_, atol=1.1e-5)


@pytest.mark.parametrize(("n", "d"), [(90, 14), (24, 40)])
def test_three_bands_are_himalayas_random_search(n, d):
    X, Y = data(n, d)
    sizes, groups = (4, 6, d - 10), np.arange(n) // 2
    model = BandedRidgeCV(sizes, cv=3, n_iter=6).fit(X, Y, groups=groups)
    assert model.share_.shape == (6, 3)
    np.testing.assert_allclose(model.share_.sum(axis=1), 1.0)
    # each target is a ridge on bands scaled by the shares that were chosen
    Z = StandardScaler().fit_transform(X)
    for target in range(3):
        factor = np.sqrt(np.repeat(model.share_[target] * d / np.asarray(sizes), sizes))
        theirs = Ridge(model.alpha_[target], solver="svd").fit(Z * factor, Y[:, target])
        np.testing.assert_allclose(model.predict(X)[:, target], theirs.predict(Z * factor), atol=1e-6)
    result = cross_val_encode(X, Y, estimator=BandedRidgeCV(sizes, n_iter=5), cv=3, groups=groups)
    assert np.isfinite(result.alpha.values).all()
    single = BandedRidgeCV(sizes, cv=3, n_iter=6).fit(X, Y[:, 0], groups=groups)
    np.testing.assert_allclose(single.coef_, model.coef_[0])
    for bad in ({"bands": (4, 4, 4)}, {"bands": sizes, "n_iter": 0}, {"bands": sizes, "fit_intercept": False}):
        with pytest.raises(InputError):
            BandedRidgeCV(**bad).fit(X, Y)
    with pytest.raises(InputError, match="BandedRidgeCV"):
        HimalayaRidgeCV("banded").fit(X, Y)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(("n", "d"), [(150, 12), (60, 50), (30, 60)])
def test_default_alphas_follow_the_features_of_the_outer_train_split(n, d, scale):
    X, Y = data(n, d)
    estimator = EncodingRidgeCV(scale=scale, options=RidgeOptions(precision="float64"))
    result = cross_val_encode(X, Y, estimator=estimator)
    plan = plan_splits(n, 5)
    for split, ((train, test), inner) in enumerate(zip(plan.outer, plan.inner, strict=True)):
        scaler = StandardScaler(with_std=scale).fit(X[train])
        Z = scaler.transform(X)
        alphas = np.logspace(-8, 5, 19) * (Z[train] ** 2).sum() / d  # of the outer train split, for its inner folds too
        scores = np.zeros((19, Y.shape[1]))
        for fit, held in inner:
            for row, alpha in enumerate(alphas):
                prediction = Ridge(alpha, solver="svd").fit(Z[fit], Y[fit]).predict(Z[held])
                scores[row] += pearson(Y[held], prediction) / len(inner)
        chosen = result.alpha.values[0, split]
        index = np.abs(np.log(alphas)[:, None] - np.log(chosen)).argmin(axis=0)
        np.testing.assert_allclose(alphas[index], chosen, rtol=1e-6)
        assert np.all(scores.max(axis=0) - np.take_along_axis(scores, index[None], 0)[0] < 1.1e-5)
        for target, alpha in enumerate(chosen):
            prediction = Ridge(alpha, solver="svd").fit(Z[train], Y[train, target]).predict(Z[test])
            expected = float(pearson(Y[test, target], prediction))
            assert result.r.values[0, split, target] == pytest.approx(expected, abs=1e-6)
    assert result.provenance["alphas_times"].startswith("trace")
    larger = cross_val_encode(X * 1e4, Y, estimator=estimator)
    np.testing.assert_allclose(larger.r, result.r, atol=1e-6)
    np.testing.assert_allclose(larger.alpha, result.alpha * (1.0 if scale else 1e8), rtol=1e-6)


def test_default_alphas_equal_himalayas_ridge_and_reach_permutations():
    X, Y = data(80, 9)
    ours, theirs = EncodingRidgeCV().fit(X, Y), HimalayaRidgeCV("ridge").fit(X, Y)
    assert set(np.round((np.log10(ours.alpha_ / 80) + 8) * 18 / 13, 6)) <= set(range(19))
    agree = np.isclose(theirs.alpha_, ours.alpha_)
    assert agree.sum() >= 3
    np.testing.assert_allclose(theirs.predict(X)[:, agree], ours.predict(X)[:, agree], atol=1e-4)
    prepared = PreparedEncoding(X, estimator=EncodingRidgeCV(), groups=np.arange(80) // 4)
    result = prepared.encode(Y)
    same = prepared.permutation_scores(Y, np.arange(80), result.alpha.values[0])
    np.testing.assert_allclose(same.values[0, 0], result.r.values[0].mean(axis=0), atol=1e-5)
    with pytest.raises(InputError, match="among the estimator's alphas"):
        prepared.permutation_scores(Y, np.arange(80), 1.2345)


def test_any_estimator_goes_through_the_same_function():
    X, Y = data()
    groups = np.arange(90) // 3
    plain = cross_val_encode(X, Y, estimator=make_pipeline(StandardScaler(), Ridge(50.0, solver="svd")), groups=groups)
    ours = cross_val_encode(X, Y, estimator=EncodingRidgeCV([50.0]), groups=groups)
    np.testing.assert_allclose(plain.r.values, ours.r.values, atol=1e-6)
    np.testing.assert_allclose(plain.r2.values, ours.r2.values, atol=1e-5)
    assert np.isnan(plain.alpha.values).all()
    kept = cross_val_encode(X, Y, estimator=Ridge(50.0), groups=groups, return_estimator=True, return_predictions=True)
    assert len(kept.estimators["X"]) == 5
    assert np.isfinite(kept.predictions["X"]).all()
    with pytest.raises(InputError, match="EncodingRidgeCV"):
        cross_val_encode(X, Y, estimator=Ridge(), rows=object())


class Broken(RegressorMixin, BaseEstimator):
    """Ridge whose predictions are spoilt by `how`, from the second split on."""

    fitted = 0

    def __init__(self, how):
        self.how = how

    def fit(self, X, Y):
        Broken.fitted += 1
        self.model_, self.first_ = Ridge().fit(X, Y), Broken.fitted == 1
        return self

    def predict(self, X):
        return self.model_.predict(X) if self.first_ else self.how(self.model_.predict(X))


def _hole(values):
    values[2, 3] = np.nan
    return values


def _fails(values):
    raise ValueError("did not converge")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda p: p.T, r"shape \(6, 30\) and type float64; real numbers of shape \(30, 6\), rows × targets"),
        (lambda p: p[:, :3], r"shape \(30, 3\)"),
        (lambda p: p[:, 0], r"shape \(30,\)"),
        (lambda p: p + 0j, "type complex128"),
        (lambda p: None, r"shape \(\) and type object"),
        (_hole, "Broken predicts nan at test row 2, target 3"),
    ],
)
def test_a_regression_that_predicts_nonsense_is_named_with_its_split(how, sentence):
    X, Y = data()
    Broken.fitted = 0
    with pytest.raises(InputError, match=sentence + r".*\(layer block.0, split 2 of 3\)\.$"):
        cross_val_encode({"block.0": X}, Y, estimator=Broken(how), cv=3)


def test_what_a_regression_raises_goes_through_with_a_note():
    X, Y = data()
    Broken.fitted = 0
    with pytest.raises(ValueError, match=r"^did not converge") as failed:
        cross_val_encode({"block.0": X}, Y, estimator=Broken(_fails), cv=3)
    assert failed.value.__notes__ == ["brainmap: in layer block.0, split 2 of 3"]


def test_a_regression_that_cannot_be_copied_is_refused():
    X, Y = data()
    with pytest.raises(InputError, match="Ridge cannot be copied for every split; give an instance of a class"):
        cross_val_encode(X, Y, estimator=Ridge)
    one_target = cross_val_encode(X, Y[:, 0], estimator=Ridge(), cv=3)
    np.testing.assert_allclose(one_target.r, cross_val_encode(X, Y, estimator=Ridge(), cv=3).r[:, :, :1], atol=1e-9)
