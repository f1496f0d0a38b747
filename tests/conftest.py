"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, chromium_webgl
from made_up_results import results, results_maker, small_results
from study.own_files import OwnFiles, write_own

__all__ = [
    "chromium",
    "chromium_webgl",
    "results",
    "results_maker",
    "small_results",
]  # fixtures that several rooms share


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real material that is not redistributed; tests that need it skip where it is absent."""
    named = os.environ.get("BRAINMAP_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real material at {folder} (set BRAINMAP_SHARED_DATA)")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is no GPU, without importing torch unless one is collected."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def registers_as_before() -> Iterator[None]:
    """What a test registers (losses, models) is gone after it; nothing is imported for a test that has no models."""
    places = {"brainmap.models.objectives.objective": "OBJECTIVES", "brainmap.models.model_cards": "_registered"}
    registers = [getattr(sys.modules[module], name) for module, name in places.items() if module in sys.modules]
    before = [dict(register) for register in registers]
    yield
    for register, entries in zip(registers, before, strict=True):
        register.clear()
        register.update(entries)


@pytest.fixture
def own(tmp_path: Path) -> OwnFiles:
    """A person's own photographs, responses and tables."""
    return write_own(tmp_path / "own")
