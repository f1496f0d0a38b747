"""Noise ceilings against simulations whose ceilings are known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.statistics.noise_ceiling import NoiseCeiling, ceiling_from_ncsnr, explainable_variance, split_half
from brainmap.statistics.normalised_scores import normalise_scores
from brainmap.statistics.repeated_trials import Resampled, log_ratios

SIGNAL, NOISE = 0.6, 1.1  # standard deviations


def simulated_trials(
    n_stimuli: int, repeats: np.ndarray, n_targets: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal of every stimulus plus independent noise of every trial: (signal, trials, stimulus of each trial)."""
    rng = np.random.default_rng(seed)
    signal = SIGNAL * rng.standard_normal((n_stimuli, n_targets))
    stimulus = rng.permutation(np.repeat(np.arange(n_stimuli), repeats))
    return signal, signal[stimulus] + NOISE * rng.standard_normal((len(stimulus), n_targets)) + 5.0, stimulus


def truth(repeats: float) -> float:
    return SIGNAL**2 / (SIGNAL**2 + NOISE**2 / repeats)


@pytest.mark.parametrize("repeats", [2, 3, 12])
def test_explainable_variance_recovers_the_known_ceiling(repeats: int) -> None:
    signal, trials, stimulus = simulated_trials(200, np.full(200, repeats), 400, seed=repeats)
    ceiling = explainable_variance(trials, stimulus)
    assert ceiling.table["signal_variance"].mean() == pytest.approx(SIGNAL**2, rel=0.03)
    assert ceiling.table["noise_variance"].mean() == pytest.approx(NOISE**2, rel=0.02)
    assert ceiling.variance.mean() == pytest.approx(truth(repeats), abs=0.015)
    averages = np.stack([trials[stimulus == s].mean(axis=0) for s in range(200)])
    reached = [stats.pearsonr(signal[:, t], averages[:, t]).statistic for t in range(400)]
    assert ceiling.r.mean() == pytest.approx(np.mean(reached), abs=0.015)


def test_equal_repeats_agree_with_the_analysis_of_variance() -> None:
    _, trials, stimulus = simulated_trials(30, np.full(30, 4), 3, seed=1)
    ceiling = explainable_variance(trials, stimulus)
    for target in range(3):
        groups = [trials[stimulus == s, target] for s in range(30)]
        within = np.mean([g.var(ddof=1) for g in groups])
        between = 4 * np.var([g.mean() for g in groups], ddof=1)
        assert between / within == pytest.approx(stats.f_oneway(*groups).statistic)
        assert ceiling.table["noise_variance"][target] == pytest.approx(within)
        assert ceiling.table["signal_variance"][target] == pytest.approx((between - within) / 4)


def test_unequal_repeats_are_unbiased_and_single_showings_are_used() -> None:
    repeats = np.tile([1, 2, 3], 60)
    _, trials, stimulus = simulated_trials(180, repeats, 500, seed=3)
    ceiling = explainable_variance(trials, stimulus, n_repeats=3)
    assert ceiling.table["signal_variance"].mean() == pytest.approx(SIGNAL**2, rel=0.03)
    assert ceiling.variance.mean() == pytest.approx(truth(3), abs=0.015)
    assert explainable_variance(trials, stimulus).n_repeats == pytest.approx(1 / np.mean(1 / repeats))


@pytest.mark.parametrize("repeats", [2, 3, 8])
def test_split_half_with_spearman_brown_recovers_the_known_ceiling(repeats: int) -> None:
    _, trials, stimulus = simulated_trials(150, np.full(150, repeats), 300, seed=repeats + 10)
    ceiling = split_half(trials, stimulus, n_splits=10)
    assert ceiling.variance.mean() == pytest.approx(truth(repeats), abs=0.02)
    other = explainable_variance(trials, stimulus)
    assert np.corrcoef(ceiling.r, other.r)[0, 1] > 0.9
    assert np.median(ceiling.for_repeats(20).variance) == pytest.approx(truth(20), abs=0.02)


