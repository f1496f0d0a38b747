"""Workers killed with -9 at random moments, and commands that share a folder: the numbers are those of one process.

``PYTHONPATH=tests python tests/study/cluster/test_killed_workers.py KILLS`` kills more of them, and says what it found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from study.cluster.small_study import COMMAND, numbers, write_study


def workers_of(pid: int) -> list[int]:
    """Processes of Dask's workers below a process: those that its nannies spawned."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            children.setdefault(int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(
                int(folder.name)
            )
        except (OSError, IndexError):  # it has just ended
            continue
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        for each in below:
            try:
                words = Path(f"/proc/{each}/cmdline").read_bytes()
            except OSError:
                continue
            if b"spawn_main" in words:
                found.append(each)
    return found


def run_and_kill(study_file: Path, out: Path, kills: int, rng: np.random.Generator) -> tuple[int, int, str]:
    """Run a study file on two workers and kill some of them: how many were, how the command ended, what it said."""
    with tempfile.TemporaryFile() as said:
        command = [*COMMAND, "run", str(study_file), "--out", str(out), "--jobs", "2"]
        process = subprocess.Popen(command, cwd=study_file.parent, stdout=said, stderr=subprocess.STDOUT)
        killed, after = 0, time.monotonic() + float(rng.uniform(0.0, 6.0))
        while process.poll() is None:
            time.sleep(0.05)
            if killed < kills and time.monotonic() > after and (alive := workers_of(process.pid)):
                os.kill(int(rng.choice(alive)), signal.SIGKILL)
                killed, after = killed + 1, time.monotonic() + float(rng.uniform(0.5, 8.0))
        said.seek(0)
        return killed, process.returncode, said.read().decode()


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("killed"))


def alone(study_file: Path, out: Path) -> dict[str, bytes]:
    command = [*COMMAND, "run", str(study_file), "--out", str(out)]
    subprocess.run(command, cwd=study_file.parent, check=True, capture_output=True)
    return numbers(out)


def test_a_killed_worker_costs_nothing_but_time(study_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    expected = alone(study_file, tmp_path / "alone")
    killed, code, said = run_and_kill(study_file, tmp_path / "out", 2, np.random.default_rng(0))
    assert code == 0, said
    assert killed and expected and numbers(tmp_path / "out") == expected


def campaign(kills: int) -> None:
    rng, done = np.random.default_rng(1), 0
    with tempfile.TemporaryDirectory() as folder:
        file = write_study(Path(folder) / "study")
        expected = alone(file, Path(folder) / "alone")
        for number in range(kills):
            killed, code, said = run_and_kill(file, Path(folder) / str(number), min(4, kills - done), rng)
            done += killed
            same = numbers(Path(folder) / str(number)) == expected
            print(f"{done} kills; ended with {code}; {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
            if code or not same:
                print(said)
            if done >= kills:
                return


if __name__ == "__main__":
    campaign(int(sys.argv[1]))
