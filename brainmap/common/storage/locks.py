"""One lock for all writers: a file that only one process can make, kept fresh while it is held.

The operating system's locks (``flock``) say nothing across the machines of a cluster, or on some network disks. Making
a file that must not exist yet is atomic everywhere, NFS included; its holder touches it every few seconds, so that a
lock whose holder died, however and wherever, is recognised and taken over.
"""

from __future__ import annotations

import contextlib
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
    beating = threading.Thread(target=_beat, args=(path, released), daemon=True, name=f"lock {path.name}")
    beating.start()
    try:
        yield
    finally:
        released.set()
        if _holder(path).get("token") == token:  # not one that somebody took over
            path.unlink(missing_ok=True)


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
        if _is_dead(holder, time.monotonic() - seen_since):
            _take_away(path, holder.get("token"))
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
    whole.write_text(text, encoding="utf-8")
    try:
        os.link(whole, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    finally:
        whole.unlink(missing_ok=True)
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
    return holder.get("born") != _born(pid)  # the number was given to another process since


def _take_away(path: Path, token: object) -> None:
    """Remove a dead holder's lock; of several who try, one succeeds, and none removes a lock made since."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _holder(aside).get("token") != token:  # somebody was faster and holds it now: give it back
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _beat(path: Path, released: threading.Event) -> None:
    while not released.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def this_machine() -> str:
    """Name of this machine, and the space in which its process numbers mean something (containers have their own)."""
    try:
        return f"{platform.node()} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def _born(pid: int) -> str | None:
    """When a process began, in the system's own count, or None where it does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
