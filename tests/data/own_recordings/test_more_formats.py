"""EDF, BDF, continuous EEGLAB, source estimates in HDF5, parcellated CIFTI, label files of surfaces: planted values."""

from __future__ import annotations

from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel import cifti2

from brainmap import read_responses
from brainmap.common.errors import InputError
from brainmap.stimuli import StimulusSet

RATE, CHANNELS, N_TIMES = 100, ["Fz", "Cz", "Pz"], 21
SHOWN = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 4))
EPOCHS = 1e-6 * np.random.default_rng(1).integers(-800, 800, (len(SHOWN), len(CHANNELS), N_TIMES)) / 10
ONSETS = (50 + 60 * np.arange(len(SHOWN))) / RATE
EVENTS = pd.DataFrame({"onset": ONSETS, "stimulus": np.array([*"abc"])[SHOWN]})
ROWS = pd.DataFrame({"stimulus": ["a", "b", "c"] * 2})
WINDOW = {"tmin": -0.1, "tmax": 0.1}
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote", "ignore::RuntimeWarning")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [*"abc"]}))


def signal() -> np.ndarray:
    """The epochs end to end in V, (n_channels, n_samples), whole seconds."""
    values = np.zeros((len(CHANNELS), 800))
    for number, epoch in enumerate(EPOCHS):
        values[:, 40 + 60 * number : 61 + 60 * number] = epoch
    return values


