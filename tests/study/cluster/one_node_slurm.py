"""A real SLURM of one node in a temporary folder: its daemons are children of this process."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
START = 60.0  # seconds in which the node must have become idle

CONFIG = """
ClusterName=brainmap
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=100000
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=16000
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def one_node_slurm() -> Iterator[dict[str, str]]:
    """Run a SLURM while the block runs; skips where that is not possible.

    Yields
    ------
    dict of str to str
        Environment in which ``sbatch`` and its like reach it.
    """
    programs = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in PROGRAMS}
    absent = [name for name, where in programs.items() if where is None]
    if absent:
        pytest.skip(f"no SLURM here ({absent[0]} is missing; Debian: apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of one's own needs root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        problem = _start({name: str(where) for name, where in programs.items()}, folder, environment, stack)
        if problem:
            pytest.skip(f"SLURM did not start here: {problem}")
        stack.callback(subprocess.run, ["scancel", f"--user={os.geteuid()}"], env=environment, check=False)
        yield environment


def _start(programs: dict[str, str], folder: Path, environment: dict[str, str], stack: contextlib.ExitStack) -> str:
    """Start the three daemons; what went wrong, or an empty text."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIG.format(host=host, folder=folder, ports=_free_ports(2)))
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{name}={folder / file}" for name, file in files.items()]
    commands = [
        [programs["munged"], "--foreground", "--force", f"--seed-file={folder / 'munged.seed'}", *options],
        [programs["slurmctld"], "-D", "-c"],
        [programs["slurmd"], "-D"],
    ]
    # they end with this process, however that ends
    guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    for command in commands:
        log = stack.enter_context((folder / "daemons.log").open("ab"))
        daemon = subprocess.Popen([*guard, *command], env=environment, stdout=log, stderr=log)
        stack.callback(_stop, daemon)
        if not _until((folder / "munge.socket").exists, START):
            return "munged made no socket"
    if _until(lambda: _state(environment) == "idle", START):
        return ""
    lines = (folder / "daemons.log").read_text(errors="replace").splitlines()
    return f"the node is {_state(environment)!r} after {START:.0f} s: {' '.join(lines[-3:])}"


def _state(environment: dict[str, str]) -> str:
    said = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True, check=False)
    return said.stdout.strip() or said.stderr.strip()


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
