"""Brain responses: trials × targets of one subject, fMRI, MEG and EEG alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.blocks import Columns, RowMeans, Selection, positions, read_block
from brainmap.common.errors import InputError, printable_names
from brainmap.common.names import MODALITY_NAMES, TIMED, Modality

TARGET_COLUMNS: dict[str, tuple[str, ...]] = {
    "fmri": ("roi", "hemisphere", "x", "y", "z", "vertex"),
    **dict.fromkeys(TIMED, ("sensor", "time")),
}
NAMES = ("roi", "hemisphere", "sensor")  # columns that are drawn and printed
BLOCK_BYTES = 64 * 2**20
CONFOUND = "confound "  # begins the name of a column of trials that is projected out, and describes nothing else


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses of one subject to photographs, read lazily in blocks.

    Parameters
    ----------
    values : array-like, (n_trials, n_targets)
        Real numbers in anything that can be sliced: numpy array or memmap, ``zarr.Array``, ``h5py.Dataset``.
    trials : pandas.DataFrame
        One row per row of ``values``; column ``stimulus`` holds the id of the photograph in its ``StimulusSet``.
        Optional: ``session``, ``run``, ``repeat`` (0-based count of the photograph's showings), ``n_repeats`` (showings
        behind a row that is a mean already), and confounds in columns whose names begin with ``confound``.
    targets : pandas.DataFrame
        One row per column of ``values``. fMRI: ``roi``, ``hemisphere`` ('L' or 'R'), ``x``, ``y``, ``z`` (mm) and
        ``vertex`` (index in the full mesh of the hemisphere). MEG, EEG …: ``sensor`` and ``time`` (s from onset), in
        sensor-by-sensor order, all times of the first one first; optional ``x``, ``y``, ``z`` (mm) and ``kind``.
    modality : {'fmri', 'meg', 'eeg', 'ieeg', 'fnirs'}
        What a target is.
    subject : str
        Name of the subject.
    simulated : bool
        True for generated data; shown wherever the data are shown.
    info : dict
        Provenance that survives JSON: dataset, seed, mesh, sampling frequency, …

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap import Responses
    >>> trials = pd.DataFrame({"stimulus": ["a", "b", "a", "b"]})
    >>> targets = pd.DataFrame({"sensor": ["O1", "O1"], "time": [0.1, 0.2]})
    >>> eeg = Responses(np.arange(8.0).reshape(4, 2), trials, targets, "eeg", "S1")
    >>> eeg
    Responses(EEG, subject S1, 4 trials × 2 targets)
    >>> eeg.average_repeats().values
    array([[2., 3.],
           [4., 5.]], dtype=float32)
    """

    values: Any
    trials: pd.DataFrame
    targets: pd.DataFrame
    modality: Modality
    subject: str
    simulated: bool = False
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.modality not in TARGET_COLUMNS:
            raise InputError(f"The modality {self.modality!r} is unknown; choose {', '.join(TARGET_COLUMNS)}.")
        shape = tuple(getattr(self.values, "shape", ()))
        if len(shape) != 2:
            raise InputError(f"Responses have shape {shape}; they need two axes, trials and targets.")
        if np.dtype(self.values.dtype).kind not in "fiu":
            raise InputError(f"Responses are of type {self.values.dtype}; save them as real numbers, such as float32.")
        if len(self.trials) != shape[0]:
            raise InputError(f"Responses have {shape[0]} rows for {len(self.trials)} trials; the two must be equal.")
        if len(self.targets) != shape[1]:
            raise InputError(
                f"Responses have {shape[1]} columns for {len(self.targets)} targets; the two must be equal."
            )
        if "stimulus" not in self.trials:
            raise InputError(f"The trials have no column 'stimulus'; they have {list(self.trials.columns)}.")
        missing = [column for column in TARGET_COLUMNS[self.modality] if column not in self.targets]
        if missing:
            raise InputError(f"The {self.modality} targets lack the column {missing[0]!r}; add it to the table.")
        columns = {name: self.targets[name] for name in NAMES if name in self.targets}
        names = {name: printable_names(column) for name, column in columns.items()}
        if any(names[name] is not column for name, column in columns.items()):
            attrs = self.targets.attrs
            object.__setattr__(self, "targets", self.targets.assign(**names))
            self.targets.attrs = attrs

    def __repr__(self) -> str:
        kind = "simulated " if self.simulated else ""
        shape = f"{self.n_trials} trials × {self.n_targets} targets"
        return f"Responses({kind}{MODALITY_NAMES[self.modality]}, subject {self.subject}, {shape})"

    @property
    def n_trials(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def n_targets(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def stimulus_ids(self) -> np.ndarray:
        """Distinct stimulus ids in the order of their first trial, (k,) str."""
        return self.trials["stimulus"].drop_duplicates().to_numpy(dtype=str)

    @property
    def confounds(self) -> pd.DataFrame | None:
        """Confounds of each trial, (n_trials, n_confounds) float, by their names; None where there are none."""
        columns = [name for name in self.trials if str(name).startswith(CONFOUND)]
        if not columns:
            return None
        return self.trials[columns].astype(float).rename(columns=lambda name: str(name).removeprefix(CONFOUND))

    def block(self, rows: Selection = None, targets: Selection = None) -> np.ndarray:
        """Read trials × targets into a new float32 array; only this part is loaded.

        Parameters
        ----------
        rows, targets : slice, integer array, boolean mask or None
            What to read; everything by default.

        Returns
        -------
        numpy.ndarray of float32, C-contiguous
        """
        return np.array(read_block(self.values, rows, targets), dtype=np.float32, order="C")

    def select(self, targets: Selection) -> Responses:
        """Keep some targets, in the given order; values stay where they are."""
        chosen = np.arange(self.n_targets)[positions(targets, self.n_targets)]
        table = self.targets.iloc[chosen].reset_index(drop=True)
        return replace(self, values=Columns(self.values, chosen), targets=table)

    def average_repeats(self, ids: np.ndarray | None = None, *, memory: int | None = None) -> Responses:
        """Mean over the trials of each photograph.

        Parameters
        ----------
        ids : numpy.ndarray of str, optional
            Order of the photographs, each shown at least once; by default that of their first showing.
        memory : int, optional
            Bytes that the means may take; larger ones stay unread and are computed block by block when asked for.

        Returns
        -------
        Responses
            One row per photograph, float32; trials have the columns ``stimulus``, ``n_repeats`` and confounds, which
            are averaged likewise. Sums are float64.

        Raises
        ------
        InputError
            If photographs that were shown are missing from ``ids``, or the other way round.
        """
        names = self.stimulus_ids if ids is None else np.asarray(ids, dtype=str)
        codes = pd.Index(names).get_indexer(self.trials["stimulus"])
        if (codes < 0).any() or len(np.unique(codes)) < len(names):
            raise InputError("The order of the photographs must name each photograph that was shown, and no other.")
        averaged = RowMeans(self.values, codes)
        means: Any = averaged
        if memory is None or 4 * len(names) * self.n_targets <= memory:
            means = np.empty(averaged.shape, dtype=np.float32)
            for columns in self.column_blocks():
                means[:, columns] = averaged[:, columns]
        trials = pd.DataFrame({"stimulus": names, "n_repeats": self._showings(codes)})
        if self.confounds is not None:
            for name, column in self.confounds.items():
                trials[f"{CONFOUND}{name}"] = np.bincount(codes, weights=column.to_numpy()) / np.bincount(codes)
        return replace(self, values=means, trials=trials)

    def _showings(self, codes: np.ndarray) -> np.ndarray:
        """Showings behind the mean of each photograph; rows that are means themselves count by their noise.

        The noise of a mean of k rows of n_i showings is that of k² / Σ 1/n_i showings.
        """
        counts = np.bincount(codes)
        if "n_repeats" not in self.trials:
            return counts
        noise = np.bincount(codes, weights=1 / self.trials["n_repeats"].to_numpy(dtype=float))
        showings: np.ndarray = counts**2 / noise
        return showings

    def check(self) -> np.ndarray:
        """Go through all values once.

        Returns
        -------
        numpy.ndarray of int
            Targets whose response never changes. No model can predict them: their correlation is undefined.

        Raises
        ------
        InputError
            At the first NaN or infinite value, with its row and column.
        """
        constant = []
        for columns in self.column_blocks():
            block = np.asarray(read_block(self.values, None, columns))
            finite = np.isfinite(block)
            if not finite.all():
                row, column = (int(i) for i in np.argwhere(~finite)[0])
                what = "NaN" if np.isnan(block[row, column]) else "infinite"
                raise InputError(
                    f"The responses of subject {self.subject} are {what} at row {row}, column {columns.start + column} "
                    f"({self.target_label(columns.start + column)}); remove the trial or the target, or fill it in."
                )
            constant.append(columns.start + np.flatnonzero((block == block[:1]).all(axis=0)))
        return np.concatenate(constant) if constant else np.zeros(0, dtype=np.int64)

    def digest(self) -> str:
        """Content id of trials, targets and all values, 16 hex characters; goes through the values once."""
        content = hashlib.sha256()
        for table in (self.trials, self.targets):
            content.update(table.to_csv(index=False).encode())
        for columns in self.column_blocks():
            content.update(np.ascontiguousarray(read_block(self.values, None, columns), dtype=np.float32).tobytes())
        return content.hexdigest()[:16]

    def column_blocks(self) -> list[slice]:
        """All columns, some at a time, so that all their rows fit into memory."""
        width = max(1, BLOCK_BYTES // (8 * max(self.n_trials, 1)))
        return [slice(start, min(start + width, self.n_targets)) for start in range(0, self.n_targets, width)]

    def target_label(self, column: int) -> str:
        """What sentences call a target."""
        target = self.targets.iloc[column]
        if self.modality in TIMED:
            return f"sensor {target['sensor']} at {target['time']:.3f} s"
        return f"area {target['roi']}, vertex {target['vertex']}"


def with_one_table(subjects: dict[str, Responses]) -> dict[str, Responses]:
    """Let subjects whose tables of targets are equal share the first one's: it may have 327,684 rows."""
    tables: list[pd.DataFrame] = []
    shared = {}
    for name, responses in subjects.items():
        table = next((table for table in tables if _are_one(table, responses.targets)), None)
        if table is None:
            tables.append(responses.targets)
        shared[name] = responses if table is None else replace(responses, targets=table)
    return shared


def _are_one(table: pd.DataFrame, other: pd.DataFrame) -> bool:
    return table is other or (table.attrs == other.attrs and list(table) == list(other) and table.equals(other))