def write_edf(path: Path, unit: str, *, bits: int = 16) -> None:
    """Signals in EDF (16 bits) or BDF (24), one record a second; steps of 0.1 µV."""
    values = np.round(signal() * 1e7).astype(np.int32)
    n_records = values.shape[1] // RATE
    top = 2 ** (bits - 1) - 1
    physical = top / 10 * {"uV": 1.0, "mV": 1e-3}[unit]

    def field(text: object, width: int) -> bytes:
        return str(text)[:width].ljust(width).encode()

    count = len(CHANNELS)
    start = field("0", 8) if bits == 16 else b"\xffBIOSEMI"
    head = start + field("X", 80) + field("X", 80) + field("01.01.20", 8) + field("10.00.00", 8)
    head += field(256 * (count + 1), 8) + field("" if bits == 16 else "24BIT", 44) + field(n_records, 8) + field(1, 8)
    head += field(count, 4)
    for texts, width in (
        (CHANNELS, 16), ([""] * count, 80), ([unit] * count, 8), ([f"{-physical:g}"] * count, 8),
        ([f"{physical:g}"] * count, 8), ([-top] * count, 8), ([top] * count, 8), ([""] * count, 80),
        ([RATE] * count, 8), ([""] * count, 32),
    ):  # fmt: skip
        head += b"".join(field(text, width) for text in texts)
    body = b""
    for record in range(n_records):
        for channel in values[:, record * RATE : (record + 1) * RATE]:
            wide = channel.astype("<i4").tobytes()
            body += b"".join(wide[4 * n : 4 * n + bits // 8] for n in range(RATE))
    path.write_bytes(head + body)


def write_eeglab(path: Path) -> None:
    from scipy.io import savemat

    event = np.array(
        [
            (name, float(1 + round(onset * RATE)))
            for onset, name in zip(EVENTS["onset"], EVENTS["stimulus"], strict=True)
        ],
        dtype=[("type", object), ("latency", object)],
    )
    eeg = {
        "setname": "x", "nbchan": 3.0, "pnts": 800.0, "trials": 1.0, "srate": float(RATE), "xmin": 0.0, "xmax": 7.99,
        "data": 1e6 * signal(), "chanlocs": np.array([(n,) for n in CHANNELS], dtype=[("labels", object)]),
        "event": event, "epoch": [], "icawinv": [], "icasphere": [], "icaweights": [], "chaninfo": {"nosedir": "+X"},
        "ref": "x",
    }  # fmt: skip
    savemat(path, {"EEG": eeg}, appendmat=False)


@pytest.mark.parametrize("form", ["x.edf", "mV.edf", "x.EDF", "x.bdf", "x.set", "x.fif"])
def test_continuous_files_give_the_planted_epochs_in_volts(stimuli: StimulusSet, tmp_path: Path, form: str):
    path = tmp_path / form
    if path.suffix.lower() in (".edf", ".bdf"):
        write_edf(path, "mV" if form.startswith("mV") else "uV", bits=16 if "edf" in form.lower() else 24)
    elif path.suffix == ".set":
        write_eeglab(path)
    else:
        raw = mne.io.RawArray(signal(), mne.create_info(CHANNELS, RATE, "eeg"), verbose="error")
        raw.save(tmp_path / "x_raw.fif", fmt="double", verbose="error")
        path = tmp_path / "x_raw.fif"
    responses = read_responses(path, events=EVENTS, stimuli=stimuli, **WINDOW)
    np.testing.assert_allclose(responses.block(), EPOCHS.reshape(len(SHOWN), -1), atol=2e-9)
    assert responses.targets["sensor"].unique().tolist() == CHANNELS
    if form == "x.set":  # events of EEGLAB that name photographs need no table
        assert np.array_equal(read_responses(path, stimuli=stimuli, **WINDOW).block(), responses.block())


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("form", ["x.edf", "x.bdf", "x.set"])
def test_continuous_files_that_were_cut_are_one_sentence(stimuli, tmp_path: Path, form: str, share: float):
    path = tmp_path / form
    write_eeglab(path) if form == "x.set" else write_edf(path, "uV", bits=16 if form == "x.edf" else 24)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    try:
        responses = read_responses(path, events=EVENTS, stimuli=stimuli, **WINDOW)
    except InputError as error:
        assert form in str(error) and "\n" not in str(error)
    else:  # a cut recording is a shorter one: what lies beyond is left out and said
        assert responses.n_trials < len(SHOWN)
        assert any("reach beyond" in note for note in responses.info["notes"])


def test_source_estimates_in_hdf5(stimuli: StimulusSet, tmp_path: Path):
    pytest.importorskip("h5io")
    vertices = [np.array([3, 7]), np.array([0])]
    values = np.random.default_rng(1).standard_normal((3, 3, 5)).astype(np.float32)
    for value, name in zip(values, "abc", strict=True):
        mne.SourceEstimate(value, vertices, -0.02, 0.02).save(tmp_path / name, ftype="h5", verbose="error")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-stc.h5", "b-stc.h5", "c-stc.h5"]
    expected = values.reshape(3, -1)
    for source in (tmp_path, sorted(tmp_path.iterdir())):
        responses = read_responses(source, stimuli=stimuli)
        np.testing.assert_allclose(responses.block(), expected, rtol=1e-6)
        assert responses.targets["sensor"].unique().tolist() == ["L3", "L7", "R0"]
    one = read_responses(tmp_path / "b-stc.h5", stimuli=stimuli)
    np.testing.assert_allclose(one.block(), expected[1:2], rtol=1e-6)


def test_a_package_that_is_not_installed_is_named(stimuli: StimulusSet, tmp_path: Path, monkeypatch):
    def absent(*_args, **_options):
        raise ImportError("no h5io", name="h5io")

    monkeypatch.setattr(mne, "read_source_estimate", absent)
    (tmp_path / "a-lh.stc").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a-lh\.stc needs h5io; .*pip install brainmap\[meeg\]"):
        read_responses(tmp_path / "a-lh.stc", stimuli=stimuli)


def parcels() -> cifti2.ParcelsAxis:
    axis = cifti2.BrainModelAxis.from_surface(np.arange(6), 32492, "CortexLeft")
    return cifti2.ParcelsAxis.from_brain_models([("V1", axis[:3]), ("NA", axis[3:5]), ("L_MT", axis[5:])])


@pytest.mark.parametrize("kind", ["pscalar", "ptseries"])
def test_parcels_are_targets(stimuli: StimulusSet, tmp_path: Path, kind: str):
    values = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
    names = [f"stim/{name}.jpg" for name in ROWS["stimulus"]]
    rows = cifti2.ScalarAxis(names) if kind == "pscalar" else cifti2.SeriesAxis(0, 1, 6)
    path = tmp_path / f"x.{kind}.nii"
    nibabel.save(cifti2.Cifti2Image(values, cifti2.Cifti2Header.from_axes((rows, parcels()))), path)
    responses = read_responses(path, events=None if kind == "pscalar" else ROWS, stimuli=stimuli)
    np.testing.assert_array_equal(responses.block(), values)
    assert responses.targets["roi"].tolist() == ["V1", "NA", "L_MT"]
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[[0, 1, 2] * 2])


def test_areas_from_a_dense_label_file(stimuli: StimulusSet, tmp_path: Path):
    left = cifti2.BrainModelAxis.from_surface(np.array([5, 9, 700]), 32492, "CortexLeft")
    right = cifti2.BrainModelAxis.from_surface(np.array([5, 8]), 32492, "CortexRight")
    values = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)
    header = cifti2.Cifti2Header.from_axes((cifti2.SeriesAxis(0, 1, 6), left + right))
    nibabel.save(cifti2.Cifti2Image(values, header), tmp_path / "x.dtseries.nii")
    table = {0: ("???", (0, 0, 0, 0)), 1: ("L_V1", (1, 0, 0, 1)), 2: ("R_V1", (0, 1, 0, 1)), 3: ("NA", (0, 0, 1, 1))}
    whole = [
        cifti2.BrainModelAxis.from_surface(np.arange(32492), 32492, name) for name in ("CortexLeft", "CortexRight")
    ]
    labels = np.zeros((1, 2 * 32492))
    labels[0, [5, 9, 32492 + 5, 32492 + 8]] = [1, 3, 2, 2]
    axes = (cifti2.LabelAxis(["areas"], [table]), whole[0] + whole[1])
    nibabel.save(cifti2.Cifti2Image(labels, cifti2.Cifti2Header.from_axes(axes)), tmp_path / "a.dlabel.nii")
    responses = read_responses(
        tmp_path / "x.dtseries.nii", events=ROWS, stimuli=stimuli, atlas=tmp_path / "a.dlabel.nii"
    )
    assert responses.targets["roi"].tolist() == ["L_V1", "NA", "", "R_V1", "R_V1"]
    np.testing.assert_array_equal(responses.block(), values)


