"""A web server in a thread that knows ranges and can misbehave in the ways real ones do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files to serve, and what goes wrong.

    ``cut`` ends the connection after so many bytes, once; ``fail`` answers with these codes first; ``damaged`` flips a
    byte in the first so many answers.
    """

    files: dict[str, bytes]
    cut: dict[str, int] = field(default_factory=dict)
    fail: dict[str, list[int]] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, self.path.lstrip("/")
        site.asked.append((path, self.headers.get("Range")))
        if site.fail.get(path):
            self.send_error(site.fail[path].pop(0))
            return
        if path not in site.files:
            self.send_error(404)
            return
        content, tag = site.files[path], site.tags.get(path, '"v1"')
        start = 0
        if (asked := self.headers.get("Range")) and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
        body = bytearray(content[start:])
        if site.damaged.get(path, 0) > 0:
            site.damaged[path] -= 1
            body[len(body) // 2] ^= 1
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        limit = site.cut.pop(path, None)
        self.wfile.write(bytes(body if limit is None else body[:limit]))

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
