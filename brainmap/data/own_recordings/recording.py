"""What a file of one's own says: values, and whatever it knows of its trials and targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import Modality
from brainmap.data.own_recordings.lazy_rows import FlatAxes


@dataclass
class Recording:
    """Values of a file before tables, photographs and subjects are brought to them.

    Attributes
    ----------
    values : array-like, (n_trials, n_targets)
        Read when asked for.
    targets : pandas.DataFrame, optional
        One row per column, as far as the file knows.
    trials : pandas.DataFrame, optional
        One row per row of ``values``: ``stimulus`` and what else the file says.
    modality : {'fmri', 'meg'}, optional
        None for bare numbers.
    kept : numpy.ndarray of int, (n_trials,), optional
        Which events of the original recording the trials are, where some were rejected.
    n_events : int, optional
        How many events there were.
    table_used : bool
        Whether the given table of events is in ``trials`` already.
    info : dict
        Provenance: ``file``, ``mesh``, ``affine`` …
    notes : list of str
        What was not taken literally, in sentences.
    source : array-like, optional
        The array as it is stored, where nothing but lengths tells its axes apart.
    order : tuple of int, optional
        Order of the stored axes in which the file presents them (MATLAB reverses them).
    """

    values: Any
    targets: pd.DataFrame | None = None
    trials: pd.DataFrame | None = None
    modality: Modality | None = None
    kept: np.ndarray | None = None
    n_events: int | None = None
    table_used: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    source: Any = None
    order: tuple[int, ...] | None = None


def flattened(values: Any, *, reverse: bool = False) -> Recording:
    """Wrap an array of two or more axes as trials × the rest; which axis is which is decided with the tables."""
    fields = getattr(values.dtype, "names", None)
    if fields:
        raise InputError(
            f"The responses are records with the fields {', '.join(fields[:4])} …; save them as one array of numbers."
        )
    if len(values.shape) < 2:
        raise InputError(f"The responses have shape {tuple(values.shape)}; they need two axes, trials × targets.")
    order = tuple(reversed(range(len(values.shape)))) if reverse else None
    if len(values.shape) == 2 and not reverse:
        return Recording(values, source=values)
    if isinstance(values, np.ndarray) and not reverse and values.flags.c_contiguous:
        return Recording(values.reshape(len(values), -1), source=values)
    return Recording(FlatAxes(values, order=order), source=values, order=order)
