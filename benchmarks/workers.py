"""Two workers of one thread against one: extraction and encoding of the sample, in one run.

    OMP_NUM_THREADS=1 python benchmarks/workers.py [thin]

Prints for one and for two workers the wall time, the CPU seconds of the workers, and the share of the cores that they
got; then both ratios: of the wall times as they were, and of the times that the tasks' CPU seconds make on as many free
cores. Where other programs run, only the second says something about brainmap.
"""

from __future__ import annotations

import heapq
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmap.study import Study, StudyConfig
from brainmap.study.cluster import dask_engine
from brainmap.study.cluster.dask_engine import DaskEngine
from brainmap.study.cluster.dispatch import run_tasks
from brainmap.study.cluster.pools import pools
from brainmap.study.cluster.tasks import Task, do_task, tasks_of
from brainmap.study.declared.job_settings import JobSettings


def timed(values: Mapping[str, Any]) -> str:
    """Do a task and note its CPU seconds."""
    start = time.process_time()
    folder = do_task(values)
    words = [values["stage"], *(values["part"] or ())]
    note = Path(folder) / "cpu" / " ".join(words).replace("/", "-of-")
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(time.process_time() - start))
    return folder


def load(_: int) -> None:
    """Import what tasks need."""
    import torch

    torch.set_num_threads(1)


def measure(study: Study, jobs: int) -> tuple[float, list[tuple[Task, float]]]:
    """Wall seconds of features and encoding, and each task's CPU seconds."""
    dask_engine.work_on = timed  # type: ignore[assignment]
    tasks = [task for task in tasks_of([study], jobs) if task.stage in ("features", "encoding")]
    with pools(None, jobs, JobSettings(), needed={"cpu"}, logs=study.out) as ready:
        client = ready["cpu"].client
        client.wait_for_workers(jobs)
        client.gather([client.submit(load, number, workers=[worker], pure=False)
                       for number, worker in enumerate(client.scheduler_info()["workers"])])  # fmt: skip
        start = time.perf_counter()
        run_tasks(tasks, DaskEngine(ready, reports=False, threads=1, logs=study.out))
        wall = time.perf_counter() - start
    spent = []
    for task in tasks:
        words = " ".join([task.stage, *(task.part or ())]).replace("/", "-of-")
        spent.append((task, float(json.loads((study.out / "cpu" / words).read_text()))))
    return wall, spent


def on_free_cores(spent: list[tuple[Task, float]], jobs: int) -> float:
    """Time until the last task ends, when each takes its CPU seconds and starts as soon as a worker is free."""
    ends: dict[str, float] = {}
    free = [0.0] * jobs
    for task, seconds in spent:
        start = max(heapq.heappop(free), *(ends.get(key, 0.0) for key in task.after), 0.0)
        ends[task.key] = start + seconds
        heapq.heappush(free, ends[task.key])
    return max(ends.values())


def main() -> None:
    """Print the comparison."""
    thin = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    walls, free = {}, {}
    folder = Path(tempfile.mkdtemp())
    for jobs in (1, 2):
        study = Study(StudyConfig(thin=thin), folder / str(jobs))
        walls[jobs], spent = measure(study, jobs)
        cpu, free[jobs] = sum(seconds for _, seconds in spent), on_free_cores(spent, jobs)
        print(f"{jobs} worker(s): {walls[jobs]:.1f} s, {cpu:.1f} CPU s in {len(spent)} tasks, "
              f"{cpu / walls[jobs] / jobs:.0%} of the cores; on free cores {free[jobs]:.1f} s", flush=True)  # fmt: skip
    print(f"ratio {walls[1] / walls[2]:.2f} as it was, {free[1] / free[2]:.2f} on free cores")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
