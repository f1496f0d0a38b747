"""Temporal hierarchy, lags and the hypotheses of Study A against planted time courses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.hierarchy import (
    HypothesisOptions,
    Resampling,
    SpatialOptions,
    TemporalOptions,
    evaluate_hypotheses,
    onset_latency,
    peak_lag,
    peak_window_time,
    temporal_hierarchy,
    time_courses,
)
from brainmap.hierarchy.agreement import agreement
from brainmap.hierarchy.hypotheses import verdict
from brainmap.hierarchy.order_interval import Draws, order_interval
from brainmap.hierarchy.peak_time_intervals import DataSets, draw_data_sets
from brainmap.hierarchy.resampling import cells, interval, mean_of, resampled
from brainmap.hierarchy.shared_shape import shared_shape

TIMES = np.round(np.arange(-0.2, 1.2, 0.02), 3)
DEPTH = np.linspace(0, 1, 10)
QUICK = TemporalOptions(resampling=Resampling(n=200))


def course(peaks: np.ndarray) -> np.ndarray:
    """Rise and fall around each peak time, (..., n_times)."""
    return 0.08 * np.exp(-(((TIMES - peaks[..., None]) / 0.08) ** 2))


def planted(peaks: np.ndarray, noise: float = 0.004, seed: int = 0) -> xr.DataArray:
    """Scores (subject, layer, split, target = sensor × time) whose mean over sensors peaks where told."""
    rng = np.random.default_rng(seed)
    gain = rng.uniform(0.5, 1.5, 6)
    gain /= gain.mean()
    curves = course(peaks)[None, :, None, None, :] * gain[:, None]
    values = curves + noise * np.sqrt(6) * rng.standard_normal((3, len(peaks), 5, 6, len(TIMES)))
    coords = {"depth": ("layer", DEPTH), "layer": [f"block.{k}" for k in range(10)]}
    coords |= {"time": ("target", np.tile(TIMES, 6)), "sensor": ("target", np.repeat(np.arange(6), len(TIMES)))}
    return xr.DataArray(
        values.reshape(3, len(peaks), 5, -1), dims=("subject", "layer", "split", "target"), coords=coords
    )


def test_t_max_is_the_mean_of_the_window_above_95_per_cent() -> None:
    curve = np.array([9.0, 0.0, 1.0, 0.96, 0.94, 0.97, -1.0])
    times = np.array([-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    fine = np.linspace(0.1, 0.5, 2_000_001)
    above = fine[np.interp(fine, times, curve) >= 0.95]
    assert peak_window_time(curve, times) == pytest.approx(above.mean(), abs=1e-6)
    assert peak_window_time(curve, times, 1.0) == pytest.approx(0.1)
    assert np.isnan(peak_window_time(-np.abs(curve), times))
    both = peak_window_time(np.stack([curve, -np.abs(curve)]), times)
    assert both[0] == pytest.approx(above.mean(), abs=1e-6) and np.isnan(both[1])
    np.testing.assert_allclose(peak_window_time(course(np.array([0.3])), TIMES), [0.3])
    uneven = np.array([0.1, 0.2, 0.5])
    assert peak_window_time(np.array([0.0, 1.0, 0.0]), uneven, 0.5) == pytest.approx((0.15 + 0.35) / 2)
    gap = np.array([9.0, 0.0, 1.0, np.nan, 0.99, 0.98, 0.0])  # what is missing is not bridged
    assert peak_window_time(gap, times) == pytest.approx(0.3 + (0.1 + 0.1 * 0.03 / 0.98) / 2)
    assert peak_window_time(np.array([np.nan, 1.0, np.nan]), uneven) == pytest.approx(0.2)
    assert np.isnan(peak_window_time(curve[:2], times[:2]))


def test_onset_is_interpolated_and_must_last() -> None:
    times = np.array([-0.1, 0.0, 0.1, 0.2, 0.3, 0.4])
    assert onset_latency(np.array([0, 0, 0, 0.4, 1.0, 1.0]), times) == pytest.approx(0.2 + 0.1 / 6)
    assert onset_latency(np.array([0, 0, 0.8, 0.0, 1.0, 1.0]), times) == pytest.approx(0.25)
    assert onset_latency(np.array([0, 0, 0.8, 0.0, 1.0, 1.0]), times, samples=1) == pytest.approx(0.0625)
    assert onset_latency(np.array([0.2, 0.2, 0.2, 0.2, 1.0, 1.0]), times) == pytest.approx(0.25)
    assert np.isnan(onset_latency(np.zeros(6), times))
    exact = 0.3 - 0.08 * np.sqrt(np.log(2))
    np.testing.assert_allclose(onset_latency(course(np.array([0.3])), TIMES), [exact], atol=0.003)


def test_temporal_score_recovers_the_planted_order() -> None:
    peaks = 0.12 + 0.28 * DEPTH
    table = temporal_hierarchy(planted(peaks), options=QUICK)
    np.testing.assert_allclose(table["t_max"], peaks, atol=0.03)
    attrs = table.attrs
    expected = stats.pearsonr(DEPTH, table["t_max"])
    assert attrs["r"] == pytest.approx(expected.statistic) and attrs["p"] == pytest.approx(expected.pvalue)
    assert attrs["r"] > 0.97 and attrs["low"] > 0.8
    assert attrs["slope"] == pytest.approx(0.28, abs=0.04)
    assert attrs["slope_low"] < attrs["slope"] < attrs["slope_high"]
    assert (table["low"] <= table["t_max"]).all() and (table["t_max"] <= table["high"]).all()
    assert (table["onset"] < table["t_max"]).all()
    assert table["peak"].to_numpy() == pytest.approx(np.full(10, 0.08), abs=0.01)
    assert temporal_hierarchy(planted(peaks), options=QUICK, seed=0).equals(table)


def test_layers_that_peak_together_have_no_order() -> None:
    table = temporal_hierarchy(planted(np.full(10, 0.35), seed=4), options=QUICK)
    assert table.attrs["slope_low"] < 0 < table.attrs["slope_high"]
    with pytest.raises(InputError, match="4 are needed"):
        temporal_hierarchy(-abs(planted(np.full(10, 0.35))), options=QUICK)


def test_lag_between_signals_and_coverage_of_its_interval() -> None:
    forward, backward = 0.12 + 0.28 * DEPTH, np.full(10, 0.4)
    truth = np.mean(backward - forward)
    lag = peak_lag(planted(backward, seed=1), planted(forward, seed=2), options=QUICK)
    assert lag.lag == pytest.approx(truth, abs=0.02) and lag.low > 0
    assert lag.by_layer["lag"].iloc[0] == pytest.approx(0.28, abs=0.04)
    assert "ms" in repr(lag) and lag.to_frame().attrs["lag"] == lag.lag
    covered = []
    for seed in range(60):
        found = peak_lag(
            planted(backward, 0.012, seed=100 + seed),
            planted(forward, 0.012, seed=300 + seed),
            options=TemporalOptions(resampling=Resampling(n=120)),
        )
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) > 0.88


def test_cells_and_intervals() -> None:
    r = planted(0.2 + 0.1 * DEPTH)
    assert time_courses(r).sizes["time"] == len(TIMES)
    assert cells(time_courses(r), "layer", "time").shape == (15, 10, len(TIMES))
    assert cells(time_courses(r), "layer", "time", over="subject").shape == (3, 10, len(TIMES))
    rows = np.random.default_rng(0).standard_normal((12, 4000)) + 1.0
    draws = resampled(rows, lambda means: means, Resampling(n=300))
    low, high = interval(mean_of(rows), draws, 12)
    covered = (low <= 1) & (high >= 1)
    assert 0.93 < covered.mean() < 0.985  # plain percentiles of 12 values reach .92
    holed = rows.copy()
    holed[0, 0] = np.nan
    assert np.isfinite(resampled(holed, lambda means: means, Resampling(n=50))).all()
    assert np.isnan(interval(0.0, np.empty(0), 12)[0])
    with pytest.raises(InputError, match="dims among"):
        cells(r, "layer", "time")


def test_courses_are_means_over_sensors() -> None:
    r = planted(0.2 + 0.1 * DEPTH)
    r = r.where(~((r["sensor"] == 2) & (r["time"] == TIMES[7])))
    found, expected = time_courses(r), r.groupby("time").mean(skipna=True)
    assert found.dims == ("subject", "layer", "split", "time") and found["depth"].equals(r["depth"])
    np.testing.assert_allclose(found, expected.transpose(*found.dims), atol=1e-12)
    np.testing.assert_array_equal(found["time"], TIMES)
    assert np.isnan(time_courses(r.where(r["time"] != TIMES[3])).sel(time=TIMES[3])).all()


def test_intervals_of_a_linear_statistic_are_students() -> None:
    rows = np.random.default_rng(0).standard_normal((15, 8)) + 1.0
    weights = np.arange(8.0)[:, None]
    found = draw_data_sets(rows, np.zeros(8), lambda means: means @ weights, Resampling(n=1000))
    student = stats.ttest_1samp(rows @ weights[:, 0], 0)
    exact = student.confidence_interval(0.95)
    low, high, p = found.interval()
    np.testing.assert_allclose([low, high], exact, atol=0.1 * (exact.high - exact.low))
    assert np.log(p) == pytest.approx(np.log(student.pvalue), rel=0.2)
    again = draw_data_sets(rows, np.zeros(8), lambda means: means @ weights, Resampling(n=1000))
    assert again.interval() == (low, high, p)
    every = draw_data_sets(rows, mean_of(rows), lambda means: means, Resampling(n=1000))
    exact = stats.ttest_1samp(rows, 0).confidence_interval(0.95)
    # The quantile is that of all values together, each value's error its own.
    np.testing.assert_allclose(every.half_widths().mean(), (exact.high - exact.low).mean() / 2, rtol=0.1)
    np.testing.assert_allclose(every.draws.std(axis=0), stats.sem(rows), rtol=0.25)
    np.testing.assert_allclose(np.subtract(*every.limits()), -2 * every.half_widths())
    twice = every.map(lambda x: 2.0 * x)
    np.testing.assert_allclose(twice.half_widths(), 2.0 * every.half_widths())
    assert np.isnan(draw_data_sets(rows, rows[0], lambda m: m @ weights, Resampling(n=0)).interval()).all()
    assert np.isnan(draw_data_sets(rows[:1], rows[0], lambda m: m @ weights, Resampling(n=9)).interval()).all()
    assert draw_data_sets(rows, rows[0], lambda m: 0 * m[:, :1] + 2.0, Resampling(n=9)).interval() == (2.0, 2.0, 0.0)


def test_unknown_cells_count_less_in_intervals_of_latencies() -> None:
    """Half of the cells of a target unknown: its error is that of the other half, √2 of what it was."""
    rows = np.random.default_rng(1).standard_normal((40, 2))
    rows[20:] = rows[:20]
    rows[:20, 1] = np.nan
    errors = draw_data_sets(rows, np.zeros(2), lambda means: means, Resampling(n=100)).draws.std(axis=0)
    np.testing.assert_allclose(errors[1] / errors[0], np.sqrt(2 * 39 / 38), rtol=0.15)


def test_half_widths_are_errors_times_the_quantile_of_studentised_data_sets() -> None:
    draws, data_sets = np.array([[-1.0], [1.0]]), np.array([[-2.0], [2.0]]) * np.array([1.0, 2.0, 4.0])[:, None, None]
    known = DataSets(np.array([3.0]), draws, np.zeros(1), np.array([[4.0], [4.0], [4.0]]), data_sets, 9)
    assert known.half_widths() == pytest.approx(
        [1.0 * 4.0 / 2.0]
    )  # of |4| / 2, / 4 and / 8, the rank 4 × .95 is the last
    low, high, p = known.interval()
    assert (low, high) == (1.0, 5.0) and p == pytest.approx(2 * stats.t.sf(stats.t.ppf(0.975, 8) * 3.0 / 2.0, 8))


def test_limits_of_a_statistic_that_noise_shifts_are_moved_back() -> None:
    data_sets = np.array([[-2.0], [2.0]]) * np.ones((5, 1, 1))
    ratios = np.array([[2.0], [3.0], [4.0], [5.0], [14.0]])
    known = DataSets(np.array([10.0]), np.array([[-0.5], [0.5]]), np.zeros(1), 2.0 * ratios, data_sets, 9)
    # Median 4 errors of .5; the largest distance from it, 10 errors, at the highest of five ranks.
    np.testing.assert_allclose(known.limits(centred=True), [[10.0 - 2.0 - 5.0], [10.0 - 2.0 + 5.0]])
    np.testing.assert_allclose(known.limits(), [[10.0 - 7.0], [10.0 + 7.0]])


def test_half_widths_hardly_depend_on_the_seed() -> None:
    r = planted(np.full(10, 0.3), noise=0.02)
    tables = [temporal_hierarchy(r, options=TemporalOptions(resampling=Resampling(n=300, seed=k))) for k in range(6)]
    widths = np.array([t.attrs["slope_high"] - t.attrs["slope_low"] for t in tables])
    assert 0.0 < widths.std() / widths.mean() < 0.25
    t_max = np.array([(t["high"] - t["low"]).mean() for t in tables])
    assert 0.0 < t_max.std() / t_max.mean() < 0.2


def test_shared_shape_finds_latency_and_size_and_averages_noise_away() -> None:
    peaks, size = 0.25 + 0.3 * DEPTH, 1.0 + DEPTH
    clean = size[:, None] * course(peaks)
    np.testing.assert_allclose(shared_shape(clean, TIMES), clean, atol=0.005)  # of .16; shifts are interpolated
    rng = np.random.default_rng(2)
    noisy = clean + 0.004 * rng.standard_normal(clean.shape)
    error = [np.sqrt(np.mean((x - clean) ** 2)) for x in (noisy, shared_shape(noisy, TIMES))]
    assert error[1] < 0.6 * error[0]
    both = shared_shape(np.stack([noisy, noisy[::-1]]), TIMES)
    np.testing.assert_array_equal(both[0], shared_shape(noisy, TIMES))  # each signal has its own shape
    silent = shared_shape(np.vstack([clean, np.zeros((1, len(TIMES)))]), TIMES)
    np.testing.assert_array_equal(silent[-1], 0.0)


def test_interval_of_a_blurred_order_reaches_the_order_that_was_blurred() -> None:
    """Noise of a third of the spread turns a perfect order into r = .95; the interval knows, a plain one does not."""
    rng = np.random.default_rng(3)
    truth = np.linspace(0, 1, 40)
    held, plain, width = [], [], []
    for _ in range(200):
        values = truth + 0.1 * rng.standard_normal(40)
        once = values + 0.1 * rng.standard_normal((300, 40))
        noise = Draws(values, once, once + 0.1 * rng.standard_normal(once.shape))
        low, high = order_interval(noise, truth, Resampling())
        drawn = [np.corrcoef(x, truth)[0, 1] for x in once[:50]]
        held.append(low <= 1.0 <= high)
        plain.append(np.quantile(drawn, 0.975) >= 0.999)
        width.append(high - low)
    assert np.mean(held) > 0.93 and np.mean(plain) == 0.0 and np.median(width) < 0.1
    scattered = truth + 0.4 * np.sign(np.sin(40 * truth))
    target = float(np.corrcoef(scattered, truth)[0, 1])
    held = []
    for _ in range(200):
        values = scattered + 0.2 * rng.standard_normal(40)
        once = values + 0.2 * rng.standard_normal((300, 40))
        noise = Draws(values, once, once + 0.2 * rng.standard_normal(once.shape))
        low, high = order_interval(noise, truth, Resampling())
        held.append(low <= target <= high)
    assert stats.binomtest(int(np.sum(held)), 200, 0.95).pvalue > 1e-3
    assert np.isnan(
        order_interval(Draws(np.ones(5), np.ones((9, 5)), np.ones((9, 5))), np.arange(5.0), Resampling())
    ).all()


def test_wrong_scores_are_refused_in_one_sentence() -> None:
    both = xr.concat([planted(np.full(10, 0.3))] * 2, "signal").assign_coords(signal=["activation", "gradient"])
    for scores, words in (
        ({"ecg": both}, "got \\['ecg'\\]"),
        (both, "got DataArray"),
        ({}, "got \\[\\]"),
        ({"meg": both.values}, "must be an xarray.DataArray"),
        ({"meg": both[0]}, "with dims 'signal'"),
        ({"meg": both.isel(split=[0, 1])}, "need 3 splits"),
        ({"fmri": both}, "'roi'"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate_hypotheses(scores)
    with pytest.raises(InputError, match="not ndarray"):
        temporal_hierarchy(both.values)


def test_milliseconds_are_noticed() -> None:
    r = planted(np.full(10, 0.3))
    with pytest.raises(InputError, match="milliseconds"):
        temporal_hierarchy(r.assign_coords(time=("target", 1000 * r["time"].values)), options=QUICK)


def test_verdicts() -> None:
    assert verdict(0.1, 0.2, 1, 0.05) == "supported"
    assert verdict(0.1, 0.2, -1, 0.05) == "contradicted"
    assert verdict(-0.2, -0.1, -1, 0.05) == "supported"
    assert verdict(-0.01, 0.02, 1, 0.05) == "negligible"
    assert verdict(-0.1, 0.2, 1, 0.05) == "inconclusive"
    assert verdict(np.nan, 0.2, 1, 0.05) == "inconclusive"
    assert verdict(-0.01, 0.3, 1, 0.05, p=0.04) == "supported"
    assert verdict(0.01, 0.3, 1, 0.05, p=0.06) == "inconclusive"
    assert verdict(0.01, 0.3, 1, 0.05, p=np.nan) == "inconclusive"


def smooth_noise(rng: np.random.Generator, over_layers: float) -> np.ndarray:
    """Noise (subject, layer, split, time) of which neighbouring layers share a part, as scores of real layers do."""
    noise = rng.standard_normal((3, len(DEPTH), 5, len(TIMES)))
    for layer in range(1, len(DEPTH)):
        noise[:, layer] = over_layers * noise[:, layer - 1] + np.sqrt(1 - over_layers**2) * noise[:, layer]
    return noise


def test_smooth_noise_over_layers_makes_no_order() -> None:
    """Where all layers peak together, noise that neighbours share makes trends; they must not pass for an order."""
    bell = 0.08 * np.exp(-(((TIMES - 0.5) / 0.2) ** 2))[:, None] * np.ones(len(DEPTH))
    coords = {"depth": ("layer", DEPTH), "time": TIMES}
    called, strong = 0, 0
    for seed in range(40):
        values = bell.T[None, :, None] + 0.03 * smooth_noise(np.random.default_rng([seed, 3]), 0.95)
        r = xr.DataArray(values, dims=("subject", "layer", "split", "time"), coords=coords)
        attrs = temporal_hierarchy(r, options=QUICK).attrs
        called += attrs["slope_p"] < 0.05
        assert (attrs["slope_p"] < 0.05) == (attrs["slope_low"] > 0 or attrs["slope_high"] < 0)
        if np.isfinite(attrs["low"]):  # all layers may have the same T_max
            assert attrs["low"] >= 0 if attrs["slope_low"] > 0 else attrs["low"] <= 0
            assert attrs["high"] <= 0 if attrs["slope_high"] < 0 else attrs["high"] >= 0
        strong += abs(attrs["r"]) > 0.6
    assert called <= 6  # 5 % of 40, and chance (p = .01)
    assert strong > 5  # the correlation itself is no evidence


def test_a_signal_that_predicts_nothing_has_no_peak() -> None:
    curve = 0.1 * np.exp(-(((TIMES[:, None] - 0.12 - 0.28 * DEPTH) / 0.1) ** 2)).T[None, :, None]
    coords = {"depth": ("layer", DEPTH), "time": ("target", TIMES), "signal": ["activation", "gradient"]}
    supported = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 4])
        both = np.stack([curve + 0.03 * smooth_noise(rng, 0.0), 0.03 * smooth_noise(rng, 0.0)])
        r = xr.DataArray(both, dims=("signal", "subject", "layer", "split", "target"), coords=coords)
        table = evaluate_hypotheses({"meg": r}, options=HypothesisOptions(temporal=QUICK)).set_index("prediction")
        later = table.filter(like="peak later than", axis=0).iloc[0]
        supported.append(later["verdict"] == "supported")
        if not supported[-1]:
            assert later["verdict"] == "inconclusive" and later["note"] == "gradients are not above chance at any time"
            assert table.filter(like="activations: deeper", axis=0)["verdict"].item() == "supported"
    assert sum(supported) <= 4


def test_peaks_that_differ_by_rounding_have_no_order() -> None:
    order = agreement(DEPTH, 0.4 + np.spacing(0.4) * (np.arange(len(DEPTH)) % 2))
    assert np.isnan([order.r, order.low, order.high]).all()


def test_hypotheses_of_study_a_on_its_own_findings() -> None:
    """Planted as Study A found them: gradients map, do not follow the forward order, and run bottom-up nowhere."""
    forward, backward = planted(0.12 + 0.28 * DEPTH), planted(np.full(10, 0.4), seed=3)
    meg = xr.concat([forward, backward], "signal").assign_coords(signal=["activation", "gradient"])
    areas = np.repeat([f"A{i}" for i in range(11)] + ["V1"], 4)
    place = np.repeat([*range(1, 12), 0], 4)
    rng = np.random.default_rng(0)
    parts = []
    for sign in (1, -1):
        best = place / 11 if sign > 0 else 1 - place / 11
        curve = 0.1 + 0.1 * np.exp(-(((DEPTH[:, None] - best) / 0.3) ** 2))
        parts.append(curve[None, :, None] + 0.01 * rng.standard_normal((3, 10, 5, 48)))
    coords = {"depth": ("layer", DEPTH), "roi": ("target", areas), "hemisphere": ("target", np.full(48, "L"))}
    coords |= {"x": ("target", 5.0 * place), "y": ("target", np.zeros(48)), "z": ("target", np.zeros(48))}
    dims = ("signal", "subject", "layer", "split", "target")
    fmri = xr.DataArray(np.stack(parts), dims=dims, coords={"signal": ["activation", "gradient"], **coords})
    options = HypothesisOptions(temporal=QUICK, spatial=SpatialOptions(resampling=Resampling(n=50)))
    table = evaluate_hypotheses({"fmri": fmri, "meg": meg}, options=options)
    verdicts = dict(
        zip(zip(table["prediction"].str[:22], table["modality"], strict=True), table["verdict"], strict=True)
    )
    assert verdicts["gradients predict resp", "fmri"] == verdicts["gradients predict resp", "meg"] == "supported"
    assert verdicts["gradients peak later t", "meg"] == "supported"
    assert verdicts["activations: deeper la", "meg"] == verdicts["activations: deeper la", "fmri"] == "supported"
    assert verdicts["gradients: deeper laye", "fmri"] == "supported"
    assert verdicts["gradients: deeper laye", "meg"] in ("inconclusive", "negligible", "contradicted")
    chance = {
        "fmri": ["activation", "gradient"],
        "meg": ["activation"],
    }  # gradients predict no MEG, says a corrected test
    table = evaluate_hypotheses({"fmri": fmri, "meg": meg}, predicting=chance, options=options)
    about = table["prediction"].str.contains("gradient") & (table["modality"] == "meg")
    assert (table["verdict"][about] == "inconclusive").all()
    assert table["note"][about].str.contains("gradients are not shown to be above chance").all()
    assert (table["verdict"][~about] != "inconclusive").sum() >= 3
    assert (table["low"] <= table["effect"]).all() and (table["effect"] <= table["high"]).all()
    alone = evaluate_hypotheses({"meg": meg}, options=options)
    assert alone.attrs["absent"] == ["fmri"] and set(alone["modality"]) == {"meg"}
    with pytest.raises(InputError, match="gradient"):
        evaluate_hypotheses({"meg": meg.sel(signal=["activation"])})
