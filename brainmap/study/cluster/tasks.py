"""The tasks of a study file: what can be computed apart, what must be there before, and how one is done.

A task writes its result into the run folders and returns nothing else, so that a lost worker costs the task it was at
and no more, and doing one twice is harmless. Any worker that shares the folder may do any task.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brainmap.common.memory_sizes import available_threads
from brainmap.study.inputs import Simulated
from brainmap.study.run import Part, Study

if TYPE_CHECKING:
    from brainmap.study.declared.study_file import Cell
    from brainmap.study.grid import Grid

Stage = Literal["features", "encoding", "results"]


@dataclass(frozen=True)
class Task:
    """One piece of a study file.

    Attributes
    ----------
    key : str
        Names it among all tasks of the file, and is the same in every process: it holds the digest of the settings.
    stage : {"features", "encoding", "results"}
        Features of a study, the encoding of one subject from one feature space, or statistics and tables.
    cell : Cell
        The study.
    part : tuple of str, optional
        Modality, subject and feature space of an encoding.
    after : tuple of str
        Keys of the tasks that must be done before.
    done : bool
        Whether its result is there already.
    """

    key: str
    stage: Stage
    cell: Cell
    part: Part | None = None
    after: tuple[str, ...] = ()
    done: bool = False


def tasks_of(grid: Grid, cells: Sequence[Cell]) -> list[Task]:
    """Return the tasks of some studies of a file, each after those it needs.

    Studies that share a model and photographs share features: only the first of them extracts, the others find them.

    Raises
    ------
    MissingFileError
        If recordings or photographs are not here.
    """
    tasks: list[Task] = []
    extracting: dict[str, str] = {}
    for cell in cells:
        study = grid.study(cell)
        finished = study.folder.results.is_dir()
        shared = _features_key(cell)
        before = extracting.setdefault(shared, f"features {cell.name}")
        if before == f"features {cell.name}":
            tasks.append(Task(before, "features", cell, done=finished))
        parts = []
        for part in study.parts():
            key = f"encoding {cell.name} {' '.join(part)}"
            tasks.append(Task(key, "encoding", cell, part, (before,), finished or study.finished(part)))
            parts.append(key)
        tasks.append(Task(f"results {cell.name}", "results", cell, after=tuple(parts), done=finished))
    return tasks


def described(grid: Grid, task: Task, *, reports: bool = False) -> dict[str, Any]:
    """Say in plain values, for a worker on any machine that shares the folder, what :func:`do_task` needs."""
    return {
        "config": json.loads(task.cell.config.model_dump_json(exclude_defaults=True)),
        "folder": str((grid.out / "cells" / task.cell.name).absolute()),
        "features": str((grid.out / "features").absolute()),
        "working_folder": str(Path.cwd()),
        "stage": task.stage,
        "part": task.part,
        "report": reports,
        "threads": available_threads(),  # a task's bits are those of the machine that planned it
    }


def do_task(values: Mapping[str, Any], *before: object) -> str:
    """Do one task; what it needs is in the run folders.

    Parameters
    ----------
    values : mapping
        From :func:`described`.
    *before
        Ignored: results of the tasks that had to be done before, which Dask hands over.

    Returns
    -------
    str
        The run folder.
    """
    from brainmap.study.declared.study_config import StudyConfig

    if Path.cwd() != Path(values["working_folder"]):
        os.chdir(values["working_folder"])  # paths in a study file are relative to it
    study = Study(StudyConfig.from_dict(dict(values["config"])), values["folder"])
    study.folder.features, study.threads = Path(values["features"]), values["threads"]
    study.simulated, study.planned = _lent(values["working_folder"])
    if values["stage"] == "features":
        study.extract()
    elif values["stage"] == "encoding":
        study.encode(tuple(values["part"]))
    else:
        study.run(report=values["report"])
    return str(values["folder"])


@functools.lru_cache(maxsize=1)
def _lent(_: str) -> tuple[dict[tuple[int, int], Simulated], dict[str, Any]]:
    """What the studies of one worker lend one another: simulated brains, and looks at data for plans."""
    return {}, {}


def _features_key(cell: Cell) -> str:
    """What decides the features of a study, as text."""
    from brainmap.study.plan import DATA_SETTINGS, MODEL_SETTINGS

    return str(cell.config.model_dump_json(include={*DATA_SETTINGS[:3], *MODEL_SETTINGS}))
