from __future__ import annotations

import pickle
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from data.public_files import write_images, write_things_eeg2, write_things_fmri
from data.test_public_readers import names_of, read

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.column_files import zscore_columns
from brainmap.data.published_splits import fixed_split
from brainmap.data.readers import open_dataset
from brainmap.data.readers.things.things_fmri import named_area
from brainmap.data.readers.things.things_labels import kind_of_trial, names_by_number
from brainmap.data.readers.things.things_meg import DROP_OUTS, drop_outs
from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks
from brainmap.data.recordings.numpy_dict import read_numpy_dict

SENSORS = ["MLC11-1609", "MRO12-1609", "MZO02-1609"]
RATE, N_TIMES = 200.0, 281  # -0.1 to 1.3 s, as published


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickles_of_things_eeg2_are_read_without_executing_them(tmp_path, protocol):
    epochs = write_things_eeg2(tmp_path, protocol)
    responses, _ = read(open_dataset("things-eeg2", tmp_path, options={"zscore": "none"}))
    expected = np.concatenate([part.reshape(-1, 24) for part in epochs.values()])
    assert np.allclose(responses.block(), expected, atol=1e-6)
    reader = open_dataset("things-eeg2", tmp_path)
    assert reader.nuisance("01")["part"].tolist() == ["training"] * 24 + ["test"] * 20


def test_large_arrays_are_mapped_and_a_bare_pickle_that_asks_for_code_is_refused(tmp_path, capsys):
    values = np.random.default_rng(0).standard_normal((4, 500, 100))
    content = {"a": values, "f": np.asfortranarray(values), "n": np.float64(2.5), "names": ["x"]}
    (tmp_path / "a.npy").write_bytes(pickle.dumps(content, protocol=4))
    found = read_numpy_dict(tmp_path / "a.npy")
    assert np.array_equal(found["a"], values) and np.array_equal(found["f"], values) and found["n"] == 2.5
    assert not found["a"].flags.writeable and not found["a"].flags.owndata

    class Bad:
        def __reduce__(self):
            return (print, ("run",))

    for protocol in range(2, 6):
        (tmp_path / "bad.npy").write_bytes(pickle.dumps({"a": Bad()}, protocol=protocol))
        with pytest.raises(InputError, match=r"it asks for (builtins|__builtin__)\.print"):
            read_numpy_dict(tmp_path / "bad.npy")
    assert capsys.readouterr().out == ""
    (tmp_path / "cut.npy").write_bytes(pickle.dumps(content, protocol=4)[:-5000])
    with pytest.raises(InputError, match=r"cut\.npy holds something else than plain data"):
        read_numpy_dict(tmp_path / "cut.npy")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match=r"neither a \.npy file nor a pickle"):
        read_numpy_dict(tmp_path / "text.npy")


def test_folds_of_things_keep_a_concept_together_unless_told_otherwise(tmp_path):
    write_things_eeg2(tmp_path)
    assert open_dataset("things-eeg2", tmp_path).stimuli(["01"]).n_listed_sources == 3
    kept = read(open_dataset("things-eeg2", tmp_path))[1].table["source"]
    apart = read(open_dataset("things-eeg2", tmp_path, options={"groups": "image"}))[1].table["source"]
    assert kept.nunique() == 3 and apart.nunique() == 8


def test_only_the_folder_says_that_a_trial_was_a_test_or_a_catch_trial(tmp_path):
    paths = {
        "images_meg/test_tube/test_tube_01b.jpg": "exp", "images_meg/catcher/catcher_02s.jpg": "exp",
        "images_test_meg/test_tube_15s.jpg": "test", "images_catch_meg/catch001.jpg": "catch",
        "C:\\images_test_meg\\dog_01b.jpg": "test",
    }  # fmt: skip
    assert {path: kind_of_trial(path) for path in paths} == paths
    rows = [("images_meg/test_tube/test_tube_01b.jpg", 7), ("images_test_meg/test_tube_15s.jpg", 7)]
    table = pd.DataFrame(rows, columns=["image_path", "things_image_nr"]).assign(session_nr=1, run_nr=1)
    (tmp_path / "sourcedata").mkdir()
    table.to_csv(tmp_path / "sourcedata/sample_attributes_P1.csv", index=False)
    assert names_by_number(tmp_path, None) == {7: "test_tube_01b"}  # trials of the main experiment come first


