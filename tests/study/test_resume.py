from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from study.own_files import OwnFiles, brainmap_command

from brainmap.results import StudyResults


def arguments(own: OwnFiles, out: Path) -> list[str]:
    return ["fit", *own.options, "--cv", "3", "--batch-size", "4", "--out", str(out)]


def start(own: OwnFiles, out: Path) -> subprocess.Popen[bytes]:
    # Jobs that a script starts in the background ignore Ctrl-C, and so do their children; these runs must hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            brainmap_command(*arguments(own, out)),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(process: subprocess.Popen[bytes], folder: Path, pattern: str) -> list[Path]:
    """Wait until something matching appears; fail if the process ends first."""
    while not (found := list(folder.glob(pattern))):
        assert process.poll() is None, "the run ended before it could be interrupted"
        time.sleep(0.002)
    return found


@pytest.mark.parametrize(
    ("stage", "signal_number"),
    [
        ("features/**/zarr.json", signal.SIGKILL),
        ("scores/*/*/activation", signal.SIGKILL),
        ("scores/*/*/activation", signal.SIGINT),
    ],
)
def test_killed_run_continues_with_the_same_bits(
    own: OwnFiles, tmp_path: Path, stage: str, signal_number: signal.Signals
) -> None:
    whole = start(own, tmp_path / "whole")
    assert whole.wait() == 0
    process = start(own, tmp_path / "parts")
    finished = wait_until(process, tmp_path / "parts", stage)
    process.send_signal(signal_number)
    code = process.wait()
    assert code == (130 if signal_number is signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "parts" / "results").exists()
    stamps = {path: path.stat().st_mtime_ns for folder in finished for path in folder.rglob("*")}
    assert start(own, tmp_path / "parts").wait() == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    first, second = (StudyResults.load(tmp_path / name / "results") for name in ("whole", "parts"))
    for name in ("r", "r2", "alpha"):
        np.testing.assert_array_equal(first.scores["meg"][name].values, second.scores["meg"][name].values)
    assert first.residual["meg"].equals(second.residual["meg"])
