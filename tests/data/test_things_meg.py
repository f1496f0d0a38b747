from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data.things_files import LAG, RATE, SENSORS, PlantedMEG, real_events, wave, write_things_meg

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.column_files import zscore_columns
from brainmap.data.readers import open_dataset
from brainmap.data.readers.dataset_reader import DatasetReader
from brainmap.data.recordings.ctf import Recording
from brainmap.data.recordings.triggers import align_triggers, rising_edges

EPOCHS = {"sfreq": 60.0, "tmin": -0.1, "tmax": 0.6, "l_freq": 0.1, "h_freq": 20.0}


@pytest.fixture(scope="module")
def written(tmp_path_factory, shared_data) -> PlantedMEG:
    return write_things_meg(tmp_path_factory.mktemp("meg") / "things-meg", shared_data / "things_meta")


@pytest.fixture
def planted(written, tmp_path) -> PlantedMEG:
    """A copy that a test may damage."""
    root = tmp_path / "things-meg"
    shutil.copytree(written.root, root)
    return PlantedMEG(
        root, written.images, written.amplitude, [root / r.relative_to(written.root) for r in written.runs]
    )


def opened(planted: PlantedMEG, cache: Path | None = None, **options: object) -> DatasetReader:
    settings = {"sessions": (1, 2), "runs": (1, 2), "epochs": EPOCHS} | options
    return open_dataset("things-meg", planted.root, stimuli=planted.images, cache=cache, options=settings)


def events_file(planted: PlantedMEG, run: int) -> Path:
    recording = planted.runs[run]
    return recording.with_name(recording.name.replace("_meg.ds", "_events.tsv"))


def edit(file: Path, change) -> None:
    table = pd.read_csv(file, sep="\t")
    change(table).to_csv(file, sep="\t", index=False, na_rep="n/a")


def test_the_recording_reads_back_through_mne_as_it_was_written(written):
    recording = Recording(written.runs[0])
    assert recording.sensors == SENSORS and float(recording.raw.info["sfreq"]) == RATE
    events = pd.read_csv(events_file(written, 0), sep="\t")
    assert np.abs(recording.triggers() - (events["onset"] - LAG)).max() <= 0.5 / RATE
    name = recording.channel_of["MLC11"]
    assert name == "MLC11-1609"
    data = recording.raw.get_data(picks=[name])[0]
    times = recording.raw.times
    # Up to the second photograph the channel is the first one's wave, and nothing else.
    first = next(iter(opened(written).stimuli(["BIGMEG1"]).table["name"]))
    assert first in written.amplitude
    labels = _labels(written, 0)
    expected = 2e-12 * written.amplitude[labels[0]][1] * wave(times - recording.triggers()[0])
    until = times < recording.triggers()[1] - 0.2
    assert np.abs(data[until] - expected[until]).max() < 6e-14


