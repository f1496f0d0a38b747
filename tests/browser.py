"""A headless browser for pages: they are looked at as a reader would see them."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Chromium:
    """A headless Chromium driven through the DevTools protocol on a pipe: no port, no extra package."""

    def __init__(self, program: str, profile: Path, *, webgl: bool = False) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def keep_pipes() -> None:
            read, write = os.dup(to_browser), os.dup(from_browser)  # first away from 3 and 4
            os.dup2(read, 3)
            os.dup2(write, 4)

        graphics = "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader" if webgl else "--disable-gpu"
        flags = f"--headless --no-sandbox {graphics} --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
        self._process = subprocess.Popen(
            [program, *flags.split(), f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=keep_pipes,  # noqa: PLW1509 (no threads yet; the protocol wants descriptors 3 and 4)
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer = 0, b""
        self.events: list[dict] = []
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict:
        return self._send(method, parameters, self._session)

    def _send(self, method: str, parameters: dict, session: str | None = None) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read(time.monotonic() + 60)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _read(self, until: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            self._buffer += os.read(self._in, 1 << 20)
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, page: Path, width: int, height: int = 900, fragment: str = "") -> None:
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=page.as_uri() + fragment)
        until = time.monotonic() + 60
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read(until))

    def run(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return result["result"].get("value")

    def curves_drawn(self, *plots: str, least: int = 1) -> int:
        """Count the curves of the plots, once there are at least as many as told (or after half a minute)."""
        selector = ", ".join(f"#{plot} .scatterlayer .trace" for plot in plots)
        return self.run(f"""new Promise(done => {{
          const wait = n => {{
            const lines = document.querySelectorAll('{selector}').length;
            lines >= {least} || n > 300 ? done(lines) : setTimeout(wait, 100, n + 1);
          }};
          wait(0);
        }})""")

    def problems(self) -> list[str]:
        """Console errors and warnings, uncaught exceptions, and anything fetched that is not in the file."""
        found = []
        for event in self.events:
            method, parameters = event.get("method", ""), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            if method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(str(parameters["entry"]["text"]))
            if method == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                found += [] if url.startswith(("file:", "data:", "blob:")) else [url]
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


def chromium_program() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("BRAINMAP_CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    """A browser without graphics."""
    yield from _browser(tmp_path)


@pytest.fixture
def chromium_webgl(tmp_path: Path) -> Iterator[Chromium]:
    """A browser that draws in three dimensions, on the processor."""
    yield from _browser(tmp_path, webgl=True)


def _browser(tmp_path: Path, *, webgl: bool = False) -> Iterator[Chromium]:
    program = chromium_program()
    if program is None:
        pytest.skip("no Chromium on this machine (set BRAINMAP_CHROMIUM to its program)")
    browser = Chromium(program, tmp_path / "profile", webgl=webgl)
    yield browser
    browser.close()
