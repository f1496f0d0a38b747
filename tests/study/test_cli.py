from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study.own_files import OwnFiles, run_brainmap, write_own

from brainmap.results import StudyResults
from brainmap.study import Grid, GridConfig
from brainmap.study.plan import StudyPlan, lines_of_tests

FAST = ("--layers", "block.0,block.11", "--cv", "3")


def refused(*arguments: str, cwd: Path) -> str:
    """Run, expect exit code 2 and one sentence without a traceback, return the sentence."""
    done = run_brainmap(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("brainmap: ")
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_own_meg_from_files_to_report(own: OwnFiles, tmp_path: Path) -> None:
    command = ("fit", *own.options, *FAST, "--out", str(tmp_path / "run"))
    done = run_brainmap(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = tmp_path / "run" / "report.html"
    assert f"Report: {report}" in done.stdout
    assert done.stdout.splitlines()[-1] == f"In Python: brainmap.open_run({str(tmp_path / 'run')!r})"
    assert done.stderr == ""
    first = report.read_bytes()
    again = run_brainmap(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert report.read_bytes() == first
    rewritten = run_brainmap("report", str(tmp_path / "run"), cwd=tmp_path)
    assert rewritten.returncode == 0
    other = refused("fit", *own.options, "--cv", "4", "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert "holds another study (config.cv: there 3, here 4)" in other


def test_own_fmri_without_a_mesh(tmp_path: Path) -> None:
    own = write_own(tmp_path / "own", modality="fmri")
    done = run_brainmap("fit", *own.options, *FAST, "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "does not predict fMRI responses at any of 20 places, in any of 2 layers" in done.stdout  # of three folds
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "no map of cortex: the fMRI targets carry no vertices of a known mesh" in text
    assert "Areas by layers, coloured by encoding score of activations; no area is above chance." in text
    assert "not recorded" not in text


def test_scores_on_the_test_photographs_that_a_table_names(own: OwnFiles, tmp_path: Path) -> None:
    table = pd.DataFrame({"name": [f"img_{i:02d}" for i in range(40)], "test": [i >= 30 for i in range(40)]})
    table.to_csv(tmp_path / "images.tsv", sep="\t", index=False)
    run = tmp_path / "run"
    options = (*own.options, "--layers", "block.0,block.11", "--split", "test", "--out", str(run))
    assert "no column 'test' or 'shared'" in refused("fit", *options, cwd=tmp_path)
    done = run_brainmap("fit", *options, "--table", str(tmp_path / "images.tsv"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = StudyResults.load(run / "results")
    assert results.scores["meg"].sizes["split"] == 1
    assert "scored on the test photographs that the dataset names" in (run / "report.html").read_text(encoding="utf-8")


def test_dry_run_computes_nothing(own: OwnFiles, tmp_path: Path) -> None:
    done = run_brainmap("fit", *own.options, "--dry-run", "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "80 trials × 18 targets" in done.stdout
    assert done.stdout.split()[-2:] == ["missing", "nothing"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--test", "wilcoxon"), "5 subjects are needed, not 1"),
        (("--test", "subjects"), "3 subjects are needed, not 1"),
        (("--cv", "2"), "3 folds are needed, not 2"),
    ],
)
def test_dry_run_says_that_a_test_cannot_be_made(own: OwnFiles, tmp_path: Path, options: tuple, sentence: str) -> None:
    done = run_brainmap("fit", *own.options, *options, "--dry-run", "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert f"[nothing will be marked: {sentence}]" in " ".join(done.stdout.split())


def test_a_plan_says_once_which_tests_are_made_and_what_permutations_take(tmp_path: Path) -> None:
    study = {"subjects": ["S1"], "thin": 40, "fmri_test": "permutation", "permutations": 50}
    values = {"study": study, "grid": {"weights": ["untrained", "trained"], "cv": [2, 5]}}
    grid = Grid(GridConfig.from_dict(values), tmp_path / "grid")
    plans = [grid.study(cell).plan() for cell in grid.cells]
    told = grid.plan().partition("tests of what is above chance:\n")[2].splitlines()
    assert [line.partition(": ")[0].strip(" -") for line in told] == [
        *("fMRI test, 4 studies", "fMRI permutations, 4 studies", "MEG test, 2 studies", "MEG test, 2 studies")
    ]
    assert told[0].endswith("permutations of photographs, false discovery rate 0.05")
    assert f"50 refits × 1 subjects × 24 maps × {grid_targets(plans)} targets  [about " in told[1]
    assert told[2].endswith("[nothing will be marked: 3 folds are needed, not 2]") and told[3].endswith("0.05")
    assert all(0 < plan.seconds["fMRI permutations"] < 600 and len(plan.seconds) == 1 for plan in plans)
    hour = [StudyPlan("", [("fMRI permutations", "a", "b")], 0, 0, 0, "", seconds={"fMRI permutations": 3600.0})] * 3
    assert lines_of_tests(hour) == ["fMRI permutations, 3 studies: a  [about 3 h here]"]  # the sum of all
    grid.study(grid.cells[0]).folder.results.mkdir(parents=True)
    assert grid.study(grid.cells[0]).plan().seconds == {}
    assert "fMRI permutations, 1 study" in grid.plan() and "targets  [finished]" in grid.plan()


def grid_targets(plans: list[StudyPlan]) -> str:
    row = next(what for stage, what, _ in plans[0].rows if stage == "fMRI responses")
    return row.split(" × ")[2].removesuffix(" targets")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "dinosaur"), "dinosaur"),
        (("--cv", "1"), "setting 'cv' = 1"),
        (("--alphas", "1e8:1:5"), "do not run from a positive number up to a larger one"),
        (("--alphas", "1,two"), "are not numbers"),
        (("--signals", "backprop"), "setting 'signals' = 'backprop'"),
        (("--layers", "block.99"), "block.99"),
        (("--subject", "nobody"), "no subject 'nobody'"),
        (("--modality", "fmri"), "no fMRI responses"),
        (("--memory", "much"), "much"),
        (("--device", "abacus"), "abacus"),
        (("--objective", "hope"), "hope"),
    ],
)
def test_wrong_options(own: OwnFiles, tmp_path: Path, options: tuple[str, str], sentence: str) -> None:
    assert sentence in refused("fit", *own.options, *options, cwd=tmp_path)


def test_dry_run_says_what_does_not_fit(own: OwnFiles, tmp_path: Path) -> None:
    def missing(*options: str) -> str:
        done = run_brainmap("fit", *own.options, *options, "--dry-run", cwd=tmp_path)
        return " ".join(done.stdout.split()).rpartition("missing - ")[2]

    assert missing("--modality", "fmri") == "the dataset has no fMRI responses; it has MEG"
    responses = np.load(own.folder / "responses.npy")
    np.save(own.folder / "responses.npy", responses[:-1])
    assert missing().startswith("The responses have too few rows: 79 rows for 80 rows in ")
    (own.folder / "responses.npy").unlink()
    absent = missing("--atlas", "no.nii.gz", "--confounds", "no.tsv")
    for name in ("responses", "atlas", "confounds"):
        assert f"give the {name} with --{name}, or own.{name} in a study file" in absent


def test_wrong_files(own: OwnFiles, tmp_path: Path) -> None:
    responses = np.load(own.folder / "responses.npy")
    np.save(own.folder / "responses.npy", responses[:-1])
    assert "too few rows: 79 rows for 80 rows in " in refused("fit", *own.options, cwd=tmp_path)
    responses[7, 3] = np.nan
    np.save(own.folder / "responses.npy", responses)
    np.save(own.folder / "responses.npy", np.full_like(responses, np.nan))
    assert "responses.npy" in refused("fit", *own.options, cwd=tmp_path)
    np.save(own.folder / "responses.npy", np.nan_to_num(responses))
    events = pd.read_csv(own.folder / "events.tsv", sep="\t")
    events.loc[5, "stimulus"] = "img_77.png"
    events.to_csv(own.folder / "events.tsv", sep="\t", index=False)
    assert "events.tsv names the unknown image 'img_77.png'" in refused("fit", *own.options, cwd=tmp_path)
    (own.folder / "photos" / "img_03.png").write_bytes(b"not an image")
    assert "img_03.png" in refused("fit", *own.options, cwd=tmp_path)
    assert "setting 'own.stimuli'" in refused("fit", "--responses", "absent.npy", cwd=tmp_path)


def test_usage_error_exits_2(tmp_path: Path) -> None:
    done = run_brainmap("fit", "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_listings(tmp_path: Path) -> None:
    for arguments, expected in (
        (("models",), "dino-tiny"),
        (("models", "show", "dino-tiny"), "exact"),
        (("data",), "sample"),
        (("doctor",), "embedded photographs"),
    ):
        done = run_brainmap(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert "no-such" in refused("models", "show", "no-such", cwd=tmp_path)
    assert "is not a run of brainmap" in refused("report", "nowhere", cwd=tmp_path)
