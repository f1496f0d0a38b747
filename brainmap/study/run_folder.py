"""The run folder: what belongs to one study, written so that an interruption leaves nothing half-done."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.files import write_atomically
from brainmap.encoding import EncodingResult
from brainmap.study.declared.schema import renamed_settings

IDENTITY = "study.json"
RESULTS = "results"
REPORT = "report.html"


class RunFolder:
    """Folder of one study.

    Parameters
    ----------
    path : Path
        Created when the study is claimed.

    Notes
    -----
    ``study.json`` says what the folder holds, ``features/`` is the feature store, each finished encoding result lies
    in ``scores/<modality>/<subject>/<space>``, ``permutations/`` what a permutation test has finished, ``truth/``
    what a simulation planted, ``results/`` and ``report.html`` come last.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.features = self.path / "features"
        self.permutations = self.path / "permutations"
        self.results = self.path / RESULTS
        self.report = self.path / REPORT
        self.truth = self.path / "truth"

    def claim(self, identity: dict[str, Any]) -> None:
        """Reserve the folder for what ``identity`` describes.

        Raises
        ------
        InputError
            If the folder belongs to a study with other settings or other data: nothing computed is overwritten.
        """
        file = self.path / IDENTITY
        text = json.dumps(identity, indent=2, sort_keys=True)
        if file.exists():
            found = json.loads(file.read_text())
            found["config"] = renamed_settings(found.get("config", {}))
            if found != json.loads(text):
                raise InputError(
                    f"{self.path} holds another study ({first_difference(found, json.loads(text))}); "
                    "choose another folder with --out"
                )
            return
        if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
            raise InputError(f"{self.path} exists and is not a run of brainmap; choose another folder with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)

    def scores(self, modality: str, subject: str, space: str) -> Path:
        """Where the encoding result of one feature space lies."""
        return self.path / "scores" / modality / subject / space

    def load_scores(self, modality: str, subject: str, space: str) -> EncodingResult | None:
        """Return a finished encoding result, or None."""
        path = self.scores(modality, subject, space)
        return EncodingResult.load(path) if path.is_dir() else None

    def save_scores(self, result: EncodingResult, modality: str, subject: str, space: str) -> None:
        """Write an encoding result; it appears under its name only when complete."""
        path = self.scores(modality, subject, space)
        partial = path.with_name(path.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        result.save(partial)
        os.replace(partial, path)


def check_out(path: Path) -> Path:
    """Return the path if it can be a folder.

    Raises
    ------
    InputError
        If it, or what it lies in, is a file.
    """
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"{place} is a file; choose a folder with --out")
    return path


def open_run(path: Path) -> RunFolder:
    """Open the folder of a finished run.

    Raises
    ------
    MissingFileError
        If the folder holds no finished run.
    """
    folder = RunFolder(path)
    if not (folder.path / IDENTITY).is_file():
        raise MissingFileError(f"{path} is not a run of brainmap (it has no {IDENTITY})")
    if not folder.results.is_dir():
        raise MissingFileError(f"the run in {path} is not finished; run the command that began it again")
    return folder


def first_difference(found: Any, wanted: Any, where: str = "") -> str:
    """Name the first setting in which two identities differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(set(found) | set(wanted)):
            if found.get(key) != wanted.get(key):
                return first_difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    return f"{where}: there {json.dumps(found)}, here {json.dumps(wanted)}"
