"""Processed M/EEG beside the raw data: cleaned recordings and epochs, told apart, paired and never read twice."""

from __future__ import annotations

import sys
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_bids_meeg import EPOCHS, N_IMAGES, ONSETS, RATE, events_table, pictures, read, recording, write

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.readers import open_dataset

pytest.importorskip("mne_bids")
PIPELINE = "derivatives/mne-bids-pipeline"


def patterns() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((N_IMAGES, 3))


def epochs(metadata: pd.DataFrame | None = None, seed: int = 0, event_id: dict[str, int] | None = None) -> mne.Epochs:
    samples = np.round(ONSETS * RATE).astype(int)
    codes = np.ones(N_IMAGES, int) if event_id is None else 1 + np.arange(N_IMAGES)
    events = np.stack([samples, np.zeros(N_IMAGES, int), codes], axis=1)
    return mne.Epochs(
        recording(seed=seed), events, event_id, tmin=-0.1, tmax=0.6, baseline=None, metadata=metadata, preload=True,
        verbose="error",
    )  # fmt: skip


def save(root: Path, made: mne.Epochs, name: str = "sub-01_task-look_proc-clean_epo.fif") -> Path:
    folder = root / PIPELINE / "sub-01/meg"
    folder.mkdir(parents=True, exist_ok=True)
    made.save(folder / name, verbose="error", overwrite=True)
    return folder / name


def planted(responses) -> float:
    """Least correlation over sensors of the signal at its peak (0.2 s) with what was planted."""
    names = responses.trials["label"].tolist() if "label" in responses.trials else None
    shown = np.array([int(str(name)[-1]) for name in names])
    columns = np.flatnonzero(np.isclose(responses.targets["time"], 0.2, atol=0.021))
    chosen = [columns[responses.targets["sensor"].iloc[columns] == s][0] for s in responses.targets["sensor"].unique()]
    values = responses.block()[:, chosen]
    return float(min(np.corrcoef(values[:, k], patterns()[shown, k])[0, 1] for k in range(3)))


def test_epochs_with_metadata_need_no_raw_data(tmp_path):
    pictures(tmp_path)
    order = np.random.default_rng(5).permutation(N_IMAGES)
    metadata = pd.DataFrame({"stim_file": [f"stimuli/im{i}.png" for i in range(N_IMAGES)], "rt": 0.5})
    save(tmp_path, epochs(metadata)[order])
    responses = read(tmp_path, epochs={})
    assert responses.trials["label"].str[-1].astype(int).tolist() == order.tolist() and planted(responses) > 0.999
    assert responses.info["source"] == PIPELINE and responses.info["sfreq"] == RATE
    assert responses.targets["time"].iloc[[0, -1]].tolist() == [-0.1, 0.6]
    cut = read(tmp_path, epochs={"tmin": 0.1, "tmax": 0.3})
    assert cut.targets["time"].iloc[[0, -1]].tolist() == [0.1, 0.3] and planted(cut) > 0.999
    based = read(tmp_path, epochs={"baseline": (-0.1, 0.0)}).block().reshape(N_IMAGES, 3, -1)
    assert np.abs(based[..., :11].mean(axis=-1)).max() < 1e-3 * np.abs(based).max()
    with pytest.raises(InputError, match=r"holds epochs, which are filtered and sampled already; .*epochs\.l_freq"):
        read(tmp_path, epochs={"l_freq": 1.0})
    (sentence,) = open_dataset("bids-meeg", tmp_path).choices(["01"])
    assert f"1 files of epochs in {PIPELINE} of 01, task look; from -0.1 to 0.6 s, as they are" in sentence


