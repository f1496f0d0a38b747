"""``brainmap explore``: a run, or a training's checkpoints, from folders as runs leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from brainmap.cli import app
from brainmap.common.errors import DamagedError, InputError, MissingFileError
from brainmap.report.page import explorer_page
from brainmap.results import StudyResults
from brainmap.study import explore_run
from brainmap.study.run_folder import RunFolder


@pytest.fixture
def meg(small_results: StudyResults) -> StudyResults:
    scores = {"meg": small_results.scores["meg"].isel(layer=[0, 11])}
    return StudyResults(small_results.provenance, scores)


def finished(results: StudyResults, folder: Path, **config: str) -> Path:
    run = RunFolder(folder)
    run.claim({"config": config})
    results.save(run.results)
    return folder


def test_a_run_gets_its_page(meg: StudyResults, tmp_path: Path) -> None:
    run = finished(meg, tmp_path / "run")
    said = CliRunner().invoke(app, ["explore", str(run)])
    assert said.exit_code == 0 and "Explore:" in said.output
    assert 'id="packed-explorer"' in (run / "explore.html").read_text(encoding="utf-8")
    assert explore_run(run, tmp_path / "mine.html") == tmp_path / "mine.html"
    with pytest.raises(MissingFileError, match="is not a run of brainmap"):
        explore_run(tmp_path)


def test_checkpoints_become_a_slider_and_other_grids_are_refused(
    meg: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int | None]] = []
    monkeypatch.setattr(explorer_page, "render_explorer", lambda studies: str(seen.append([s.step for s in studies])))
    for step in (500, 0, 60):
        weights = f"ck/step_{step:06d}.safetensors"
        finished(meg, tmp_path / "grid" / "cells" / f"s{step}", model="dino-tiny", weights=weights)
    RunFolder(tmp_path / "grid" / "cells" / "unfinished").claim({"config": {"model": "dino-tiny", "weights": "x.pt"}})
    assert explore_run(tmp_path / "grid") == tmp_path / "grid" / "explore.html" and seen == [[0, 60, 500]]
    odd = finished(meg, tmp_path / "grid" / "cells" / "t", model="dinov2-small", weights="trained")
    with pytest.raises(InputError, match=r"differ in more than the training step \(model: there \"dino-tiny\""):
        explore_run(tmp_path / "grid")
    (odd / "study.json").write_text(json.dumps({"config": {"model": "x"}, "digest": "wrong"}))
    with pytest.raises(DamagedError, match=r"study\.json is damaged"):
        explore_run(tmp_path / "grid")
    with pytest.raises(MissingFileError, match="is not finished"):
        RunFolder(tmp_path / "empty" / "cells" / "a").claim({"config": {}})
        explore_run(tmp_path / "empty")
