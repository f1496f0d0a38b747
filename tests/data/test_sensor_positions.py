"""What sensors measure and where they are, against MNE's own montages, layouts and pictures."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest

from brainmap import read_responses
from brainmap.common.errors import InputError
from brainmap.data.own_recordings.meeg_objects import data_channels
from brainmap.data.sensor_positions import flat_positions, measured, with_montage
from brainmap.stimuli import StimulusSet


def as_mne_draws(names: list[str], montage: str) -> np.ndarray:
    """Where MNE's own layout puts the sensors of a montage; only the shape of the map counts."""
    made = mne.create_info(names, 100.0, "eeg").set_montage(montage)
    return mne.channels.make_eeg_layout(made).pos[:, :2]


@pytest.mark.parametrize("montage", ["biosemi64", "biosemi128", "GSN-HydroCel-128", "standard_1020"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_of_nets_lie_as_mne_draws_them(montage: str) -> None:
    names = mne.channels.make_standard_montage(montage).ch_names
    names = [name for name in names if name not in ("M1", "M2", "T3", "T4", "T5", "T6", "A1", "A2")]
    flat, theirs = flat_positions(names, modality="eeg"), as_mne_draws(names, montage)
    assert np.isfinite(flat).all(axis=1).mean() > 0.97
    flat, theirs = flat[np.isfinite(flat[:, 0])], theirs[np.isfinite(flat[:, 0])]
    for axis in (0, 1):  # the same map, whatever the radius at which the head's outline is drawn
        assert np.corrcoef(flat[:, axis], theirs[:, axis])[0, 1] > 0.97
    low, high = np.percentile(np.linalg.norm(flat, axis=1), [0, 80])
    assert low < 0.2 and 0.6 < high < 1.25


def test_ten_twenty_is_where_everybody_expects_it() -> None:
    fpz, t7, cz, o2 = flat_positions(["Fpz", "t7", "CZ", "O2"], modality="eeg")
    np.testing.assert_allclose(cz, 0, atol=1e-6)
    np.testing.assert_allclose(fpz, [0, 0.8], atol=0.01)
    np.testing.assert_allclose(t7, [-0.8, 0], atol=0.01)
    assert o2[0] > 0 > o2[1]
    muse = flat_positions(["TP9", "AF7", "AF8", "TP10"])
    assert np.isfinite(muse).all() and muse[0, 0] == pytest.approx(-muse[3, 0], abs=1e-6)


def test_a_few_names_of_a_net_that_counts_mean_no_place() -> None:
    assert np.isnan(flat_positions([f"E{i}" for i in range(1, 21)], modality="eeg")).all()
    assert np.isnan(flat_positions(["A1", "A2", "A3", "B1"], modality="eeg")).all()
    assert np.isnan(flat_positions([str(i) for i in range(1, 62)], modality="eeg")).all()


def test_meg_systems_by_name() -> None:
    everything = mne.channels.read_layout("Vectorview-all").names
    flat = flat_positions(everything, modality="meg")
    same = flat_positions([name.replace(" ", "") for name in everything], modality="meg")
    np.testing.assert_array_equal(flat, same)
    assert len(np.unique(np.round(flat, 9), axis=0)) == 102  # one place, three sensors
    older = [name for name in mne.channels.read_layout("CTF151").names if name[0] == "M"]
    assert np.isfinite(flat_positions(older, modality="meg")).all()
    assert np.isfinite(flat_positions([f"{name}-609" for name in older], modality="meg")).all()


def test_places_in_space_are_projected_from_the_middle_of_the_head() -> None:
    rng = np.random.default_rng(0)
    names = mne.channels.make_standard_montage("biosemi64").ch_names
    places = np.array([*mne.channels.make_standard_montage("biosemi64").get_positions()["ch_pos"].values()])
    expected = flat_positions([f"own {name}" for name in names], places=places)
    moved = flat_positions([f"own {name}" for name in names], places=1000 * places + [3, -5, 40])  # mm, another origin
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    assert np.corrcoef(expected.T.ravel(), flat_positions(names).T.ravel())[0, 1] > 0.995
    places[3] = np.nan
    partly = flat_positions([f"own {name}" for name in names], places=places + 1e-4 * rng.standard_normal((64, 1)))
    assert np.isnan(partly[3]).all() and np.isfinite(np.delete(partly, 3, axis=0)).all()


def test_montages_and_layouts_by_name() -> None:
    table = pd.DataFrame({"sensor": ["A1", "B2", "D32"], "time": 0.0})
    placed = with_montage(table, "BioSemi128")
    theirs = mne.channels.make_standard_montage("biosemi128").get_positions()["ch_pos"]
    np.testing.assert_allclose(placed[["x", "y", "z"]], 1000 * np.array([theirs[n] for n in table["sensor"]]))
    flat = with_montage(pd.DataFrame({"sensor": ["MLC11", "MRO11"]}), "CTF151")
    assert {"u", "v"} <= set(flat) and flat["v"].iloc[0] > flat["v"].iloc[1]
    with pytest.raises(InputError, match=r"no montage or layout 'biosemi12'; it has .*biosemi128"):
        with_montage(table, "biosemi12")
    with pytest.raises(InputError, match="'biosemi64' has no sensor 'A1'"):
        with_montage(table, "biosemi64")


def sensors(*names: str, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({"sensor": names, "time": 0.0, **columns})


@pytest.mark.parametrize(
    ("table", "wanted", "expected", "told"),
    [
        (sensors("MLO11-1609", "MRO11"), None, "meg", ""),
        (sensors("MEG 0113", "MEG0112"), None, "meg", ""),
        (sensors("Fz", "Cz", "TP10"), None, "eeg", "10–20"),
        (sensors("EEG 001", "EEG 002"), None, "eeg", "taken for EEG"),
        (sensors("s1", "s2"), None, "meg", "taken for MEG"),
        (sensors("s1", "s2"), "eeg", "eeg", ""),
        (sensors("s1", "s2", kind="EEG"), "meg", "eeg", ""),
        (sensors("s1", "s2", kind=["mag", "grad"]), None, "meg", ""),
    ],
)
def test_what_sensors_measure(table: pd.DataFrame, wanted: str | None, expected: str, told: str) -> None:
    modality, notes = measured(table, None, wanted)
    assert modality == expected and bool(notes) == bool(told) and told in " ".join(notes)
    assert measured(table, "ieeg", wanted) == ("ieeg", [])


def test_kinds_that_are_none_or_two_are_refused() -> None:
    with pytest.raises(InputError, match=r"Row 1 of .* has the kind 'eog'"):
        measured(sensors("a", "b", kind=["eeg", "eog"]), None, None)
    with pytest.raises(InputError, match="names MEG and EEG; make a study of each"):
        measured(sensors("a", "b", kind=["mag", "eeg"]), None, None)


def test_a_file_with_two_kinds_of_channels_is_asked_which() -> None:
    info = mne.create_info(["m1", "m2", "e1", "eog"], 100.0, ["mag", "grad", "eeg", "eog"])
    with pytest.raises(InputError, match=r"2 MEG and 1 EEG channels; choose one kind with --modality meg or .* eeg"):
        data_channels(info, "x.fif")
    assert data_channels(info, "x.fif", "eeg")[1].tolist() == [2]
    assert data_channels(info, "x.fif", "meg")[1].tolist() == [0, 1]
    info["bads"] = ["e1"]
    modality, picks, notes = data_channels(info, "x.fif")
    assert (modality, picks.tolist(), notes) == ("meg", [0, 1], [])


def test_epochs_of_eeg_are_eeg() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    stimuli = StimulusSet.from_arrays(images, pd.DataFrame({"name": ["a", "b", "c"]}))
    info = mne.create_info(["x1", "x2"], 100.0, "eeg")
    epochs = mne.EpochsArray(np.zeros((3, 2, 5)) + np.arange(3)[:, None, None], info, verbose="error")
    responses = read_responses(epochs, None, pd.DataFrame({"stimulus": ["a", "b", "c"]}), stimuli, check=False)
    assert responses.modality == "eeg" and "EEG" in repr(responses)
    targets = pd.DataFrame({"roi": ["V1", "V2"]})
    with pytest.raises(InputError, match="fMRI has neither --modality eeg"):
        read_responses(np.eye(3)[:, :2], targets, pd.DataFrame({"stimulus": ["a", "b", "c"]}), stimuli, modality="eeg")
