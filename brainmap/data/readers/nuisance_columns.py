"""Variables of a reader's nuisance table as confounds of the trials."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.responses import CONFOUND, Responses

if TYPE_CHECKING:
    from brainmap.data.readers.dataset_reader import DatasetReader

EVERYTHING = "all"
CATEGORIES = ("session", "run", "part")  # numbers that are names


def with_nuisance(reader: DatasetReader, subject: str, responses: Responses, names: tuple[str, ...]) -> Responses:
    """Add nuisance variables to the trials, to be projected out inside each split.

    Parameters
    ----------
    reader : DatasetReader
        Of the dataset.
    subject : str
        Name of the subject.
    responses : Responses
        The subject's.
    names : tuple of str
        Columns of ``reader.nuisance(subject)``, or ``all``. Session and run, and columns of text, become a column of 0
        and 1 for each value but the first.

    Raises
    ------
    InputError
        If there is no such variable, it is missing in some trial, or the table is not of these trials.
    """
    table = reader.nuisance(subject)
    wanted = list(table.columns) if EVERYTHING in names else list(names)
    unknown = [name for name in wanted if name not in table]
    if unknown:
        known = ", ".join(map(str, table.columns))
        raise InputError(f"{reader.name} has no nuisance variable {unknown[0]!r} of subject {subject}; it has {known}.")
    if len(table) != responses.n_trials:
        raise InputError(
            f"The nuisance variables of subject {subject} are of {len(table):,} recorded trials, of which "
            f"{responses.n_trials:,} are used; which ones cannot be told, so leave 'nuisance' out, or complete the "
            "photographs and runs."
        )
    _check_order(table, responses, subject)
    columns: dict[str, np.ndarray] = {}
    for name in wanted:
        columns |= _numbers(table[name], name, subject)
    varying = {name: values for name, values in columns.items() if np.ptp(values) > 0}
    if not varying:
        raise InputError(
            f"No nuisance variable of subject {subject} changes from trial to trial; leave 'nuisance' out."
        )
    added = {f"{CONFOUND}{name}": values for name, values in varying.items()}
    return replace(responses, trials=responses.trials.assign(**added))


def _check_order(table: pd.DataFrame, responses: Responses, subject: str) -> None:
    for name in ("session", "run"):
        if name in table and name in responses.trials:
            differ = table[name].map(str).to_numpy() != responses.trials[name].map(str).to_numpy()
            if differ.any():
                raise InputError(
                    f"The nuisance variables of subject {subject} are of other trials: trial {int(differ.argmax())} is "
                    f"of another {name}; leave 'nuisance' out."
                )


def _numbers(column: pd.Series, name: str, subject: str) -> dict[str, np.ndarray]:
    if column.isna().any():
        raise InputError(
            f"The nuisance variable {name!r} of subject {subject} is missing in {int(column.isna().sum()):,} of "
            f"{len(column):,} trials; choose others."
        )
    if name in CATEGORIES or not pd.api.types.is_numeric_dtype(column):
        values = list(dict.fromkeys(column.map(str)))
        return {f"{name} {value}": (column.map(str) == value).to_numpy(dtype=float) for value in values[1:]}
    numbers = column.to_numpy(dtype=float)
    if not np.isfinite(numbers).all():
        raise InputError(
            f"The nuisance variable {name!r} of subject {subject} is infinite in some trials; choose others."
        )
    return {name: numbers}