def test_split_half_of_two_repeats_is_the_plain_correlation_stepped_up() -> None:
    _, trials, stimulus = simulated_trials(40, np.full(40, 2), 2, seed=4)
    first = np.stack([trials[stimulus == s][0] for s in range(40)])
    second = np.stack([trials[stimulus == s][1] for s in range(40)])
    ceiling = split_half(np.vstack([first, second]), np.tile(np.arange(40), 2), n_splits=200)
    # Which repeat comes first is random in each halving, so only the mean over halvings is close to the plain one.
    rho = np.array([stats.pearsonr(first[:, t], second[:, t]).statistic for t in range(2)])
    np.testing.assert_allclose(ceiling.variance, 2 * rho / (1 + rho), atol=0.03)


@pytest.mark.parametrize("method", [explainable_variance, split_half])
def test_bootstrap_intervals_cover_the_truth(method) -> None:
    _, trials, stimulus = simulated_trials(120, np.full(120, 4), 800, seed=7)
    kwargs = {"n_splits": 4} if method is split_half else {}
    ceiling = method(trials, stimulus, n_bootstrap=200, **kwargs)
    covered = (ceiling.table["low"] <= np.sqrt(truth(4))) & (np.sqrt(truth(4)) <= ceiling.table["high"])
    assert 0.92 < covered.mean() < 0.985  # 800 independent targets
    again = method(trials, stimulus, n_bootstrap=200, **kwargs)
    np.testing.assert_array_equal(ceiling.table, again.table)


def test_no_signal_gives_a_ceiling_near_zero_and_negative_variance_is_reported() -> None:
    rng = np.random.default_rng(0)
    ceiling = explainable_variance(rng.standard_normal((300, 500)), np.repeat(np.arange(100), 3))
    assert (ceiling.table["signal_variance"] < 0).mean() == pytest.approx(0.5, abs=0.12)
    assert (ceiling.r == 0).mean() > 0.35
    constant = explainable_variance(np.ones((6, 1)), np.repeat([0, 1, 2], 2))
    assert constant.r[0] == 0.0


def test_ncsnr_follows_nsd() -> None:
    ceiling = ceiling_from_ncsnr([0.0, 0.5, 2.0], 3)
    np.testing.assert_allclose(ceiling.variance, [0.0, 0.25 / (0.25 + 1 / 3), 4 / (4 + 1 / 3)])
    unequal = ceiling_from_ncsnr([0.5], [1, 2, 3])
    assert unequal.variance[0] == pytest.approx(0.25 / (0.25 + (1 + 1 / 2 + 1 / 3) / 3))
    assert ceiling_from_ncsnr([0.5], 1).for_repeats(3).variance[0] == pytest.approx(ceiling.variance[1])
    assert "3 targets" in repr(ceiling)


def test_normalised_scores_keep_the_raw_ones_and_mask_low_ceilings() -> None:
    r = xr.DataArray([[0.2, 0.2, 0.9], [0.1, -0.3, 0.1]], dims=("layer", "target"), attrs={"n_trials": 7})
    scores = normalise_scores(r, np.array([0.5, 0.05, 0.6]), minimum=0.1)
    np.testing.assert_array_equal(scores["r"], r)
    np.testing.assert_allclose(scores["r_normalised"], [[0.4, np.nan, 1.0], [0.2, np.nan, 1 / 6]])
    assert scores["masked"].values.tolist() == [False, True, False]
    assert scores["exceeds"].values.tolist() == [[False, False, True], [False, False, False]]
    assert scores.attrs["n_masked"] == 1 and scores.attrs["n_exceeding"] == 1 and scores.attrs["n_trials"] == 7
    per_subject = xr.DataArray([[0.5, 0.5, 0.5], [0.4, 0.4, 0.01]], dims=("subject", "target"))
    assert normalise_scores(r, per_subject)["r_normalised"].dims == ("layer", "target", "subject")


def test_bad_input_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="target 1"):
        ceiling_from_ncsnr([0.1, -0.2])
    with pytest.raises(InputError, match="rarest was shown 1"):
        split_half(np.zeros((5, 1)), [0, 0, 1, 1, 2])
    with pytest.raises(InputError, match="more than once"):
        explainable_variance(np.zeros((3, 1)), [0, 1, 2])
    bad = np.zeros((4, 2))
    bad[2, 1] = np.nan
    with pytest.raises(InputError, match="at row 2, column 1"):
        explainable_variance(bad, [0, 0, 1, 1])
    with pytest.raises(InputError, match="3 targets"):
        normalise_scores(np.zeros(3), np.ones(2))
    assert isinstance(ceiling_from_ncsnr([1.0]), NoiseCeiling)


