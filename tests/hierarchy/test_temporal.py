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
from brainmap.hierarchy.replication import limits, over_units, unit_scores
from brainmap.hierarchy.resampling import interval, mean_of, resampled

TIMES = np.round(np.arange(-0.2, 1.2, 0.02), 3)
DEPTH = np.linspace(0, 1, 10)


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
    table = temporal_hierarchy(planted(peaks))
    np.testing.assert_allclose(table["t_max"], peaks, atol=0.03)
    attrs = table.attrs
    expected = stats.pearsonr(DEPTH, table["t_max"])
    assert attrs["r"] == pytest.approx(expected.statistic) and attrs["p"] == pytest.approx(expected.pvalue)
    assert attrs["r"] > 0.97 and attrs["slope_p"] < 1e-3 and (attrs["unit"], attrs["n_units"]) == ("folds", 5)
    assert "5 folds (groups of photographs; standard error: from their spread and the jack" in attrs["p_method"]
    assert attrs["slope"] == pytest.approx(0.28, abs=0.04)
    assert attrs["slope_low"] < attrs["slope"] < attrs["slope_high"]
    assert (table["low"] <= table["t_max"]).all() and (table["t_max"] <= table["high"]).all()
    assert (table["onset"] < table["t_max"]).all()
    assert table["peak"].to_numpy() == pytest.approx(np.full(10, 0.08), abs=0.01)
    rows = time_courses(planted(peaks)).mean("subject").transpose("split", "layer", "time").values
    each = [np.polyfit(DEPTH, peak_window_time(fold, TIMES), 1)[0] for fold in rows]
    kept = [np.delete(rows, fold, axis=0).mean(axis=0) for fold in range(5)]
    without = [np.polyfit(DEPTH, peak_window_time(mean, TIMES), 1)[0] for mean in kept]
    spread, jackknife = np.var(each, ddof=1) / 5, np.var(without) * 4
    error = np.sqrt((spread + jackknife) / 2 * 8 / 3)  # folds share training photographs
    slope = np.polyfit(DEPTH, peak_window_time(rows.mean(axis=0), TIMES), 1)[0]
    assert attrs["slope"] == pytest.approx(slope)
    assert attrs["slope_p"] == pytest.approx(2 * stats.t.sf(slope / error, 4))
    assert attrs["slope_high"] - slope == pytest.approx(stats.t.ppf(0.975, 4) * error)


def test_layers_that_peak_together_have_no_order() -> None:
    table = temporal_hierarchy(planted(np.full(10, 0.35), seed=4))
    assert table.attrs["slope_low"] < 0 < table.attrs["slope_high"]
    with pytest.raises(InputError, match="4 are needed"):
        temporal_hierarchy(-abs(planted(np.full(10, 0.35))))


def test_lag_between_signals_and_coverage_of_its_interval() -> None:
    forward, backward = 0.12 + 0.28 * DEPTH, np.full(10, 0.4)
    truth = np.mean(backward - forward)
    lag = peak_lag(planted(backward, seed=1), planted(forward, seed=2))
    assert lag.lag == pytest.approx(truth, abs=0.02) and lag.low > 0
    assert lag.by_layer["lag"].iloc[0] == pytest.approx(0.28, abs=0.04)
    assert "ms" in repr(lag) and lag.to_frame().attrs["lag"] == lag.lag
    covered = []
    for seed in range(60):
        found = peak_lag(planted(backward, 0.012, seed=100 + seed), planted(forward, 0.012, seed=300 + seed))
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) > 0.88


def test_cells_and_intervals() -> None:
    r = planted(0.2 + 0.1 * DEPTH)
    assert time_courses(r).sizes["time"] == len(TIMES)
    assert unit_scores(time_courses(r), "layer", "time")[0].shape == (5, 10, len(TIMES))
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
        unit_scores(r, "layer", "time")


def test_courses_are_means_over_sensors() -> None:
    r = planted(0.2 + 0.1 * DEPTH)
    r = r.where(~((r["sensor"] == 2) & (r["time"] == TIMES[7])))
    found, expected = time_courses(r), r.groupby("time").mean(skipna=True)
    assert found.dims == ("subject", "layer", "split", "time") and found["depth"].equals(r["depth"])
    np.testing.assert_allclose(found, expected.transpose(*found.dims), atol=1e-12)
    np.testing.assert_array_equal(found["time"], TIMES)
    assert np.isnan(time_courses(r.where(r["time"] != TIMES[3])).sel(time=TIMES[3])).all()


