"""Public names that moved answer with one sentence that says where they are now: words, no import upward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MOVED = {
    "brainmap.report.StudyResults": "brainmap.results.StudyResults",
    "brainmap.study.reproduce": "brainmap.papers.reproduce",
    "brainmap.study.reproduction_grid": "brainmap.papers.reproduction_grid",
    "brainmap.models.Batch": "brainmap.models.ImageBatch",
    "brainmap.study.Plan": "brainmap.study.StudyPlan",
    "brainmap.study.Check": "brainmap.study.MachineCheck",
    "brainmap.study.list_models": "brainmap.study.describe_models",
}
"""Old public name → new one. Deep paths are listed in CHANGELOG.md."""


def answering(package: str, get: Callable[[str], Any]) -> Callable[[str], Any]:
    """Wrap a package's ``__getattr__``: names that moved raise an ImportError that names their new place.

    (An AttributeError would be replaced by Python's own sentence in ``from package import name``.)
    """

    def getattr_or_say(name: str) -> Any:
        new = MOVED.get(f"{package}.{name}")
        if new is not None:
            raise ImportError(f"{package}.{name} has moved; use {new}.")
        return get(name)

    return getattr_or_say
