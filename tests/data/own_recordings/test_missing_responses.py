"""Values that are NaN or infinite in one's own responses are missing and named; the others are not touched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmap import read_responses
from brainmap.common.errors import InputError, ReadingNote
from brainmap.data.own_recordings.subjects import read_subjects
from brainmap.stimuli import StimulusSet

SHOWN = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
DATA = np.random.default_rng(0).standard_normal((9, 6))
EVENTS = pd.DataFrame({"stimulus": np.array([*"abc"])[SHOWN]})
ROI = pd.DataFrame({"roi": [f"V{n}" for n in range(6)]})
SENSORS = pd.DataFrame({"sensor": np.repeat([*"ABC"], 2), "time": np.tile([0.0, 0.1], 3)})
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [*"abc"]}))


def with_gaps(*cells: tuple[object, object, float]) -> np.ndarray:
    values = DATA.copy()
    for row, column, value in cells:
        values[row, column] = value
    return values


@pytest.mark.parametrize("form", ["array", "npy", "csv"])
def test_means_are_taken_without_missing_values_and_what_has_none_is_left_out(stimuli, tmp_path: Path, form: str):
    data = with_gaps((0, 1, np.nan), (4, 2, np.inf), (1, 2, -np.inf), ([2, 5, 8], 5, np.nan), (7, 0, 1e39))
    source: object = data
    if form == "npy":
        np.save(tmp_path / "r.npy", data)
        source = tmp_path / "r.npy"
    elif form == "csv":
        pd.DataFrame(data).to_csv(tmp_path / "r.csv", index=False, na_rep="NaN")
        source = tmp_path / "r.csv"
    with pytest.warns(ReadingNote, match=r"7 of 54 values in .* are NaN or infinite \(subject 01\)"):
        responses = read_responses(source, ROI, EVENTS, stimuli)
    assert responses.targets["roi"].tolist() == ["V0", "V1", "V2", "V3", "V4"] and responses.n_trials == 9
    known = np.where(np.isfinite(data) & (np.abs(data) < 1e38), data, np.nan)[:, :5]
    expected = np.stack([np.nanmean(known[n == SHOWN], axis=0) for n in range(3)])
    np.testing.assert_allclose(responses.average_repeats().block(), expected, rtol=1e-5)
    assert np.isnan(responses.block()).sum() == 4 == responses.info["missing"]
    assert any(
        "1 target is without any value for some photograph, and left out: area V5" in note
        for note in responses.info["notes"]
    )


def test_trials_without_most_values_are_left_out_by_their_row_in_the_file(stimuli):
    events = pd.concat([pd.DataFrame({"stimulus": [None]}), EVENTS], ignore_index=True)
    data = np.concatenate([np.zeros((1, 6)), with_gaps((3, slice(0, 4), np.nan), (6, slice(None), np.nan))])
    responses = read_responses(data, ROI, events, stimuli)
    kept = np.delete(np.arange(9), [3, 6])
    np.testing.assert_allclose(responses.block(), DATA[kept], rtol=1e-6)
    assert responses.trials["repeat"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert any(re.search(r"2 trials .* row 4, 7 of array", note) for note in responses.info["notes"])
    assert not responses.info["missing"]


def test_a_sensor_has_all_of_its_times_or_none(stimuli):
    responses = read_responses(with_gaps(([1, 4, 7], 3, np.nan)), SENSORS, EVENTS, stimuli)
    assert responses.targets["sensor"].unique().tolist() == ["A", "C"]
    np.testing.assert_allclose(responses.block(), DATA[:, [0, 1, 4, 5]], rtol=1e-6)
    assert any("sensor B at 0.000 s" in note for note in responses.info["notes"])


def test_voxels_outside_the_brain_do_not_count_against_trials(stimuli):
    responses = read_responses(with_gaps((slice(None), slice(0, 4), np.nan)), ROI, EVENTS, stimuli)
    assert responses.targets["roi"].tolist() == ["V4", "V5"] and responses.n_trials == 9


def test_nothing_left_is_refused(stimuli):
    with pytest.raises(InputError, match=r"Every target of subject 01 is NaN or infinite .* \(the first: area V0"):
        read_responses(np.full((9, 6), np.nan), ROI, EVENTS, stimuli)
    with pytest.raises(InputError, match=r"leave out those trials or targets"):
        read_responses(
            with_gaps(([0, 3, 6], slice(0, 3), np.nan), ([1, 4, 7], slice(3, 6), np.inf)), ROI, EVENTS, stimuli
        )


def test_each_subject_keeps_its_own(stimuli):
    events = pd.concat([EVENTS.assign(subject="1"), EVENTS.assign(subject="2")], ignore_index=True)
    data = np.concatenate([DATA, with_gaps(([0, 3, 6], 2, np.nan), (5, 4, np.nan))])
    subjects = read_subjects(data, ROI, events, stimuli)
    assert subjects["1"].n_targets == 6 and "missing" not in subjects["1"].info
    assert subjects["2"].n_targets == 5 and subjects["2"].info["missing"] == 1


def test_what_is_finite_is_read_as_it_is(stimuli):
    responses = read_responses(DATA, ROI, EVENTS, stimuli)
    assert isinstance(responses.values, np.ndarray) and "missing" not in responses.info
    counts = np.arange(54).reshape(9, 6)
    assert read_responses(counts, ROI, EVENTS, stimuli).values is counts
