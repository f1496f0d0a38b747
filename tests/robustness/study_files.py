"""Study files and settings: damaged text, and values of another kind in every place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from robustness.damage import damaged

from brainmap.study import Grid, GridConfig, Study, StudyConfig, preset_text

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, -(10**18), 1e308, float("nan"), float("inf"), "", " ", "x" * 100_000, "a\x1b[31mb",
    "../../victim", "/etc/passwd", "a\0b", "é\u202e", [], {}, [[]], [{}], {"a": {"b": []}}, [None], ["a", "a"],
    [1, "a"], {"": 1}, {"x\ny": 1}, "1e-2:1e8:15", "1:2", "blocks:0", "blocks:999999999999", "blocks:-3",
    "{session:02000000000d}", "2020-01-01", [0.0], [-1.0], [float("nan")], "~", "nan", "1_000", ["x"] * 5000,
)  # fmt: skip
STUDIES: tuple[dict[str, Any], ...] = (
    {
        "model": "dino-tiny", "modality": ["meg"], "layers": ["block.0"], "signals": ["activation"], "gap": 2,
        "groups": "blocks:10", "alphas": "1e-2:1e8:15", "controls": ["pixels"], "cv": 5, "pca": 20, "flips": 500,
        "meg_test": "permutation", "permutations": 100, "memory": "2GB", "thin": 20, "device": "cpu", "batch_size": 8,
    },
    {
        "dataset": "own", "groups": "concept", "out_space": "gifti", "own": {
            "stimuli": "photos", "responses": "r.npy", "targets": "t.tsv", "events": "e.tsv", "confounds": "c.tsv",
            "mask": "m.nii", "atlas": "a.nii", "surface": "fsaverage",
        },
    },
    {
        "dataset": "nsd", "place": {"root": "data", "cache": "c"}, "nuisance": ["session"],
        "reading": {"atlas": "streams"},
    },
)  # fmt: skip


class StudyFiles:
    """Sound study files; what is wrong with a changed one must be said before anything is computed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        grid = {
            "schema": 2, "title": "a grid", "study": STUDIES[0], "grid": {"pca": [5, 10], "cv": [2, 3]},
            "parts": {"sizes": {"study": {"seed": 2}, "grid": {"layers": ["block.0", "block.1"]}}},
            "data": [{"dataset": "sample"}],
        }  # fmt: skip
        self.texts = [
            *(yaml.safe_dump(study) for study in STUDIES),
            yaml.safe_dump(grid),
            preset_text("misalignment"),
            preset_text("convergence"),
        ]

    def cases(self, rng: np.random.Generator, _: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
        while True:
            number = int(rng.integers(len(self.texts)))
            text = self.texts[number]
            if rng.integers(2):
                content, how = damaged(text.encode(), rng), "damaged"
            else:
                values, how = replaced(yaml.safe_load(text), rng)
                content = yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "replace")
            yield (
                "study files",
                f"{number} {how}",
                lambda content=content, number=number: self.open(content, number < 3),
            )

    def open(self, content: bytes, single: bool) -> None:
        """Read the file, and plan what it declares."""
        file = self.folder / "study.yaml"
        file.write_bytes(content)
        if single:
            study = Study(StudyConfig.from_yaml(file), self.folder / "out")
            if study.config.dataset == "sample":
                study.plan().to_text()
        else:
            Grid(GridConfig.from_yaml(file), self.folder / "out")


def replaced(values: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """Put a hostile value, or a hostile key, in one place of nested settings."""
    changed = copy.deepcopy(values)
    places = list(_places(changed))
    holder, key = places[int(rng.integers(len(places)))]
    hostile = copy.deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])
    if isinstance(holder, dict) and rng.integers(6) == 0:
        holder[str(hostile)[:200] or "\x1b[2J"] = holder.pop(key)
    else:
        holder[key] = hostile
    return changed, f"{key} = {str(hostile)[:40]!r}"


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield values, key
        yield from _places(value)
