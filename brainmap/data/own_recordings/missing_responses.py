"""Values of one's own responses that are NaN or infinite: missing, left out where they must be, and named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.blocks import Selection, read_block
from brainmap.common.errors import InputError
from brainmap.data.missing_values import MOST_OF_A_TRIAL
from brainmap.data.own_recordings.lazy_rows import BlockReader, ChosenRows, source_rows
from brainmap.data.own_recordings.trial_and_target_tables import with_repeats
from brainmap.data.responses import Responses

TYPICAL = 200  # trials from which the usual size of a target is taken
WILD = 1e6
NAMED = 5  # trials or targets that a sentence lists


class NaNWhereMissing(BlockReader):
    """An array whose infinite values, and those beyond float32, are read as NaN."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.shape = (int(values.shape[0]), int(values.shape[1]))
        self.dtype = np.dtype(np.float32)

    def read(self, rows: slice | np.ndarray, columns: Selection) -> np.ndarray:
        """Read a block as float32."""
        return as_float32(read_block(self.values, rows, columns))


def as_float32(block: np.ndarray) -> np.ndarray:
    """Values as float32, NaN where they are not finite there."""
    with np.errstate(over="ignore", invalid="ignore"):
        small = np.asarray(block, dtype=np.float32)
    finite = np.isfinite(small)
    return small if finite.all() else np.where(finite, small, np.float32(np.nan))


def without_missing(responses: Responses) -> tuple[Responses, list[str]]:
    """Go through all values once and leave out what cannot be used.

    A value that is NaN or infinite is missing, and means over repeats are taken without it. Trials that lack most of
    their values are left out, then targets that lack every showing of some photograph (in M/EEG with all times of
    their sensor).

    Parameters
    ----------
    responses : Responses
        Of one subject.

    Returns
    -------
    responses : Responses
        ``info["missing"]`` counts the values that are missing still, where there are any.
    notes : list of str
        What was left out, by row and by name.

    Raises
    ------
    InputError
        If nothing is left.
    """
    file = str(responses.info.get("file", "the responses"))
    trial_gaps, target_gaps, wild = _count_missing(responses)
    notes = [] if wild is None else [_wild_note(responses, file, *wild)]
    if not target_gaps.any():
        return responses, notes
    n_missing = int(target_gaps.sum())
    partly = target_gaps < responses.n_trials
    notes += [
        f"{n_missing:,} of {responses.n_trials * responses.n_targets:,} values in {file} are NaN or infinite (subject "
        f"{responses.subject}), and are taken as missing"
    ]
    gaps = trial_gaps - int((~partly).sum())
    kept = gaps <= MOST_OF_A_TRIAL * max(int(partly.sum()), 1)
    if partly.any() and not kept.all():
        rows = source_rows(responses.values)[~kept]
        notes.append(f"{_counted(len(rows), 'trial')} without most values, and left out: row {_listed(rows)} of {file}")
        values = ChosenRows(responses.values, np.flatnonzero(kept))
        responses = replace(responses, values=values, trials=_chosen_trials(responses.trials, kept))
    responses = replace(responses, values=NaNWhereMissing(responses.values), info=dict(responses.info))
    usable, lacking = _usable_targets(responses)
    if not usable.any() or not responses.n_trials:
        raise InputError(
            f"Every target of subject {responses.subject} is NaN or infinite for some photograph in {file} (the first: "
            f"{responses.target_label(0)}); leave out those trials or targets, or fill the values in."
        )
    if not usable.all():
        lost = np.flatnonzero(~usable)
        labels = [responses.target_label(int(column)) for column in lost[:NAMED]]
        notes.append(
            f"{_counted(len(lost), 'target')} without any value for some photograph, and left out: "
            f"{_listed(labels, lost)}"
        )
        responses = responses.select(np.flatnonzero(usable))
    responses.info["missing"] = int(lacking[usable].sum())
    return responses, notes


def _count_missing(responses: Responses) -> tuple[np.ndarray, np.ndarray, tuple[int, int, float] | None]:
    """Missing values of each trial and of each target, and the first value far beyond all others of its target."""
    by_trial = np.zeros(responses.n_trials, dtype=np.int64)
    by_target = np.zeros(responses.n_targets, dtype=np.int64)
    wild = None
    some = np.unique(np.linspace(0, responses.n_trials - 1, TYPICAL).astype(np.int64))
    for columns in responses.column_blocks():
        block = as_float32(read_block(responses.values, None, columns))
        missing = np.isnan(block)
        by_trial += missing.sum(axis=1)
        by_target[columns] = missing.sum(axis=0)
        size = np.abs(np.where(missing, np.float32(0), block))
        typical = np.median(size[some], axis=0)
        beyond = (typical > 0) & (size.max(axis=0) > WILD * typical)
        if wild is None and beyond.any():
            column = int(beyond.argmax())
            row = int(size[:, column].argmax())
            wild = row, columns.start + column, float(block[row, column])
    return by_trial, by_target, wild


def _wild_note(responses: Responses, file: str, row: int, column: int, value: float) -> str:
    where = f"row {source_rows(responses.values)[row]}, {responses.target_label(column)}"
    return (
        f"{value:g} ({where} of {file}) is more than a million times the usual size of its target; if it marks a "
        "missing value, write NaN"
    )


def _usable_targets(responses: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Targets with a value for every photograph, and how many each lacks."""
    codes = np.unique(responses.trials["stimulus"].to_numpy(dtype=str), return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    usable = np.ones(responses.n_targets, dtype=bool)
    lacking = np.zeros(responses.n_targets, dtype=np.int64)
    for columns in responses.column_blocks():
        known = ~np.isnan(read_block(responses.values, None, columns))
        lacking[columns] = (~known).sum(axis=0)
        if lacking[columns].any():
            usable[columns] = np.logical_or.reduceat(known[order], starts, axis=0).all(axis=0)
    if "sensor" in responses.targets:  # which have every time, or none
        usable = ~responses.targets["sensor"].isin(set(responses.targets["sensor"][~usable])).to_numpy()
    return usable, lacking


def _chosen_trials(trials: pd.DataFrame, kept: np.ndarray) -> pd.DataFrame:
    """Some trials; repeats that were counted are counted anew, a user's own numbers stay."""
    counted = with_repeats(trials.drop(columns="repeat"))["repeat"].to_numpy()
    chosen = trials[kept].reset_index(drop=True)
    own = not np.array_equal(trials["repeat"].to_numpy(), counted)
    return chosen if own else with_repeats(chosen.drop(columns="repeat"))[list(trials.columns)]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun} is" if count == 1 else f"{count:,} {noun}s are"


def _listed(names: Any, everything: Any = None) -> str:
    more = " …" if len(names if everything is None else everything) > NAMED else ""
    return ", ".join(str(name) for name in names[:NAMED]) + more
