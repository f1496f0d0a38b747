"""A finished run, damaged: opened, verified, drawn again, and mended by the command that made it."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from robustness.damage import damage_a_file
from robustness.outcomes import Silent
from study.own_files import write_own

from brainmap import Study, open_run
from brainmap.common.storage.digests import LIST
from brainmap.study import StudyConfig, rewrite_report, verify_run

NOT_STORED = ("report.html", "damaged.json")  # made of what is stored, whenever asked for


class Runs:
    """One sound run; whatever comes out of a damaged copy is what was written, or a sentence names the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        own = write_own(folder / "own", modality="fmri")
        np.savez(
            folder / "given.npz", **{f"layer{i}": np.random.default_rng(i).standard_normal((40, 6)) for i in (0, 1)}
        )
        self.config = StudyConfig.from_dict(
            {
                "features": folder / "given.npz", "cv": 3, "controls": "pixels", "stimuli": own.folder / "photos",
                "responses": str(own.folder / "responses.npy"), "targets": own.folder / "targets.tsv",
                "events": own.folder / "events.tsv",
            }
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.scores = Study(self.config, self.folder).run().to_frame()
            self.files = contents(self.folder)

    def cases(self, rng: np.random.Generator, scratch: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
        actions = [self._open, self._verify, self._verify, self._draw, self._run_again, self._verify_then_run]
        while True:
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(self.folder, scratch)
            done = _swapped(scratch, rng) if rng.integers(6) == 0 else damage_a_file(scratch, rng)
            action = actions[int(rng.integers(len(actions)))]
            yield f"run, {action.__name__[1:].replace('_', ' ')}", done, lambda act=action: act(scratch)

    def _open(self, run: Path) -> None:
        opened = open_run(run)
        if not opened.to_frame()[list(self.scores)].equals(self.scores):
            raise Silent("other scores")
        opened.roi_table()
        repr(opened)

    def _draw(self, run: Path) -> None:
        rewrite_report(run)
        self._open(run)

    def _verify(self, run: Path) -> None:
        changed = self._changed(run)
        if verify_run(run).ok and changed:
            raise Silent(f"{changed} is not what was written")

    def _run_again(self, run: Path) -> None:
        results = Study(self.config, run).run()
        if not results.to_frame()[list(self.scores)].equals(self.scores):
            raise Silent("other scores")
        self._open(run)

    def _verify_then_run(self, run: Path) -> None:
        """What a full comparison found is computed again, and everything is there as it was."""
        verify_run(run)
        self._run_again(run)
        if not verify_run(run).ok:
            raise Silent("damage remains")
        changed = [
            name
            for name in self._changed(run)
            if name != "results/digests.json"
            and without_time((run / name).read_bytes()) != without_time(self.files[name])
        ]
        if changed:
            raise Silent(f"{changed} is another file than before")

    def _changed(self, run: Path) -> list[str]:
        found = contents(run)
        return [name for name, content in self.files.items() if found.get(name) != content]


def contents(run: Path) -> dict[str, bytes]:
    """Files of a run that hold numbers."""
    files = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name not in NOT_STORED}


def without_time(content: bytes) -> bytes:
    """Results without the time at which they were made."""
    return re.sub(rb'"created": "[^"]*"', b"", content)


def _swapped(folder: Path, rng: np.random.Generator) -> str:
    """Two files of one size change places; where there are no two, one is emptied."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LIST)
    first = files[int(rng.integers(len(files)))]
    alike = [path for path in files if path != first and path.stat().st_size == first.stat().st_size]
    if not alike:
        first.write_bytes(b"")
        return f"{first.relative_to(folder)} emptied"
    other = alike[int(rng.integers(len(alike)))]
    one, two = first.read_bytes(), other.read_bytes()
    first.write_bytes(two)
    other.write_bytes(one)
    return f"{first.relative_to(folder)} and {other.relative_to(folder)} swapped"