def test_groups_of_stimuli_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    stimulus, kind = np.repeat(np.arange(150), 3), np.repeat(np.arange(30), 15)
    truth = np.sqrt(0.25 / (0.25 + 1 / 3))
    shared = np.sqrt(0.7) * rng.standard_normal((30, 200))[np.repeat(np.arange(30), 5)]
    signal = shared + np.sqrt(0.3) * rng.standard_normal((150, 200))
    trials = 0.5 * signal[stimulus] + rng.standard_normal((450, 200))
    for function, more in ((explainable_variance, {}), (split_half, {"n_splits": 4})):
        alone, grouped = (
            function(trials, stimulus, n_bootstrap=200, groups=groups, **more).table for groups in (None, kind)
        )
        inside = [((t["low"] <= truth) & (truth <= t["high"])).mean() for t in (alone, grouped)]
        assert inside[1] > 0.9 and inside[1] > inside[0]
        np.testing.assert_array_equal(alone["r"], grouped["r"])
        for groups, words in (
            (kind[:-1], "each of the 450 trials"),
            (kind % 3, "at least 20"),
            (np.arange(450), "two"),
        ):
            with pytest.raises(InputError, match=words):
                function(trials, stimulus, n_bootstrap=9, groups=groups, **more)


@pytest.mark.parametrize("method", [explainable_variance, split_half])
@pytest.mark.parametrize("heavy", ["noise", "responses", "both"])
def test_intervals_hold_with_heavy_tails(method, heavy: str) -> None:
    rng = np.random.default_rng(3)

    def drawn(shape: tuple[int, ...], tails: bool) -> np.ndarray:
        return rng.standard_t(3, shape) / np.sqrt(3) if tails else rng.standard_normal(shape)

    signal = SIGNAL * drawn((60, 1, 800), heavy != "noise")
    trials = (signal + NOISE * drawn((60, 3, 800), heavy != "responses")).reshape(180, 800)
    kwargs = {"n_splits": 4} if method is split_half else {}
    table = method(trials, np.repeat(np.arange(60), 3), n_bootstrap=200, **kwargs).table
    own = signal[:, 0].var(axis=0, ddof=1)
    for ceiling in (np.sqrt(truth(3)), np.sqrt(own / (own + NOISE**2 / 3))):  # of other stimuli, of these
        assert ((table["low"] <= ceiling) & (ceiling <= table["high"])).mean() > 0.92
    constant = method(np.ones((6, 1)), np.repeat([0, 1, 2], 2), n_bootstrap=9, **kwargs)
    assert constant.table["low"][0] == constant.table["high"][0] == 0.0
    clean = np.repeat(np.arange(30.0), 3)[:, None]  # no noise: the ceiling is one, without a warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = method(clean, np.repeat(np.arange(30), 3), n_bootstrap=9, **kwargs).table
    assert table["r"][0] == table["high"][0] == pytest.approx(1.0)


def test_the_standard_error_of_a_log_ratio_is_that_of_the_jackknife() -> None:
    _, trials, stimulus = simulated_trials(80, np.full(80, 3), 5, seed=1)
    codes, counts = stimulus, np.full(80, 3)
    ratio, error = log_ratios(Resampled(trials, codes, counts, np.ones((1, 80)), np.arange(80)), slice(None))
    for target in range(5):
        left = []
        for out in range(80):
            kept = [trials[stimulus == s, target] for s in range(80) if s != out]
            left.append(np.log(stats.f_oneway(*kept).statistic))
        assert error[0, target] == pytest.approx(np.std(left) * np.sqrt(79), rel=0.05)
        whole = stats.f_oneway(*(trials[stimulus == s, target] for s in range(80))).statistic
        assert ratio[0, target] == pytest.approx(np.log(whole))
