"""Storage, memory, threads, devices and reuse change nothing but time."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmap.common.array_sources import Averaging, as_source
from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.encoding import (
    EncodingRidgeCV,
    NumericalWarning,
    PreparedEncoding,
    RidgeOptions,
    RowDesign,
    cross_val_encode,
    engine,
)
from brainmap.encoding.engine import INTERPRETER_BYTES, memory_bound, plan_batches

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")


ALPHAS = np.logspace(0, 8, 10)


def data(n=120, d=16, t=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)).astype(np.float32)
    Y = X @ rng.standard_normal((d, t)) + 3 * rng.standard_normal((n, t)) + 10
    return X, Y.astype(np.float32)


def same(a, b):
    for name in ("r", "r2", "alpha"):
        np.testing.assert_array_equal(a.dataset[name].values, b.dataset[name].values)


@pytest.fixture(params=[(120, 16), (60, 80)], ids=["cross", "rows"])
def arrays(request):
    return data(*request.param)


@pytest.fixture
def threaded(monkeypatch):
    """Threads for problems that are too small for them."""
    monkeypatch.setattr(engine, "FEW_ROWS", 0)
    monkeypatch.setattr(engine, "FEW_RESPONSES", 0)


def test_one_batch_gives_identical_scores_from_every_kind_of_storage(arrays, tmp_path):
    import zarr

    X, Y = arrays
    estimator = EncodingRidgeCV(options=RidgeOptions(threads=2))
    expected = cross_val_encode(X, Y, estimator=estimator)  # few numbers: one batch, no threads
    np.save(tmp_path / "y.npy", Y)
    stored = zarr.create_array(str(tmp_path / "y.zarr"), data=Y, chunks=(33, 11))
    for y in (np.load(tmp_path / "y.npy", mmap_mode="r"), stored, np.asfortranarray(Y)):
        same(cross_val_encode(X, y, estimator=estimator), expected)


def test_every_kind_of_storage_gives_identical_scores(arrays, tmp_path, threaded):
    import dask.array as da
    import h5py
    import zarr

    X, Y = arrays
    options = RidgeOptions(threads=2, batch=7)
    estimator = EncodingRidgeCV(options=options)
    expected = cross_val_encode(X, Y, estimator=estimator)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    stored_x = zarr.create_array(str(tmp_path / "x.zarr"), data=X, chunks=(50, 9))
    stored_y = zarr.create_array(str(tmp_path / "y.zarr"), data=Y, chunks=(33, 11))
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(20, 5))
        file.create_dataset("y", data=Y, chunks=(20, 3))
    with h5py.File(tmp_path / "both.h5", "r") as file:
        variants = {
            "memmap": (np.load(tmp_path / "x.npy", mmap_mode="r"), np.load(tmp_path / "y.npy", mmap_mode="r")),
            "zarr": (stored_x, stored_y),
            "h5py": (file["x"], file["y"]),
            "dask": (da.from_array(X, chunks=(40, 8)), da.from_array(Y, chunks=(40, 13))),
            "fortran order": (np.asfortranarray(X), np.asfortranarray(Y)),
        }
        for x, y in variants.values():
            same(cross_val_encode(x, y, estimator=estimator), expected)


def test_threads_and_repetition_are_bit_identical(arrays, threaded):
    X, Y = arrays
    results = [
        cross_val_encode(X, Y, estimator=EncodingRidgeCV(options=RidgeOptions(threads=threads, batch=9)))
        for threads in (1, 2, 2)
    ]
    same(results[0], results[1])
    same(results[1], results[2])


def test_layers_together_equal_layers_alone_and_prepared_features_are_reused():
    X, Y = data()
    layers = {"block.0": X, "block.1": X[:, :5], "wide": np.tile(X, 6) + data(seed=3)[0][:, :1]}
    options = RidgeOptions(threads=1, batch=20)
    prepared = PreparedEncoding(layers, estimator=EncodingRidgeCV(options=options))
    together = prepared.encode(Y)
    factors = prepared.engine.factors["block.0"]
    same(prepared.encode(Y), together)
    assert prepared.engine.factors["block.0"] is factors
    for row, (_, features) in enumerate(layers.items()):
        alone = cross_val_encode(features, Y, estimator=EncodingRidgeCV(options=options))
        np.testing.assert_array_equal(alone.r.values[0], together.r.values[row])
    part = prepared.encode(Y[:, 20:])
    np.testing.assert_array_equal(part.r.values, together.r.values[..., 20:])


def test_a_tight_memory_bound_splits_layers_and_targets_and_changes_nothing_else():
    X, Y = data(n=400, d=60, t=300)
    layers = {str(number): X + number for number in range(4)}
    roomy = PreparedEncoding(layers, memory="4GB", estimator=EncodingRidgeCV(options=RidgeOptions(batch=16)))
    tight = PreparedEncoding(
        layers, memory=INTERPRETER_BYTES + 6_000_000, estimator=EncodingRidgeCV(options=RidgeOptions(batch=16))
    )
    assert len(memory_bound(tight.sources, tight.problem, tight.memory, (300, 300), list(layers)).groups) > 1
    same(tight.encode(Y), roomy.encode(Y))
    with pytest.raises(InputError, match="memory bound is too small"):
        cross_val_encode(X, Y, memory=INTERPRETER_BYTES + 100_000)


def test_memory_is_read_and_shared_out():
    assert parse_memory("8GB") == 8 * 10**9
    assert parse_memory("1.5 GiB") == int(1.5 * 2**30)
    assert parse_memory(123) == 123
    for bad in ("lots", "-1GB", 0):
        with pytest.raises(InputError):
            parse_memory(bad)
    plan = plan_batches(10_000, budget=10**12, bytes_per_target=1, threads=2)
    assert (plan.batch, plan.threads) == (1667, 2)
    assert plan_batches(10_000, budget=4000 * 100, bytes_per_target=100, threads=2).batch <= 2000
    assert plan_batches(5, budget=10**9, bytes_per_target=1, threads=8).threads <= 5


@pytest.mark.parametrize("scoring", ["pearsonr", "r2"])
@pytest.mark.parametrize("inner", ["nested", "shared"])
def test_torch_gives_the_same_scores(arrays, scoring, inner):
    X, Y = arrays
    estimator = EncodingRidgeCV(ALPHAS, scoring=scoring, options=RidgeOptions(inner=inner))
    rows = RowDesign(weight=np.linspace(0.5, 2, len(X)), nuisance=np.arange(len(X)) / len(X))
    for design in (None, rows):
        plain = cross_val_encode(X, Y, estimator=estimator, rows=design, return_predictions=True)
        torch = cross_val_encode(X, Y, estimator=estimator, rows=design, return_predictions=True, device="torch")
        np.testing.assert_allclose(torch.r.values, plain.r.values, atol=2e-6)
        np.testing.assert_array_equal(torch.alpha.values, plain.alpha.values)
        np.testing.assert_allclose(torch.predictions["X"], plain.predictions["X"], atol=1e-4)


@pytest.mark.gpu
def test_cuda_gives_the_same_scores(arrays):
    X, Y = arrays
    plain, cuda = cross_val_encode(X, Y), cross_val_encode(X, Y, device="cuda")
    np.testing.assert_allclose(cuda.r.values, plain.r.values, atol=1e-5)


def test_unknown_devices_are_refused():
    with pytest.raises(InputError, match="unknown device"):
        cross_val_encode(*data(), device="abacus")


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(12, 60),
    d=st.integers(1, 50),
    t=st.integers(1, 9),
    pca=st.none() | st.integers(1, 80),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
def test_any_shape_gives_scores_in_range(n, d, t, pca, batch, seed):
    X, Y = data(n, d, t, seed)
    estimator = EncodingRidgeCV(pca=pca, options=RidgeOptions(batch=batch, threads=1))
    result = cross_val_encode(X, Y, estimator=estimator, cv=3)
    assert result.r.shape == (1, 3, t)
    assert np.all(np.abs(result.r.values) <= 1 + 1e-6)
    assert np.all(result.r2.values <= 1 + 1e-6)
    assert np.all((result.alpha.values > 0) & np.isfinite(result.alpha.values))
    assert result.provenance["n_components"]["X"] == min(pca or d, d, n - -(-n // 3) - 1 if pca else d)


def test_repeats_are_averaged_as_they_are_read(arrays):
    X, Y = arrays
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat(np.arange(len(X)), 3))
    noisy = Y[labels] + rng.standard_normal((len(labels), Y.shape[1])).astype(np.float32)
    order = Averaging.by_label(labels)
    _, first = np.unique(labels, return_index=True)
    seen = labels[np.sort(first)]
    averaged = np.stack([noisy[labels == label].mean(0, dtype=float) for label in seen]).astype(np.float32)
    expected = cross_val_encode(X[seen], averaged)
    for features in (X[seen], X[labels]):
        result = cross_val_encode(features, noisy, rows=RowDesign(repeats=labels))
        np.testing.assert_allclose(result.r.values, expected.r.values, atol=1e-6)
    assert order.n_groups == len(X)
    source = as_source(noisy, "Y", average=order)
    np.testing.assert_allclose(source.rows(5, 9), averaged[5:9], rtol=1e-6)
    with pytest.raises(InputError, match="one per trial"):
        cross_val_encode(X[:-1], noisy, rows=RowDesign(repeats=labels))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, Y: (X[:-1], Y), "rows must correspond"),
        (lambda X, Y: ({"a": X, "b": X[:-1]}, Y), "but the first layer has"),
        (
            lambda X, Y: (np.where(np.arange(X.size).reshape(X.shape) == 35, np.nan, X), Y),
            "X holds nan at row 2, column 3",
        ),
        (
            lambda X, Y: (X, np.where(np.arange(Y.size).reshape(Y.shape) == 85, np.inf, Y)),
            "Y holds inf at row 2, column 5",
        ),
        (lambda X, Y: (X.astype(str), Y), "real numbers"),
        (lambda X, Y: (X[:, :0], Y), "at least one of each"),
        (lambda X, Y: ({}, Y), "empty mapping"),
        (lambda X, Y: (X[None], Y), "rows × columns"),
    ],
)
def test_bad_input_is_explained_in_one_sentence(change, words):
    with pytest.raises(InputError, match=words):
        cross_val_encode(*change(*data()))


@pytest.mark.parametrize(
    ("estimator", "rows", "words"),
    [
        ({"alphas": [0.0, 1.0]}, {}, "positive finite"),
        ({"scoring": "spearman"}, {}, "unknown scoring"),
        ({"pca": 0}, {}, "at least 1 component"),
        ({}, {"weight": np.full(120, -1.0)}, "none negative"),
        ({}, {"nuisance": np.ones((7, 2))}, "with 120 rows"),
    ],
)
def test_bad_settings_are_explained_in_one_sentence(estimator, rows, words):
    with pytest.raises(InputError, match=words):
        cross_val_encode(*data(), estimator=EncodingRidgeCV(**estimator), rows=RowDesign(**rows) if rows else None)
    for bad in ({"mode": "fast"}, {"inner": "none"}, {"precision": "half"}, {"threads": 0}):
        with pytest.raises(InputError):
            RidgeOptions(**bad)


@pytest.mark.filterwarnings("default::brainmap.encoding.NumericalWarning")
def test_numerics_that_limit_the_scores_warn():
    X, Y = data()
    with pytest.warns(NumericalWarning, match="duplicated or collinear"):
        cross_val_encode(np.hstack([X, X[:, :3]]), Y)
    with pytest.warns(NumericalWarning, match="constant in all rows"):
        cross_val_encode(np.hstack([X, np.ones((len(X), 1))]), Y)
    with pytest.warns(NumericalWarning, match="above chance chose the smallest"):
        cross_val_encode(X, (X[:, :1] * 2 + 1e-3 * Y)[:, :1], estimator=EncodingRidgeCV(np.logspace(3, 8, 6)))
    with pytest.warns(NumericalWarning, match="above chance chose the largest"):
        cross_val_encode(X, Y, estimator=EncodingRidgeCV(np.logspace(-8, -3, 6)))
    noise = np.random.default_rng(5).standard_normal((len(X), 30))
    with (
        warnings.catch_warnings()
    ):  # targets that nothing predicts take the largest alpha: no reason to extend the grid
        warnings.simplefilter("error", NumericalWarning)
        cross_val_encode(X, noise)
        # nor where noise that crops share looks like prediction: relative ones end far above every eigenvalue
        crops = np.repeat(np.arange(40), 8)
        shared = np.random.default_rng(0).standard_normal((2, 40, 30))[:, crops]
        cross_val_encode(*(shared + np.random.default_rng(1).standard_normal(shared.shape)), groups=crops)
    with pytest.warns(NumericalWarning, match="nearly as many"):
        cross_val_encode(*data(n=100, d=80), estimator=EncodingRidgeCV(np.logspace(-8, 8, 9)))
    flat = np.where(np.arange(40) == 7, 3, Y)
    with pytest.warns(NumericalWarning, match="1 of 40 targets are constant in a test set.*Targets: 7"):
        cross_val_encode(X, flat)
    with pytest.warns(NumericalWarning, match="few digits are left"):
        cross_val_encode(X, Y + np.float32(1e7))


def test_cross_products_that_float32_cannot_hold_are_made_in_float64():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((400, 12)), rng.standard_normal((400, 3))
    X[:, 0] = 1e-5 * rng.standard_normal(400)
    X[:40, 0] = 3 * rng.standard_normal(40)  # varies in some folds only
    groups = np.concatenate([np.zeros(40), np.arange(1, 361)])
    estimator = EncodingRidgeCV(np.logspace(-8, 2, 6), scale=False)
    with pytest.warns(NumericalWarning, match="float32 products are not safe"):
        result = cross_val_encode(X, Y, groups=groups, estimator=estimator)
    assert result.provenance["precision"] == {"X": "float64"}