def test_epochs_without_metadata_are_paired_with_the_events_and_checked_by_their_times(tmp_path):
    write(tmp_path, run="01")
    kept = epochs().drop([1, 4], verbose="error")
    file = save(tmp_path, kept)
    responses = read(tmp_path, derivatives=PIPELINE, epochs={})
    assert responses.trials["label"].str[-1].astype(int).tolist() == [0, 2, 3, 5] and planted(responses) > 0.999
    moved = events_table(onset=ONSETS + np.array([0, 0.4, 0, 0, 0, 0]))
    moved.to_csv(tmp_path / "sub-01/meg/sub-01_task-look_run-01_events.tsv", sep="\t", index=False)
    save(tmp_path, epochs())
    with pytest.raises(InputError, match=rf"epochs of .*{file.name} do not lie where .*events\.tsv has its"):
        read(tmp_path, derivatives=PIPELINE, epochs={})
    save(tmp_path, epochs()[:3])
    events_table()[:5].to_csv(tmp_path / "sub-01/meg/sub-01_task-look_run-01_events.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match=r"has 3 epochs \(of 6 before rejection\) .*lists 5 photographs.*metadata"):
        read(tmp_path, derivatives=PIPELINE, epochs={})


def test_epochs_of_all_runs_follow_the_events_of_all_runs(tmp_path):
    for run in ("01", "02"):
        write(tmp_path, run=run)
    both = mne.concatenate_epochs([epochs(), epochs(seed=2)], verbose="error")
    save(tmp_path, both)
    responses = read(tmp_path, derivatives=PIPELINE, epochs={})
    assert responses.trials["run"].tolist() == ["01"] * N_IMAGES + ["02"] * N_IMAGES and planted(responses) > 0.999
    scaled = read(tmp_path, derivatives=PIPELINE, epochs={}, zscore="run")
    assert np.allclose(scaled.block()[:N_IMAGES].mean(axis=0), 0, atol=1e-4)
    save(tmp_path, epochs(), "sub-01_task-look_run-01_proc-clean_epo.fif")
    with pytest.raises(InputError, match=r"several versions of one recording: .*_epo\.fif, .*run-01.*entities\.run"):
        read(tmp_path, derivatives=PIPELINE, epochs={})
    assert read(tmp_path, derivatives=PIPELINE, epochs={}, entities={"run": 1}).n_trials == N_IMAGES


def test_metadata_that_could_mean_two_things_are_refused(tmp_path):
    pictures(tmp_path)
    names = [f"im{i}.png" for i in range(N_IMAGES)]
    save(tmp_path, epochs(pd.DataFrame({"image": names, "stimulus": names[::-1]})))
    with pytest.raises(InputError, match=r"several columns that may name the photographs: \['image', 'stimulus'\]"):
        read(tmp_path, epochs={})
    assert planted(read(tmp_path, epochs={}, image_column="image")) > 0.999


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    pictures(tmp_path)
    names = pd.DataFrame({"stim_file": [f"im{i}.png" for i in range(N_IMAGES)]})
    file = save(tmp_path, epochs(names))
    whole = file.read_bytes()
    for share in (0.3, 0.6, 0.9):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"proc-clean_epo\.fif") as caught:
            read(tmp_path, epochs={})
        assert "\n" not in str(caught.value)
    save(tmp_path, epochs(names)[[]])
    with pytest.raises(InputError, match=r"_epo\.fif (holds no epochs|cannot be read)"):
        read(tmp_path, epochs={})
    file.unlink()
    save(tmp_path, epochs(names), "cleaned-epo.fif")
    with pytest.raises(MissingFileError, match=r"no BIDS name \(cleaned-epo\.fif\): .*with --responses"):
        open_dataset("bids-meeg", tmp_path).recordings("01")


def test_a_sensor_that_lacks_a_value_is_left_out_with_all_of_its_times(tmp_path):
    pictures(tmp_path)
    made = epochs(pd.DataFrame({"stim_file": [f"im{i}.png" for i in range(N_IMAGES)]}))
    made._data[2, 1, 5] = np.nan
    save(tmp_path, made)
    responses = read(tmp_path, epochs={})
    assert responses.targets["sensor"].unique().tolist() == ["MEG001", "MEG003"] and responses.n_targets == 2 * 71


def test_names_of_events_may_be_photographs(tmp_path):
    pictures(tmp_path)
    save(tmp_path, epochs(event_id={f"im{i}.png": 1 + i for i in range(N_IMAGES)}))
    assert planted(read(tmp_path, epochs={})) > 0.999


