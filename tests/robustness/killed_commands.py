"""Whole commands killed with -9 at random moments and begun again until they end: the same bytes, nothing done twice.

Each command runs in a fork of this process, which has imported what it needs: a moment is then one of its work. Half of
the moments are drawn from the time that it takes, half from the steps in which it changes files: most of what can go
wrong does so between two of these, which take little of the time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from data.nsd_files import write_nsd
from data.web_server import Site, serving
from robustness.inputs import manifest
from robustness.outcomes import Silent
from robustness.runs import without_time
from study.own_files import write_own

from brainmap.cli import main
from brainmap.data.readers import open_dataset

# Made of what is stored whenever they are asked for, names of partial files, or notes of when and by whom.
PASSING = (".part", ".partial", ".lock", ".version", ".html", "results/digests.json")
_SHARD = re.compile(r"(?P<array>(.*/)?features/.+)/(c|digests)/(?P<block>\d+)(/0|\.json)")
STEPS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.utime")


@dataclass(frozen=True)
class Command:
    """What is killed: work in a folder, and which of the folder's files are its results."""

    name: str
    work: Callable[[Path], None]
    ignored: tuple[str, ...] = ()


@dataclass
class Kills:
    """What happened: kills by command, and what was wrong."""

    counts: dict[str, int] = field(default_factory=dict)
    completed: int = 0
    failures: list[str] = field(default_factory=list)


def kill_commands(folder: Path, n_kills: int, seed: int, names: tuple[str, ...] = ()) -> Kills:
    """Kill every command (or those of these names) in turn until there were ``n_kills`` kills in all."""
    rng, kills = np.random.default_rng(seed), Kills()
    if not names or "extract" in names:
        importlib.import_module("torch")  # once, and not in every fork
    with commands(folder / "inputs") as known:
        all_commands = [command for command in known if not names or command.name in names]
        wanted, spans = {}, {}
        for command in all_commands:
            whole = folder / "whole" / command.name
            began = time.monotonic()
            if _ended(_forked(command, whole)) != 0:
                raise Silent(f"{command.name} does not run")
            n_steps = int((whole.parent / f"{command.name}.steps").read_text())
            spans[command.name], wanted[command.name] = (time.monotonic() - began, n_steps), results(command, whole)
        while sum(kills.counts.values()) < n_kills:
            for command in all_commands:
                scratch = folder / "killed"
                shutil.rmtree(scratch, ignore_errors=True)
                _kill_until_done(command, scratch, spans[command.name], rng, kills)
                found, whole_run = results(command, scratch), wanted[command.name]
                other = {name for name in {*found, *whole_run} if _digest(found, name) != _digest(whole_run, name)}
                if other or list(scratch.rglob("*.partial")):
                    kills.failures.append(f"{command.name}: {sorted(other)[:5]} differ from those of a whole run")
                kills.completed += 1
                print(f"{kills.counts} kills, {len(kills.failures)} failures", file=sys.stderr, flush=True)
    return kills


def _kill_until_done(
    command: Command, folder: Path, span: tuple[float, int], rng: np.random.Generator, kills: Kills
) -> None:
    """Kill at random moments; after five kills the command may end. What had its name keeps its bytes and its time."""
    before: dict[str, tuple[str, int]] = {}
    seconds, n_steps = span
    for attempt in range(6):
        by_step = bool(rng.integers(2))
        step = int(rng.integers(1, n_steps)) if by_step and attempt < 5 else 0
        pid = _forked(command, folder, step)
        if attempt < 5 and not by_step:
            time.sleep(float(rng.uniform(0, seconds)))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = _ended(pid)
        found = results(command, folder)
        again = [name for name, kept in before.items() if found.get(name) != kept]
        if again:
            kills.failures.append(f"{command.name}: {again[:5]} had been finished, and were written again")
        before = _finished(found)
        if code == -signal.SIGKILL:
            kills.counts[command.name] = kills.counts.get(command.name, 0) + 1
        elif code == 0:
            return
        else:
            kills.failures.append(f"{command.name} ended with {code} after {attempt} kills")
            return


