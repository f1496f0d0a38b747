"""Do responses belong to the photographs they are filed under? Showings of one photograph resemble each other.

For every session, responses are correlated with the mean over the other sessions' showings of the same photograph:
as filed, shifted by a trial or two, and under another session's order. A session that fits better shifted is shifted;
two sessions that fit the others under each other's order are swapped (three sessions at least are needed to tell).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.responses import Responses

MOST_TARGETS = 400
MOST_BYTES = 64 * 2**20  # of the sums by photograph and session
CLEAR = 5.0  # chance deviations by which another order must fit better, out of some fifty that are tried
FITS = 3.0
N_SHUFFLES = 20


@dataclass(frozen=True)
class Consistency:
    """What repeats say about the order of trials.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per session: ``session``, ``n`` (trials whose photograph other sessions showed too), ``r`` (as filed),
        ``chance`` (deviation of r when the session's photographs are shuffled), ``r_shift_-1``, ``r_shift_1`` …, and
        ``verdict``: ``fits``, ``shifted by k``, ``swapped with session s`` or
        ``unclear``.
    """

    table: pd.DataFrame

    @property
    def suspicious(self) -> pd.DataFrame:
        """Sessions that are shifted or swapped."""
        return self.table[~self.table["verdict"].isin(("fits", "unclear"))]


def session_consistency(responses: Responses, *, shifts: int = 2, n_targets: int = MOST_TARGETS) -> Consistency:
    """Compare every session with the others by the photographs that were shown in several.

    Parameters
    ----------
    responses : Responses
        Single trials with a column ``session``, in the order of showing.
    shifts : int
        Largest shift to try, in trials.
    n_targets : int
        Targets to look at, evenly spaced: memory is trials × this.

    Raises
    ------
    InputError
        If there are no sessions, or no photograph was shown in two of them.
    """
    trials = responses.trials
    if "session" not in trials or trials["session"].nunique() < 2:
        raise InputError(f"Subject {responses.subject} has no two sessions to compare.")
    session, sessions = pd.factorize(trials["session"])
    spread = trials.groupby("stimulus")["session"].transform("nunique").to_numpy()
    if not (spread > 1).any():
        raise InputError(f"No photograph was shown to subject {responses.subject} in two sessions.")
    stimulus, names = pd.factorize(trials["stimulus"].where(spread > 1))  # -1: shown in one session only
    n_targets = max(1, min(n_targets, MOST_BYTES // (4 * len(names) * len(sessions))))
    step = -(-responses.n_targets // n_targets)
    values = responses.block(targets=slice(0, None, step))
    values = np.nan_to_num(values - np.nanmean(values, axis=0))  # a missing value says nothing
    sums = np.zeros((len(names), len(sessions), values.shape[1]), dtype=np.float32)
    counts = np.zeros((len(names), len(sessions)), dtype=np.int64)
    known = stimulus >= 0
    np.add.at(sums, (stimulus[known], session[known]), values[known])
    np.add.at(counts, (stimulus[known], session[known]), 1)
    totals, shown = sums.sum(axis=1), counts.sum(axis=1)
    rows = []
    for number in range(len(sessions)):
        here = np.flatnonzero(session == number)
        others = _Others(totals - sums[:, number], shown - counts[:, number])
        row: dict[str, object] = {"session": sessions[number]}
        row["n"] = int(others.known(stimulus[here]).sum())
        row["r"] = others.fit(values[here], stimulus[here])
        row["chance"] = others.chance(values[here], stimulus[here])
        for shift in [k for k in range(-shifts, shifts + 1) if k]:
            row[f"r_shift_{shift}"] = others.fit(values[here], _shifted(stimulus[here], shift))
        rows.append(row)
    table = pd.DataFrame(rows)
    table["verdict"] = _verdicts(table, _swaps(table, values, stimulus, session, sums, counts), sessions)
    return Consistency(table)


class _Others:
    """Mean response to each photograph over the other sessions."""

    def __init__(self, sums: np.ndarray, counts: np.ndarray) -> None:
        self._usable = counts > 0
        self._means = sums / np.maximum(counts, 1)[:, None]

    def known(self, labels: np.ndarray) -> np.ndarray:
        """Whether other sessions showed the photographs; labels below 0 are none."""
        known: np.ndarray = (labels >= 0) & self._usable[np.maximum(labels, 0)]
        return known

    def fit(self, values: np.ndarray, labels: np.ndarray) -> float:
        """Correlation over trials, each target centred, all targets together."""
        rows = np.flatnonzero(self.known(labels))
        if len(rows) < 3:
            return float("nan")
        own, other = values[rows], self._means[labels[rows]]
        own, other = own - own.mean(axis=0), other - other.mean(axis=0)
        norm = float(np.sqrt((own**2).sum() * (other**2).sum()))
        return float((own * other).sum()) / norm if norm > 0 else float("nan")

    def chance(self, values: np.ndarray, labels: np.ndarray) -> float:
        """Deviation of the correlation when photographs are shuffled among the trials."""
        rng = np.random.default_rng(N_SHUFFLES)
        known = np.flatnonzero(self.known(labels))
        shuffled = [self.fit(values[known], rng.permutation(labels[known])) for _ in range(N_SHUFFLES)]
        return float(np.sqrt(np.mean(np.square(shuffled))))


def _shifted(labels: np.ndarray, shift: int) -> np.ndarray:
    """Labels as they would be if responses had slipped by ``shift`` trials; -1 at the edge."""
    moved = np.full_like(labels, -1)
    if shift > 0:
        moved[shift:] = labels[:-shift]
    else:
        moved[:shift] = labels[-shift:]
    return moved


def _swaps(
    table: pd.DataFrame,
    values: np.ndarray,
    stimulus: np.ndarray,
    session: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
) -> dict[int, tuple[int, float]]:
    """For sessions that fit badly: the session whose order fits best, and how well."""
    weak = np.flatnonzero(table["r"].fillna(0).to_numpy() < float(table["r"].median()) / 2)
    best: dict[int, tuple[int, float]] = {}
    for weak_session in weak:
        for other in weak:
            mine, theirs = np.flatnonzero(session == weak_session), np.flatnonzero(session == other)
            if weak_session == other or len(mine) != len(theirs):
                continue
            rest = np.setdiff1d(np.arange(sums.shape[1]), [weak_session, other])
            if not len(rest):
                continue
            means = _Others(sums[:, rest].sum(axis=1), counts[:, rest].sum(axis=1))
            r = means.fit(values[mine], stimulus[theirs])
            if r > best.get(int(weak_session), (-1, -1.0))[1]:
                best[int(weak_session)] = (int(other), r)
    return best


def _verdicts(table: pd.DataFrame, swaps: dict[int, tuple[int, float]], sessions: pd.Index) -> list[str]:
    shifts = [str(column) for column in table.columns if str(column).startswith("r_shift_")]
    verdicts = []
    for number, row in table.iterrows():
        filed = row["r"] if np.isfinite(row["r"]) else 0.0
        moved = row.loc[shifts].astype(float).fillna(-1.0)
        other, swapped = swaps.get(int(str(number)), (-1, -1.0))
        best = float(max(moved.max(), swapped))
        if not best > max(filed, 0.0) + CLEAR * row["chance"]:
            verdicts.append("fits" if filed > FITS * row["chance"] else "unclear")
        elif swapped >= moved.max():
            verdicts.append(f"swapped with session {sessions[other]}")
        else:
            verdicts.append(f"shifted by {str(moved.idxmax()).removeprefix('r_shift_')}")
    return verdicts
