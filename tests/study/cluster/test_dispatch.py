"""Handing tasks out on a cluster that is not there: a clock of its own, and workers that die."""

from __future__ import annotations

import heapq
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brainmap.study.cluster.dispatch import ATTEMPTS, WorkerLostError, run_tasks
from brainmap.study.cluster.tasks import Task

DEATH = 0.05
REPLACED = 30.0  # seconds until a lost worker's place is filled


def task(key: str, seconds: float, after: tuple[str, ...] = ()) -> Task:
    study: Any = SimpleNamespace(out=SimpleNamespace(name=key.split()[-1]))
    return Task(key, "encoding", study, None, after, False, seconds)


class Simulated:
    """Workers on a clock of their own; each dies now and then in the middle of a task, and is replaced."""

    def __init__(self, workers: int, death: float, seed: int) -> None:
        self.rng, self.death = np.random.default_rng(seed), death
        self.free, self.clock = workers, 0.0
        self.waiting: list[tuple[float, int, Task]] = []
        self.running: list[tuple[float, int, Task | None, bool]] = []
        self.count = 0
        self.done: set[str] = set()
        self.begun: Counter[str] = Counter()
        self.written: Counter[str] = Counter()

    def submit(self, task: Task, priority: float, attempt: int) -> None:
        assert set(task.after) <= self.done, "handed out before what it needs was there"
        self.count += 1
        heapq.heappush(self.waiting, (-priority, self.count, task))

    def wait(self) -> tuple[Task, BaseException | None]:
        while True:
            while self.free and self.waiting:
                self.free -= 1
                _, number, task = heapq.heappop(self.waiting)
                self.begun[task.key] += 1
                dies = bool(self.rng.random() < self.death)
                lasts = task.seconds * (self.rng.random() if dies else 1.0)
                heapq.heappush(self.running, (self.clock + lasts, number, task, dies))
            self.clock, number, ended, dies = heapq.heappop(self.running)
            if ended is None:  # a new worker
                self.free += 1
                continue
            if dies:
                heapq.heappush(self.running, (self.clock + REPLACED, number, None, False))
                if self.rng.random() < 0.2:  # it had just written its result
                    self.written[ended.key] += 1
                return ended, WorkerLostError("gone")
            self.free += 1
            self.done.add(ended.key)
            self.written[ended.key] += 1
            return ended, None


def thousand_tasks(rng: np.random.Generator) -> list[Task]:
    """Fifty studies: features, eighteen encodings that need them, and the results that need all of these."""
    tasks = []
    for study in range(50):
        tasks.append(task(f"features s{study}", rng.uniform(60, 600)))
        keys = []
        for part in range(18):
            keys.append(f"encoding {part} s{study}")
            tasks.append(task(keys[-1], rng.lognormal(4.5, 0.8), (f"features s{study}",)))
        tasks.append(task(f"results s{study}", rng.uniform(30, 120), tuple(keys)))
    return tasks


@pytest.mark.parametrize("workers", [1, 7, 32, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_tasks_on_workers_that_die(workers: int, seed: int) -> None:
    tasks = thousand_tasks(np.random.default_rng(seed))
    assert len(tasks) == 1000
    cluster, ended = Simulated(workers, DEATH, seed), Counter[str]()
    run_tasks(tasks, cluster, ended=lambda task: ended.update([task.key]))
    assert set(ended.values()) == {1} and len(ended) == 1000
    assert min(cluster.written.values()) >= 1 and max(cluster.begun.values()) <= ATTEMPTS
    by_study = [[each.seconds for each in tasks[start : start + 20]] for start in range(0, 1000, 20)]
    chain = max(first + max(parts) + last for first, *parts, last in by_study)
    bound = max(sum(task.seconds for task in tasks) / workers, chain)
    assert cluster.clock <= 1.3 * bound


def test_the_longest_chain_is_begun_first() -> None:
    tasks = [task("a s", 10), task("b s", 1), task("c s", 100, ("b s",))]
    cluster = Simulated(1, 0.0, 0)
    order: list[str] = []
    run_tasks(tasks, cluster, ended=lambda task: order.append(task.key))
    assert order == ["b s", "c s", "a s"]


def test_a_task_that_loses_every_worker_is_one_sentence() -> None:
    cluster = Simulated(2, 1.0, 0)
    with pytest.raises(WorkerLostError, match=f"was lost {ATTEMPTS} times.*raise memory or walltime"):
        run_tasks([task("a s", 10)], cluster)
    assert cluster.begun["a s"] == ATTEMPTS


def test_what_a_task_says_goes_on_and_nothing_else_is_begun() -> None:
    class Failing(Simulated):
        def wait(self) -> tuple[Task, BaseException | None]:
            ended, _ = super().wait()
            return ended, ValueError("no photographs")

    cluster = Failing(1, 0.0, 0)
    with pytest.raises(ValueError, match="no photographs"):
        run_tasks([task("a s", 1), task("b s", 1, ("a s",))], cluster)
    assert not cluster.begun["b s"]