def _labels(planted: PlantedMEG, run: int) -> list[str]:
    log = pd.read_csv(planted.root / "sourcedata/sample_attributes_P1.csv")
    part = log[(log["session_nr"] == run // 2 + 1) & (log["run_nr"] == run % 2 + 1) & (log["trial_type"] != "catch")]
    return [Path(path).stem for path in part["image_path"]]


def test_planted_responses_come_back_aligned_to_the_right_photographs(written, tmp_path):
    reader = opened(written, tmp_path, zscore="none")
    stimuli = reader.stimuli(["BIGMEG1"])
    responses = reader.responses("BIGMEG1", stimuli)
    labels = [label for run in range(4) for label in _labels(written, run)]
    assert responses.n_trials == len(labels) == 4 * 11  # catch trials dropped
    assert stimuli.table["name"].iloc[stimuli.index_of(responses.trials["stimulus"])].tolist() == labels
    # Sensors in the order of the CTF-275 layout, sensor by sensor.
    order = ["MLC11", "MLO31", "MRT22", "MZO02"]
    assert responses.targets["sensor"].drop_duplicates().tolist() == order
    times = responses.targets["time"].to_numpy()[: len(responses.targets) // 4]
    assert times[0] == -0.1 and times[6] == 0.0
    scale = 1 + responses.trials["session"].to_numpy()
    expected = np.stack([
        np.outer(written.amplitude[label][[SENSORS.index(sensor) for sensor in order]], wave(times)).ravel() * factor
        for label, factor in zip(labels, scale, strict=True)
    ])  # fmt: skip
    strong = np.abs(np.tile(wave(times), 4)) > 0.3
    r = (zscore_columns(responses.block()) * zscore_columns(expected)).mean(axis=0)
    assert strong.sum() > 20 and r[strong].min() > 0.99
    assert responses.info["lag_ms"]["median"] == pytest.approx(150, abs=1)
    assert np.abs(responses.trials["lag"] - LAG).max() < 0.001
    assert reader.test_images(stimuli).sum() == 6


def test_zscore_removes_the_scale_of_each_session_and_repeats_are_groups(written, tmp_path):
    reader = opened(written, tmp_path)
    stimuli = reader.stimuli(["BIGMEG1"])
    responses = reader.responses("BIGMEG1", stimuli)
    values = responses.block()
    for session in (1, 2):
        part = values[responses.trials["session"].to_numpy() == session]
        assert np.abs(part.mean(axis=0)).max() < 1e-4 and np.abs(part.std(axis=0) - 1).max() < 1e-3
    shown = responses.trials.groupby("stimulus")["repeat"].max()
    assert (shown == 1).sum() == 6 and (shown == 0).sum() == 32  # the repeated ones, once a session
    nuisance = reader.nuisance("BIGMEG1")
    assert nuisance.columns.tolist() == ["session", "run", "onset", "gaze_x"]
    assert np.abs(nuisance["gaze_x"] - 1000 * (nuisance["onset"] + 0.25)).max() < 2  # mean over the half second
    assert nuisance["run"].tolist() == ([1] * 11 + [2] * 11) * 2
    assert (responses.trials["trial_type"] == "test").sum() == 12
    assert reader.shape(reader.resolve("1"))[0] == 44


def test_prepared_runs_are_kept_and_a_killed_preparation_goes_on(written, tmp_path):
    reader = opened(written, tmp_path)
    stimuli = reader.stimuli(["BIGMEG1"])
    whole = reader.responses("BIGMEG1", stimuli).block()
    made = sorted(tmp_path.rglob("*_meg-*.npy"))
    assert len(made) == 4
    made[2].unlink()
    stamps = [path.stat().st_mtime_ns for path in made if path.exists()]
    assert np.array_equal(opened(written, tmp_path).responses("BIGMEG1", stimuli).block(), whole)
    assert [path.stat().st_mtime_ns for path in made if path != made[2]] == stamps
    other = opened(written, tmp_path, epochs=EPOCHS | {"baseline": (-0.1, 0.0)})
    assert np.abs(other.responses("BIGMEG1", stimuli).block() - whole).max() > 1e-3
    assert len(list(tmp_path.rglob("*_meg-*.npy"))) == 8  # another setting, another key


def test_onsets_of_the_events_table_are_later_by_the_lag(written, tmp_path):
    stimuli = opened(written).stimuli(["BIGMEG1"])
    late = opened(written, tmp_path, onsets="events", zscore="none").responses("BIGMEG1", stimuli)
    early = opened(written, tmp_path, zscore="none").responses("BIGMEG1", stimuli)
    times = early.targets["time"].to_numpy()
    one = early.block(targets=np.isclose(times, 0.2))
    assert np.abs(late.block(targets=np.isclose(times, 0.05)) - one).max() < 0.02 * np.abs(one).max()


def test_a_table_shifted_by_one_trial_is_detected(planted):
    def shift(table):
        table.loc[1:, ["value", "trial_type"]] = table.loc[: len(table) - 2, ["value", "trial_type"]].to_numpy()
        return table

    edit(events_file(planted, 1), shift)
    with pytest.raises(InputError, match=r"run-02_events\.tsv is shifted by 1 rows against the log"):
        opened(planted).stimuli(["BIGMEG1"])


def test_onsets_shifted_by_one_trial_are_detected(planted, tmp_path):
    stimuli = opened(planted).stimuli(["BIGMEG1"])

    def shift(table):
        return table.assign(onset=[*table["onset"][1:], table["onset"].iloc[-1] + 1.4])

    edit(events_file(planted, 0), shift)
    with pytest.raises(InputError, match=r"onsets in .*run-01_events\.tsv are shifted by 1 rows"):
        opened(planted).responses("BIGMEG1", stimuli)


def test_swapped_sessions_are_detected(planted):
    one, other = events_file(planted, 0), events_file(planted, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(InputError, match="lists what the log has under session 2, run 1: files are swapped"):
        opened(planted).stimuli(["BIGMEG1"])


def test_swapped_recordings_are_detected_by_their_triggers(planted):
    stimuli = opened(planted).stimuli(["BIGMEG1"])
    one, other = planted.runs[0], planted.runs[3]
    for suffix in (".res4", ".meg4"):
        paths = [run / (run.stem + suffix) for run in (one, other)]
        contents = [path.read_bytes() for path in paths]
        paths[0].write_bytes(contents[1])
        paths[1].write_bytes(contents[0])
    with pytest.raises(InputError, match=r"run-01_events\.tsv does not fit the trigger channel"):
        opened(planted).responses("BIGMEG1", stimuli)


def test_a_duplicated_event_is_dropped_if_equal_and_refused_by_row_if_not(planted, tmp_path):
    stimuli = opened(planted).stimuli(["BIGMEG1"])
    untouched = events_file(planted, 0).read_bytes()
    edit(events_file(planted, 0), lambda table: table.iloc[[0, 1, 2, 2, *range(3, len(table))]])
    responses = opened(planted).responses("BIGMEG1", stimuli)
    assert responses.n_trials == 44
    found = responses.info["findings"]["items"]
    assert (found[0]["row"], found[0]["what"], found[0]["done"]) == (3, "the row occurs twice", "row dropped")

    def twice(table):
        table.loc[3, "onset"] = table.loc[2, "onset"]
        return table

    events_file(planted, 0).write_bytes(untouched)
    edit(events_file(planted, 0), twice)
    with pytest.raises(InputError, match=r"Row 3 of .*events\.tsv starts at .* listed twice or out of order"):
        opened(planted).responses("BIGMEG1", stimuli)


def test_a_missing_run_is_named_or_skipped_and_a_missing_trigger_drops_its_trial(planted):
    shutil.rmtree(planted.runs[3])
    with pytest.raises(MissingFileError, match=r"1 of 4 runs.*session 2, run 2.*--set missing=skip"):
        opened(planted).stimuli(["BIGMEG1"])
    reader = opened(planted, missing="skip")
    edit(events_file(planted, 0), lambda t: t.assign(onset=t["onset"] + np.where(t.index == 1, 0.3, 0.0)))
    responses = reader.responses("BIGMEG1", reader.stimuli(["BIGMEG1"]))
    assert responses.n_trials == 32
    assert responses.info["findings"]["items"][0]["what"] == "no trigger within 60 ms of the expected time"


def test_single_disagreements_with_the_log_are_reported_by_row(planted):
    file = planted.root / "sourcedata/sample_attributes_P1.csv"
    log = pd.read_csv(file)
    row = int(np.flatnonzero(log["trial_type"] == "test")[0])
    names = log.drop_duplicates("things_image_nr").set_index("things_image_nr")["image_path"]
    log.loc[row, "things_image_nr"] = log["things_image_nr"].iloc[0]
    log.loc[row, "image_path"] = names[log["things_image_nr"].iloc[0]]
    log.to_csv(file, index=False)
    reader = opened(planted)
    responses = reader.responses("BIGMEG1", reader.stimuli(["BIGMEG1"]))
    item = responses.info["findings"]["items"][0]
    assert opened(planted, labels="log").stimuli(["BIGMEG1"]).table["name"].tolist()
    assert item["row"] == row and "in the log of what was shown" in item["what"] and responses.n_trials == 44


def test_missing_photographs_are_refused_or_dropped_by_name(planted, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(planted.images, images)
    gone = sorted(images.rglob("*.png"))[0]
    gone.unlink()
    broken = PlantedMEG(planted.root, images, {})
    reader = opened(broken)
    with pytest.raises(InputError, match=rf"of 44 trials show photographs that are not on disk.*{gone.stem}"):
        reader.responses("BIGMEG1", reader.stimuli(["BIGMEG1"]))
    dropped = opened(broken, unmatched="drop")
    assert dropped.responses("BIGMEG1", dropped.stimuli(["BIGMEG1"])).n_trials < 44
    with pytest.raises(MissingFileError, match=r"THINGS-MEG comes without photographs.*--stimuli"):
        open_dataset("things-meg", planted.root, options={"sessions": (1,), "runs": (1,)}).stimuli(["BIGMEG1"])


@pytest.mark.parametrize("run", [1, 7])
def test_real_events_align_with_triggers_even_when_some_are_lost_or_added(shared_data, run):
    """All 225 or 226 real rows of a run, with jitter, lost and additional triggers."""
    rng = np.random.default_rng(run)
    onset = real_events(shared_data / "things_meta", 3, run)["onset"].to_numpy()
    triggers = onset - LAG + 0.002 * rng.standard_normal(len(onset))
    whole = align_triggers(triggers, onset, "events")
    assert whole.typical_lag == pytest.approx(LAG, abs=0.001) and not np.isnan(whole.lag).any()
    some = align_triggers(np.sort(np.r_[np.delete(triggers, [5, 100]), 33.33, 200.1]), onset, "events")
    assert np.flatnonzero(np.isnan(some.onset)).tolist() == [5, 100] and len(some.unused) == 2
    with pytest.raises(InputError, match="does not fit the trigger channel"):
        align_triggers(triggers, np.sort(onset + rng.uniform(-0.6, 0.6, len(onset))), "events")


def test_rising_edges_count_steps_up_to_the_value_only():
    channel = np.array([0, 64, 64, 0, 32, 0, 64, 96, 64, 0])
    assert rising_edges(channel, (64,)).tolist() == [1, 6]
    assert rising_edges(channel).tolist() == [1, 4, 6, 7]
