from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_example_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep layers predict the simulated MEG in the example, and the result is where it says."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    best = names["result"].r.mean("split").max("target")  # type: ignore[attr-defined]
    assert float(best.max()) > 0.2
    assert (tmp_path / "activation_meg.zarr").is_dir()


def test_files_it_links_to_exist() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_it_shows_real_and_simulated_data_and_the_short_way() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    captions = re.findall(r"!\[([^\]]+)\]\((docs/images/[^)]+)\)\s+\*(.+?)\*\n\n", text, re.DOTALL)
    assert len(captions) == 2
    (_, _, simulated), (_, _, real) = captions
    assert "simulated" in simulated and real.startswith("Real human responses")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    assert "make demo" in text and "make test" in text
    assert "shields.io" not in text and "badge" not in text  # there is nothing published that one could speak about
