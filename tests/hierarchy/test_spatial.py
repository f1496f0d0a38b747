"""Spatial hierarchy, random maps, spin tests and distances against planted truth, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.spatial import ConvexHull

from brainmap.common.errors import InputError
from brainmap.hierarchy import (
    SpatialOptions,
    agreement,
    best_layer,
    cortex_areas,
    distance_to,
    geodesic_distance,
    geodesic_to_areas,
    random_rotations,
    spatial_hierarchy,
    spin_test,
    spins,
    top_areas,
)
from brainmap.hierarchy.order_in_space import predicted_somewhere
from brainmap.hierarchy.surrogate_maps import SurrogateMaps

DEPTH = np.linspace(0, 1, 9)
QUICK = SpatialOptions(n_surrogates=999)


def planted(seed: int = 0, noise: float = 0.01, slope: float = 1.0) -> tuple[xr.DataArray, pd.DataFrame, np.ndarray]:
    """Scores of 12 areas, in all directions from the first, V1, whose best depth grows with the distance from it."""
    rng = np.random.default_rng(seed)
    areas = ["V1", *[f"A{i}" for i in range(1, 12)]]
    targets = pd.DataFrame({"roi": np.repeat(areas, 8), "hemisphere": np.tile(["L", "R"], 48)})
    place = np.repeat(np.arange(12), 8)
    side = np.where(targets["hemisphere"] == "L", -1.0, 1.0)
    x, y = 6.0 * place * np.cos(2.4 * place), 6.0 * place * np.sin(2.4 * place)
    targets = targets.assign(x=side * (80.0 + x), y=y, z=rng.normal(0, 0.01, 96))
    truth = place / 11 if slope > 0 else 1 - place / 11
    curves = 0.2 * np.exp(-(((DEPTH[:, None] - truth) / 0.3) ** 2))
    values = curves[None, :, None, :] + noise * rng.standard_normal((3, 9, 5, 96))
    r = xr.DataArray(values, dims=("subject", "layer", "split", "target"), coords={"depth": ("layer", DEPTH)})
    return r, targets, truth


def test_best_layer_recovers_planted_depths() -> None:
    r, _, truth = planted(noise=0.0)
    assert np.abs(best_layer(r) - truth).max() <= 0.5 / 8 + 1e-9
    np.testing.assert_allclose(best_layer(r), DEPTH[r.mean(("subject", "split")).argmax("layer")])
    holed = r.where(r["target"] != 5)
    assert np.isnan(best_layer(holed)[5]) and np.isfinite(best_layer(holed)[4])


def test_distances_are_within_the_hemisphere() -> None:
    _, targets, _ = planted()
    distance = distance_to(targets)
    np.testing.assert_allclose(distance[["V1", "A1", "A11"]], [0, 6, 66], atol=0.1)
    assert distance_to(targets, "nowhere").empty
    one_sided = targets[targets["hemisphere"] == "L"]
    np.testing.assert_allclose(distance_to(one_sided)["A3"], 18, atol=0.1)
    with pytest.raises(InputError, match=r"its table lacks x, z\. Give them \(mm\), or distances of your own"):
        distance_to(targets.drop(columns=["x", "z"]))


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_spatial_score_recovers_the_planted_order(slope) -> None:
    r, targets, _ = planted(slope=slope)
    table = spatial_hierarchy(r, targets, options=QUICK)
    attrs = table.attrs
    assert np.sign(attrs["r"]) == slope and abs(attrs["r"]) > 0.95 and attrs["p"] < 0.05
    expected = stats.pearsonr(table["distance_mm"], table["best_layer"])
    assert attrs["r"] == pytest.approx(expected.statistic) and attrs["areas_p"] == pytest.approx(expected.pvalue)
    rho = stats.spearmanr(table["distance_mm"], table["best_layer"])
    assert attrs["rho"] == pytest.approx(rho.statistic)
    assert attrs["low"] <= attrs["r"] <= attrs["high"]
    assert attrs["unit"] == "folds" and attrs["unit_low"] <= attrs["unit_r"] <= attrs["unit_high"]
    assert "random maps, as smooth as the data" in attrs["p_method"]
    assert table["n_targets"].tolist() == [8] * 12


def test_areas_masks_and_other_distances_are_respected() -> None:
    r, targets, _ = planted()
    chosen = top_areas(
        r.where(~targets["roi"].isin(["A2", "A5"]).to_xarray().rename(index="target"), 0.0), targets, fraction=0.5
    )
    assert len(chosen) == 6 and not {"A2", "A5"} & set(chosen)
    table = spatial_hierarchy(r, targets, areas=chosen, options=QUICK)
    assert sorted(table["roi"]) == sorted(chosen)
    mask = (targets["roi"] != "A3").to_numpy()
    assert "A3" not in set(spatial_hierarchy(r, targets, mask=mask, options=QUICK)["roi"])
    other = pd.Series({f"A{i}": float(i) for i in range(1, 8)} | {"V1": 0.0})
    table = spatial_hierarchy(r, targets, distances=other, options=QUICK)
    assert len(table) == 8 and table["distance_mm"].max() == 7.0


def test_intervals_over_areas_equal_scipys_bca() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal(40)
    y = 0.6 * x + rng.standard_normal(40)
    ours = agreement(x, y, n_bootstrap=8000)
    for statistic, low, high in ((stats.pearsonr, ours.low, ours.high), (stats.spearmanr, ours.rho_low, ours.rho_high)):
        reference = stats.bootstrap(
            (x, y),
            lambda a, b, of=statistic: of(a, b).statistic,
            paired=True,
            vectorized=False,
            n_resamples=1500,
            rng=1,
        ).confidence_interval
        assert low == pytest.approx(reference.low, abs=0.04) and high == pytest.approx(reference.high, abs=0.04)
    assert np.isnan(agreement(np.ones(5), np.arange(5)).r)
    with pytest.raises(InputError, match="at least 4"):
        agreement([1, 2, np.nan, 3], [1, 2, 3, 4])


@pytest.mark.parametrize("unit", [1e-9, 1e-12, 1e9])
def test_agreement_does_not_depend_on_the_unit(unit: float) -> None:
    x, y = np.random.default_rng(4).standard_normal((2, 12))
    ours, same = agreement(unit * x, unit * (x + y)), agreement(x, x + y)
    for name in ("r", "p", "low", "high", "rho", "rho_p", "rho_low", "rho_high"):
        assert getattr(ours, name) == pytest.approx(getattr(same, name), rel=1e-9)
    assert spin_test(unit * x, unit * y, np.tile(np.arange(12), (3, 1))).r == pytest.approx(np.corrcoef(x, y)[0, 1])


def sphere_points(n: int) -> np.ndarray:
    """Fibonacci lattice."""
    k = np.arange(n) + 0.5
    phi, theta = np.pi * (1 + 5**0.5) * k, np.arccos(1 - 2 * k / n)
    return np.column_stack([np.cos(phi) * np.sin(theta), np.sin(phi) * np.sin(theta), np.cos(theta)])


def smooth_maps(points: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Random fields on the sphere: mixtures of broad bumps, (n, n_points)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n, 30, 3))
    centres /= np.linalg.norm(centres, axis=2, keepdims=True)
    return np.einsum("mk,mkp->mp", rng.standard_normal((n, 30)), np.exp(6 * (centres @ points.T - 1)))


def test_rotations_are_proper_and_uniform() -> None:
    q = random_rotations(4000, seed=1)
    np.testing.assert_allclose(q @ q.transpose(0, 2, 1), np.broadcast_to(np.eye(3), q.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(q), 1.0)
    np.testing.assert_allclose(q.mean(axis=0), 0.0, atol=0.04)
    # Under Haar measure the angle has density (1 − cos θ)/π.
    angle = np.arccos(np.clip((np.trace(q, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda t: (t - np.sin(t)) / np.pi).pvalue > 0.01
    assert stats.kstest(q[:, 2, 1], "uniform", args=(-1, 2)).pvalue > 0.01


def test_spins_keep_smoothness_and_mirror_hemispheres() -> None:
    points = sphere_points(400)
    turned = spins(points, n_spins=5, seed=2)
    rotation = random_rotations(5, seed=2)
    for number in range(5):
        moved = points @ rotation[number].T
        distance = np.linalg.norm(points[turned[number]] - moved, axis=1)
        assert distance.max() < 0.2
    unique = spins(points[:60], n_spins=3, assign="unique", seed=2)
    assert all(sorted(row) == list(range(60)) for row in unique)
    both = np.vstack([points, points * [-1, 1, 1]])
    side = np.repeat(["L", "R"], 400)
    pair = spins(both, hemisphere=side, n_spins=4, seed=2)
    np.testing.assert_array_equal(pair[:, :400], turned[:4])
    np.testing.assert_array_equal(pair[:, 400:], turned[:4] + 400)


def test_spin_test_is_calibrated_where_the_parametric_one_is_not() -> None:
    points = sphere_points(300)
    turned = spins(points, n_spins=199, seed=0)
    first, second = smooth_maps(points, 150, 1), smooth_maps(points, 150, 2)
    spun = [spin_test(a, b, turned).p <= 0.05 for a, b in zip(first, second, strict=True)]
    plain = [stats.pearsonr(a, b).pvalue <= 0.05 for a, b in zip(first, second, strict=True)]
    interval = stats.binomtest(int(np.sum(spun)), 150).proportion_ci(0.99, method="exact")
    assert interval.low <= 0.05 <= interval.high
    assert np.mean(plain) > 0.4
    noisy = spin_test(first[0], first[0] + 0.1 * second[0], turned)
    assert noisy.p == pytest.approx(1 / 200) and noisy.n == 300 and "spins" in repr(noisy)
    holed = np.where(points[:, 2] > 0.9, np.nan, first[0])
    assert spin_test(holed, first[0], turned).n == int(np.sum(points[:, 2] <= 0.9))


def test_rotations_off_the_known_map_say_nothing() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((400, 3))
    patch = np.flatnonzero(points[:, 2] > 0.8 * np.linalg.norm(points, axis=1))
    x, y = rng.standard_normal(len(patch)), np.where(points[:, 2] > 0, rng.standard_normal(400), np.nan)
    turned = spins(points[patch], points, n_spins=300, seed=1)
    found = spin_test(x, y, turned, at=patch)
    known = np.isfinite(y[turned]).sum(axis=1) >= 3
    assert found.n_spins == len(found.null) == known.sum() < 280
    rows = [np.isfinite(y[row]) for row in turned[known]]
    with np.errstate(invalid="ignore"):
        null = [np.corrcoef(x[ok], y[row][ok])[0, 1] for ok, row in zip(rows, turned[known], strict=True)]
    null = np.nan_to_num(null)  # the same value at all known places: no correlation
    np.testing.assert_allclose(found.null, null, atol=1e-9)
    assert found.p == pytest.approx((1 + np.sum(np.abs(null) >= abs(found.r))) / (1 + len(null)))
    with pytest.raises(InputError, match="No rotation leaves three places"):
        spin_test(np.arange(4.0), np.array([0.0, 2, 1, 3, np.nan]), np.full((9, 4), 4), at=np.arange(4))


def test_geodesic_distance_on_a_sphere_and_across_areas() -> None:
    points = 50.0 * sphere_points(3000)
    faces = ConvexHull(points).simplices
    start = int(points[:, 2].argmax())
    distance = geodesic_distance(points, faces, [start])
    exact = 50.0 * np.arccos(np.clip(points @ points[start] / 2500, -1, 1))
    far = exact > 20
    ratio = distance[far] / exact[far]
    assert ratio.min() > 0.995 and ratio.mean() < 1.06
    targets = pd.DataFrame(
        {"roi": np.where(points[:, 2] > 40, "V1", "other"), "hemisphere": "L", "vertex": range(3000)}
    )
    by_area = geodesic_to_areas(targets, {"L": (points, faces)})
    assert by_area["V1"] == 0.0 and 40 < by_area["other"] < 70
    with pytest.raises(InputError, match="must name vertices"):
        geodesic_distance(points, faces, [])


def test_order_of_the_hierarchy_on_the_real_sphere() -> None:
    cortex = cortex_areas()
    assert len(cortex) == 360 and (cortex.loc[cortex["roi"] == "V1", "distance_mm"] == 0).all()
    left = cortex[cortex["hemisphere"] == "L"].sort_values("distance_mm").iloc[:60]
    targets = pd.DataFrame(
        {"roi": left["roi"].to_numpy(), "hemisphere": "L", "x": left["distance_mm"], "y": 0.0, "z": 0.0}
    )
    truth = left["distance_mm"].to_numpy() / left["distance_mm"].max()
    curves = 0.2 * np.exp(-(((DEPTH[:, None] - truth) / 0.3) ** 2))
    r = xr.DataArray(curves[:, None], dims=("layer", "split", "target"), coords={"depth": ("layer", DEPTH)})
    attrs = spatial_hierarchy(r, targets, cortex=cortex, options=QUICK).attrs
    assert attrs["r"] > 0.95 and attrs["p"] < 0.05 and attrs["n_surrogates"] == 999
    assert attrs["p"] > 100 * attrs["areas_p"]  # smooth maps agree by chance far more often than independent areas
    assert np.isnan(attrs["unit_p"])  # a single fold replicates nothing


def test_random_maps_hold_where_spins_and_plain_correlation_do_not() -> None:
    """Smooth and rough maps of areas around V1, and of the whole cortex (``benchmarks/calibration_orders.py``)."""
    cortex = cortex_areas().query("hemisphere == 'L'").reset_index(drop=True)
    sphere = cortex[["sphere_x", "sphere_y", "sphere_z"]].to_numpy(dtype=float)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    away = cortex["distance_mm"].to_numpy(dtype=float)
    near = np.argsort(away)
    rng = np.random.default_rng(0)
    for at in (near[:30], near[::6]):
        null = SurrogateMaps(away[at], sphere[at], n_surrogates=2000)
        distance = np.linalg.norm(sphere[at][:, None] - sphere[at], axis=-1)
        for length in (1e-3, 0.5):
            root = np.linalg.cholesky(np.exp(-((distance / length) ** 2)) + 1e-8 * np.eye(len(at)))
            tests = [null.test(root @ rng.standard_normal(len(at))) for _ in range(300)]
            called = np.array([test.p <= 0.05 for test in tests])
            assert stats.binom.sf(called.sum() - 1, 300, 0.05) > 1e-3
            outside = np.array([test.low > 0 or test.high < 0 for test in tests])
            assert np.mean(outside != called) < 0.01
            if length == 0.5:
                plain = [
                    stats.pearsonr(away[at], root @ rng.standard_normal(len(at))).pvalue < 0.05 for _ in range(300)
                ]
                assert np.mean(plain) > 0.15
        rough = [null.test(away[at] / away[at].std() + 0.6 * rng.standard_normal(len(at))).p for _ in range(20)]
        assert np.mean(np.array(rough) <= 0.05) > 0.6
    assert np.isnan(null.test(np.ones(len(at))).p)


def test_wrong_surrogate_maps_are_one_sentence() -> None:
    places = np.random.default_rng(0).standard_normal((6, 3))
    for kept, at, words in (
        (np.arange(3.0), places[:3], "at least 4 units"),
        (np.ones(6), places, "the same everywhere"),
        (np.arange(6.0), np.ones((6, 3)), "in one place"),
        (np.full(6, np.nan), places, "finite values"),
        (np.arange(5.0), places, "finite values"),
    ):
        with pytest.raises(InputError, match=words):
            SurrogateMaps(kept, at)
    with pytest.raises(InputError, match="needs 6 finite values"):
        SurrogateMaps(np.arange(6.0), places, n_surrogates=50).test(np.arange(5.0))
    with pytest.raises(InputError, match="19 random maps or more"):
        SpatialOptions(n_surrogates=0)
    with pytest.raises(InputError, match="'best_layer' or 'centre_of_mass'"):
        SpatialOptions(value="best")  # type: ignore[arg-type]


def test_targets_that_some_layer_predicts() -> None:
    marks = xr.DataArray(
        [[[True, False, False], [False, True, False]], [[False] * 3] * 2],
        dims=("signal", "layer", "target"),
        coords={"signal": ["activation", "gradient"]},
    )
    masks = predicted_somewhere(marks)
    assert masks["activation"].tolist() == [True, True, False] and not masks["gradient"].any()
    assert predicted_somewhere(None) == {}


def test_bad_input_is_refused_in_one_sentence() -> None:
    r, targets, _ = planted()
    with pytest.raises(InputError, match="rows of targets"):
        spatial_hierarchy(r, targets.iloc[:-1])
    with pytest.raises(InputError, match="depth"):
        spatial_hierarchy(r.drop_vars("depth"), targets)
    with pytest.raises(InputError, match="no column"):
        spatial_hierarchy(r, targets, cortex=targets, options=QUICK)
    with pytest.raises(InputError, match="fraction"):
        top_areas(r, targets, fraction=0.0)
    with pytest.raises(InputError, match="hemisphere"):
        spins(np.eye(3), np.eye(3), hemisphere=["L", "R", "R"], reference_hemisphere=["L", "L", "L"])
    with pytest.raises(InputError, match="centre"):
        spins(np.zeros((3, 3)))


def test_a_smooth_map_does_not_make_a_verdict() -> None:
    """A gradient across the cortex that has nothing to do with V1 correlates with distance; random maps know."""
    from brainmap.data.atlas import area_table
    from brainmap.hierarchy import HypothesisOptions, cortex_areas, evaluate_hypotheses

    targets = area_table(hemispheres=["L"])
    sphere = cortex_areas().query("hemisphere == 'L'").set_index("roi").loc[targets["roi"]]
    places = sphere[["sphere_x", "sphere_y", "sphere_z"]].to_numpy()
    axis = np.random.default_rng(1).standard_normal(3)
    across = places @ axis / np.linalg.norm(axis) / 200 + 0.5
    planted = targets["distance_mm"].to_numpy() / targets["distance_mm"].max()
    depth = np.linspace(0, 1, 8)
    options = HypothesisOptions(spatial=SpatialOptions(n_surrogates=999))
    verdicts = {}
    for name, best in (("across", across), ("planted", planted)):
        curve = 0.1 + 0.1 * np.exp(-(((depth[:, None] - best) / 0.3) ** 2))
        noise = 0.002 * np.random.default_rng(0).standard_normal((2, 2, 8, 5, 180))
        coords = {"depth": ("layer", depth), "signal": ["activation", "gradient"]}
        dims = ("signal", "subject", "layer", "split", "target")
        r = xr.DataArray(curve[:, None] + noise, dims=dims, coords=coords)
        table = evaluate_hypotheses({"fmri": r}, {"fmri": targets}, options=options)
        verdicts[name] = table[table["prediction"].str.startswith("activations")].iloc[0]
    assert verdicts["across"]["effect"] > 0.5 and verdicts["across"]["p"] > 0.1
    assert verdicts["across"]["verdict"] == "inconclusive"
    assert verdicts["planted"]["verdict"] == "supported" and verdicts["planted"]["p"] < 0.01
