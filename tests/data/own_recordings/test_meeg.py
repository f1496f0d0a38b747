"""Epochs, evoked responses, continuous recordings and source estimates, as MNE writes them."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from brainmap import read_responses
from brainmap.common.errors import InputError, ReadingNote
from brainmap.data.own_recordings.lazy_rows import SpooledRows
from brainmap.stimuli import StimulusSet

NAMES = ["face/a", "face/b", "house/c"]
CHANNELS, RATE, N_TIMES = ["Fz", "Cz", "Pz", "EOG"], 100.0, 21
RNG = np.random.default_rng(0)
SHOWN = RNG.permutation(np.repeat(np.arange(3), 4))
DATA = 1e-6 * RNG.standard_normal((len(SHOWN), len(CHANNELS), N_TIMES))
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote", "ignore::RuntimeWarning")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": NAMES}))


def info() -> mne.Info:
    made = mne.create_info(CHANNELS, RATE, ["eeg", "eeg", "eeg", "eog"])
    made.set_montage("standard_1020", on_missing="ignore")
    return made


def epochs(metadata: pd.DataFrame | None = None, event_id: dict[str, int] | None = None) -> mne.EpochsArray:
    events = np.stack([200 * np.arange(len(SHOWN)), np.zeros(len(SHOWN), int), 1 + SHOWN], axis=1)
    event_id = {name: 1 + number for number, name in enumerate(NAMES)} if event_id is None else event_id
    return mne.EpochsArray(DATA, info(), events, -0.1, event_id, metadata=metadata, verbose="error")


def check(responses, stimuli: StimulusSet, kept: np.ndarray | slice = slice(None)) -> None:
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[SHOWN[kept]])
    np.testing.assert_allclose(responses.block(), DATA[kept, :3].reshape(-1, 3 * N_TIMES), rtol=1e-5, atol=1e-12)
    assert responses.targets["sensor"].unique().tolist() == CHANNELS[:3]
    np.testing.assert_allclose(responses.targets["time"].unique(), np.arange(N_TIMES) / RATE - 0.1, atol=1e-9)


def test_epochs_in_memory_say_it_all(stimuli: StimulusSet):
    responses = read_responses(epochs(), stimuli=stimuli)
    check(responses, stimuli)
    place = responses.targets.groupby("sensor")[["x", "y", "z"]].first().loc["Cz"]
    expected = 1000 * info()["chs"][1]["loc"][:3]
    np.testing.assert_allclose(place, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["sub-01-epo.fif", "epochs.fif", "x_epo.fif.gz"])
def test_epochs_saved_by_mne_are_read_from_disk(stimuli: StimulusSet, tmp_path: Path, name: str):
    epochs().save(tmp_path / name, verbose="error")
    responses = read_responses(tmp_path / name, stimuli=stimuli)
    assert isinstance(responses.values, SpooledRows)
    check(responses, stimuli)


def test_split_files_are_read_together(stimuli: StimulusSet, tmp_path: Path):
    long = np.random.default_rng(2).standard_normal((12, 4, 9000))
    fast = mne.create_info(CHANNELS, 1000.0, ["eeg", "eeg", "eeg", "eog"])
    made = mne.EpochsArray(long, fast, epochs().events, -0.1, epochs().event_id, verbose="error")
    made.save(tmp_path / "x-epo.fif", verbose="error", split_size="2MB", fmt="double")
    assert len(list(tmp_path.iterdir())) > 1
    responses = read_responses(tmp_path / "x-epo.fif", stimuli=stimuli)
    np.testing.assert_allclose(responses.block(), long[:, :3].reshape(12, -1), rtol=1e-5, atol=1e-6)


def test_metadata_names_photographs_sessions_and_runs(stimuli: StimulusSet, tmp_path: Path):
    files = [rf"C:\stim\{NAMES[n].upper()}.JPG" for n in SHOWN]
    made = epochs(pd.DataFrame({"image": files, "session": 1, "rt": 0.5}), {"shown": 1, "b": 2, "c": 3})
    made.save(tmp_path / "x-epo.fif", verbose="error")
    responses = read_responses(tmp_path / "x-epo.fif", stimuli=stimuli)
    check(responses, stimuli)
    assert responses.trials["session"].map(str).unique().tolist() == ["1"]
    assert "column 'image' of x-epo.fif is read as 'stimulus'" in responses.info["notes"]


def test_a_table_of_all_events_passes_over_rejected_epochs(stimuli: StimulusSet):
    made = epochs(event_id={"x": 1, "y": 2, "z": 3}).drop([2, 7], verbose="error")
    events = pd.DataFrame({"stimulus": [NAMES[n] for n in SHOWN]})
    kept = np.delete(np.arange(len(SHOWN)), [2, 7])
    with pytest.warns(ReadingNote, match="2 of 12 events were rejected in epochs"):
        check(read_responses(made, events=events, stimuli=stimuli), stimuli, kept)
    check(read_responses(made, events=events.iloc[kept], stimuli=stimuli), stimuli, kept)
    with pytest.raises(InputError, match="too few rows: 10 rows for 11 rows"):
        read_responses(made, events=events.iloc[:11], stimuli=stimuli)


def test_events_that_name_no_photographs_are_refused(stimuli: StimulusSet):
    with pytest.raises(InputError, match=r"names the unknown image '.'.*give a table of events"):
        read_responses(epochs(event_id={"x": 1, "y": 2, "z": 3}), stimuli=stimuli)


def test_bad_channels_are_left_out_and_said(stimuli: StimulusSet):
    made = epochs()
    made.info["bads"] = ["Cz"]
    with pytest.warns(ReadingNote, match="1 channels of epochs that are marked bad"):
        assert read_responses(made, stimuli=stimuli).targets["sensor"].unique().tolist() == ["Fz", "Pz"]


def test_evoked_responses_are_named_by_their_comments(stimuli: StimulusSet, tmp_path: Path):
    evoked = [epochs()[name].average(picks="all") for name in NAMES]
    for part, name in zip(evoked, NAMES, strict=True):
        part.comment = name
    expected = np.stack([DATA[n == SHOWN, :3].mean(axis=0).ravel() for n in range(3)])
    responses = read_responses(evoked, stimuli=stimuli)
    np.testing.assert_allclose(responses.block(), expected, rtol=1e-5, atol=1e-12)
    mne.write_evokeds(tmp_path / "x-ave.fif", evoked, verbose="error")
    np.testing.assert_allclose(read_responses(tmp_path / "x-ave.fif", stimuli=stimuli).block(), expected, rtol=1e-4)


def raw() -> mne.io.RawArray:
    """The epochs end to end, with 0.5 s of silence around them."""
    signal = np.zeros((len(CHANNELS), 50 + 60 * len(SHOWN)))
    for number, epoch in enumerate(DATA):
        signal[:, 50 + 60 * number - 10 : 50 + 60 * number + 11] = epoch
    made = mne.io.RawArray(signal, info(), first_samp=400, verbose="error")
    texts = [f"Stimulus/{NAMES[n]}" for n in SHOWN]
    made.set_annotations(mne.Annotations((50 + 60 * np.arange(len(SHOWN))) / RATE, 0, texts))
    return made


def test_continuous_recordings_are_cut_at_annotations_or_onsets(stimuli: StimulusSet, tmp_path: Path):
    raw().save(tmp_path / "x_raw.fif", fmt="double", verbose="error")
    responses = read_responses(tmp_path / "x_raw.fif", stimuli=stimuli, tmin=-0.1, tmax=0.1)
    check(responses, stimuli)
    assert any("is continuous: 12 epochs from -0.1 to 0.1 s are cut" in note for note in responses.info["notes"])
    table = pd.DataFrame({"onset": (50 + 60 * np.arange(len(SHOWN))) / RATE, "stimulus": [NAMES[n] for n in SHOWN]})
    table.loc[len(table)] = [900.0, NAMES[0]]  # beyond the end
    with pytest.warns(ReadingNote, match="1 of 13 epochs reach beyond"):
        responses = read_responses(raw(), events=table, stimuli=stimuli, tmin=-0.1, tmax=0.1)
    check(responses, stimuli)
    with pytest.raises(InputError, match="needs a column 'onset'"):
        read_responses(raw(), events=table[["stimulus"]], stimuli=stimuli)


def test_brainvision_files_are_read_through_mne(stimuli: StimulusSet, tmp_path: Path):
    signal = raw()
    values = np.round(1e7 * signal.get_data(picks="eeg")).astype("<i2")  # steps of 0.1 µV
    (tmp_path / "x.eeg").write_bytes(values.T.tobytes())
    markers = [f"Mk{n + 2}=Comment,{NAMES[k]},{51 + 60 * n},1,0" for n, k in enumerate(SHOWN)]
    (tmp_path / "x.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=x.eeg\n"
        "[Marker Infos]\nMk1=New Segment,,1,1,0,20200101000000000000\n" + "\n".join(markers) + "\n"
    )
    channels = [f"Ch{n + 1}={name},,0.1,µV" for n, name in enumerate(CHANNELS[:3])]
    (tmp_path / "x.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\nDataFile=x.eeg\n"
        "MarkerFile=x.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels=3\nSamplingInterval=10000\n"
        "[Binary Infos]\nBinaryFormat=INT_16\n[Channel Infos]\n" + "\n".join(channels) + "\n"
    )
    responses = read_responses(tmp_path / "x.vhdr", stimuli=stimuli, tmin=-0.1, tmax=0.1)
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[SHOWN])
    np.testing.assert_allclose(responses.block(), DATA[:, :3].reshape(len(SHOWN), -1), atol=6e-8)


def test_eeglab_epochs_are_read_through_mne(stimuli: StimulusSet, tmp_path: Path):
    from scipy.io import savemat

    chanlocs = np.array([(name,) for name in CHANNELS[:3]], dtype=[("labels", object)])
    event = np.array(
        [(NAMES[k], float(11 + N_TIMES * n), float(n + 1)) for n, k in enumerate(SHOWN)],
        dtype=[("type", object), ("latency", object), ("epoch", object)],
    )
    epoch = np.array(
        [(float(n + 1), NAMES[k], 0.0) for n, k in enumerate(SHOWN)],
        dtype=[("event", object), ("eventtype", object), ("eventlatency", object)],
    )
    eeg = {
        "setname": "x", "nbchan": 3.0, "pnts": float(N_TIMES), "trials": float(len(SHOWN)), "srate": RATE, "xmin": -0.1,
        "xmax": 0.1, "data": 1e6 * np.moveaxis(DATA[:, :3], 0, -1), "chanlocs": chanlocs, "event": event,
        "epoch": epoch, "icawinv": [], "icasphere": [], "icaweights": [], "chaninfo": {"nosedir": "+X"}, "ref": "x",
    }  # fmt: skip
    savemat(tmp_path / "x.set", {"EEG": eeg}, appendmat=False)
    check(read_responses(tmp_path / "x.set", stimuli=stimuli), stimuli)


@pytest.mark.parametrize("how", ["list", "folder"])
def test_source_estimates_are_vertices_times_times(stimuli: StimulusSet, tmp_path: Path, how: str):
    vertices = [np.array([3, 7]), np.array([0])]
    values = np.random.default_rng(1).standard_normal((3, 3, 5)).astype(np.float32)
    estimates = [mne.SourceEstimate(value, vertices, -0.02, 0.02, subject="fsaverage") for value in values]
    if how == "list":
        events = pd.DataFrame({"stimulus": NAMES})
        responses = read_responses(estimates, events=events, stimuli=stimuli)
    else:
        for estimate, name in zip(estimates, "abc", strict=True):
            estimate.save(tmp_path / name, verbose="error")
        responses = read_responses(tmp_path, stimuli=stimuli)
    np.testing.assert_allclose(responses.block(), values.reshape(3, -1), rtol=1e-6)
    assert responses.targets["sensor"].unique().tolist() == ["L3", "L7", "R0"]
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids)
    assert responses.modality == "meg"


@pytest.mark.parametrize("share", [0, 0.01, 0.4])
def test_recordings_that_were_cut_are_refused_in_one_sentence(stimuli: StimulusSet, tmp_path: Path, share: float):
    file = tmp_path / "x-epo.fif"
    epochs().save(file, verbose="error")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(InputError) as caught:
        read_responses(file, stimuli=stimuli)
    assert "x-epo.fif" in str(caught.value) and "\n" not in str(caught.value)
