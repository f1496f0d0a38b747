"""Connections to Dask's workers: started on this machine, as jobs of a queue, or there already."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.memory_sizes import parse_memory
from brainmap.study.declared.job_settings import JobSettings

QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
}
JOB_END = "BRAINMAP_JOB_END"  # seconds since 1970 at which the queue ends a job
LOOPBACK = "127.0.0.1"
NO_PORTS = "127.0.0.1:0"  # Dask's pages of its own state are served to this machine only
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CONFIG = {
    "distributed.nanny.pre-spawn-environ": {},  # threads as in this process: the same bits on every worker
    "distributed.comm.timeouts.connect": "60s",
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.logging": {"distributed": "critical"},
}


@dataclass(frozen=True)
class Pool:
    """Workers for one kind of task.

    Attributes
    ----------
    client : distributed.Client
        Connection to their scheduler.
    resources : dict of str to float
        What a task takes of a worker's resources.
    revive : callable
        To be called now and then: starts workers in place of lost ones, where nothing else does.
    """

    client: Any
    resources: dict[str, float] = field(default_factory=dict)
    revive: Callable[[], None] = lambda: None


@contextlib.contextmanager
def pools(
    cluster: str | None, jobs: int, settings: JobSettings, *, needed: Collection[str], logs: Path
) -> Iterator[dict[str, Pool]]:
    """Connect to workers for ``"cpu"`` and ``"gpu"`` tasks; those that were started for this are stopped at the end.

    Parameters
    ----------
    cluster, jobs
        As for :func:`brainmap.study.run_on_dask`.
    settings : JobSettings
        Of the jobs of a queue.
    needed : collection of str
        The kinds of tasks that there are.
    logs : Path
        Folder in which jobs write what they have to say.

    Raises
    ------
    InputError
        If there is no such cluster, or a queue refuses the job.
    MissingFileError
        If Dask, dask-jobqueue or cryptography is not installed.
    """
    try:
        import dask
        import distributed  # noqa: F401
    except ImportError:
        raise not_installed("Dask") from None
    with contextlib.ExitStack() as stack, dask.config.set(CONFIG):
        if cluster is None:
            ready = _local(stack, jobs, needed)
        elif cluster in QUEUES:
            ready = {}
            for kind in sorted(needed):
                asked = settings.for_gpu_tasks if kind == "gpu" else settings
                if settings.gpu is None and ready:  # all jobs are alike
                    ready[kind] = next(iter(ready.values()))
                else:
                    assert asked is not None
                    ready[kind] = Pool(stack.enter_context(_queue(cluster, jobs, asked, logs)))
        elif "://" in cluster:
            ready = _existing(stack, cluster)
        else:
            known = ", ".join(QUEUES)
            raise InputError(
                f"There is no cluster {cluster!r}; choose {known}, or a scheduler's address, tcp://…:8786."
            )
        yield ready


def not_installed(what: str) -> MissingFileError:
    """Return the error that says how to get what is not installed."""
    return MissingFileError(f"{what} is not installed; install it with: pip install 'brainmap[cluster]'")


def _existing(stack: contextlib.ExitStack, address: str) -> dict[str, Pool]:
    """Workers of a scheduler that runs already; those with GPUs were started with ``--resources gpu=1``."""
    from distributed import Client

    try:
        client = stack.enter_context(Client(address, timeout="30s"))
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        words = " ".join(str(error).split())
        raise InputError(f"No Dask scheduler answers at {address} ({words}); give its address to --cluster.") from None
    return {"cpu": Pool(client), "gpu": Pool(client, {"gpu": 1})}


def _local(stack: contextlib.ExitStack, jobs: int, needed: Collection[str]) -> dict[str, Pool]:
    """Processes of this machine, heard on the loopback only; as many of them as there are GPUs have one each."""
    from distributed import Client, Nanny, Scheduler, SpecCluster

    devices = _visible_devices() if "gpu" in needed else []
    common: dict[str, Any] = {"nthreads": 1, "host": LOOPBACK, "dashboard_address": NO_PORTS, "memory_limit": 0}
    common["silence_logs"] = logging.CRITICAL
    workers = {}
    for number in range(jobs):
        options = dict(common)
        if number < len(devices):
            options |= {"resources": {"gpu": 1}, "env": {"CUDA_VISIBLE_DEVICES": devices[number]}}
        workers[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {"host": LOOPBACK, "dashboard_address": NO_PORTS}}
    cluster = stack.enter_context(SpecCluster({}, scheduler, silence_logs="CRITICAL"))
    cluster.worker_spec.update(workers)
    cluster.scale(jobs)  # not at once: one that dies while it starts would be the end of all
    client = stack.enter_context(Client(cluster))
    revive = partial(_revive, cluster, jobs)
    # without a GPU the device is refused by the task itself, in one sentence
    return {"cpu": Pool(client, {}, revive), "gpu": Pool(client, {"gpu": 1} if devices else {}, revive)}


def _revive(cluster: Any, jobs: int) -> None:
    """Start workers anew that died while they were started; for others Dask does it."""
    from distributed.core import Status

    for name, nanny in list(cluster.workers.items()):
        if nanny.status in (Status.failed, Status.closed):
            del cluster.workers[name]
    if len(cluster.workers) < jobs:
        cluster.scale(jobs)


def _visible_devices() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


@contextlib.contextmanager
def _queue(name: str, jobs: int, settings: JobSettings, logs: Path) -> Iterator[Any]:
    """Start workers as jobs of a queue; lost ones are replaced as long as there is work."""
    from distributed import Client

    dask_jobqueue = _jobqueue()
    logs.mkdir(parents=True, exist_ok=True)
    options = queue_options(name, settings) | {"log_directory": str(logs)}
    try:
        cluster = getattr(dask_jobqueue, QUEUES[name])(**options, **_guarded(settings, logs), silence_logs="CRITICAL")
    except (TypeError, ValueError, OSError) as error:
        raise InputError(f"No scheduler for {name} could be started: {' '.join(str(error).split())}") from None
    with cluster:
        _submit_first(name, cluster)
        cluster.adapt(minimum=min(1, jobs), maximum=jobs, wait_count=5, interval="2s")
        with Client(cluster) as client:
            yield client


def _submit_first(name: str, cluster: Any) -> None:
    """Submit one job and hear what the queue says of it; of later ones a refusal would end in no sentence at all."""
    from distributed.core import Status

    cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(cluster._correct_state)
    except (RuntimeError, OSError, ValueError) as error:
        for job in cluster._created:
            job.status = Status.failed  # else closing the cluster waits for it
        cluster.workers.clear()
        cluster.worker_spec.clear()
        words = str(error).rpartition("stderr:")[2] or str(error)
        raise InputError(f"{name} does not take the job: {' '.join(words.split())}") from None


def _jobqueue() -> Any:
    """Import dask-jobqueue, which makes Ctrl-C a silent success from then on, and take that back."""
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        import dask_jobqueue
    except ImportError:
        raise not_installed("dask-jobqueue") from None
    for number, handler in ours.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    return dask_jobqueue


def _guarded(settings: JobSettings, logs: Path) -> dict[str, Any]:
    """Options that keep others out: one interface, and encryption with keys that only this user can read."""
    from distributed import Security
    from distributed.utils import get_ip

    scheduler: dict[str, Any] = {"dashboard_address": NO_PORTS}
    if settings.interface is None:
        scheduler["host"] = get_ip()
    try:
        security = Security.temporary()
    except ImportError:
        raise not_installed("cryptography") from None
    return {
        "security": security,
        "shared_temp_directory": str(logs.absolute()),
        "interface": settings.interface,
        "scheduler_options": scheduler,
    }


def queue_options(name: str, settings: JobSettings) -> dict[str, Any]:
    """Return the settings of jobs in the words that dask-jobqueue has for a queue.

    Parameters
    ----------
    name : str
        The queue.
    settings : JobSettings
        What a job asks for.
    """
    lines = [f"export {variable}={os.environ[variable]}" for variable in THREADS if variable in os.environ]
    lines += ["export DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON='{}'"]
    if settings.seconds is not None:
        lines.append(f"export {JOB_END}=$(($(date +%s) + {settings.seconds:.0f}))")
    options: dict[str, Any] = {
        "cores": settings.cores,
        "processes": 1,
        "memory": f"{parse_memory(settings.memory)}B",
        "job_name": "brainmap",
        "job_script_prologue": lines + settings.prologue,
        # a task has all cores of its worker: one at a time
        "worker_extra_args": ["--nthreads", "1", "--no-dashboard", "--dashboard-address", NO_PORTS],
        "death_timeout": 120,
    }
    own, directives = _words_of(name, settings)
    return options | own | ({"job_extra_directives": directives} if directives else {})


def _words_of(name: str, settings: JobSettings) -> tuple[dict[str, Any], Any]:
    """Partition, account, walltime and GPUs in a queue's own words: options of dask-jobqueue, and directives."""
    account = "account" if name in ("slurm", "pbs") else "project"
    given = {"queue": settings.partition, account: settings.account, "walltime": settings.walltime}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    directives: Any = list(settings.directives)
    memory, gpus = parse_memory(settings.memory), settings.gpus
    if name == "slurm":
        directives += [f"--gpus={gpus}"] if gpus else []
    elif name == "htcondor":
        if {"queue", "project"} & set(options):
            raise InputError("htcondor has no partitions and no accounts: leave them out of the cluster's settings")
        seconds = options.pop("walltime", None) and settings.seconds
        pairs = dict(line.split("=", 1) for line in directives if "=" in line)
        directives = {key.strip(): value.strip() for key, value in pairs.items()}
        directives |= {"request_gpus": gpus} if gpus else {}
        directives |= {"+MaxRuntime": int(seconds)} if seconds else {}
        options["disk"] = "2GB"
    elif name == "pbs":
        spec = f"select=1:ncpus={settings.cores}:mem={-(-memory // 2**20)}mb"
        options["resource_spec"] = spec + (f":ngpus={gpus}" if gpus else "")
    elif name == "sge":
        directives += [f"-l gpu={gpus}"] if gpus else []
    else:
        directives += [f'-gpu "num={gpus}"'] if gpus else []
        if settings.seconds is not None:  # LSF counts hours and minutes
            minutes = int(settings.seconds // 60)
            options["walltime"] = f"{minutes // 60:02d}:{minutes % 60:02d}"
    if name in ("pbs", "sge") and settings.seconds is not None:  # no days there
        hours, rest = divmod(int(settings.seconds), 3600)
        options["walltime"] = f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    return options, directives
