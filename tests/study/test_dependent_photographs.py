"""Photographs in sequence and photographs of a folder: told with numbers, and held out together where asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study.film import N, film, sequence
from study.own_files import run_brainmap

from brainmap.results import StudyResults


def test_neighbours_that_resemble_each_other_are_told_and_blocks_mend_it(tmp_path: Path) -> None:
    options = film(tmp_path / "own").write()
    plain = run_brainmap("fit", *options, "--out", "plain", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert "Neighbours in the order of presentation correlate by 0.8" in plain.stderr
    assert "--groups blocks:10 --gap" in plain.stderr
    told = StudyResults.load(tmp_path / "plain" / "results")
    assert any("not exchangeable" in note for note in told.provenance["notes"])
    assert "not exchangeable" in (tmp_path / "plain" / "report.html").read_text(encoding="utf-8")

    blocks = run_brainmap("fit", *options, "--groups", "blocks:10", "--gap", "4", "--out", "blocks", cwd=tmp_path)
    assert blocks.returncode == 0 and "exchangeable" not in blocks.stderr, blocks.stderr
    held = StudyResults.load(tmp_path / "blocks" / "results")
    assert held.provenance["groups"].startswith("10 blocks in the order of presentation, 4 photographs left out")
    r = [float(results.scores["fmri"]["r"].mean()) for results in (told, held)]
    assert r[0] > 0.15 > 0.1 > r[1]
    assert held.significance["fmri"].values.sum() <= 1


def test_the_same_from_a_study_file(tmp_path: Path) -> None:
    options = film(tmp_path / "own").write()
    own = dict(zip((name.removeprefix("--") for name in options[::2]), options[1::2], strict=True))
    features = own.pop("features")
    lines = [f"  {name}: {path}" for name, path in own.items()]
    study = "\n".join(
        [
            f"features: {features}",
            "dataset: own",
            "groups: blocks:10",
            "gap: 3",
            "own:",
            *lines,
            "signals: [activation]",
        ]
    )
    (tmp_path / "study.yaml").write_text(f"schema: 2\n{study}\n", encoding="utf-8")
    ended = run_brainmap("run", "study.yaml", "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "exchangeable" not in ended.stderr


def test_recordings_end_where_a_run_does(tmp_path: Path) -> None:
    """Within a run photographs are independent, and every run has a level of its own: no neighbour matters."""
    own = film(tmp_path / "own", of_features=0.9, of_noise=0.0)
    own.events["run"] = np.repeat(np.arange(60), 2)
    order = np.random.default_rng(1).permutation(N)
    own.features, own.responses = own.features[order], own.responses[order]
    ended = run_brainmap("fit", *own.write(), "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0 and "warning" not in ended.stderr, ended.stderr


def of_kinds(folder: Path) -> list[str]:
    own = film(folder, of_features=0.0, of_noise=0.0)
    rng = np.random.default_rng(2)
    kind = rng.permutation(np.arange(N) % 12)
    own.features += rng.standard_normal((12, 12))[kind]
    own.responses += rng.standard_normal((12, 10))[kind]
    own.events["stimulus"] = [f"kind{k:02d}/{name}" for k, name in zip(kind, own.events["stimulus"], strict=True)]
    own.events["concept"] = [f"c{k}" for k in kind]
    return own.write()


def test_photographs_of_a_folder_are_told_and_held_out_together(tmp_path: Path) -> None:
    options = of_kinds(tmp_path / "own")
    plain = run_brainmap("fit", *options, "--out", "plain", cwd=tmp_path)
    assert "Photographs of one folder correlate by" in plain.stderr and "--groups folder" in plain.stderr
    r = [float(StudyResults.load(tmp_path / "plain" / "results").scores["fmri"]["r"].mean())]
    for groups in ("folder", "concept"):
        ended = run_brainmap("fit", *options, "--groups", groups, "--out", groups, cwd=tmp_path)
        assert ended.returncode == 0 and "warning" not in ended.stderr, ended.stderr
        r.append(float(StudyResults.load(tmp_path / groups / "results").scores["fmri"]["r"].mean()))
    assert r[0] > 0.3 > 0.1 > r[1] and r[1] == r[2]


def test_repeats_that_share_drift_raise_the_ceiling_and_are_told(tmp_path: Path) -> None:
    own = film(tmp_path / "own", of_features=0.0, of_noise=0.0)
    own.events = own.events.loc[own.events.index.repeat(2)].reset_index(drop=True)
    rng = np.random.default_rng(5)
    own.responses = sequence(rng, 10, 0.95, 2 * N)
    share = ("--set", "normalise=ceiling")
    ended = run_brainmap("fit", *own.write(), *share, "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "count as 1. Raw scores are in the other panels" in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "r_normalised" in StudyResults.load(tmp_path / "run" / "results").roi_table()
    assert "100% of the repeats come within 3 trials" in ended.stderr and "too high" in ended.stderr
    assert float(StudyResults.load(tmp_path / "run" / "results").ceilings["fmri"].mean()) > 0.7  # there is no signal


WRONG = {
    "a share of no ceiling": (["--set", "normalise=ceiling"], "no photograph was shown twice", None),
    "misspelt column": (["--groups", "conept"], "no column 'conept'", None),
    "blocks without a number": (["--groups", "blocks"], "how many blocks", None),
    "blocks of nothing": (["--groups", "blocks:0"], "how many blocks", None),
    "a number of another kind": (["--groups", "folder:3"], "no groups 'folder:3'", None),
    "gap without blocks": (["--gap", "2"], "belongs to blocks", None),
    "gap larger than the data": (["--groups", "blocks:10", "--gap", "500"], "gap of 500", None),
    "more blocks than photographs": (["--groups", "blocks:500"], "500 blocks", None),
    "fewer blocks than folds": (["--groups", "blocks:4"], "at least 10 blocks", None),
    "one group": (["--groups", "one"], "of 1 ones", {"one": "a"}),
    "a group each": (["--groups", "each"], "of its own", {"each": np.arange(N)}),
    "an empty cell": (["--groups", "kind"], "no 'kind'", {"kind": ["a", "b", np.nan] + ["c", "d"] * ((N - 2) // 2)}),
    "no folders": (["--groups", "folder"], "of 1 folders", None),
    "negative gap": (["--groups", "blocks:10", "--gap", "-1"], "gap", None),
    "empty": (["--groups", ""], "no groups ''", None),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_groups_that_cannot_be_are_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    options, sentence, columns = WRONG[case]
    own = film(tmp_path / "own")
    own.events = own.events.assign(**{name: np.resize(values, N) for name, values in (columns or {}).items()})
    files = own.write()
    both = ("misspelt column", "gap larger than the data", "a share of no ceiling")
    for dry in ([], ["--dry-run"]) if case in both else (["--dry-run"],):
        ended = run_brainmap("fit", *files, *options, "--out", "run", *dry, cwd=tmp_path)
        said = ended.stderr + ended.stdout
        assert ended.returncode == 2 and sentence in said and "Traceback" not in said, said


def test_photographs_shown_again_in_another_order_have_no_blocks(tmp_path: Path) -> None:
    own = film(tmp_path / "own")
    own.events = pd.concat([own.events, own.events.iloc[::-1]], ignore_index=True)
    own.responses = np.concatenate([own.responses, own.responses[::-1]])
    ended = run_brainmap("fit", *own.write(), "--groups", "blocks:10", "--out", "run", cwd=tmp_path)
    assert ended.returncode == 2 and "in different orders" in ended.stderr
