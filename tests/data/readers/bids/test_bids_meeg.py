"""Names of M/EEG recordings, and events in every place and unit: read alike, or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.readers import open_dataset
from brainmap.data.responses import Responses

mne_bids = pytest.importorskip("mne_bids")
RATE, N_IMAGES = 100.0, 6
ONSETS = 1.0 + 1.5 * np.arange(N_IMAGES)
EPOCHS = {"sfreq": 25.0, "tmin": -0.1, "tmax": 0.6}


def recording(kind: str = "mag", *, seed: int = 0, n_samples: int = 1100) -> mne.io.RawArray:
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(1).standard_normal((N_IMAGES, 3))
    times = np.arange(n_samples) / RATE
    shape = np.exp(-0.5 * ((times[:, None] - ONSETS - 0.2) / 0.07) ** 2)
    data = (shape @ patterns).T + 0.01 * rng.standard_normal((3, n_samples))
    names = ["MEG001", "MEG002", "MEG003"] if kind == "mag" else ["Oz", "Pz", "Cz"]
    raw = mne.io.RawArray(
        (1e-12 if kind == "mag" else 1e-5) * data, mne.create_info(names, RATE, kind), verbose="error"
    )
    raw.set_meas_date(None)
    return raw


def events_table(**changed: Any) -> pd.DataFrame:
    names = [f"im{i}.png" for i in range(N_IMAGES)]
    return pd.DataFrame({"onset": ONSETS, "duration": 0.5, "stim_file": names}).assign(**changed)


def pictures(root: Path) -> None:
    (root / "stimuli").mkdir(parents=True, exist_ok=True)
    for number in range(N_IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"stimuli/im{number}.png")


def write(root: Path, *, table: pd.DataFrame | None = None, **entities: str) -> Path:
    """A MEG recording as mne-bids writes it; returns its events."""
    pictures(root)
    names: dict[str, str] = {"subject": "01", "task": "look", **entities}
    place = mne_bids.BIDSPath(root=root, datatype="meg", suffix="meg", **names)
    mne_bids.write_raw_bids(recording(), place, allow_preload=True, overwrite=True, verbose="error", format="FIF")
    file: Path = place.copy().update(suffix="events", extension=".tsv", split=None).fpath
    (events_table() if table is None else table).to_csv(file, sep="\t", index=False, na_rep="n/a")
    return file


def write_brainvision(root: Path, datatype: str, unit: str) -> None:
    """EEG or ECoG in BrainVision's format, in the unit given."""
    pictures(root)
    folder = root / "sub-01" / datatype
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-01_task-look_run-01_{datatype}"
    raw = recording("eeg")
    factor = {"V": 1.0, "mV": 1e3, "µV": 1e6}[unit]
    (factor * raw.get_data()).T.astype("<f4").tofile(folder / f"{stem}.eeg")
    lines = [
        "Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", "Codepage=UTF-8",
        f"DataFile={stem}.eeg", f"MarkerFile={stem}.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED",
        f"NumberOfChannels={len(raw.ch_names)}", f"SamplingInterval={1e6 / RATE:g}", "[Binary Infos]",
        "BinaryFormat=IEEE_FLOAT_32", "[Channel Infos]",
        *(f"Ch{number}={name},,1,{unit}" for number, name in enumerate(raw.ch_names, 1)),
    ]  # fmt: skip
    (folder / f"{stem}.vhdr").write_text("\n".join(lines), encoding="utf-8")
    marker = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", f"DataFile={stem}.eeg"]
    (folder / f"{stem}.vmrk").write_text("\n".join([*marker, "[Marker Infos]", "Mk1=New Segment,,1,1,0"]))
    kind = {"eeg": "EEG", "ieeg": "ECOG"}[datatype]
    channels = pd.DataFrame({"name": raw.ch_names, "type": kind, "units": unit})
    channels.to_csv(folder / f"{stem.removesuffix(datatype)}channels.tsv", sep="\t", index=False)
    events_table().to_csv(folder / f"{stem.removesuffix(datatype)}events.tsv", sep="\t", index=False)


