"""Tasks of a study file on Dask: processes of this machine, jobs of a queue, or a scheduler that runs already."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.progress import track
from brainmap.common.yaml_text import read_yaml
from brainmap.study.cluster.tasks import described, do_task, tasks_of

if TYPE_CHECKING:
    from brainmap.study.grid import Grid

QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
}
SETTINGS = Path("~/.config/brainmap/cluster.yaml")
ATTEMPTS = 3  # of a task whose worker was lost: preempted, out of time, out of memory


def run_on_dask(
    grid: Grid, *, jobs: int, cluster: str | None = None, reports: bool = False, skip_missing: bool = False
) -> None:
    """Compute what is not finished yet of a study file, a task at a time on each worker.

    Parameters
    ----------
    grid : Grid
        The study file; all workers must see its folder.
    jobs : int
        Workers; of a queue, at most.
    cluster : str, optional
        ``slurm``, ``pbs``, ``sge``, ``lsf`` or ``htcondor`` (jobs with the settings of ``cluster.yaml``), or the
        address of a scheduler, as ``tcp://host:8786``. By default processes of this machine.
    reports : bool
        Write a report of every study, too.
    skip_missing : bool
        Leave out studies whose model or data are not here; an error otherwise.

    Raises
    ------
    InputError
        If the cluster is unknown or its settings are wrong.
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
    if not skip_missing:
        grid.refuse_missing()
    cells = [cell for cell in grid.cells if not grid.missing(cell)]
    waiting = [task for task in tasks_of(grid, cells) if not task.done]
    if not waiting:
        return
    with _client(cluster, jobs) as client:
        futures: dict[str, Any] = {}
        for task in waiting:
            before = [futures[key] for key in task.after if key in futures]
            values = described(grid, task, reports=reports)
            futures[task.key] = client.submit(do_task, values, *before, key=task.key, retries=ATTEMPTS - 1, pure=False)
        from distributed import as_completed

        try:
            for future in track(as_completed(list(futures.values())), "tasks", unit="tasks", total=len(futures)):
                future.result()  # the worker's own error, if it had one
        except BaseException:
            client.cancel(list(futures.values()), force=True)
            raise


@contextlib.contextmanager
def _client(cluster: str | None, jobs: int) -> Iterator[Any]:
    """Connect to workers; those that were started for this are stopped at the end."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingFileError("Dask is not installed; install it with: pip install 'brainmap[cluster]'") from None
    quiet = {
        "distributed.nanny.pre-spawn-environ": {},  # threads as in this process: the same bits on every worker
        "distributed.comm.timeouts.connect": "60s",
        "distributed.logging": {"distributed": "error"},
    }
    with contextlib.ExitStack() as stack, dask.config.set(quiet):
        if cluster is None:
            local = LocalCluster(
                n_workers=jobs, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
            )
            client = stack.enter_context(Client(stack.enter_context(local)))
        elif cluster in QUEUES:
            client = stack.enter_context(Client(stack.enter_context(_queue(cluster, jobs))))
        elif "://" in cluster:
            client = stack.enter_context(Client(cluster, timeout="30s"))
        else:
            known = ", ".join(QUEUES)
            raise InputError(
                f"There is no cluster {cluster!r}; choose {known}, or a scheduler's address, tcp://…:8786."
            )
        yield client


def _queue(name: str, jobs: int) -> Any:
    """Start workers as jobs of a queue; lost ones are replaced as long as there is work."""
    try:
        import dask_jobqueue
    except ImportError:
        raise MissingFileError(
            "dask-jobqueue is not installed; install it with: pip install 'brainmap[cluster]'"
        ) from None
    settings = {"cores": 1, "processes": 1, "memory": "8GB", **queue_settings()}
    settings.setdefault("job_script_prologue", [f"export {k}={v}" for k, v in _threads().items()])
    try:
        queue = getattr(dask_jobqueue, QUEUES[name])(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"The settings in {SETTINGS} do not suit {name}: {' '.join(str(error).split())}") from None
    queue.adapt(minimum=min(1, jobs), maximum=jobs)
    return queue


def queue_settings() -> dict[str, Any]:
    """Read the settings of jobs (partition, account, walltime, cores, memory …) from the user's ``cluster.yaml``."""
    file = Path(os.environ.get("BRAINMAP_CLUSTER", SETTINGS)).expanduser()
    if not file.is_file():
        return {}
    settings = read_yaml(file)
    if not isinstance(settings, dict):
        raise InputError(f"{file} must hold settings of dask-jobqueue, a name and a value in each line.")
    settings = {str(name): value for name, value in settings.items()}
    if "partition" in settings:  # SLURM's own word
        settings["queue"] = settings.pop("partition")
    return settings


def _threads() -> dict[str, str]:
    return {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