def test_subjects_are_the_unit_from_five_on() -> None:
    rng = np.random.default_rng(0)
    values = 0.2 + rng.standard_normal((8, 4, 3))
    array = xr.DataArray(values, dims=("subject", "split", "layer"))
    rows, unit = unit_scores(array, "layer")
    first = lambda x: x[:, 0]  # noqa: E731
    test = over_units(rows, first, unit)
    expected = stats.ttest_1samp(values.mean(axis=1)[:, 0], 0)  # for a mean, spread and jackknife are the same
    assert (unit, test.n_units, test.p) == ("subjects", 8, pytest.approx(expected.pvalue))
    assert (test.low, test.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    flips = stats.permutation_test((rows[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert test.flip_p == pytest.approx(flips.pvalue)
    low, high = limits(rows, lambda x: x, unit)
    assert (low[0], high[0]) == pytest.approx((test.low, test.high))
    few = over_units(*unit_scores_of(array.isel(subject=slice(5)), first))
    assert few.unit == "subjects" and np.isnan(few.flip_p)
    assert unit_scores(array.isel(subject=slice(4)), "layer")[1] == "folds"
    alone = over_units(*unit_scores_of(array.isel(subject=[0], split=[0, 1]), first))
    assert alone.unit == "" and np.isnan([alone.p, alone.low]).all() and "no p" in alone.how("slope")
    assert alone.value == pytest.approx(values[0, :2, 0].mean())
    exact = over_units(np.full((6, 1), 0.25), first, "subjects")
    assert (exact.p, exact.low, exact.high) == (0.0, 0.25, 0.25)


def unit_scores_of(array: xr.DataArray, statistic):
    """Arguments of ``over_units``."""
    rows, unit = unit_scores(array, "layer")
    return rows, statistic, unit


def test_subjects_who_all_lack_a_peak_do_not_make_an_order() -> None:
    """Where layers peak anywhere in every subject and in their mean, the spread of subjects alone is too small."""
    rng = np.random.default_rng(5)
    called = 0
    for _ in range(60):
        curves = 0.01 * rng.standard_normal((8, len(DEPTH), 2, len(TIMES)))
        coords = {"depth": ("layer", DEPTH), "time": TIMES}
        r = xr.DataArray(curves, dims=("subject", "layer", "split", "time"), coords=coords)
        called += temporal_hierarchy(r).attrs["slope_p"] < 0.05
    assert called <= 8


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
        temporal_hierarchy(r.assign_coords(time=("target", 1000 * r["time"].values)))


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
        attrs = temporal_hierarchy(r).attrs
        called += attrs["slope_p"] < 0.05
        assert (attrs["slope_p"] < 0.05) == (attrs["slope_low"] > 0 or attrs["slope_high"] < 0)
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
        table = evaluate_hypotheses({"meg": r}).set_index("prediction")
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
    x, y = 5.0 * place * np.cos(2.4 * place), 5.0 * place * np.sin(2.4 * place)
    coords |= {"x": ("target", x), "y": ("target", y), "z": ("target", np.zeros(48))}
    dims = ("signal", "subject", "layer", "split", "target")
    fmri = xr.DataArray(np.stack(parts), dims=dims, coords={"signal": ["activation", "gradient"], **coords})
    options = HypothesisOptions(temporal=TemporalOptions(), spatial=SpatialOptions(n_surrogates=500))
    table = evaluate_hypotheses({"fmri": fmri, "meg": meg}, options=options)
    verdicts = dict(
        zip(zip(table["prediction"].str[:22], table["modality"], strict=True), table["verdict"], strict=True)
    )
    assert verdicts["gradients predict resp", "fmri"] == verdicts["gradients predict resp", "meg"] == "supported"
    assert verdicts["gradients peak later t", "meg"] == "supported"
    assert verdicts["activations: deeper la", "meg"] == verdicts["activations: deeper la", "fmri"] == "supported"
    assert verdicts["gradients: deeper laye", "fmri"] == "supported"
    assert table["how"].str.len().gt(20).all() and set(table["unit"][table["modality"] == "meg"]) == {"r", "s"}
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
