"""Locks whose holders died: whoever comes takes them over, and never two at once."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainmap.common.storage import locks
from brainmap.common.storage.locks import LockTimeout, clear_dead, file_lock, lock_or_skip

fork = multiprocessing.get_context("fork")


def dead_lock(path: Path, token: str = "dead") -> None:
    """Leave the lock of a process that was killed."""
    process = fork.Process(target=os._exit, args=(0,))
    process.start()
    process.join()
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"machine": locks.this_machine(), "pid": process.pid, "born": "1", "token": token}
    path.write_text(json.dumps(about), encoding="utf-8")


def test_a_second_taker_that_comes_late_leaves_the_first_ones_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen the dead lock; while the late one acts, a third tries after each of its steps."""
    path = tmp_path / "part.lock"
    dead_lock(path)
    take_away, late, reached = locks._take_away, threading.Event(), threading.Event()
    third: list[str] = []
    trying: list[Any] = []

    def held_up(*arguments: Any) -> Any:
        if threading.current_thread().name == "late" and not late.is_set():
            reached.set()
            assert late.wait(20)
        return take_away(*arguments)

    def tried_after(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            done = step(*arguments, **options)
            if threading.current_thread().name == "late" and not trying:
                trying.append(step)
                with lock_or_skip(path, purpose="tries", wait=False) as held:
                    third.extend([step.__name__] * held)
                trying.pop()
            return done

        return stepped

    def come_late() -> None:
        with contextlib.suppress(LockTimeout), file_lock(path, timeout=0.0):
            third.append("the late one")

    monkeypatch.setattr(locks, "_take_away", held_up)
    other = threading.Thread(target=come_late, name="late")
    other.start()
    assert reached.wait(20)
    with file_lock(path, timeout=20.0):
        first = json.loads(path.read_text())["token"]
        for name in ("rename", "link", "open"):
            monkeypatch.setattr(locks.os, name, tried_after(getattr(os, name)))
        late.set()
        other.join(20)
        assert not other.is_alive() and not third
        assert json.loads(path.read_text())["token"] == first
    assert not list(tmp_path.iterdir())


def test_many_takers_of_dead_locks_are_never_inside_together(tmp_path: Path) -> None:
    path, inside = tmp_path / "part.lock", tmp_path / "inside"

    def take(start: Any, n_rounds: int) -> None:
        for _ in range(n_rounds):
            start.wait()
            with file_lock(path):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # raises if another process is inside
                time.sleep(0.001)
                inside.unlink()
            start.wait()

    n_takers, n_rounds = 6, 25
    start = fork.Barrier(n_takers + 1)
    takers = [fork.Process(target=take, args=(start, n_rounds)) for _ in range(n_takers)]
    for process in takers:
        process.start()
    try:
        for i in range(n_rounds):
            dead_lock(path, f"dead{i}")
            start.wait(60)
            start.wait(60)
    finally:
        for process in takers:
            process.join(5)
            process.kill()
    assert [process.exitcode for process in takers] == [0] * n_takers
    assert not list(tmp_path.iterdir())


def test_takers_that_were_killed_are_taken_over_too(tmp_path: Path) -> None:
    path = tmp_path / "part.lock"
    dead_lock(path)
    right = locks._right(path, "dead")
    dead_lock(right, "taker")
    dead_lock(locks._right(right, "taker"), "taker's taker")
    with file_lock(path, timeout=20.0):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_that_nobody_waited_for_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "part.lock"
    pid = os.fork()
    if not pid:
        locks._make(path, "child")
        os._exit(0)
    try:
        while not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
            time.sleep(0.005)
        with file_lock(path, timeout=20.0):
            pass
    finally:
        os.waitpid(pid, 0)


def test_a_lock_that_was_taken_over_is_left_alone_by_its_first_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that stood still for minutes goes on: it neither keeps another's lock fresh nor removes it."""
    path = tmp_path / "part.lock"
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with file_lock(path):
        path.unlink()
        locks._make(path, "another")
        os.utime(path, (1.0, 1.0))
        time.sleep(0.1)
        assert path.stat().st_mtime == 1.0
    assert json.loads(path.read_text())["token"] == "another"


def test_what_killed_processes_left_in_a_folder_of_locks_goes(tmp_path: Path) -> None:
    for name in (".part.lock.1234", ".dead.taken"):
        dead_lock(tmp_path / name)
    (tmp_path / ".notes").write_text("not a lock")
    with file_lock(tmp_path / ".held"):
        clear_dead(tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == [".held", ".notes"]
