"""The tasks of studies: what can be computed apart, what must be there before, and how one is done.

A task writes its result into the run folders and returns nothing else, so that a lost worker costs the task it was at
and no more, and doing one twice is harmless. Any worker that shares the folder may do any task.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainmap.common.errors import ReadingNote
from brainmap.common.memory_sizes import available_threads
from brainmap.encoding.engine import MAX_BATCH
from brainmap.study.inputs import CLIP_BRIDGE
from brainmap.study.lent import Lent
from brainmap.study.plan import DATA_SETTINGS, MODEL_SETTINGS, StudyPlan
from brainmap.study.resources import EFFICIENCY, measured_speed
from brainmap.study.run import Study, fraction

Stage = Literal["features", "encoding", "permutations", "results"]
TASK_SECONDS = 1200.0  # what is longer is cut into shares
# Less is not worth factorising features again, or opening the model, even for a worker that has nothing else to do.
LEAST_SHARE = {"encoding": 60.0, "features": 15.0}
MOST_SHARES = 64
LEAST_SECONDS = 5.0  # of any task: a process opens the data first


@dataclass(frozen=True, eq=False)
class Task:
    """One piece of a study.

    Attributes
    ----------
    key : str
        Names it among all tasks of all studies, and is the same in every process: it holds digests of the settings and
        of the folder.
    stage : {"features", "encoding", "permutations", "results"}
        Features of a study, the encoding of one subject (or of some of its targets) from one feature space,
        permutations of some targets of one map, or statistics and tables.
    study : Study
        The study.
    part : tuple of str, optional
        Share of the images of features; modality, subject, feature space and share of the targets of an encoding; of
        permutations what
        :meth:`Study.permute` takes.
    after : tuple of str
        Keys of the tasks that must be done before.
    done : bool
        Whether its result is there already.
    seconds : float
        What it takes, by the plan's estimate for a machine like this one.
    gpu : bool
        Whether it is computed on a GPU.
    """

    key: str
    stage: Stage
    study: Study
    part: tuple[str, ...] | None = None
    after: tuple[str, ...] = ()
    done: bool = False
    seconds: float = LEAST_SECONDS
    gpu: bool = False

    def __str__(self) -> str:
        return " ".join([self.stage, *(self.part or ()), "of", self.study.out.name])


def tasks_of(studies: Sequence[Study], workers: int = 1) -> list[Task]:
    """Return the tasks of some studies, each after those it needs, cut so that all workers have something to do.

    Studies that share a model and photographs share features: only the first of them extracts, the others find them.

    Raises
    ------
    MissingFileError
        If recordings or photographs are not here.
    """
    tasks: list[Task] = []
    extracting: dict[tuple[str, Path], str] = {}
    speed = measured_speed()
    for study in studies:
        name = _name(study)
        finished = study.folder.results.is_dir()
        plan = None if finished else study.plan()
        key = f"features {name}"
        before = extracting.setdefault((_features_key(study), study.folder.features), key)
        if before == key:
            tasks += _features(study, plan, name, speed, workers)
        encoding = list(_encoding(study, plan, before, speed, workers / len(studies)))
        parts = tuple(task.key for task in encoding)
        permuted = [] if plan is None else list(_permutations(study, plan, name, parts, speed))
        before_results = (*parts, *(task.key for task in permuted))
        tasks += [*encoding, *permuted, Task(f"results {name}", "results", study, None, before_results, finished)]
    return tasks


def _features(study: Study, plan: StudyPlan | None, name: str, speed: float, workers: float) -> Iterator[Task]:
    """Yield the extraction; before it shares of the images, where it is long or workers have nothing else to do."""
    key, gpu = f"features {name}", study.config.device.startswith("cuda")
    if plan is None:
        yield Task(key, "features", study, done=True)
        return
    seconds = plan.task_operations.get("features", 0.0) / (EFFICIENCY * speed)
    bridged = study.config.objective == CLIP_BRIDGE  # is fitted first
    shares = 1 if bridged or study.extracted() else _number_of_shares(seconds, workers, LEAST_SHARE["features"])
    before = []
    for number in range(1, shares + 1) if shares > 1 else ():
        before.append(f"{key} {number}/{shares}")
        yield Task(
            before[-1], "features", study, (f"{number}/{shares}",), (), False, LEAST_SECONDS + seconds / shares, gpu
        )
    yield Task(key, "features", study, None, tuple(before), seconds=LEAST_SECONDS + (0 if before else seconds), gpu=gpu)


def _encoding(study: Study, plan: StudyPlan | None, before: str, speed: float, workers: float) -> Iterator[Task]:
    """Yield the encoding of each subject from each feature space, in shares of its targets likewise."""
    parts, gpu = study.parts(), study.config.device.startswith("cuda")
    for part in parts:
        seconds = 0.0 if plan is None else plan.task_operations.get(f"encoding {part[0]}", 0.0) / speed
        done = plan is None or study.finished(part)
        shares = 1 if done else _number_of_shares(seconds, workers / len(parts), LEAST_SHARE["encoding"])
        shares = max(min(shares, (0 if plan is None else plan.targets.get(part[0], 0)) // MAX_BATCH), 1)
        for number in range(1, shares + 1):
            shared = (*part, f"{number}/{shares}")
            key = f"encoding {_name(study)} {' '.join(shared)}"
            yield Task(key, "encoding", study, shared, (before,), done, LEAST_SECONDS + seconds / shares, gpu)


def _number_of_shares(seconds: float, workers: float, least: float) -> int:
    """Into how many shares a task is cut: none of them too long, and one for each worker if that is worth it."""
    return int(np.clip(math.ceil(max(seconds / TASK_SECONDS, min(workers, seconds / least))), 1, MOST_SHARES))


def _permutations(study: Study, plan: StudyPlan, name: str, after: tuple[str, ...], speed: float) -> Iterator[Task]:
    """Yield the permutations of each map, in shares of its targets where they are long."""
    gpu = study.config.device.startswith("cuda")
    for modality in dict.fromkeys(part[0] for part in study.parts()):
        operations = plan.task_operations.get(f"permutations {modality}", 0.0)
        maps = [(signal, str(layer)) for signal in study.config.signals for layer in range(plan.layers)]
        if not operations or not maps:
            continue
        seconds = operations / speed / len(maps)
        shares = _number_of_shares(seconds, 1, seconds + 1)
        for signal, layer in maps:
            for number in range(1, shares + 1):
                part = (modality, signal, layer, f"{number}/{shares}")
                key = f"permutations {name} {' '.join(part)}"
                yield Task(key, "permutations", study, part, after, False, LEAST_SECONDS + seconds / shares, gpu)


def described(task: Task, *, reports: bool = False, threads: int | None = None) -> dict[str, Any]:
    """Say in plain values, for a worker on any machine that shares the folder, what :func:`do_task` needs."""
    study = task.study
    return {
        "config": json.loads(study.config.model_dump_json(exclude_defaults=True)),
        "out_space": study.out_space,
        "folder": str(study.out.absolute()),
        "features": str(study.folder.features.absolute()),
        "studies": None if study.folder.studies is None else str(study.folder.studies.absolute()),
        "working_folder": str(Path.cwd()),
        "stage": task.stage,
        "part": task.part,
        "report": reports,
        "threads": threads or available_threads(),  # a task's bits are those of its plan
        "seconds": task.seconds,
    }


def do_task(values: Mapping[str, Any]) -> str:
    """Do one task; what it needs is in the run folders.

    Parameters
    ----------
    values : mapping
        From :func:`described`.

    Returns
    -------
    str
        The run folder.
    """
    from brainmap.study.declared.study_config import StudyConfig

    if Path.cwd() != Path(values["working_folder"]):
        os.chdir(values["working_folder"])  # paths in a study file are relative to it
    study = Study(StudyConfig.from_dict(dict(values["config"])), values["folder"], out_space=values["out_space"])
    study.folder.features, study.threads = Path(values["features"]), values["threads"]
    study.folder.studies = None if values["studies"] is None else Path(values["studies"])
    study.lent = _lent(values["working_folder"])
    with warnings.catch_warnings():
        if values["stage"] != "features":  # which has said already how the files were read
            warnings.simplefilter("ignore", ReadingNote)
        if values["stage"] == "features":
            share = values["part"]
            study.extract(None if share is None else fraction(share[0]))
        elif values["stage"] == "encoding":
            study.encode(tuple(values["part"]))
        elif values["stage"] == "permutations":
            study.permute(tuple(values["part"]))
        else:
            study.run(report=values["report"])
    return str(values["folder"])


@functools.lru_cache(maxsize=1)
def _lent(_: str) -> Lent:
    """What the studies of one worker lend one another."""
    return Lent()


def _name(study: Study) -> str:
    """Name of a study in its tasks' keys: a scheduler may serve other runs of the same study in other folders."""
    place = hashlib.sha256(str(study.out.absolute()).encode()).hexdigest()[:8]
    return f"{study.config.model_name}-{study.config.dataset}-{study.config.digest()[:8]}-{place}"


def _features_key(study: Study) -> str:
    """What decides the features of a study, as text."""
    return str(study.config.model_dump_json(include={*DATA_SETTINGS[:3], *MODEL_SETTINGS}))
