"""What comes out: results on disk, permutations, predictions, residuals and weights."""

import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.linear_model import LinearRegression

from brainmap.common.errors import InputError
from brainmap.encoding import (
    EncodingResult,
    EncodingRidgeCV,
    PreparedEncoding,
    RowDesign,
    concat,
    cross_val_encode,
    permuted_scores,
)
from brainmap.encoding.any_estimator import pearson, r_squared

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
ALPHAS = np.logspace(0, 4, 5)


def data(n=90, d=12, t=7, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, X @ rng.standard_normal((d, t)) + 3 * rng.standard_normal((n, t))


@pytest.fixture
def result():
    X, Y = data()
    table = pd.DataFrame({"roi": list("abcdefg"), "x": np.arange(7.0), "hemisphere": ["L"] * 4 + ["R"] * 3})
    return cross_val_encode({"block.0": X, "block.1": X[:, :4]}, Y).with_targets(table)


def test_a_result_says_how_it_was_made_and_survives_the_disk(result, tmp_path):
    for key in (
        "n_trials",
        "scheme",
        "split_hash",
        "inner_scheme",
        "alphas",
        "scoring",
        "versions",
        "ceiling_normalised",
    ):
        assert key in result.provenance
    assert result.r.dims == ("layer", "split", "target")
    path = result.save(tmp_path / "scores.zarr")
    loaded = EncodingResult.load(path)
    assert loaded.dataset.equals(result.dataset)
    assert loaded.provenance == result.provenance
    assert loaded.dataset["roi"].values.tolist() == list("abcdefg")
    result.save(path)
    frame = loaded.to_frame()
    assert len(frame) == 2 * 5 * 7
    row = frame.query("layer == 'block.1' and split == 3 and target == 6").iloc[0]
    assert row["r"] == result.r.sel(layer="block.1", split=3, target=6).item()
    assert row["roi"] == "g"


def test_results_are_stacked_by_name(result, tmp_path):
    stacked = concat([result, result], "subject", ["s1", "s2"])
    stacked = concat([stacked, stacked], "signal", ["activation", "gradient"])
    assert stacked.r.dims == ("signal", "subject", "layer", "split", "target")
    assert stacked.provenance["split_hash"] == result.provenance["split_hash"]
    assert EncodingResult.load(stacked.save(tmp_path / "all.zarr")).dataset.equals(stacked.dataset)
    X, Y = data(seed=4)
    other = cross_val_encode(X, Y)
    with pytest.raises(InputError, match="another"):
        concat([result, other], "subject", ["s1", "s2"])
    with pytest.raises(InputError, match="one label per result"):
        concat([result], "subject", ["s1", "s2"])
    with pytest.raises(InputError, match="already have"):
        concat([result, result], "layer", ["a", "b"])


def test_results_refuse_what_they_are_not(result, tmp_path):
    with pytest.raises(InputError, match="no encoding result"):
        EncodingResult.load(tmp_path / "nothing")
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(InputError, match="no provenance"):
        EncodingResult.load(tmp_path / "other.zarr")
    with pytest.raises(InputError, match="rows but the result has"):
        result.with_targets(pd.DataFrame({"roi": ["a"]}))
    with pytest.raises(InputError, match="'r2' is missing"):
        EncodingResult(result.dataset.drop_vars("r2"))


@pytest.mark.parametrize("way", ["hat", "whitened"])
@pytest.mark.parametrize(("n", "d"), [(90, 60), (60, 80), (300, 9)])
def test_permutations_refit_at_fixed_alpha(n, d, way, monkeypatch):
    X, Y = data(n, d)
    Y[:, 2] = 1.5
    rng = np.random.default_rng(1)
    orders = np.stack([np.arange(n), rng.permutation(n), rng.permutation(n)])
    if way == "whitened":
        monkeypatch.setattr(permuted_scores, "_hat_matrices", lambda *_: None)
    prepared = PreparedEncoding({"a": X, "b": X[:, :4]}, estimator=EncodingRidgeCV(ALPHAS))
    chosen = prepared.encode(Y)
    own = prepared.permutation_scores(Y, orders, chosen.alpha.values[0])
    expected = chosen.r.sel(layer="a").mean("split")
    np.testing.assert_allclose(own[0, 0], expected, atol=1e-6)
    shared = prepared.permutation_scores(Y, orders, 100.0)
    assert shared.dims == ("permutation", "layer", "target")
    for number, order in enumerate(orders):
        refit = cross_val_encode({"a": X, "b": X[:, :4]}, Y[order], estimator=EncodingRidgeCV([100.0]))
        np.testing.assert_allclose(shared[number], refit.r.mean("split"), atol=1e-6)


def test_permutations_are_checked():
    X, Y = data()
    prepared = PreparedEncoding(X, estimator=EncodingRidgeCV(ALPHAS))
    with pytest.raises(InputError, match="exactly once"):
        prepared.permutation_scores(Y, np.zeros((2, 90)), 1.0)
    with pytest.raises(InputError, match="among the estimator's alphas"):
        prepared.permutation_scores(Y, np.arange(90), 33.0)
    with pytest.raises(InputError, match="does not fit"):
        prepared.permutation_scores(Y, np.arange(90), np.ones(3))


@pytest.mark.parametrize(("n", "d"), [(90, 12), (60, 50)])
@pytest.mark.parametrize("nuisance", [False, True])
def test_predictions_residuals_and_weights_are_streamed(n, d, nuisance, tmp_path):
    X, Y = data(n, d)
    regressors = np.column_stack([np.linspace(0, 1, n), np.sin(np.arange(n))]) if nuisance else None
    prepared = PreparedEncoding(
        {"a": X, "b": X[:, :5]}, estimator=EncodingRidgeCV(ALPHAS), rows=RowDesign(nuisance=regressors)
    )
    chosen = [1, 2, 5]
    what = ("prediction", "residual") + (() if nuisance else ("coef",))
    path = prepared.export(Y, tmp_path / "arrays.zarr", what=what, layers=["b"], targets=chosen)
    group = zarr.open_group(str(path), mode="r")
    assert list(group.group_keys()) == ["b"]
    assert group.attrs["provenance"]["n_trials"] == n
    prediction, residual = group["b/prediction"][:], group["b/residual"][:]
    scores = prepared.encode(Y)
    for split, (train, test) in enumerate(prepared.problem.plan.outer):
        truth = Y
        if nuisance:
            truth = Y - LinearRegression().fit(regressors[train], Y[train]).predict(regressors)
        truth = truth[test][:, chosen]
        np.testing.assert_allclose(prediction[test] + residual[test], truth, atol=1e-5)
        np.testing.assert_allclose(pearson(truth, prediction[test]), scores.r.values[1, split, chosen], atol=1e-5)
        np.testing.assert_allclose(r_squared(truth, prediction[test]), scores.r2.values[1, split, chosen], atol=1e-5)
        if not nuisance:
            weights, intercept = group["b/coef"][split], group["b/intercept"][split]
            np.testing.assert_allclose(X[test, :5] @ weights.T + intercept, prediction[test], atol=1e-4)
    if nuisance:
        with pytest.raises(InputError, match="know no nuisance"):
            prepared.export(Y, tmp_path / "x.zarr", what=("coef",))
    with pytest.raises(InputError, match="neither a layer"):
        prepared.export(Y, tmp_path / "x.zarr", layers=["c"])
    with pytest.raises(InputError, match="ascending order"):
        prepared.export(Y, tmp_path / "x.zarr", targets=[3, 1])


def test_predictions_go_to_disk_and_untested_rows_stay_empty(tmp_path):
    X, Y = data()
    cv = [(np.arange(60), np.arange(60, 80))]
    kept = cross_val_encode(X, Y, cv=cv, return_predictions=True)
    stored = cross_val_encode(X, Y, cv=cv, return_predictions=tmp_path / "predictions.zarr")
    np.testing.assert_allclose(stored.predictions["X"][:], kept.predictions["X"], rtol=1e-6)
    assert np.isnan(kept.predictions["X"][:60]).all()
    assert np.isnan(kept.predictions["X"][80:]).all()
    assert np.isfinite(kept.predictions["X"][60:80]).all()
