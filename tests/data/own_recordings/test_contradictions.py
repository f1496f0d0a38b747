"""What a file says and what its tables say must agree; what belongs to a file must be there."""

from __future__ import annotations

from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nibabel import cifti2

from brainmap import read_responses
from brainmap.common.errors import InputError, MissingFileError
from brainmap.stimuli import StimulusSet

CHANNELS, N_TIMES = ["Fz", "Cz", "Pz"], 11
SHOWN = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 4))
LABELS = [["11", "12", "13"][shown] for shown in SHOWN]
DATA = 1e-6 * np.random.default_rng(1).standard_normal((12, 3, N_TIMES))
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote", "ignore::RuntimeWarning")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": ["11", "12", "13"]}))


def epochs(**metadata: object) -> mne.EpochsArray:
    events = np.stack([100 * np.arange(12), np.zeros(12, int), np.ones(12, int)], axis=1)
    info = mne.create_info(CHANNELS, 100.0, "eeg")
    return mne.EpochsArray(DATA, info, events, -0.05, metadata=pd.DataFrame(metadata), verbose="error")


def test_a_table_that_contradicts_the_metadata_is_refused(stimuli: StimulusSet):
    turned = pd.DataFrame({"stimulus": [*LABELS[1:], LABELS[0]]})
    row = next(place for place in range(12) if turned["stimulus"][place] != LABELS[place])
    with pytest.raises(InputError, match=rf"Row {row} of the events table names .*, but epochs itself says"):
        read_responses(epochs(image=LABELS), events=turned, stimuli=stimuli)
    same = pd.DataFrame({"stimulus": [f"{label}.png" for label in LABELS]})
    assert read_responses(epochs(image=LABELS), events=same, stimuli=stimuli).n_trials == 12
    conditions = epochs(image=["face"] * 12)  # which name no photograph
    assert read_responses(conditions, events=same, stimuli=stimuli).n_trials == 12


@pytest.mark.parametrize("gap", [False, True])
def test_numbers_of_photographs_stay_whole_where_a_gap_made_them_floats(stimuli: StimulusSet, gap: bool):
    numbers = [float(label) for label in LABELS]
    if gap:
        numbers[4] = np.nan
    for responses in (
        read_responses(epochs(image=numbers), stimuli=stimuli),
        read_responses(epochs(other=[1] * 12), events=pd.DataFrame({"stimulus": numbers}), stimuli=stimuli),
    ):
        kept = np.delete(np.arange(12), [4]) if gap else np.arange(12)
        np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[SHOWN[kept]])
        np.testing.assert_allclose(responses.block(), DATA[kept].reshape(len(kept), -1), rtol=1e-5)
    with pytest.raises(InputError, match=r"unknown image '11\.0'.*7, 007 and 7\.0 differ"):
        read_responses(epochs(image=["11.0"] * 12), stimuli=stimuli)


def test_epochs_that_cannot_be_used_say_why(stimuli: StimulusSet):
    with pytest.raises(InputError, match=r"join them with mne\.concatenate_epochs"):
        read_responses([epochs(image=LABELS)], stimuli=stimuli)
    bad = epochs(image=LABELS)
    bad.info["bads"] = CHANNELS
    with pytest.raises(InputError, match="All channels of epochs that measure a brain are marked bad"):
        read_responses(bad, stimuli=stimuli)
    raw = mne.io.RawArray(np.zeros((3, 300)), mne.create_info(CHANNELS, 100.0, "eeg"), verbose="error")
    late = pd.DataFrame({"onset": 1.0 + np.arange(12), "stimulus": LABELS})
    with pytest.raises(InputError, match=r"10 of 12 onsets lie after the end of recording \(3\.0 s\)"):
        read_responses(raw, events=late, stimuli=stimuli)


def test_a_missing_part_of_a_recording_is_named(stimuli: StimulusSet, tmp_path: Path):
    from scipy.io import savemat

    eeg = {
        "setname": "x", "nbchan": 3.0, "pnts": 300.0, "trials": 1.0, "srate": 100.0, "xmin": 0.0, "xmax": 2.99,
        "data": "x.fdt", "chanlocs": np.array([(name,) for name in CHANNELS], dtype=[("labels", object)]), "event": [],
        "epoch": [], "icawinv": [], "icasphere": [], "icaweights": [], "chaninfo": {"nosedir": "+X"}, "ref": "x",
    }  # fmt: skip
    savemat(tmp_path / "x.set", {"EEG": eeg}, appendmat=False)
    with pytest.raises(MissingFileError, match=r"A file that .*x\.set needs is not there: .*x\.fdt"):
        read_responses(tmp_path / "x.set", events=pd.DataFrame({"onset": [1.0], "stimulus": ["11"]}), stimuli=stimuli)


@pytest.mark.parametrize("unit", ["ms", "s", None])
def test_units_of_times_in_netcdf_are_honoured(stimuli: StimulusSet, tmp_path: Path, unit: str | None):
    times = np.arange(N_TIMES) * (1.0 if unit == "ms" else 0.001 if unit is None else 1.0)
    coords = {"image": ("trial", LABELS), "sensor": CHANNELS, "time": ("time", times, {"units": unit} if unit else {})}
    xr.Dataset({"x": (("trial", "sensor", "time"), DATA)}, coords).to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    responses = read_responses(tmp_path / "r.nc", stimuli=stimuli)
    assert responses.targets["time"].max() == pytest.approx(10.0 if unit == "s" else 0.01)


class OtherArray:
    """An array of another library, as torch's tensors are: its type is none of numpy's."""

    shape, dtype = (12, 33), "other.float64"

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return 1e6 * DATA.reshape(12, -1)


def test_arrays_of_other_libraries_are_numbers(stimuli: StimulusSet):
    targets = pd.DataFrame({"roi": [f"V{n}" for n in range(33)]})
    responses = read_responses(OtherArray(), targets, pd.DataFrame({"stimulus": LABELS}), stimuli)
    np.testing.assert_allclose(responses.block(), 1e6 * DATA.reshape(12, -1), rtol=1e-6)


def test_images_that_hold_no_responses_say_so(stimuli: StimulusSet, tmp_path: Path):
    points = nibabel.gifti.GiftiDataArray(np.zeros((10242, 3), np.float32), "NIFTI_INTENT_POINTSET")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[points]), tmp_path / "lh.surf.gii")
    with pytest.raises(InputError, match="holds the geometry of a surface, not values"):
        read_responses(tmp_path / "lh.surf.gii", stimuli=stimuli)
    axis = cifti2.BrainModelAxis.from_surface(np.arange(6), 32492, "CortexLeft")
    header = cifti2.Cifti2Header.from_axes((axis, cifti2.ScalarAxis(LABELS)))
    nibabel.save(cifti2.Cifti2Image(np.zeros((6, 12), np.float32), header), tmp_path / "x.dscalar.nii")
    with pytest.raises(InputError, match=r"has ScalarAxis along its columns; .*wb_command -cifti-transpose"):
        read_responses(tmp_path / "x.dscalar.nii", stimuli=stimuli)