def read(root: Path, **options: Any) -> Responses:
    reader = open_dataset("bids-meeg", root, options={"epochs": EPOCHS, "zscore": "none", **options})
    return reader.responses("01", reader.stimuli(["01"]))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain")
    write(root, run="01")
    return read(root).block()


@pytest.mark.parametrize("entities", [{"run": "1", "acquisition": "A"}, {"run": "01", "session": "b"}, {}])
def test_whatever_entities_a_name_has_the_recording_is_read(tmp_path, plain, entities):
    write(tmp_path, **entities)
    responses = read(tmp_path)
    assert np.allclose(responses.block(), plain, rtol=1e-4, atol=1e-18) and (responses.trials["repeat"] == 0).all()


def scaled(root: Path, factor: float, *, fmt: str = "single") -> None:
    """Write the recording in another unit, or with other numbers, as if its unit were tesla."""
    file = root / "sub-01/meg/sub-01_task-look_run-01_meg.fif"
    raw = mne.io.read_raw_fif(file, preload=True, verbose="error")
    file.unlink()
    raw.apply_function(lambda values: factor * values, picks="all").save(file, fmt=fmt, verbose="error")


@pytest.mark.parametrize("unit", ["T", "fT", "pT", "double precision"])
def test_units_change_nothing_after_standardising(tmp_path, unit):
    write(tmp_path / "plain", run="01")
    write(tmp_path / "other", run="01")
    scaled(tmp_path / "other", {"fT": 1e15, "pT": 1e12}.get(unit, 1.0), fmt="double" if "double" in unit else "single")
    blocks = [read(tmp_path / name, zscore="session").block() for name in ("plain", "other")]
    assert np.allclose(blocks[0], blocks[1], atol=2e-4)


def test_runs_follow_their_numbers_however_they_are_written(tmp_path):
    for run in ("10", "2", "01"):
        write(tmp_path, run=run, table=events_table(stim_file=[f"im{(i + int(run)) % 6}.png" for i in range(N_IMAGES)]))
    responses = read(tmp_path)
    assert responses.trials["run"].drop_duplicates().tolist() == ["01", "2", "10"]
    shown = [int(label[-1]) for label in responses.trials["label"]]
    assert shown == [(i + run) % 6 for run in (1, 2, 10) for i in range(N_IMAGES)]


def test_channels_that_are_marked_bad_are_reported_and_wrong_types_do_not_count(tmp_path, plain):
    write(tmp_path, run="01")
    file = tmp_path / "sub-01/meg/sub-01_task-look_run-01_channels.tsv"
    table = pd.read_csv(file, sep="\t")
    table.assign(type="OTHER").to_csv(file, sep="\t", index=False, na_rep="n/a")
    assert np.allclose(read(tmp_path).block(), plain, rtol=1e-4, atol=1e-18)
    table.loc[1, "status"] = "bad"
    table.to_csv(file, sep="\t", index=False, na_rep="n/a")
    responses = read(tmp_path)
    assert responses.targets["sensor"].unique().tolist() == ["MEG001", "MEG003"]
    assert responses.info["findings"]["items"][0]["what"] == "1 channels are marked bad"


def test_a_file_that_another_one_needs_is_named(tmp_path):
    write_brainvision(tmp_path, "eeg", "V")
    (tmp_path / "sub-01/eeg/sub-01_task-look_run-01_eeg.eeg").unlink()
    with pytest.raises(MissingFileError, match=r"run-01_eeg\.eeg is not there, which .*_eeg\.vhdr needs"):
        read(tmp_path)


def test_inherited_events_and_stated_units_are_honoured(tmp_path, plain):
    file = write(tmp_path, run="01", table=events_table(onset=1000 * ONSETS, duration=500.0))
    file.rename(tmp_path / "task-look_events.tsv")
    (tmp_path / "task-look_events.json").write_text(json.dumps({"onset": {"Units": "ms"}, "duration": {"Units": "ms"}}))
    assert np.allclose(read(tmp_path).block(), plain, rtol=1e-4, atol=1e-18)
    (tmp_path / "task-look_events.json").unlink()
    with pytest.raises(InputError, match=r"Row 0 of .*task-look_events\.tsv starts at 1000 s, 6 of 6 images after"):
        read(tmp_path)


