"""Hypotheses of a run: locked before anything is encoded, judged, unchanged, and said in the report."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from made_up_results import make_results

from brainmap.common.errors import DamagedError, InputError
from brainmap.report import write_report
from brainmap.results import StudyResults
from brainmap.study import Grid, GridConfig, StudyConfig, verify_run
from brainmap.study.registration import judge_hypotheses, lock_hypotheses, locked_hypotheses
from brainmap.study.run_folder import RunFolder

HYPOTHESES = """title: Mine
hypotheses:
  - {id: H1, statement: Gradients predict MEG, effect: score, modality: meg, of: {signal: gradient}, direction: positive, smallest: 0.005}
  - {id: H2, statement: Later, effect: lag, modality: meg, of: {signal: gradient}, minus: {signal: activation}, direction: positive, smallest: 0.02}
"""  # noqa: E501


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.claim({"config": {}})
    return folder


def written(tmp_path: Path, text: str = HYPOTHESES) -> Path:
    file = tmp_path / "hypotheses.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_locked_judged_reported_and_verified(tmp_path: Path, run: RunFolder) -> None:
    file = written(tmp_path)
    sha = lock_hypotheses(run, file, "settings")
    assert sha == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (run.hypotheses / "hypotheses.yaml").read_bytes() == file.read_bytes()
    results = make_results(every=20, n_sensors=6, n_subjects=2, modalities=("meg",))
    assert judge_hypotheses(run, results, "settings")
    assert not judge_hypotheses(run, results, "settings")  # once
    assert results.hypotheses is not None and results.hypotheses["hypothesis"].tolist() == ["H1", "H2"]
    results.save(run.results)
    again = StudyResults.load(run.results)
    assert again.provenance["registered"]["sha256"] == sha
    page = write_report(again, tmp_path / "report.html").read_text()
    assert "Registered hypotheses: Mine" in page and sha in page and "before anything was encoded" in page
    assert "Three hypotheses about gradients" not in page
    assert verify_run(run.path).ok and verify_run(run.path).stores == 3


def test_what_is_locked_is_not_changed(tmp_path: Path, run: RunFolder) -> None:
    sha = lock_hypotheses(run, written(tmp_path), "settings")
    assert lock_hypotheses(run, written(tmp_path), "settings") == sha
    with pytest.raises(InputError, match=r"has locked other hypotheses.*not changed: choose another folder"):
        lock_hypotheses(run, written(tmp_path, HYPOTHESES.replace("0.02", "0.2")), "settings")
    copy = run.hypotheses / "hypotheses.yaml"
    copy.write_text(HYPOTHESES.replace("0.02", "0.03"), encoding="utf-8")
    with pytest.raises(DamagedError, match="hypotheses"):
        locked_hypotheses(run)
    assert not verify_run(run.path).ok


def test_locked_after_scores_is_no_registration(tmp_path: Path, run: RunFolder) -> None:
    (run.path / "scores" / "meg" / "S1" / "activation").mkdir(parents=True)
    lock_hypotheses(run, written(tmp_path), "settings")
    results = make_results(every=20, n_sensors=6, n_subjects=2, modalities=("meg",))
    judge_hypotheses(run, results, "other settings")
    page = write_report(results, tmp_path / "report.html").read_text()
    assert "Registered hypotheses" not in page and "these hypotheses are no registration" in page
    assert "settings of the study are not those of the lock" in page


def test_they_change_no_number_of_a_study(tmp_path: Path) -> None:
    config = StudyConfig(hypotheses=written(tmp_path))
    assert config.digest() == StudyConfig().digest() and "hypotheses" not in config.describe()


def test_hypotheses_of_several_studies_are_refused(tmp_path: Path) -> None:
    """Each would be corrected by itself, and the page of all would read as if over all."""
    settings = {"study": {"hypotheses": str(written(tmp_path))}, "grid": {"weights": ["trained", "untrained"]}}
    with pytest.raises(InputError, match="corrected within one study, and this file makes 2"):
        Grid(GridConfig.from_dict(settings), tmp_path / "grid")
    one = {**settings, "grid": {"weights": ["trained"]}}
    assert len(Grid(GridConfig.from_dict(one), tmp_path / "grid").cells) == 1
