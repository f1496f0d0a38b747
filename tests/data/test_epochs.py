from __future__ import annotations

import mne
import numpy as np
import pytest
from pydantic import ValidationError

from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks, within_epoch

RATE = 1200.0


def tones(*frequencies: float) -> mne.io.RawArray:
    times = np.arange(int(60 * RATE)) / RATE
    data = np.stack([np.sin(2 * np.pi * frequency * times) for frequency in frequencies])
    return mne.io.RawArray(data, mne.create_info(len(frequencies), RATE, "mag"), verbose="error")


def epochs(raw: mne.io.RawArray, onsets: np.ndarray, settings: EpochSettings, **options: int) -> np.ndarray:
    blocks = list(epoch_blocks(raw, raw.ch_names, onsets, settings, **options))
    return np.concatenate(blocks, axis=1).reshape(len(onsets), len(raw.ch_names), -1)


def test_what_passes_keeps_its_phase_at_every_onset_and_nothing_folds_back():
    onsets = np.array([20.0, 25.0137, 31.2521])  # off the grid of the new sampling rate
    settings = EpochSettings(tmin=-0.5, tmax=1.0)
    found = epochs(tones(6.0, 17.0, 25.0), onsets, settings)
    expected = np.sin(2 * np.pi * 6 * (onsets[:, None] + settings.times))
    assert np.abs(found[:, 0] - expected).max() < 0.02  # 0.4 ms at most between sample and onset
    # 17 and 25 Hz lie above the Nyquist frequency of 30 samples a second and would appear at 13 and 5 Hz.
    assert np.abs(found[:, 1:]).max() < 0.02


def test_antialiasing_at_half_of_the_sampling_rate_keeps_what_is_below():
    onsets = np.array([20.0, 25.0137, 31.2521])
    raw = tones(6.0, 13.5, 16.0, 25.0)
    sharp = epochs(raw, onsets, EpochSettings(tmin=-0.5, tmax=1.0, antialias=15))
    times = onsets[:, None] + EpochSettings(tmin=-0.5, tmax=1.0).times
    for row, frequency in enumerate((6.0, 13.5)):
        assert np.abs(sharp[:, row] - np.sin(2 * np.pi * frequency * times)).max() < 0.04
    assert np.abs(sharp[:, 2:]).max() < 0.02  # 16 Hz would appear at 14
    gentle = epochs(raw, onsets, EpochSettings(tmin=-0.5, tmax=1.0))
    assert np.abs(gentle[:, 1]).max() < 0.6  # the reader's own filter takes half of 13.5 Hz
    with pytest.raises(ValidationError, match="would fold back"):
        EpochSettings(antialias=16)
    assert "antialias" not in EpochSettings().described() and EpochSettings(antialias=15).described()["antialias"] == 15


def test_baseline_and_fewer_channels_at_once():
    raw, onsets = tones(3.0, 5.0, 7.0), np.array([10.0, 20.3])
    settings = EpochSettings(baseline=(-0.4, 0.0))
    found = epochs(raw, onsets, settings)
    quiet = (settings.times >= -0.4 - 1e-9) & (settings.times <= 1e-9)
    assert np.abs(found[:, :, quiet].mean(axis=2)).max() < 1e-6
    assert np.array_equal(epochs(raw, onsets, settings, memory=1), found)


def test_times_hold_the_onset_and_edges_are_known():
    settings = EpochSettings(sfreq=30, tmin=-0.5, tmax=3.0)
    assert len(settings.times) == 106 and 0.0 in settings.times
    assert within_epoch(np.array([0.4, 0.5, 57.0, 57.1, np.nan]), settings, 60.0).tolist() == [
        False, True, True, False, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"tmin": 1.0, "tmax": 0.5}, {"l_freq": 30.0}, {"baseline": (-2.0, 0.0)}, {"window": 1.0}, {"sfreq": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        EpochSettings(**wrong)
