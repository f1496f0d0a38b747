"""Several processes write one result: it is whole at every moment, and in the end one of theirs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from brainmap.common.storage.digests import LIST, check_folder, sealed_folder
from brainmap.common.storage.files import atomic_folder, recover_folder
from brainmap.common.storage.locks import file_lock, lock_or_skip

KIND = "toy result"
FILES = [f"{i}.bin" for i in range(4)]


def write_often(path: Path, writer: int, times: int) -> None:
    for _ in range(times):
        with sealed_folder(path, KIND) as folder:
            for name in FILES:
                (folder / name).write_bytes(bytes([writer]) * 1000)


def test_two_hundred_writes_of_four_processes_leave_one_whole_result(tmp_path: Path) -> None:
    path = tmp_path / "result"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_often, args=(path, k, 50)) for k in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0] * 4
    assert check_folder(path, KIND, full=True)
    assert len({(path / name).read_bytes() for name in FILES}) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["result"]


def test_a_killed_writer_leaves_the_earlier_result_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result"
    write_often(path, 1, 1)
    context = multiprocessing.get_context("fork")
    started = tmp_path / "started"

    def write_and_hang() -> None:
        with atomic_folder(path) as folder:
            (folder / FILES[0]).write_bytes(b"half")
            started.touch()
            time.sleep(60)

    process = context.Process(target=write_and_hang)
    process.start()
    while not started.exists():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, 9)
    process.join()
    assert check_folder(path, KIND, full=True)
    write_often(path, 2, 1)
    assert (path / FILES[0]).read_bytes() == bytes([2]) * 1000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["result", "started"]


@pytest.mark.parametrize("name", [".result.earlier", ".result~othermachine+77-1-0.earlier"])
def test_a_kill_between_two_renames_is_recovered(tmp_path: Path, name: str) -> None:
    path = tmp_path / "result"
    write_often(path, 1, 1)
    path.rename(tmp_path / name)
    recover_folder(path)
    assert check_folder(path, KIND, full=True)


def test_a_folder_that_is_half_removed_is_never_brought_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result"
    write_often(path, 1, 1)
    remove = shutil.rmtree
    met = []

    def remove_while_another_process_writes(folder: Path, **options: bool) -> None:
        (folder / LIST).unlink()
        if not met:
            met.append(folder)
            path.rename(tmp_path / ".result~zzz+77-1-0.earlier")  # the other one is between its two renames
            recover_folder(path)
            assert check_folder(path, KIND, full=True)
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", remove_while_another_process_writes)
    write_often(path, 2, 1)
    assert met and check_folder(path, KIND, full=True)
    assert [file.name for file in tmp_path.iterdir()] == ["result"]


def test_another_process_works_elsewhere_or_waits(tmp_path: Path) -> None:
    lock = tmp_path / "part.lock"
    with file_lock(lock):
        with lock_or_skip(lock, purpose="works", wait=False) as held:
            assert not held
        assert lock.exists()
    with lock_or_skip(lock, purpose="works", wait=False) as held:
        assert held and lock.exists()
    assert not lock.exists()
    with pytest.raises(KeyError), lock_or_skip(lock, purpose="works", wait=True):
        raise KeyError("the block's own errors pass")
    assert not lock.exists()


def test_the_folder_of_locks_may_go_while_others_come(tmp_path: Path) -> None:
    def come_and_go() -> None:
        for _ in range(300):
            with lock_or_skip(tmp_path / "working" / "part.lock", purpose="works", wait=True):
                pass
            with contextlib.suppress(OSError):
                (tmp_path / "working").rmdir()

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=come_and_go) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
