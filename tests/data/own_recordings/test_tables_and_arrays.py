"""A user's own recordings: what is read, and one clear sentence for each thing that does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError, MissingFileError, ReadingNote
from brainmap.data import read_responses
from brainmap.stimuli import StimulusSet


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": ["cat", "dog", "sea/gull"]}))


EVENTS = pd.DataFrame({"stimulus": ["dog", "cat.jpg", "sea/gull", "dog"]})
FMRI = pd.DataFrame({"roi": ["V1", "V2"]})
MEG = pd.DataFrame({"sensor": ["B", "A", "B", "A"], "time": [0.1, 0.0, 0.0, 0.1]})


def values(rows: int = 4, columns: int = 2) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, columns))


def test_files_on_disk_are_read_lazily(stimuli: StimulusSet, tmp_path: Path):
    data = values().astype(np.float32)
    np.save(tmp_path / "responses.npy", data)
    FMRI.assign(hemisphere="L", x=1.0, y=2.0, z=3.0, vertex=[7, 9]).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    EVENTS.assign(session=1, run=[1, 1, 2, 2]).to_csv(tmp_path / "e.csv", index=False)
    paths = (tmp_path / "responses.npy", tmp_path / "t.tsv", tmp_path / "e.csv")
    responses = read_responses(*paths, stimuli, subject="S7")
    assert isinstance(responses.values, np.memmap)
    np.testing.assert_array_equal(responses.block(), data)
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[[1, 0, 2, 1]])
    assert responses.trials["repeat"].tolist() == [0, 0, 0, 1]
    assert (responses.modality, responses.subject, responses.simulated) == ("fmri", "S7", False)
    assert responses.targets["vertex"].tolist() == [7, 9]


def test_images_may_be_named_by_content_id(stimuli: StimulusSet):
    events = pd.DataFrame({"stimulus": stimuli.ids[[2, 0, 1, 1]]})
    responses = read_responses(values(), FMRI, events, stimuli)
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[[2, 0, 1, 1]])


def test_fmri_tables_need_no_coordinates(stimuli: StimulusSet):
    targets = read_responses(values(), FMRI, EVENTS, stimuli).targets
    assert targets["vertex"].tolist() == [-1, -1]
    assert targets["hemisphere"].tolist() == ["", ""]
    assert targets[["x", "y", "z"]].isna().all(axis=None)


def test_meg_is_brought_into_sensor_by_sensor_order(stimuli: StimulusSet):
    data = values(4, 4)
    responses = read_responses(data, MEG, EVENTS, stimuli)
    assert responses.modality == "meg"
    assert responses.targets.to_numpy().tolist() == [["B", 0.0], ["B", 0.1], ["A", 0.0], ["A", 0.1]]
    np.testing.assert_array_equal(responses.block(), data[:, [2, 0, 1, 3]].astype(np.float32))


def broken(data: np.ndarray, row: int, column: int, value: float) -> np.ndarray:
    copy = data.copy()
    copy[row, column] = value
    return copy


@pytest.mark.parametrize(
    ("data", "targets", "events", "message"),
    [
        (values(3), FMRI, EVENTS, "too few rows: 3 rows for 4 rows in the events table"),
        (values(5), FMRI, EVENTS, "too many rows: 5 rows for 4 rows in the events table"),
        (values(4, 3), FMRI, EVENTS, "too many columns: 3 columns for 2 rows in the targets table"),
        (values()[0], FMRI, EVENTS, r"shape \(2,\); they need two axes"),
        (values().astype(str), FMRI, EVENTS, "are of type <U.*; save them as real numbers"),
        (values(), FMRI, EVENTS.rename(columns={"stimulus": "what"}), r"no column 'stimulus'; it has \['what'\]"),
        (
            values(),
            FMRI,
            EVENTS.replace("sea/gull", "bird"),
            "Row 2 of the events table names the unknown image 'bird'",
        ),
        (values(), FMRI, EVENTS.assign(stimulus=None), "No row of the events table names a photograph"),
        (values(), FMRI, EVENTS.assign(repeat=0), "Row 3 of the events table gives the repeat 0 of its image a second"),
        (values(), FMRI.assign(hemisphere=["L", "up"]), EVENTS, "Row 1 of the targets table has the hemisphere 'up'"),
        (values(), FMRI.assign(vertex=5), EVENTS, r"Row 1 of the targets table repeats an earlier one \(.*vertex 5\)"),
        (values(), FMRI.rename(columns={"roi": "what"}), EVENTS, r"fMRI needs 'roi', MEG needs 'sensor' and 'time'"),
        (values(4, 4), MEG.assign(time=[100, 0, 0, 100]), EVENTS, "times up to 100; give seconds, not milliseconds"),
        (values(4, 4), MEG.assign(time=[0.1, 0.0, 0.1, 0.1]), EVENTS, r"repeats an earlier one \(sensor B, time 0.1\)"),
        (values(4, 4), MEG.assign(time=[0.1, 0.0, 0.0, 0.2]), EVENTS, "has 2 of 3 times for the sensor 'B'"),
        (
            values(4, 4),
            MEG.assign(time=["0.1", "x", "0", "0.1"]),
            EVENTS,
            "Row 1 of the targets table has 'x' in the column 'time'",
        ),
    ],
)
def test_each_mismatch_has_its_sentence(stimuli, data, targets, events, message):
    with pytest.raises(InputError, match=message) as caught:
        read_responses(data, targets, events, stimuli)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_arrays_are_refused(stimuli: StimulusSet, tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"There is no file .*none\.npy"):
        read_responses(tmp_path / "none.npy", FMRI, EVENTS, stimuli)
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match=r"text\.npy cannot be read as an array of numbers"):
        read_responses(tmp_path / "text.npy", FMRI, EVENTS, stimuli)
    (tmp_path / "archive.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"archive\.npz cannot be read as an archive of arrays"):
        read_responses(tmp_path / "archive.npz", FMRI, EVENTS, stimuli)


def test_pickled_objects_are_never_loaded(stimuli: StimulusSet, tmp_path: Path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects\.npy cannot be read as an array of numbers"):
        read_responses(tmp_path / "objects.npy", FMRI, EVENTS, stimuli)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertex": [0.5, 3]}, "Row 0 of the targets table has the vertex 0.5; a vertex is a whole number"),
        ({"vertex": [0, -7]}, "Row 1 of the targets table has the vertex -7"),
        ({"vertex": [0, 32492], "hemisphere": "L"}, "Row 1 .* has the vertex 32492, but a hemisphere .* has 32,492"),
        ({"vertex": ["a", "1"]}, "Row 0 of the targets table has 'a' in the column 'vertex'"),
        ({"time": [0.1, 0.2]}, "has areas and times; rename 'roi' to 'sensor'"),
        ({"region": "V1", "roi_name": "V2"}, None),  # the own name wins
    ],
)
def test_targets_are_checked_before_anything_is_computed(stimuli, change, message):
    targets = FMRI.assign(**change)
    if message is None:
        assert read_responses(values(), targets, EVENTS, stimuli).targets["roi"].tolist() == ["V1", "V2"]
        return
    with pytest.raises(InputError, match=message):
        read_responses(values(), targets, EVENTS, stimuli)


def test_areas_may_be_called_na_and_cells_may_be_empty(stimuli: StimulusSet, tmp_path: Path):
    (tmp_path / "t.csv").write_text("Region;Hemi;x;vertex\nNA;lh;1,5;3\n;right;;\n", encoding="utf-16")
    with pytest.warns(ReadingNote):
        targets = read_responses(values(), tmp_path / "t.csv", EVENTS, stimuli).targets
    assert targets[["roi", "hemisphere", "vertex"]].to_numpy().tolist() == [["NA", "L", 3], ["", "R", -1]]
    assert targets["x"].iloc[0] == 1.5 and np.isnan(targets["x"].iloc[1])


def test_right_vertices_may_count_on_from_the_left(stimuli: StimulusSet):
    targets = FMRI.assign(hemisphere=["L", "R"], vertex=[5, 32492 + 5])
    assert read_responses(values(), targets, EVENTS, stimuli).targets["vertex"].tolist() == [5, 32497]


def test_vertices_count_in_the_mesh_that_is_named(stimuli: StimulusSet):
    targets = FMRI.assign(hemisphere="L", vertex=[5, 160000])
    assert read_responses(values(), targets, EVENTS, stimuli, surface="fsaverage").info["mesh"] == "fsaverage"
    with pytest.raises(InputError, match="There is no mesh 'cube'; choose fsaverage5"):
        read_responses(values(), targets, EVENTS, stimuli, surface="cube")


def test_catch_trials_are_left_out_and_counted(stimuli: StimulusSet):
    events = pd.DataFrame({"stimulus": ["dog", None, "cat", "blank", "dog"], "trial_type": [*"aaaa", "odd"]})
    data = values(5)
    with pytest.warns(ReadingNote, match="2 of 5 trials in the events table show no photograph"):
        responses = read_responses(data, FMRI, events, stimuli)
    np.testing.assert_array_equal(responses.block(), data[[0, 2, 4]].astype(np.float32))
    with pytest.warns(ReadingNote, match="3 of 5 trials"):
        responses = read_responses(data, FMRI, events, stimuli, catch="odd")
    assert responses.trials["stimulus"].tolist() == [stimuli.ids[1], stimuli.ids[0]]
    with pytest.raises(InputError, match="has no trial 'even' to leave out"):
        read_responses(data, FMRI, events, stimuli, catch="even")


def test_transposed_responses_are_recognised_and_named(stimuli: StimulusSet):
    with pytest.warns(ReadingNote, match="array is transposed: it holds 2 targets × 4 trials"):
        responses = read_responses(values().T, FMRI, EVENTS, stimuli)
    np.testing.assert_array_equal(responses.block(), values().astype(np.float32))
    np.testing.assert_array_equal(responses.block([3, 1], [1]), values()[[3, 1]][:, [1]].astype(np.float32))


def test_times_in_milliseconds_are_taken_where_the_column_says_so(stimuli: StimulusSet):
    targets = MEG.rename(columns={"time": "Latency (ms)"}).assign(**{"Latency (ms)": [100, 0, 0, 100]})
    with pytest.warns(ReadingNote, match=r"column 'Latency \(ms\)'"):
        assert read_responses(values(4, 4), targets, EVENTS, stimuli).targets["time"].tolist() == [0, 0.1, 0, 0.1]


def test_unknown_options_are_errors(stimuli: StimulusSet):
    with pytest.raises(InputError, match="There is no option 'masks' of reading responses; there are mask, atlas"):
        read_responses(values(), FMRI, EVENTS, stimuli, masks="x")
