"""Tasks of studies on Dask: processes of this machine, jobs of a queue, or a scheduler that runs already."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import InputError
from brainmap.common.progress import StageProgress
from brainmap.study.cluster.dispatch import WorkerLostError, run_tasks
from brainmap.study.cluster.pools import JOB_END, Pool, pools
from brainmap.study.cluster.tasks import Task, described, do_task, tasks_of
from brainmap.study.declared.job_settings import JobSettings, job_settings
from brainmap.study.resources import duration
from brainmap.study.run import Study

if TYPE_CHECKING:
    from brainmap.study.grid import Grid

CAUTION = 1.5  # of estimates, when it is asked whether a task fits what is left of a job
MARGIN = 60.0  # seconds before the end of a job in which nothing is begun
POLL = 1.0


def run_on_dask(
    work: Grid | Study,
    *,
    jobs: int,
    cluster: str | None = None,
    reports: bool = False,
    skip_missing: bool = False,
) -> None:
    """Compute what is not finished yet of a study file or a study, a task at a time on each worker.

    Parameters
    ----------
    work : Grid or Study
        What to compute; all workers must see its folder.
    jobs : int
        Workers; of a queue, jobs at most.
    cluster : str, optional
        ``slurm``, ``pbs``, ``sge``, ``lsf`` or ``htcondor`` (jobs with the settings of the study file's ``cluster:``
        block and of ``cluster.yaml``), or the address of a scheduler, as ``tcp://host:8786``. By default processes of
        this machine.
    reports : bool
        Write a report of every study, too.
    skip_missing : bool
        Leave out studies whose model or data are not here; an error otherwise.

    Raises
    ------
    InputError
        If the cluster is unknown, its settings are wrong, or a task takes longer than a job may last.
    MissingFileError
        If Dask is not installed, or something that the studies need is not here.

    Examples
    --------
    >>> from brainmap.study import Grid, GridConfig, run_on_dask
    >>> grid = Grid(GridConfig.from_yaml("study.yaml"), out="brainmap_runs/grid")
    >>> run_on_dask(grid, jobs=4)  # doctest: +SKIP
    >>> run_on_dask(grid, jobs=64, cluster="slurm")  # doctest: +SKIP
    >>> len(grid.config.cells())
    4
    """
    settings = job_settings(None if isinstance(work, Study) else work.config.cluster)
    waiting = [task for task in tasks_of(_studies(work, skip_missing), jobs) if not task.done]
    if not waiting:
        return
    queued = cluster is not None and "://" not in cluster
    if queued:
        _check_jobs(waiting, settings)
    logs = work.out / "logs"
    needed = {"gpu" if task.gpu else "cpu" for task in waiting}
    with pools(cluster, jobs, settings, needed=needed, logs=logs) as ready:
        engine = DaskEngine(ready, reports=reports, threads=settings.cores if queued else None, logs=logs)
        try:
            with StageProgress(Counter(task.stage for task in waiting)) as progress:
                engine.say = progress.say
                run_tasks(waiting, engine, ended=lambda task: progress.advance(task.stage))
        finally:
            engine.cancel()


class DaskEngine:
    """Hands tasks to Dask's workers: those for a GPU to workers that have one.

    Parameters
    ----------
    ready : mapping of str to Pool
        Connections to workers, for ``"cpu"`` and ``"gpu"`` tasks.
    reports : bool
        Write a report of every study.
    threads : int, optional
        Of a task; by default the CPUs that this process may use.
    logs : path
        Named where no worker comes.
    """

    def __init__(self, ready: Mapping[str, Pool], *, reports: bool, threads: int | None, logs: Any) -> None:
        self.ready, self.reports, self.threads, self.logs = ready, reports, threads, logs
        self.say: Any = lambda text: None
        self._ended: SimpleQueue[tuple[Task, Any]] = SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._quiet_since = time.monotonic()

    def submit(self, task: Task, priority: float, attempt: int) -> None:
        """Hand a task over; of those that wait, Dask starts the one of highest priority first."""
        pool = self.ready["gpu" if task.gpu else "cpu"]
        future = pool.client.submit(
            work_on,
            described(task, reports=self.reports, threads=self.threads),
            key=f"{task.key} {attempt}",
            priority=priority,
            resources=pool.resources or None,
            pure=False,
        )
        self._futures[task.key] = future
        future.add_done_callback(lambda done: self._ended.put((task, done)))

    def wait(self) -> tuple[Task, BaseException | None]:
        """Return the next task that has ended; its future is released: its result is a file."""
        from distributed.scheduler import KilledWorker

        while True:
            try:
                task, future = self._ended.get(timeout=POLL)  # in slices, so that Ctrl-C is heard
                break
            except Empty:
                self._look_at_workers()
        self._futures.pop(task.key, None)
        if future.cancelled():
            return task, WorkerLostError(f"the scheduler gave up '{task}'")
        problem = future.exception()
        if isinstance(problem, KilledWorker):
            problem = WorkerLostError(str(problem))
        return task, problem

    def cancel(self) -> None:
        """Take back what is not done yet."""
        for pool in self.ready.values():
            futures = [future for future in self._futures.values() if future.client is pool.client]
            if futures:
                pool.client.cancel(futures, force=True)

    def _look_at_workers(self) -> None:
        """Say now and then that no worker has come: jobs may wait in the queue, or end as soon as they begin."""
        for pool in self.ready.values():
            pool.revive()
        if any(pool.client.scheduler_info(n_workers=-1)["workers"] for pool in self.ready.values()):
            self._quiet_since = time.monotonic()
        elif time.monotonic() - self._quiet_since > 60:
            self._quiet_since = time.monotonic()
            self.say(f"no worker has come for a minute: look at the queue, and at what jobs wrote to {self.logs}")


def work_on(values: Mapping[str, Any]) -> str:
    """Do a task on a worker, or give it back where the rest of the worker's job is too short for it."""
    end = float(os.environ.get(JOB_END, "inf"))
    if time.time() + CAUTION * values["seconds"] + MARGIN > end:
        from distributed import Reschedule, get_worker

        worker = get_worker()
        worker.loop.add_callback(worker.close_gracefully, reason="what is left of the job is too short for a task")
        time.sleep(POLL)  # until the scheduler knows, it would hand the task to this worker again
        raise Reschedule
    return do_task(values)


def _studies(work: Grid | Study, skip_missing: bool) -> Sequence[Study]:
    """Studies to compute; what is missing for any of them is named before the first is begun."""
    if isinstance(work, Study):
        work.refuse_missing()
        return [work]
    if not skip_missing:
        work.refuse_missing()
    return [work.study(cell) for cell in work.cells if not skip_missing or not work.missing(cell)]


def _check_jobs(tasks: Sequence[Task], settings: JobSettings) -> None:
    """Refuse what no job can do: a GPU task where none asks for one, a task longer than the walltime."""
    gpu = settings.for_gpu_tasks
    for task in tasks:
        asked = gpu if task.gpu else settings
        if asked is None:
            raise InputError(
                f"{task.study.config.model_name} is to be computed on {task.study.config.device}, and no job asks for "
                "a GPU: set gpus: 1 in the cluster's settings (or under gpu:, for tasks that need one), or device: cpu"
            )
        if asked.seconds is not None and CAUTION * task.seconds + MARGIN > asked.seconds:
            raise InputError(
                f"'{task}' takes about {duration(task.seconds)} by the plan, too long for jobs of {asked.walltime}: a "
                f"task is started where {CAUTION:g} times that and a minute are left. Raise walltime in the cluster's "
                "settings, or cores."
            )
