"""Profiles over layers against pandas and scipy: mean, error of the mean, and what is above chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainmap.results import StudyResults
from brainmap.results.score_profiles import score_profiles


def test_error_of_targets_is_that_of_scipy_over_subjects(small_results: StudyResults) -> None:
    scores = small_results.scores["fmri"]["r"]
    profile = score_profiles(small_results, "fmri")
    by_subject = scores.mean("split").transpose("subject", "signal", "layer", "target").values
    np.testing.assert_allclose(profile.mean, by_subject.mean(axis=0), atol=1e-6)
    assert profile.error is not None and profile.error_over == "subjects"
    np.testing.assert_allclose(profile.error, stats.sem(by_subject, axis=0), atol=1e-6)
    marks = small_results.significance["fmri"].transpose("signal", "layer", "target").values
    np.testing.assert_array_equal(profile.above, marks)


@pytest.mark.parametrize("single", [False, True])
def test_areas_average_targets_before_subjects_or_splits(small_results: StudyResults, single: bool) -> None:
    scores = small_results.scores["fmri"].isel(subject=[0]) if single else small_results.scores["fmri"]
    results = StudyResults(small_results.provenance, {"fmri": scores}, significance=small_results.significance)
    profile = score_profiles(results, "fmri", "roi")
    repeats = "split" if single else "subject"
    area = profile.places.tolist().index("FFC")
    mine = scores["r"].isel(target=scores["roi"].values == "FFC")
    averaged = mine.mean("target") if single else mine.mean("split").mean("target")
    expected = averaged.transpose(repeats, "signal", "layer", ...).values.reshape(-1, 2, 12)
    np.testing.assert_allclose(profile.mean[:, :, area], expected.mean(axis=0), atol=1e-6)
    assert profile.error is not None and profile.error_over == f"{repeats}s"
    np.testing.assert_allclose(profile.error[:, :, area], stats.sem(expected, axis=0), atol=1e-6)
    marks = results.significance["fmri"].isel(target=scores["roi"].values == "FFC")
    counts = marks.sum("target").transpose("signal", "layer").values
    assert profile.n_above is not None and profile.n_targets is not None
    np.testing.assert_array_equal(profile.n_above[:, :, area], counts)
    assert profile.n_targets[area] == mine.sizes["target"] and profile.n_targets.sum() == scores.sizes["target"]


def test_missing_scores_do_not_count(small_results: StudyResults) -> None:
    scores = small_results.scores["fmri"].copy(deep=True)
    scores["r"][0, :, :, :, 3] = np.nan
    scores["r"][:, :, :, :, 5] = np.nan
    results = StudyResults(small_results.provenance, {"fmri": scores})
    profile = score_profiles(results, "fmri")
    np.testing.assert_allclose(profile.mean[..., 3], scores["r"].isel(target=3, subject=1).mean("split"), atol=1e-6)
    assert profile.error is not None and np.isnan(profile.error[..., 3]).all()  # one subject has no spread
    assert np.isnan(profile.mean[..., 5]).all() and profile.above is None


def test_tests_over_time_mark_times_and_no_single_sensor(small_results: StudyResults) -> None:
    assert score_profiles(small_results, "meg").above is None
    profile = score_profiles(small_results, "meg", "time")
    np.testing.assert_array_equal(profile.above, small_results.significance["meg"].values)
    by_target = small_results.scores["meg"]["time"] > 0.5
    marks = by_target.expand_dims(signal=["activation", "gradient"], layer=profile.layers)
    results = StudyResults(small_results.provenance, small_results.scores, significance={"meg": marks})
    profile = score_profiles(results, "meg", "time")
    np.testing.assert_array_equal(profile.above[1, 4], profile.places > 0.5)
