"""A study on a real SLURM of one node: jobs are cancelled in the middle, and the numbers are those of one process."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from study.cluster.one_node_slurm import one_node_slurm
from study.cluster.small_study import COMMAND, numbers, write_study

from brainmap.common.memory_sizes import available_threads

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of commands that reach the queue, with the settings of its jobs."""
    pytest.importorskip("dask_jobqueue")
    with one_node_slurm() as environment:
        folder = tmp_path_factory.mktemp("settings")
        settings = folder / "cluster.yaml"
        settings.write_text(
            f"interface: lo\ncores: {available_threads()}\nmemory: 2GB\nwalltime: '00:20:00'\npartition: test\n"
        )
        yield environment | {"BRAINMAP_CLUSTER": str(settings), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("slurm"), seeds=4)


@pytest.fixture(scope="module")
def alone(study_file: Path, slurm: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone") / "grid"
    command = [*COMMAND, "run", str(study_file), "--out", str(out)]
    done = subprocess.run(command, cwd=study_file.parent, env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return numbers(out)


# shells let background jobs ignore Ctrl-C
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def started(study_file: Path, out: Path, slurm: dict[str, str]) -> subprocess.Popen[str]:
    python, option, code = COMMAND
    command = [
        python,
        option,
        INTERRUPTIBLE + code,
        "run",
        str(study_file),
        "--out",
        str(out),
        "--cluster",
        "slurm",
        "--jobs",
        "2",
    ]
    return subprocess.Popen(
        command,
        cwd=study_file.parent,
        env=slurm,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def queued(slurm: dict[str, str], *states: str) -> list[str]:
    options = [f"--states={','.join(states)}"] if states else []
    said = subprocess.run(["squeue", "-h", "-o", "%i", *options], env=slurm, capture_output=True, text=True, check=True)
    return said.stdout.split()


def wait_for(condition: object, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_cancelled_job_costs_nothing_but_time(
    study_file: Path, tmp_path: Path, slurm: dict[str, str], alone: dict[str, bytes]
) -> None:
    out = tmp_path / "grid"
    running = started(study_file, out, slurm)
    wait_for(lambda: len(list(out.glob("cells/*/scores/*/*/*"))) >= 3 or running.poll() is not None)
    victims = queued(slurm, "RUNNING")
    assert victims and running.poll() is None, running.communicate()[0]
    subprocess.run(["scancel", victims[0]], env=slurm, check=True)
    said = running.communicate(timeout=240)[0]
    assert running.returncode == 0, said
    assert numbers(out) == alone and alone
    wait_for(lambda: not queued(slurm))
    assert not list(out.glob("logs/.dask-jobqueue*"))  # keys of the connection


def test_ctrl_c_cancels_the_jobs_and_keeps_what_is_finished(
    study_file: Path, tmp_path: Path, slurm: dict[str, str], alone: dict[str, bytes]
) -> None:
    out = tmp_path / "grid"
    running = started(study_file, out, slurm)
    wait_for(lambda: len(list(out.glob("cells/*/scores/*/*/*"))) >= 2 or running.poll() is not None)
    assert running.poll() is None, running.communicate()[0]
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 130 and "the same command continues" in said, said
    wait_for(lambda: not queued(slurm))
    kept = {name: data for name, data in numbers(out).items() if ".partial" not in name}
    assert kept and all(alone[name] == data for name, data in kept.items())


def test_a_job_that_slurm_refuses_is_one_sentence(study_file: Path, tmp_path: Path, slurm: dict[str, str]) -> None:
    settings = tmp_path / "cluster.yaml"
    settings.write_text("interface: lo\npartition: nowhere\n")
    running = started(study_file, tmp_path / "grid", slurm | {"BRAINMAP_CLUSTER": str(settings)})
    said = running.communicate(timeout=90)[0]
    assert running.returncode == 2 and "slurm does not take the job" in said and "partition" in said, said
    assert "Traceback" not in said


def test_a_task_too_long_for_the_walltime_is_refused(study_file: Path, tmp_path: Path, slurm: dict[str, str]) -> None:
    settings = tmp_path / "cluster.yaml"
    settings.write_text("interface: lo\nwalltime: '00:01:00'\n")
    running = started(study_file, tmp_path / "grid", slurm | {"BRAINMAP_CLUSTER": str(settings)})
    said = running.communicate(timeout=90)[0]
    assert running.returncode == 2 and "too long for jobs of 00:01:00" in said, said