def label_file(path: Path, labels: np.ndarray) -> None:
    image = nibabel.gifti.GiftiImage(darrays=[nibabel.gifti.GiftiDataArray(labels, "NIFTI_INTENT_LABEL", "int32")])
    for key, name in ((0, "???"), (1, "V1"), (7, "NA")):
        label = nibabel.gifti.GiftiLabel(key, 1, 0, 0, 1)
        label.label = name
        image.labeltable.labels.append(label)
    nibabel.save(image, path)


def test_areas_from_gifti_label_files_of_each_hemisphere(stimuli: StimulusSet, tmp_path: Path):
    count = 10242
    values = np.random.default_rng(2).standard_normal((2, 6, count)).astype(np.float32)
    for side, half in zip("LR", values, strict=True):
        arrays = [nibabel.gifti.GiftiDataArray(row, datatype="NIFTI_TYPE_FLOAT32") for row in half]
        nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), tmp_path / f"b_hemi-{side}.func.gii")
        labels = np.zeros(count, np.int32)
        labels[:4] = [1, 1, 7, 0] if side == "L" else [7, 0, 1, 1]
        label_file(tmp_path / f"atlas_hemi-{side}.label.gii", labels)
    for atlas in ("L", "R"):
        responses = read_responses(
            tmp_path / "b_hemi-L.func.gii",
            events=ROWS,
            stimuli=stimuli,
            atlas=tmp_path / f"atlas_hemi-{atlas}.label.gii",
        )
        roi = responses.targets["roi"]
        assert roi[:4].tolist() == ["V1", "V1", "NA", ""] and roi[count : count + 4].tolist() == ["NA", "", "V1", "V1"]
        np.testing.assert_array_equal(responses.block(), np.concatenate(values, axis=1))
    (tmp_path / "atlas_hemi-R.label.gii").unlink()
    with pytest.raises(InputError, match="There is no atlas for the hemisphere R beside"):
        read_responses(
            tmp_path / "b_hemi-L.func.gii", events=ROWS, stimuli=stimuli, atlas=tmp_path / "atlas_hemi-L.label.gii"
        )