def _forked(command: Command, folder: Path, last_step: int = 0) -> int:
    """Begin a command; it kills itself before the step of that number, or leaves the number of all its steps."""
    folder.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid:
        return pid
    code, steps = 1, itertools.count(1)

    def counted(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STEPS and str(arguments[0]).startswith(str(folder)):
            reading = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not reading and next(steps) == last_step:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        log = os.open(folder.parent / f"{command.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.addaudithook(counted)
        command.work(folder)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        (folder.parent / f"{command.name}.steps").write_text(str(next(steps)))
        os._exit(code)


def _ended(pid: int) -> int:
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def results(command: Command, folder: Path) -> dict[str, tuple[str, int]]:
    """Files that carry their final names: digest, and time of the last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") and part != ".brainmap" for part in name.split("/"))
        if path.is_file() and not hidden and not name.endswith((*PASSING, *command.ignored)):
            found[name] = hashlib.sha256(without_time(path.read_bytes())).hexdigest(), path.stat().st_mtime_ns
    return found


def _finished(found: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """All but what a store of features may write again: its number of rows, and shards whose rows it has not named."""
    finished = {}
    for name, kept in found.items():
        shard = _SHARD.fullmatch(name)
        begun = shard is not None and f"{shard['array']}/rows/{int(shard['block']):06d}.json" not in found
        if not begun and not ("features/" in name and name.endswith("/zarr.json")):
            finished[name] = kept
    return finished


def _digest(files: dict[str, tuple[str, int]], name: str) -> str | None:
    return files[name][0] if name in files else None


def _brainmap(*arguments: object) -> None:
    sys.argv = ["brainmap", *map(str, arguments)]
    main()


@contextlib.contextmanager
def commands(inputs: Path) -> Iterator[list[Command]]:
    """Fit with a model, with permutations and over a grid; fetch; prepare; extract."""
    own = write_own(inputs / "own", modality="fmri")
    given = inputs / "given.npz"
    np.savez(given, **{f"layer{i}": np.random.default_rng(i).standard_normal((40, 6)) for i in (0, 1)})
    settings = {
        "features": str(given), "cv": 3, "controls": "pixels", "stimuli": str(own.folder / "photos"),
        "responses": str(own.folder / "responses.npy"), "targets": str(own.folder / "targets.tsv"),
        "events": str(own.folder / "events.tsv"),
    }  # fmt: skip
    file = inputs / "study.yaml"
    file.write_text(yaml.safe_dump({"schema": 2, "study": settings, "grid": {"pca": [2, 3], "seed": [0, 1]}}))
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    rng = np.random.default_rng(0)
    site = Site({f"f{i}.bin": rng.bytes(400_000) for i in range(12)})
    with serving(site):
        served = _manifest(inputs / "toy.yaml", site)
        planted = write_nsd(inputs / "nsd")
        yield [
            Command(
                "fit", lambda out: _brainmap("fit", *own.options, "--cv", 3, "--batch-size", 4, "--out", out / "run")
            ),
            Command(
                "permutations",
                lambda out: _brainmap(
                    "fit", *options, "--test", "permutation", "--permutations", 199, "--out", out / "run"
                ),
            ),
            Command("run", lambda out: _brainmap("run", file, "--out", out / "grid")),
            # What is known of a file names the time at which it was fetched.
            Command(
                "fetch", lambda out: _brainmap("data", "fetch", served, "--data-root", out / "toy"), (".bin.json",)
            ),
            Command("prepare", partial(_prepare, planted.root)),
            Command("extract", _extract),
        ]


def _manifest(path: Path, site: Site) -> Path:
    files = [
        {"path": name, "bytes": len(content), "hash": "sha256", "digest": hashlib.sha256(content).hexdigest()}
        for name, content in site.files.items()
    ]
    path.write_text(yaml.safe_dump(manifest(base_url=site.address, files=files, purposes={"fit": ["*"]})))
    return path


def _prepare(root: Path, out: Path) -> None:
    for mask in ("all", "streams"):
        reader = open_dataset("nsd", root, cache=out / "cache", options={"sessions": (1, 2), "mask": mask})
        reader.responses("1", reader.stimuli(["1"])).block()


def _extract(out: Path) -> None:
    import torch
    from torch import nn

    import brainmap
    from brainmap.features import feature_blocks

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
    model = brainmap.from_module(network, name="toy", layers=["1", "3"], code_version="1")
    feature_blocks.MAX_BLOCK_ROWS = 8  # so that there are several
    stimuli = brainmap.sample_stimuli().subset(range(30))
    brainmap.FeatureExtractor(model, batch_size=4, store=out / "features").extract(stimuli)


def main_of_kills(folder: Path, n_kills: int, seed: int) -> int:
    """Print what happened; 1 if anything went wrong."""
    kills = kill_commands(folder, n_kills, seed)
    print(
        f"{sum(kills.counts.values())} kills ({kills.counts}), {kills.completed} commands begun again until they ended"
    )
    print("\n".join(kills.failures) or "the same bytes each time, nothing finished was written again")
    return int(bool(kills.failures))
