"""A hub that is no hub: HF_HOME, HF_ENDPOINT, HF_TOKEN and offline mode, with a server and a cache made here.

The variables are read when the hub's client is imported, so each case is a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

COMMIT, OTHER = "a" * 40, "b" * 40
SIZES = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
LOAD = f"""
import sys, warnings
from brainmap.common.errors import MissingFileError
from brainmap.models import load_model, missing_weights, model_card, register_model, weights_status
card = model_card("vit-mae-base")
fields = {{"name": "tiny", "hub": "somebody/tiny", "architecture": "ViTModel", "adapter": "transformers", "network": "",
    "objective": "feature-energy", "config": {SIZES}, "build_options": {{"add_pooling_layer": False}}, "patch": 8,
    "sizes": "fixed", "preprocessing": card.preprocessing.model_copy(update={{"crop": 32, "resize": None}}),
    "layers": ("layers.*|encoder.layer.*",), "sites": {{}}, "gated": True, "licence_url": None}}
def load(revision):
    register_model(card.model_copy(update={{**fields, "revision": revision}}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_model("tiny")
            print("source", model.loaded.source, model.digest)
        except MissingFileError as error:
            print("missing", error)
        for warning in caught:
            if "commit" in str(warning.message): print("warning", warning.message)
    print("status", weights_status("tiny"))
    print("plan", missing_weights("tiny"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published")
    transformers.ViTModel(transformers.ViTConfig(**SIZES), add_pooling_layer=False).save_pretrained(path)
    return path


@pytest.fixture
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a server that answers as the hub does for one gated repository; what it was told of a token."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, *, body: bool) -> None:
            token = self.headers.get("authorization", "")
            tokens.append(token)
            name = self.path.rpartition("/")[2]
            file = folder / name
            if token != "Bearer secret":
                self.send_response(401)
                self.send_header("X-Error-Code", "GatedRepo")
            elif self.path.startswith("/somebody/tiny/resolve/") and file.is_file():
                self.send_response(200)
                self.send_header("ETag", f'"{name}"')
                self.send_header("X-Repo-Commit", COMMIT)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
            content = file.read_bytes() if file.is_file() and token == "Bearer secret" else b""
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", tokens
    server.shutdown()


def run(code: str, home: Path, **variables: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    fixed = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", LOAD + code]
    done = subprocess.run(command, env={**kept, **fixed, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_weights_are_fetched_from_the_endpoint_with_the_token(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, tokens = hub
    code = "load(None); fields |= {'file': 'model.safetensors'}; load(None)"
    folder, *said, file, _, _ = run(code, tmp_path, HF_ENDPOINT=address, HF_TOKEN="secret")
    assert folder.startswith(f"source somebody/tiny@{COMMIT} ")
    assert said == ["status cached", "plan None"]
    assert file.startswith(f"source somebody/tiny@{COMMIT}, model.safetensors ")
    assert set(tokens) == {"Bearer secret"}
    assert (tmp_path / "hub/models--somebody--tiny/snapshots" / COMMIT / "model.safetensors").exists()


def test_a_gate_without_a_token_says_what_to_do(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    missing, status, plan = run("load(None)", tmp_path, HF_ENDPOINT=hub[0])
    assert "(1) accept the licence at https://huggingface.co/somebody/tiny and log in" in missing
    assert status == "status not here: gated, https://huggingface.co/somebody/tiny"
    assert "accept the licence" in plan


def test_the_cache_of_another_home_is_used_offline_and_commits_are_named(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--somebody--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    code = f"load(None); load({COMMIT!r}); load({OTHER!r}); fields |= {{'hub': 'somebody/other'}}; load(None)"
    lines = run(code, tmp_path, HF_HUB_OFFLINE="1")
    source = f"source somebody/tiny@{COMMIT} "
    assert [line.startswith(source) for line in lines].count(True) == 3
    (warning,) = [line for line in lines if line.startswith("warning")]  # of the pinned revision that is not there
    assert f"revision {OTHER} is not on this machine" in warning
    assert f"commit {COMMIT} of somebody/tiny, which is, is used instead" in warning
    assert lines[-5:-3] == [f"status cached, but another commit: {COMMIT}", "plan None"]
    missing, status, plan = lines[-3:]
    assert missing.startswith("missing The weights of 'tiny'") and "weights='untrained'" in missing
    assert status.startswith("status not here") and "switched off by HF_HUB_OFFLINE" in plan
