"""Which axis of a bare array is trials, which sensors, which times: told by the tables' lengths, else by the user."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.tables import table_name
from brainmap.data.own_recordings.lazy_rows import FlatAxes
from brainmap.data.own_recordings.recording import Recording

_KINDS = {
    "trials": ("trial", "trials", "epoch", "epochs", "image", "images", "presentation", "presentations", "rows"),
    "sensors": ("sensor", "sensors", "channel", "channels", "electrode", "electrodes", "vertex", "vertices"),
    "times": ("time", "times", "sample", "samples", "timepoint", "timepoints"),
}
_OTHERS = ("targets", "voxels", "x", "y", "z")


def axis_names(axes: str | Sequence[str]) -> tuple[str, ...]:
    """Names of axes as the user wrote them (``trials,sensors,times``), in the package's own words.

    Raises
    ------
    InputError
        For an unknown name, or without exactly one axis of trials.
    """
    words = [word for word in re.split(r"[\s,;×*]+", axes) if word] if isinstance(axes, str) else list(map(str, axes))
    names = []
    for word in words:
        kind = next((kind for kind, known in _KINDS.items() if word.casefold() in known), word.casefold())
        if kind not in (*_KINDS, *_OTHERS):
            raise InputError(f"There is no axis {word!r}; axes are called {', '.join((*_KINDS, *_OTHERS))}.")
        names.append(kind)
    if names.count("trials") != 1 or len(set(names)) < len(names):
        raise InputError(f"The axes {', '.join(words)!r} must hold each name once, and 'trials' among them.")
    return tuple(names)


def oriented(
    recording: Recording, trials: pd.DataFrame, targets: pd.DataFrame, axes: tuple[str, ...] | None
) -> tuple[Any, pd.DataFrame, list[str]]:
    """Values as trials × targets: axes in another order are recognised by their lengths, and said.

    Parameters
    ----------
    recording : Recording
        Values of a file.
    trials, targets : pandas.DataFrame
        Their tables, before anything is left out.
    axes : tuple of str, optional
        Names of the axes, from :func:`axis_names`.

    Returns
    -------
    values : array-like, (n_trials, n_targets)
        Read when asked for.
    targets : pandas.DataFrame
        In the order of the values.
    notes : list of str
        What was not taken literally.

    Raises
    ------
    InputError
        If lengths and tables do not fit together, or two readings are possible.
    """
    values = recording.values
    if np.dtype(values.dtype).kind not in "fiu":
        kind = " (take its absolute value or its real part)" if np.dtype(values.dtype).kind == "c" else ""
        raise InputError(f"The responses are of type {values.dtype}{kind}; save them as real numbers, such as float32.")
    name = recording.info.get("file", "the array")
    if recording.source is None:
        if axes is not None:
            raise InputError(f"{name} says itself what its axes are; leave out --set axes.")
        _check_lengths(values.shape, trials, targets)
        return values, targets, []
    stored = tuple(int(length) for length in recording.source.shape)
    shape = tuple(stored[axis] for axis in recording.order) if recording.order else stored
    if axes is not None and len(axes) != len(shape):
        raise InputError(f"{name} has {len(shape)} axes ({_by(shape)}), but {len(axes)} are named.")
    lengths = _lengths(trials, targets, len(shape))
    wanted = tuple(lengths)
    orders = [order for order in _orders(wanted, len(shape)) if _fits(order, shape, lengths)]
    if axes is not None:
        orders = [
            order for order in orders if all(axes[order[n]] == kind for n, kind in enumerate(wanted) if kind in axes)
        ]
    if not orders:
        _refuse(name, shape, lengths, trials, targets)
    natural = orders[0] == tuple(range(len(shape)))
    if len(orders) > 1 and len(shape) > 2:
        raise InputError(
            f"{name} is {_by(shape)}: its axes may be {_reading(orders[0], wanted)} or {_reading(orders[1], wanted)}; "
            f"say which with --set axes={_reading(orders[0], wanted, ',')}"
        )
    if "sensors" in lengths:
        targets = _in_order_of_axes(targets)
    if natural:
        return values, targets, []
    order = tuple(recording.order[axis] for axis in orders[0]) if recording.order else orders[0]
    said = f"it is {_by(shape)}, {_reading(orders[0], wanted)}"
    if len(shape) == 2:
        said = f"it holds {shape[0]} targets × {shape[1]} trials"
    return FlatAxes(recording.source, order=order), targets, [
        f"{name} is transposed: {said}, and is read as trials × targets"
    ]  # fmt: skip


def _lengths(trials: pd.DataFrame, targets: pd.DataFrame, n_axes: int) -> dict[str, int]:
    """Lengths that the tables ask for, by kind of axis."""
    column = next((name for name in ("time", "time_ms") if name in targets), None)
    if n_axes == 3 and column is not None and "sensor" in targets:
        counts = {"sensors": targets["sensor"].nunique(dropna=False), "times": targets[column].nunique(dropna=False)}
        if prod(counts.values()) == len(targets):
            return {"trials": len(trials), **counts}
    return {"trials": len(trials), "targets": len(targets)}


def _orders(kinds: tuple[str, ...], n_axes: int) -> list[tuple[int, ...]]:
    """Orders of axes to try: trials, sensors and times anywhere; of other targets only the axis of trials moves."""
    if "sensors" in kinds:
        return list(permutations(range(n_axes)))
    return [(axis, *(other for other in range(n_axes) if other != axis)) for axis in range(n_axes)]


def _fits(order: tuple[int, ...], shape: tuple[int, ...], lengths: dict[str, int]) -> bool:
    ordered = tuple(int(shape[axis]) for axis in order)
    if "sensors" in lengths:
        return ordered == tuple(lengths.values())
    return ordered[0] == lengths["trials"] and prod(ordered[1:]) == lengths["targets"]


def _in_order_of_axes(targets: pd.DataFrame) -> pd.DataFrame:
    """Sensor by sensor, each with all times, both in the order in which the table first names them."""
    column = "time" if "time" in targets else "time_ms"
    codes = [pd.factorize(targets[name], use_na_sentinel=False)[0] for name in (column, "sensor")]
    ordered = targets.iloc[np.lexsort(codes)].reset_index(drop=True)
    ordered.attrs = dict(targets.attrs)
    return ordered


def _refuse(
    name: str, shape: tuple[int, ...], lengths: dict[str, int], trials: pd.DataFrame, targets: pd.DataFrame
) -> None:
    if "sensors" in lengths:
        told = " × ".join(f"{count} {kind}" for kind, count in lengths.items())
        raise InputError(
            f"{name} is {_by(shape)}, but {table_name(trials, 'the events table')} and "
            f"{table_name(targets, 'the targets table')} ask for {told}; give one row per trial, and one per sensor "
            "and time."
        )
    _check_lengths((shape[0], prod(shape[1:])), trials, targets)
    raise InputError(f"The axes of {name} ({_by(shape)}) are not those named with --set axes.")


def _check_lengths(shape: Sequence[int], trials: pd.DataFrame, targets: pd.DataFrame) -> None:
    """Refuse values whose rows or columns are not those of the tables."""
    for noun, count, table, default in (
        ("rows", shape[0], trials, "the events table"), ("columns", shape[1], targets, "the targets table")
    ):  # fmt: skip
        if count != len(table):
            few = "too few" if count < len(table) else "too many"
            thing = "event" if noun == "rows" else "target"
            swapped = "; are they transposed (targets × trials)?" if len(table) in shape else ""
            raise InputError(
                f"The responses have {few} {noun}: {count} {noun} for {len(table)} rows in "
                f"{table_name(table, default)}; give one {noun[:-1]} per {thing}{swapped}."
            )


def _reading(order: tuple[int, ...], kinds: tuple[str, ...], mark: str = " × ") -> str:
    """Axes of the file in words: the inverse of the order they are read in."""
    if len(order) > len(kinds):  # trials, and axes of space
        return mark.join("trials" if axis == order[0] else "xyzw"[order[1:].index(axis)] for axis in range(len(order)))
    return mark.join(kinds[order.index(axis)] for axis in range(len(order)))


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