def test_processed_versions_of_a_recording_are_asked_about(tmp_path, plain):
    write(tmp_path, run="01")
    write(tmp_path, run="01", processing="sss")
    with pytest.raises(InputError, match=r"versions .*--set entities\.proc=null \(there are null, sss\)"):
        read(tmp_path)
    assert read(tmp_path, entities={"proc": "sss"}).n_trials == N_IMAGES
    assert np.allclose(read(tmp_path, entities={"proc": None}).block(), plain, rtol=1e-4, atol=1e-18)


def test_a_split_recording_is_one(tmp_path, plain):
    write(tmp_path, run="01")
    folder = tmp_path / "sub-01/meg"
    raw = mne.io.read_raw_fif(folder / "sub-01_task-look_run-01_meg.fif", preload=True, verbose="error")
    (folder / "sub-01_task-look_run-01_meg.fif").unlink()
    long = mne.concatenate_raws([raw, *(recording(seed=s, n_samples=300_000) for s in (1, 2))], verbose="error")
    whole = folder / "sub-01_task-look_run-01_meg.fif"
    long.save(whole, split_size="4MB", split_naming="bids", overwrite=True, verbose="error")
    assert len(list(folder.glob("*split-*_meg.fif"))) > 1
    responses = read(tmp_path)
    assert responses.n_trials == N_IMAGES and np.corrcoef(responses.block().ravel(), plain.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("datatype", ["eeg", "ieeg"])
def test_eeg_and_electrocorticography_are_found_by_themselves_in_any_unit(tmp_path, datatype):
    values = []
    for unit in ("V", "mV", "µV"):
        write_brainvision(tmp_path / unit, datatype, unit)
        responses = read(tmp_path / unit)
        assert responses.modality == datatype and responses.n_trials == N_IMAGES
        assert responses.targets["sensor"].unique().tolist() == ["Oz", "Pz", "Cz"]
        values.append(responses.block())
    assert np.allclose(values[0], values[1], atol=1e-9) and np.allclose(values[0], values[2], atol=1e-9)
    write(tmp_path / "V", run="01")
    with pytest.raises(InputError, match=r"several kinds: meg, .*--set datatype=meg"):
        read(tmp_path / "V")
    assert read(tmp_path / "V", datatype=datatype).n_trials == N_IMAGES


def test_the_window_comes_from_the_data_and_late_trials_are_dropped(tmp_path):
    onsets = ONSETS.copy()
    onsets[-1] = 10.8
    write(tmp_path, run="01", table=events_table(onset=onsets))
    responses = read(tmp_path, epochs={"sfreq": 25.0})
    assert responses.info["epochs"]["tmin"] == -0.2 and responses.info["epochs"]["tmax"] == pytest.approx(1.3)
    assert responses.n_trials == N_IMAGES - 1 and responses.info["findings"]["items"][0]["row"] == N_IMAGES - 1


def test_absent_events_and_recordings_are_told_apart(tmp_path):
    file = write(tmp_path, run="01")
    file.rename(tmp_path / "elsewhere.txt")
    with pytest.raises(MissingFileError, match=r"No events table applies to .*run-01_meg\.fif"):
        read(tmp_path)
    (tmp_path / "elsewhere.txt").rename(file)
    recorded = tmp_path / "sub-01/meg/sub-01_task-look_run-01_meg.fif"
    content = recorded.read_bytes()
    recorded.write_bytes(b"/annex/objects/MD5E-s1--0.fif\n")
    with pytest.raises(MissingFileError, match="pointer of git-annex"):
        read(tmp_path)
    recorded.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        InputError, match=r"run-01_meg\.fif cannot be read|beyond the recording|after the end|cut short"
    ):
        read(tmp_path)
    recorded.unlink()
    with pytest.raises(MissingFileError, match="1 of 1 runs of subject 01 have events but no meg recording") as raised:
        read(tmp_path)
    assert "data fetch" not in str(raised.value)
