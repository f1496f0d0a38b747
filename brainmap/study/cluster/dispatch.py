"""Tasks in their order: each is handed out once what it needs is there, and again when its worker is lost.

The engine that does the work is handed in, so that the rules are tested with a clock that is not real.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from brainmap.common.errors import BrainmapError
from brainmap.study.cluster.tasks import Task

ATTEMPTS = 5  # of a task whose worker was lost: preempted, out of time, out of memory


class WorkerLostError(BrainmapError):
    """The process that did a task is gone."""


class Engine(Protocol):
    """What does tasks: a Dask cluster, or a simulation of one."""

    def submit(self, task: Task, priority: float, attempt: int) -> None:
        """Take a task; among those that wait, the one of highest priority is done first."""

    def wait(self) -> tuple[Task, BaseException | None]:
        """Return the next task that has ended, and what went wrong, if anything did."""


def run_tasks(tasks: Sequence[Task], engine: Engine, *, ended: Callable[[Task], None] = lambda task: None) -> None:
    """Do tasks, each after those it needs; first what the longest chain of others waits for.

    Parameters
    ----------
    tasks : sequence of Task
        Those in ``after`` that are not among them are done already.
    engine : Engine
        Does them.
    ended : callable
        Told of each task that is done.

    Raises
    ------
    WorkerLostError
        If a task's worker was lost :data:`ATTEMPTS` times.
    """
    known = {task.key: task for task in tasks}
    needs = {task.key: {key for key in task.after if key in known} for task in tasks}
    followers: dict[str, list[str]] = defaultdict(list)
    for key, before in needs.items():
        for each in before:
            followers[each].append(key)
    priority = dict(_chains(tasks, followers))
    attempts = dict.fromkeys(known, 1)

    def submit(keys: Sequence[str]) -> None:
        for key in sorted(keys, key=lambda key: -priority[key]):
            engine.submit(known[key], priority[key], attempts[key])

    submit([key for key, before in needs.items() if not before])
    left = len(known)
    while left:
        task, problem = engine.wait()
        if isinstance(problem, WorkerLostError) and attempts[task.key] < ATTEMPTS:
            attempts[task.key] += 1
            submit([task.key])
            continue
        if isinstance(problem, WorkerLostError):
            raise WorkerLostError(
                f"The worker of '{task}' was lost {ATTEMPTS} times. Jobs that the queue ends for their memory or time "
                "look like this: look at their logs, and raise memory or walltime in the cluster's settings."
            ) from None
        if problem is not None:
            raise problem
        left -= 1
        ended(task)
        ready = []
        for key in followers[task.key]:
            needs[key].discard(task.key)
            if not needs[key]:
                ready.append(key)
        submit(ready)


def _chains(tasks: Sequence[Task], followers: dict[str, list[str]]) -> Iterator[tuple[str, float]]:
    """Yield each task with the seconds of the longest chain that begins with it."""
    length: dict[str, float] = {}
    for task in reversed(tasks):  # each stands after those it needs
        length[task.key] = task.seconds + max((length[key] for key in followers[task.key]), default=0.0)
        yield task.key, length[task.key]
