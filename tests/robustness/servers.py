"""Servers that misbehave: what has its name in the end is right, or a sentence says why it is not there."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from robustness.outcomes import Silent

from brainmap.data.fetching import download
from brainmap.data.fetching.download import fetch_file, part_of
from brainmap.data.manifests.file_entries import FileEntry

CONTENT = np.random.default_rng(0).bytes(60_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
BEHAVIOURS = (
    "right", "web page", "web page in disguise", "gzip", "endless", "longer", "shorter", "other range", "no range",
    "range unasked", "range of another version", "cut", "damaged", "redirect to file", "redirect to http", "reason",
    "busy", "416", "bad length", "dribble",
)  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    behaviour = "right"
    asked = 0

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            type(self).asked += 1
            self.answer(type(self).behaviour)

    def answer(self, behaviour: str) -> None:
        body, status, headers = CONTENT, 200, {"ETag": '"v1"', "Content-Type": "application/octet-stream"}
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start and behaviour != "no range":
            body, status = CONTENT[start:], 206
            headers["Content-Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        if behaviour in ("redirect to file", "redirect to http"):
            place = "file:///etc/passwd" if behaviour == "redirect to file" else "http://example.invalid/a"
            return self.head(302, {"Location": place, "Content-Length": "0"})
        if behaviour == "reason":
            self.send_response(404, "gone \x1b[31m red")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if behaviour in ("busy", "416"):
            return self.head(503 if behaviour == "busy" else 416, {"Content-Length": "0"})
        if behaviour.startswith("web page"):
            body, status = b"<!DOCTYPE html><html>log in</html>", 200
            headers["Content-Type"] = "text/html" if behaviour == "web page" else "application/octet-stream"
        elif behaviour == "gzip":
            headers["Content-Encoding"] = "gzip"
        elif behaviour == "longer":
            body = body + b"x" * 10_000
        elif behaviour == "shorter":
            body = body[:-100]
        elif behaviour == "damaged":
            body = body[:100] + bytes([body[100] ^ 1]) + body[101:]
        elif behaviour == "other range" and start:
            headers["Content-Range"] = f"bytes {start - 7}-{len(CONTENT) - 1}/{len(CONTENT)}"
        elif behaviour == "range unasked":
            status, headers["Content-Range"] = 206, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
        elif behaviour == "range of another version":
            headers["ETag"] = '"v2"'
        headers["Content-Length"] = "x" if behaviour == "bad length" else str(len(body))
        if behaviour == "endless":
            del headers["Content-Length"]
        self.head(status, headers)
        if behaviour == "endless":
            for _ in range(400):
                self.wfile.write(bytes(2**16))
        elif behaviour == "dribble":
            for i in range(0, len(body), 8192):
                self.wfile.write(body[i : i + 8192])
                time.sleep(0.005)
        else:
            self.wfile.write(body[: len(body) // 2] if behaviour == "cut" else body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def evil_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    before, download.BACK_OFF = download.BACK_OFF, 0.001
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/a.bin"
    finally:
        download.BACK_OFF = before
        server.shutdown()
        server.server_close()


def cases(rng: np.random.Generator, address: str, folder: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
    while True:
        behaviour = BEHAVIOURS[int(rng.integers(len(BEHAVIOURS)))]
        known = int(rng.integers(3))
        begun = int(rng.integers(len(CONTENT))) if rng.integers(2) else 0
        yield (
            "servers",
            f"{behaviour}, known {known}, begun {begun}",
            lambda b=behaviour, k=known, n=begun: _fetch(b, k, n, address, folder),
        )


def _fetch(behaviour: str, known: int, begun: int, address: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    place = folder / "a.bin"
    size = len(CONTENT) if known else None
    entry = FileEntry("a.bin", size, None, "sha256" if known == 2 else None, DIGEST if known == 2 else None, address)
    if begun:
        part_of(place).write_bytes(CONTENT[:begun])
        part_of(place).with_name("a.bin.part.version").write_text('"v1"')
    Handler.behaviour = behaviour
    try:
        fetch_file(entry, place)
    finally:
        for file in folder.iterdir():
            if file.stat().st_size > 2 * len(CONTENT) and known:
                raise Silent(f"{file.name} grew to {file.stat().st_size} bytes")
    # Nothing tells a whole wrong file from a right one where neither size nor hash is published.
    told = known == 2 or (known == 1 and behaviour not in ("damaged",))
    if told and place.read_bytes() != CONTENT:
        raise Silent("another file under the final name")