@pytest.mark.parametrize(
    "name", ["sub-01_task-look_run-01_proc-clean_raw.fif", "sub-01_run-1_task-look_desc-clean_meg.fif"]
)
def test_cleaned_recordings_are_cut_around_the_raw_events(tmp_path, name):
    write(tmp_path, run="01")
    expected = read(tmp_path).block()
    folder = tmp_path / PIPELINE / "sub-01/meg"
    folder.mkdir(parents=True)
    recording().save(folder / name, verbose="error")
    responses = read(tmp_path, derivatives=PIPELINE)
    assert np.allclose(responses.block(), expected, rtol=1e-3, atol=1e-17) and planted(responses) > 0.99
    assert (
        open_dataset("bids-meeg", tmp_path)
        .choices(["01"])[0]
        .endswith("(also there: mne-bids-pipeline; --set derivatives=…)")
    )


def test_versions_in_derivatives_are_asked_about(tmp_path):
    write(tmp_path, run="01")
    folder = tmp_path / PIPELINE / "sub-01/meg"
    folder.mkdir(parents=True)
    recording().save(folder / "sub-01_task-look_run-01_proc-filt_raw.fif", verbose="error")
    recording().save(folder / "sub-01_task-look_run-01_proc-clean_raw.fif", verbose="error")
    save(tmp_path, epochs())
    with pytest.raises(InputError, match=r"There are several versions of the recordings: .*_epo\.fif.*_raw\.fif"):
        read(tmp_path, derivatives=PIPELINE)
    with pytest.raises(InputError, match=r"--set entities\.proc=clean \(there are clean, filt\)"):
        read(tmp_path, derivatives=PIPELINE, entities={"suffix": "raw"})
    assert read(tmp_path, derivatives=PIPELINE, entities={"suffix": "raw", "proc": "filt"}).n_trials == N_IMAGES
    assert planted(read(tmp_path, derivatives=PIPELINE, epochs={}, entities={"suffix": "epo"})) > 0.999
    assert read(tmp_path).info["epochs"]["tmin"] == EPOCHS["tmin"]  # raw data go first
    with pytest.raises(MissingFileError, match="there are these derivatives: derivatives/mne-bids-pipeline"):
        read(tmp_path, derivatives="derivatives/prep")


def test_epochs_of_eeglab_in_derivatives(tmp_path):
    from scipy.io import savemat

    pictures(tmp_path)
    made = epochs()
    data = 1e6 * 1e6 * made.get_data(copy=True)
    names = [f"im{i}.png" for i in range(N_IMAGES)]
    n_times = data.shape[-1]
    event = np.array(
        [(name, float(11 + n_times * n), float(n + 1)) for n, name in enumerate(names)],
        dtype=[("type", object), ("latency", object), ("epoch", object)],
    )
    epoch = np.array(
        [(float(n + 1), name, 0.0) for n, name in enumerate(names)],
        dtype=[("event", object), ("eventtype", object), ("eventlatency", object)],
    )
    eeg = {
        "setname": "x", "nbchan": 3.0, "pnts": float(n_times), "trials": float(N_IMAGES), "srate": RATE, "xmin": -0.1,
        "xmax": 0.6, "data": np.moveaxis(data, 0, -1), "chanlocs": np.array([(n,) for n in ("Oz", "Pz", "Cz")],
        dtype=[("labels", object)]), "event": event, "epoch": epoch, "icawinv": [], "icasphere": [], "icaweights": [],
        "chaninfo": {"nosedir": "+X"}, "ref": "x",
    }  # fmt: skip
    folder = tmp_path / "derivatives/eeglab/sub-01/eeg"
    folder.mkdir(parents=True)
    savemat(folder / "sub-01_task-look_desc-epochs_eeg.set", {"EEG": eeg}, appendmat=False)
    responses = read(tmp_path, epochs={})
    assert responses.modality == "eeg" and planted(responses) > 0.999