@pytest.mark.parametrize(
    ("column", "name"),
    [("V1", "prf:V1"), ("hV4", "prf:hV4"), ("LO1 (prf)", "prf:LO1"), ("glasser-V1", "glasser:V1"),
     ("glasser-a9-\n46v", "glasser:a9-46v"), ("lFFA", "localiser:lFFA"), ("IT", "localiser:IT")],
)  # fmt: skip
def test_areas_of_things_fmri_carry_their_atlas(column, name):
    assert ":".join(named_area(column)) == name


def test_atlases_of_things_fmri_are_chosen_and_trials_out_of_order_refused(tmp_path):
    write_things_fmri(tmp_path)
    glasser = read(open_dataset("things-fmri", tmp_path, options={"atlas": "glasser"}))[0].targets
    assert glasser["roi"].tolist() == ["glasser:V1", "glasser:p9-46v", "glasser:FFC", "glasser:FFC"]
    file = tmp_path / "betas_csv/sub-02_StimulusMetadata.csv"
    table = pd.read_csv(file)
    table.iloc[[1, 0, *range(2, len(table))]].to_csv(file, index=False)
    with pytest.raises(InputError, match=r"Row 1 of .* is out of order: trial_id must rise within a run"):
        read(open_dataset("things-fmri", tmp_path))


def test_known_drop_outs_are_bridged_before_the_filter():
    assert drop_outs(Path("sub-BIGMEG1_ses-11_task-main_run-05_meg.ds")) == ((13.4, 13.6),)
    assert drop_outs(Path("sub-BIGMEG1_ses-11_task-main_run-04_meg.ds")) == ()
    assert len(DROP_OUTS) == 2
    rng = np.random.default_rng(0)
    clean = 1e-12 * rng.standard_normal((2, 20 * 300))
    broken = clean.copy()
    broken[:, round(13.4 * 300) : round(13.6 * 300)] = 1e-7
    settings = EpochSettings(sfreq=60.0, tmin=-0.1, tmax=0.5)
    read_epochs = []
    for data, bridged in ((clean, ()), (broken, ((13.4, 13.6),)), (broken, ())):
        raw = mne.io.RawArray(data, mne.create_info(["MLC11", "MLC12"], 300.0, "mag"), verbose="error")
        onsets = np.array([3.0, 12.4, 14.5])
        read_epochs.append(np.hstack(list(epoch_blocks(raw, raw.ch_names, onsets, settings, bridged=bridged))))
    distance = [np.abs(values - read_epochs[0]).max() for values in read_epochs]
    assert distance[1] < 0.3 * np.abs(read_epochs[0]).max() and distance[2] > 100 * distance[1]


