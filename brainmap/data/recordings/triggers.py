"""Onsets of photographs: rising edges of a trigger channel, matched one by one to the rows of an events table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainmap.common.errors import InputError

TOLERANCE = 0.06  # s around the typical lag within which a trigger and a row of the table are one event
LARGEST_LAG = 1.0  # s
LARGEST_SHIFT = 3  # rows


@dataclass(frozen=True)
class Alignment:
    """Rows of an events table matched to triggers.

    Attributes
    ----------
    onset : numpy.ndarray of float, (n_rows,)
        Time of the trigger of each row in s; NaN where there is none.
    lag : numpy.ndarray of float, (n_rows,)
        Onset in the table minus that of the trigger, in s; NaN where there is none.
    unused : numpy.ndarray of float
        Triggers that belong to no row, in s.
    """

    onset: np.ndarray
    lag: np.ndarray
    unused: np.ndarray

    @property
    def typical_lag(self) -> float:
        """Median lag in s."""
        return float(np.nanmedian(self.lag))


def rising_edges(channel: np.ndarray, values: tuple[int, ...] | None = None) -> np.ndarray:
    """Samples at which a trigger channel steps up, (k,) int.

    Parameters
    ----------
    channel : numpy.ndarray, (n_samples,)
        Trigger channel.
    values : tuple of int, optional
        Keep steps to these values only; every step up from rest (0) by default.
    """
    level = np.round(channel).astype(np.int64)
    before = np.concatenate([[0], level[:-1]])
    edges = np.flatnonzero((level != before) & (level > 0) & (before < level))
    return edges if values is None else edges[np.isin(level[edges], values)]


def align_triggers(triggers: np.ndarray, events: np.ndarray, where: str) -> Alignment:
    """Match rows of an events table to triggers by the typical lag between them.

    Parameters
    ----------
    triggers, events : numpy.ndarray of float
        Times in s, increasing.
    where : str
        Name of the table, for messages.

    Returns
    -------
    Alignment
        Each row has at most one trigger within 60 ms of the typical lag.

    Raises
    ------
    InputError
        If the table does not fit the triggers: no lag explains most rows, rows are shifted against the triggers, or
        onsets do not increase.
    """
    backwards = np.flatnonzero(np.diff(events) <= 0)
    if len(backwards):
        raise InputError(
            f"Row {int(backwards[0]) + 1} of {where} starts at {events[backwards[0] + 1]:.3f} s, not after the row "
            "before it; an event is listed twice or out of order."
        )
    if not len(triggers) or not len(events):
        raise InputError(
            f"{where} has {len(events)} rows and the recording {len(triggers)} triggers; nothing to match."
        )
    lag = _typical_lag(triggers, events)
    nearest = _nearest(triggers, events - lag)
    distance = np.abs(triggers[nearest] - (events - lag))
    matched = distance <= TOLERANCE
    if matched.mean() < 0.8:
        raise InputError(
            f"{where} does not fit the trigger channel: with the best lag ({1000 * lag:.0f} ms) only "
            f"{int(matched.sum())} of {len(events)} rows have a trigger{_shift_note(triggers, events)}."
        )
    onset = np.where(matched, triggers[nearest], np.nan)
    shift = int(np.median((nearest - np.arange(len(events)))[matched]))
    if shift and len(triggers) == len(events):  # as many rows as triggers, yet each row sits on another one's
        raise InputError(f"The onsets in {where} are shifted by {shift} rows against the triggers; fetch it anew.")
    used = np.zeros(len(triggers), dtype=bool)
    used[nearest[matched]] = True
    return Alignment(onset, np.where(matched, events - onset, np.nan), triggers[~used])


def _typical_lag(triggers: np.ndarray, events: np.ndarray) -> float:
    """Lag that most rows agree on: the densest place among all differences within a second."""
    differences = (events[:, None] - triggers[None, :]).ravel()
    differences = np.sort(differences[np.abs(differences) <= LARGEST_LAG])
    if not len(differences):
        return float(np.median(events) - np.median(triggers))
    counts = np.searchsorted(differences, differences + TOLERANCE) - np.arange(len(differences))
    best = int(np.argmax(counts))
    return float(np.median(differences[best : best + counts[best]]))


def _nearest(sorted_values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    right = np.clip(np.searchsorted(sorted_values, wanted), 1, max(1, len(sorted_values) - 1))
    if len(sorted_values) == 1:
        return np.zeros(len(wanted), dtype=np.int64)
    left = right - 1
    closer = np.abs(wanted - sorted_values[left]) <= np.abs(sorted_values[right] - wanted)
    nearest: np.ndarray = np.where(closer, left, right)
    return nearest


def _shift_note(triggers: np.ndarray, events: np.ndarray) -> str:
    """Say by how many rows intervals would have to be shifted to fit, if they would."""
    for shift in range(-LARGEST_SHIFT, LARGEST_SHIFT + 1):
        first, other = np.diff(events), np.diff(triggers)
        first, other = (first[shift:], other) if shift >= 0 else (first, other[-shift:])
        length = min(len(first), len(other))
        if shift and length > 3 and np.mean(np.abs(first[:length] - other[:length]) < TOLERANCE) > 0.8:
            return f"; the intervals fit when the table is shifted by {shift} rows"
    return ""
