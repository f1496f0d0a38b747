"""One lock for all writers: a file that only one process can make, kept fresh while it is held.

The operating system's locks (``flock``) say nothing across the machines of a cluster, or on some network disks. Making
a file that must not exist yet is atomic everywhere, NFS included; its holder touches it every few seconds, so that a
lock whose holder died, however and wherever, is recognised and taken over. Whoever takes a lock away from a dead holder
holds a lock on doing so, which is named after what that holder wrote: of several who come at once one removes it, and
what the others looked at is never a lock that was made since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brainmap.common.errors import BrainmapError

BEAT = 5.0  # seconds between two touches
STALE = 60.0  # seconds without a touch after which a holder on another machine is taken for dead
POLL = 0.1


class LockTimeout(BrainmapError):
    """Another process holds the lock for longer than one was willing to wait."""


@contextlib.contextmanager
def lock_or_skip(path: Path, *, purpose: str, wait: bool) -> Iterator[bool]:
    """Hold a lock while the block runs, or, with ``wait=False``, learn that another process holds it.

    Parameters
    ----------
    path, purpose
        As in :func:`file_lock`.
    wait : bool
        Wait for the other process.

    Yields
    ------
    bool
        Whether the lock is held; False only with ``wait=False``.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, purpose=purpose, timeout=None if wait else 0.0))
        except LockTimeout:
            yield False
            return
        yield True


@contextlib.contextmanager
def file_lock(path: Path, *, purpose: str = "works", timeout: float | None = None) -> Iterator[None]:
    """Hold a lock while the block runs.

    Parameters
    ----------
    path : Path
        File that stands for the lock; removed at the end.
    purpose : str
        What a holder does, for the warning of those who wait ("Another process <purpose>: waiting …"). A process that
        waits without a word looks like one that hangs.
    timeout : float, optional
        Seconds to wait; without end by default.

    Raises
    ------
    LockTimeout
        If the lock is still held then.
    """
    token = secrets.token_hex(8)
    _acquire(path, token, purpose, timeout)
    released = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, token, released), daemon=True, name=f"lock {path.name}")
    beating.start()
    try:
        yield
    finally:
        released.set()
        _release(path, token)


def _acquire(path: Path, token: str, purpose: str, timeout: float | None) -> None:
    waited_since = time.monotonic()
    seen: tuple[Any, int] | None = None
    seen_since = waited_since
    announced = False
    while not _make(path, token):
        holder = _holder(path)
        state = (holder.get("token"), _touched(path))
        if state != seen:
            seen, seen_since = state, time.monotonic()
        if _is_dead(holder, time.monotonic() - seen_since) and _take_away(path, state):
            continue
        if timeout is not None and time.monotonic() - waited_since >= timeout:
            raise LockTimeout(f"Another process {purpose} (lock {path}); wait until it has finished.")
        if not announced:
            announced = True
            warnings.warn(f"Another process {purpose}: waiting until it has finished.", stacklevel=5)
        time.sleep(POLL)


def _make(path: Path, token: str) -> bool:
    """Make the lock with its content in one step; False if it exists, or its folder has just been removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _make_in(path, token)
    except (FileNotFoundError, FileExistsError):  # whoever left last has just taken the empty folder away
        if path.parent.is_file():
            raise
        return False


def _make_in(path: Path, token: str) -> bool:
    text = json.dumps({"machine": this_machine(), "pid": os.getpid(), "born": _born(os.getpid()), "token": token})
    whole = path.with_name(f".{path.name}.{token}")
    try:
        whole.write_text(text, encoding="utf-8")
        return _linked(whole, path, token)
    except OSError as error:
        if error.errno and str(error.filename) == str(whole):
            error.filename = str(path.parent)  # nobody knows the temporary name
        raise
    finally:
        whole.unlink(missing_ok=True)


def _linked(whole: Path, path: Path, token: str) -> bool:
    """Give a written lock its name, unless there is one."""
    try:
        os.link(whole, path)
        return True
    except FileExistsError:
        return _holder(path).get("token") == token  # network disks may have made it and say that it was there
    except FileNotFoundError:
        raise
    except OSError:  # a disk without hard links
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(whole.read_bytes())
        return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _touched(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_dead(holder: dict[str, Any], unchanged: float) -> bool:
    """Whether a holder is gone: at once on this machine, after a minute without a beat elsewhere."""
    pid = holder.get("pid")
    if holder.get("machine") != this_machine() or not isinstance(pid, int):
        return unchanged > STALE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return holder.get("born") != _born(pid)  # it has ended, or the number was given to another process since


def _take_away(path: Path, state: tuple[Any, int]) -> bool:
    """Remove a dead holder's lock if it is still as it was seen; False if another process is about to."""
    token = secrets.token_hex(8)
    right = _right(path, state[0])  # by one at a time: nobody else may remove what this one looks at
    try:
        _acquire(right, token, "takes over a lock", timeout=0.0)
    except LockTimeout:
        return False
    try:
        if (_holder(path).get("token"), _touched(path)) == state:
            _remove(path, state[0])
    finally:
        _release(right, token)
    return True


def _right(path: Path, token: object) -> Path:
    """Lock on taking away one lock of one holder."""
    return path.with_name(f".{hashlib.sha256(f'{path.name} {token}'.encode()).hexdigest()[:16]}.taken")


def _release(path: Path, token: str) -> None:
    if _holder(path).get("token") == token:  # not one that somebody took over
        _remove(path, token)


def _remove(path: Path, token: object) -> None:
    """Remove a lock by a name that nobody else has: whatever a stalled network put in its place goes back there."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if _holder(aside).get("token") != token:
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink(missing_ok=True)


def clear_dead(folder: Path) -> None:
    """Remove what processes killed while they made, took over or gave back a lock have left in a folder of locks."""
    for file in folder.glob(".*"):
        holder = _holder(file)
        if holder.get("machine") == this_machine() and _is_dead(holder, 0.0):
            _take_away(file, (holder.get("token"), _touched(file)))


def _beat(path: Path, token: str, released: threading.Event) -> None:
    while not released.wait(BEAT):
        with contextlib.suppress(OSError):
            if _holder(path).get("token") == token:  # else whoever took it over keeps it fresh
                os.utime(path)


def this_machine() -> str:
    """Name of this machine since it was started, and the space in which its process numbers mean something.

    Containers have their own numbers; machines of a cluster may share a name, and number their processes alike.
    """
    name = platform.node()
    with contextlib.suppress(OSError):
        name += f" {Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii')[:8]}"
    with contextlib.suppress(OSError):
        name += f" {os.stat('/proc/self/ns/pid').st_ino}"
    return name


def _born(pid: int) -> str | None:
    """When a process began, in the system's own count; None where it does not tell, "" for one that has ended."""
    try:
        state, *rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        )
        if state in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1:  # nobody has asked yet how it ended
            return ""
        return rest[18]
    except (OSError, IndexError, ValueError):
        return None