def write_epochs(root: Path, *, metadata: bool = True) -> tuple[np.ndarray, list[str]]:
    """Two sessions of the authors' epochs: float, z-scored, catch trials among them, metadata as in the log."""
    rng = np.random.default_rng(1)
    names = [f"dog_{i:02d}s" for i in range(4)] + ["test_tube_01b"]
    tests = ["candle_14s", "mug_15n"]
    write_images(root / "stimuli", [*names, *tests])
    rows, shown = [], []
    for session in (1, 2):
        order = [*rng.permutation(names).tolist(), "catch", *tests]
        for name in order:
            folder = {"catch": "images_catch_meg"}.get(name, "images_test_meg" if name in tests else "images_meg")
            path = (
                f"{folder}/{name.rpartition('_')[0]}/{name}.jpg" if folder == "images_meg" else f"{folder}/{name}.jpg"
            )
            kind = {"images_meg": "exp", "images_test_meg": "test"}.get(folder, "catch")
            rows.append({"trial_type": kind, "image_path": path, "session_nr": session, "run_nr": 1})
        shown += [name for name in order if name != "catch"]
    log = pd.DataFrame(rows).assign(things_image_nr=np.arange(len(rows)) + 1.0)
    amplitude = {name: rng.standard_normal((len(SENSORS), N_TIMES)) for name in [*names, *tests]}
    data = np.zeros((len(rows), len(SENSORS), N_TIMES))
    for row, (path, session) in enumerate(zip(log["image_path"], log["session_nr"], strict=True)):
        data[row] = amplitude.get(Path(path).stem, 0) + 3 * session
    codes = np.where(log["trial_type"] == "catch", 999999, log["things_image_nr"]).astype(int)
    events = np.stack([100 * np.arange(len(rows)), np.zeros(len(rows), int), codes], axis=1)
    info = mne.create_info(SENSORS, RATE, "mag")
    epochs = mne.EpochsArray(data, info, events, tmin=-0.1, metadata=log if metadata else None, verbose="error")
    folder = root / "derivatives/preprocessed"
    folder.mkdir(parents=True)
    epochs.save(folder / "preprocessed_P1-epo.fif", overwrite=True, split_size="2MB", verbose="error")
    if not metadata:
        (root / "sourcedata").mkdir()
        log.to_csv(root / "sourcedata/sample_attributes_P1.csv", index=False)
    return np.stack([amplitude[name] for name in shown]).reshape(len(shown), -1), shown


@pytest.mark.parametrize("metadata", [True, False])
def test_preprocessed_epochs_of_things_meg_come_back_by_trial(tmp_path, metadata):
    planted, shown = write_epochs(tmp_path, metadata=metadata)
    reader = open_dataset("things-meg-epochs", tmp_path, memory=32 * 4 * 3 * N_TIMES)  # four trials at a time
    responses, stimuli = read(reader)
    assert reader.subjects() == ["BIGMEG1"] and names_of(responses, stimuli) == shown
    assert responses.targets["sensor"].unique().tolist() == ["MLC11", "MRO12", "MZO02"]
    times = responses.targets["time"].to_numpy()[:N_TIMES]
    assert times[0] == pytest.approx(-0.1) and times[-1] == pytest.approx(1.3)
    values = responses.block()
    for session in (1, 2):
        here = (responses.trials["session"] == session).to_numpy()
        assert np.abs(values[here] - zscore_columns(planted[here])).max() < 1e-4
    assert reader.test_images(stimuli).sum() == 2
    assert stimuli.table["source"].nunique() == 4  # dog, test_tube, candle, mug
    assert len(reader.nuisance("BIGMEG1")) == reader.shape("BIGMEG1")[0] == len(shown)
    part = open_dataset("things-meg-epochs", tmp_path, options={"tmin": 0.0, "tmax": 0.5})
    assert part.shape("BIGMEG1")[1] == 3 * 101
    assert fixed_split(responses.average_repeats(), stimuli)[0][1].size == 2


def test_epochs_that_cannot_be_told_apart_are_refused(tmp_path):
    write_epochs(tmp_path, metadata=False)
    log = tmp_path / "sourcedata/sample_attributes_P1.csv"
    pd.read_csv(log).iloc[:-1].to_csv(log, index=False)
    with pytest.raises(InputError, match="lists 15 trials for 16 epochs"):
        open_dataset("things-meg-epochs", tmp_path).shape("BIGMEG1")
    log.unlink()
    with pytest.raises(MissingFileError, match="which photograph an epoch shows is unknown"):
        open_dataset("things-meg-epochs", tmp_path).shape("BIGMEG1")
    with pytest.raises(InputError, match=r"tmin = 2\.0"):
        open_dataset("things-meg-epochs", tmp_path, options={"tmin": 2.0, "tmax": 3.0}).shape("BIGMEG1")
    with pytest.raises(MissingFileError, match=r"There is no folder|There is no derivatives/preprocessed"):
        open_dataset("things-meg-epochs", tmp_path / "derivatives").subjects()
