"""One study at every checkpoint of a training: scores against training steps, and half times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.tables import spreadsheet_safe
from brainmap.hierarchy import half_times
from brainmap.models import checkpoint_series
from brainmap.study.declared.study_file import GridConfig
from brainmap.study.grid import Grid

if TYPE_CHECKING:
    from brainmap.results.collection import Collection


MINIMUM_STEPS = 4  # a sigmoid has three parameters


@dataclass(frozen=True, eq=False)
class TrainingSeries:
    """What a study found at each checkpoint.

    Attributes
    ----------
    scores : dict of str to xr.DataArray
        Modality → r averaged over targets, dims (step, unit, subject, split); a unit is a signal and a layer, as
        ``activation block.3``. This is what :func:`brainmap.hierarchy.half_times` takes.
    half_times : dict of str to pandas.DataFrame
        Modality → half time of every unit; empty for fewer than four checkpoints.
    collection : Collection
        The studies themselves.

    Examples
    --------
    >>> from brainmap.study import checkpoint_grid, run_series
    >>> series = run_series(checkpoint_grid({"thin": 24}, "checkpoints"))  # a TrainingSeries  # doctest: +SKIP
    >>> series.half_times["meg"]  # doctest: +SKIP
    >>> len(checkpoint_grid({"thin": 24}, "checkpoints").config.cells())  # the studies of that series
    3
    """

    scores: dict[str, xr.DataArray]
    half_times: dict[str, pd.DataFrame]
    collection: Collection

    def table(self, modality: str) -> pd.DataFrame:
        """Mean over subjects and folds: one row per step and unit."""
        mean = self.scores[modality].mean(("subject", "split"))
        return mean.to_dataframe("r").reset_index()[["step", "unit", "r"]]

    def save(self, folder: Path) -> list[Path]:
        """Write ``training_<modality>.csv`` and ``half_times_<modality>.csv``; returns their paths."""
        written = []
        for modality in self.scores:
            tables = {"training": self.table(modality), "half_times": self.half_times[modality]}
            for name, table in tables.items():
                if len(table):
                    written.append(folder / f"{name}_{modality}.csv")
                    spreadsheet_safe(table).to_csv(written[-1], index=False)
        return written


def checkpoint_grid(settings: Mapping[str, Any], folder: str | Path, out: str | Path | None = None) -> Grid:
    """The studies of all checkpoints in a folder.

    Parameters
    ----------
    settings : mapping
        Of every study, as for :class:`brainmap.study.StudyConfig`; ``weights`` is the checkpoint.
    folder : str or Path
        As for :func:`brainmap.models.checkpoint_series`.
    out : str or Path, optional
        Folder of all studies.

    Raises
    ------
    MissingFileError
        If the folder holds no checkpoints.

    Examples
    --------
    >>> from brainmap.study import checkpoint_grid
    >>> len(checkpoint_grid({"thin": 24}, "checkpoints", out="brainmap_runs/training").config.cells())
    3
    """
    series = checkpoint_series(folder)
    common = {name: value for name, value in settings.items() if name != "weights"}
    grid = {"weights": [str(path) for path in series.values()]}
    title = f"{common.get('model', 'model')} over training"
    return Grid(GridConfig.from_dict({"title": title, "study": common, "grid": grid}), out)


def run_series(grid: Grid) -> TrainingSeries:
    """Run the studies of :func:`checkpoint_grid`; what is finished is not computed again.

    Returns
    -------
    TrainingSeries
        Also saved as tables in the grid's folder.

    Examples
    --------
    >>> from brainmap.study import checkpoint_grid, run_series
    >>> grid = checkpoint_grid({"thin": 24}, "checkpoints", out="brainmap_runs/training")
    >>> series = run_series(grid)  # doctest: +SKIP
    >>> grid.out.name
    'training'
    """
    series = collect_series(grid.run())
    series.save(grid.out)
    return series


def collect_series(collection: Collection) -> TrainingSeries:
    """Scores over training of studies that differ in the checkpoint only.

    Raises
    ------
    InputError
        If the step of a checkpoint is not known, or a step occurs twice.
    """
    members = list(collection)
    unknown = [member.label for member in members if member.step is None]
    if unknown:
        raise InputError(f"The training step of {unknown[0]} is not known: name the file by its step.")
    steps = [int(member.step or 0) for member in members]
    if len(set(steps)) < len(steps):
        raise InputError("A training step occurs twice; run the studies of one training only.")
    scores: dict[str, xr.DataArray] = {}
    for modality in members[0].results.scores:
        arrays = [_by_unit(member.results.scores[modality]) for member in members]
        together = xr.concat(arrays, pd.Index(steps, name="step"), coords="minimal", compat="override")
        scores[modality] = together.sortby("step").rename("r")
    enough = len(steps) >= MINIMUM_STEPS
    halves = {
        modality: half_times(array, unit="unit") if enough else pd.DataFrame() for modality, array in scores.items()
    }
    return TrainingSeries(scores, halves, collection)


def _by_unit(scores: xr.Dataset) -> xr.DataArray:
    """Mean over targets of r, signal and layer as one dimension."""
    mean = scores["r"].mean("target")
    parts = [
        mean.sel(signal=signal, layer=layer, drop=True) for signal in mean.signal.values for layer in mean.layer.values
    ]
    names = [f"{signal} {layer}" for signal in mean.signal.values for layer in mean.layer.values]
    together = xr.concat(parts, pd.Index(names, name="unit"), coords="minimal", compat="override")
    return together.transpose("unit", "subject", "split")
