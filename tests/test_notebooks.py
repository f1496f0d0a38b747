"""Notebooks are read on a hosting page: outputs are there, a question opens and an answer ends each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_can_be_read(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert "?" in cells[0]["source"][0]
    ending = "".join("".join(cell["source"]) for cell in cells[-2:] if cell["cell_type"] == "markdown")
    assert re.search(r"answer", ending, re.IGNORECASE)
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs) or path.stem.startswith("06")
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert path.stat().st_size < 3_000_000
