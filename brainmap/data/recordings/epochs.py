"""From a continuous recording to epochs, a few channels at a time: filter, sample at the exact onsets, baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CHANNELS = 48  # filtered at once
ANTIALIAS_WIDTH = 1.0  # Hz from what passes to what is gone, where a study says where it is gone


class EpochSettings(BaseModel):
    """How epochs are made.

    Attributes
    ----------
    l_freq, h_freq : float, optional
        Band-pass in Hz (zero phase, as MNE's default FIR).
    sfreq : float
        Samples per second of the epochs. The signal is low-passed before it is sampled, so that nothing folds back:
        ``antialias`` says where.
    antialias : float, optional
        Frequency in Hz at which the low-pass before sampling has let go of everything: half of ``sfreq`` at most. What
        is 1 Hz below still passes. By default a gentler filter, which passes what is below 0.4 of ``sfreq`` (12 Hz of
        30) and lets go at its half.
    tmin, tmax : float
        Beginning and end of an epoch in s from onset.
    baseline : tuple of float, optional
        Interval in s whose mean is subtracted; none by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    l_freq: float | None = Field(default=0.1, ge=0)
    h_freq: float | None = Field(default=20.0, gt=0)
    sfreq: float = Field(default=30.0, gt=0)
    tmin: float = -0.5
    tmax: float = 3.0
    baseline: tuple[float, float] | None = None
    antialias: float | None = Field(default=None, gt=2)

    @model_validator(mode="after")
    def _ordered(self) -> EpochSettings:
        if self.tmin >= self.tmax:
            raise ValueError(f"an epoch must end after it begins, not {self.tmin} to {self.tmax} s")
        if self.l_freq is not None and self.h_freq is not None and self.l_freq >= self.h_freq:
            raise ValueError(f"the band-pass must rise, not {self.l_freq} to {self.h_freq} Hz")
        if self.antialias is not None and self.antialias > self.sfreq / 2 + 1e-9:
            raise ValueError(
                f"antialias: what lies below {self.antialias:g} Hz, above half of sfreq ({self.sfreq / 2:g} Hz), would "
                "fold back"
            )
        if self.baseline is not None and not self.tmin <= self.baseline[0] < self.baseline[1] <= self.tmax:
            raise ValueError(f"the baseline {self.baseline} must lie inside the epoch")
        return self

    def described(self) -> dict[str, Any]:
        """Settings as plain values; what is left at a default that came later does not show."""
        values = self.model_dump(mode="json")
        return values if self.antialias is not None else {k: v for k, v in values.items() if k != "antialias"}

    @property
    def times(self) -> np.ndarray:
        """Times of the samples of an epoch in s; onset is one of them."""
        first, last = round(self.tmin * self.sfreq), round(self.tmax * self.sfreq)
        times: np.ndarray = np.arange(first, last + 1) / self.sfreq
        return times


def within_epoch(onsets: np.ndarray, settings: EpochSettings, duration: float) -> np.ndarray:
    """Whether the epoch around each onset lies inside the recording, (n,) bool; False for NaN."""
    with np.errstate(invalid="ignore"):
        ok: np.ndarray = (onsets + settings.times[0] >= 0) & (onsets + settings.times[-1] <= duration)
    return ok


def epoch_blocks(
    raw: Any,
    channels: Sequence[str],
    onsets: np.ndarray,
    settings: EpochSettings,
    *,
    memory: int = 4 * 10**9,
    bridged: Sequence[tuple[float, float]] = (),
) -> Iterator[np.ndarray]:
    """Epochs of a few channels after the other.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Recording, not preloaded.
    channels : sequence of str
        Channels, in the order wanted.
    onsets : numpy.ndarray of float, (n_trials,)
        In s from the first sample of the recording.
    settings : EpochSettings
        How.
    memory : int
        Bytes to hold; fewer channels are filtered at once where it is small.
    bridged : sequence of tuple of float
        Intervals in s from the first sample in which the signal was lost: each channel's median is put there before
        filtering, which would smear the artefact over its surroundings.

    Yields
    ------
    numpy.ndarray of float32, (n_trials, k × n_times)
        Channel by channel, all times of the first one first.
    """
    rate = float(raw.info["sfreq"])
    samples = np.round((onsets[:, None] + settings.times[None, :]) * rate).astype(np.int64)
    n_samples = len(raw.times)
    samples = np.clip(samples, 0, n_samples - 1)  # a rounding at the very end
    # Samples of a channel in double precision, and about as much again for their epochs.
    width = min(MOST_CHANNELS, max(1, memory // 4 // (16 * n_samples)))
    for start in range(0, len(channels), width):
        picks = [raw.ch_names.index(name) for name in channels[start : start + width]]
        data = raw.get_data(picks=picks)
        for lost, back in bridged:
            data[:, round(lost * rate) : round(back * rate)] = np.median(data, axis=1, keepdims=True)
        data = _filtered(data, rate, settings)
        epochs = data[:, samples].transpose(1, 0, 2)  # (trials, channels, times)
        if settings.baseline is not None:
            first, last = settings.baseline
            quiet = (settings.times >= first - 1e-9) & (settings.times <= last + 1e-9)
            epochs = epochs - epochs[:, :, quiet].mean(axis=2, keepdims=True)
        yield epochs.reshape(len(onsets), -1).astype(np.float32)


def _filtered(data: np.ndarray, rate: float, settings: EpochSettings) -> np.ndarray:
    """Band-pass in place; the upper edge is lowered where the new sampling rate asks for it."""
    from mne.filter import filter_data

    upper = settings.h_freq
    if settings.sfreq < rate and settings.antialias is not None:
        upper = min(upper or np.inf, settings.antialias - ANTIALIAS_WIDTH)
        transition = min(max(0.25 * upper, 2.0), settings.antialias - upper)
    elif settings.sfreq < rate:
        upper = min(upper or np.inf, 0.4 * settings.sfreq)
        # The transition ends at the new Nyquist frequency at the latest.
        transition = min(max(0.25 * upper, 2.0), 0.5 * settings.sfreq - upper)
    else:
        transition = "auto"  # type: ignore[assignment]
    if settings.l_freq is None and upper is None:
        return data
    for row in range(len(data)):  # one channel at a time keeps the filter's copies small
        data[row] = filter_data(
            data[row], rate, settings.l_freq or None, upper, h_trans_bandwidth=transition, verbose="error"
        )
    return data
