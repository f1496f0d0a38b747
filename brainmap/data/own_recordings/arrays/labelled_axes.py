"""Arrays whose axes carry names and labels (xarray): the file says which axis is trials, and what the targets are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.tables import rename_columns
from brainmap.data.own_recordings.recording import Recording, flattened
from brainmap.data.own_recordings.trial_and_target_tables import EVENT_SYNONYMS, TARGET_SYNONYMS

TRIAL_AXES = ("trial", "presentation", "epoch", "event", "image", "stimulus", "repetition", "sample", "observation")


def read_labelled(array: Any, where: str) -> Recording:
    """Read an ``xarray.DataArray``; its coordinates become the tables of trials and targets.

    Parameters
    ----------
    array : xarray.DataArray
        Two or more dimensions. The one of trials is called ``trial``, ``presentation``, ``epoch``, ``image``, … (also
        in the plural), or is the first.
    where : str
        What sentences call it.
    """
    if array.ndim < 2:
        raise InputError(f"{where} has shape {array.shape}; responses need two axes, trials × targets.")
    trial = [name for name in array.dims if str(name).casefold().rstrip("s") in TRIAL_AXES]
    if len(trial) > 1:
        raise InputError(f"The axes {trial[0]!r} and {trial[1]!r} of {where} could both be trials; rename one.")
    first = trial[0] if trial else array.dims[0]
    notes = [] if trial else [f"the first axis {first!r} of {where} is taken for trials"]
    array = array.transpose(first, *[name for name in array.dims if name != first])
    trials = _coordinates(array, [first], EVENT_SYNONYMS, where)
    targets = _coordinates(array, list(array.dims[1:]), TARGET_SYNONYMS, where)
    # A Variable reads lazily what is asked for; a DataArray would align its coordinates at every block.
    variable = array.variable
    recording = flattened(variable if not isinstance(variable._data, np.ndarray) else np.ascontiguousarray(variable))
    if trial or targets is not None:
        recording.source = None  # the file says what its axes are
    recording.trials, recording.targets = trials, targets
    recording.notes += notes
    return recording


def _with_unit(name: str, unit: object) -> str:
    """Name of a coordinate of times that says its unit."""
    word = str(unit).strip().casefold()
    if name.casefold() in ("time", "times", "latency") and word in ("ms", "msec", "millisecond", "milliseconds"):
        return "time_ms"
    return "time_s" if name.casefold() in ("time", "times") and word in ("s", "sec", "second", "seconds") else name


def _coordinates(array: Any, dims: list[Any], synonyms: dict[str, tuple[str, ...]], where: str) -> pd.DataFrame | None:
    """Labels along some axes as a table, one row per combination, the last axis fastest."""
    shape = [array.sizes[name] for name in dims]
    columns = {}
    for name, coordinate in array.coords.items():
        if coordinate.ndim and set(coordinate.dims) <= set(dims):
            axis = [dims.index(dim) for dim in coordinate.dims]
            expanded = np.expand_dims(
                coordinate.transpose(*sorted(coordinate.dims, key=dims.index)).values,
                [number for number in range(len(dims)) if number not in axis],
            )
            columns[_with_unit(str(name), coordinate.attrs.get("units"))] = np.broadcast_to(expanded, shape).ravel()
    if not columns:
        return None
    table = pd.DataFrame(columns)
    table.attrs = {"file": where, "notes": []}
    table = rename_columns(table, synonyms)
    return table if set(table.columns) & set(synonyms) else None
