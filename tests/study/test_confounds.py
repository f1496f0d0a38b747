"""A table of confounds, one row a trial: projected out inside each split, and refused where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler
from study.film import N, film
from study.own_files import run_brainmap

from brainmap.encoding import EncodingResult, plan_splits
from brainmap.results import StudyResults


def with_gaze(folder: Path, repeats: int = 1):
    """Independent photographs; gaze depends on the first feature, and responses on gaze alone."""
    own = film(folder, of_features=0.0, of_noise=0.0)
    rng = np.random.default_rng(1)
    own.events = pd.concat([own.events] * repeats, ignore_index=True)
    gaze = np.tile(own.features[:, :2], (repeats, 1)) + 0.3 * rng.standard_normal((repeats * N, 2))
    own.responses = 3 * gaze @ rng.standard_normal((2, 10)) + rng.standard_normal((repeats * N, 10))
    return own, pd.DataFrame({"gaze_x": gaze[:, 0], "gaze_y": gaze[:, 1]})


def test_a_planted_confound_is_removed_as_scikit_learn_does(tmp_path: Path) -> None:
    own, gaze = with_gaze(tmp_path / "own", repeats=2)
    options = own.write()
    file = tmp_path / "own" / "confounds.tsv"
    gaze.to_csv(file, sep="\t", index=False)
    plain = run_brainmap("fit", *options, "--out", "plain", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    ended = run_brainmap("fit", *options, "--confounds", str(file), "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "2 confounds are projected out inside each split: gaze_x, gaze_y" in ended.stderr
    before, after = (StudyResults.load(tmp_path / name / "results") for name in ("plain", "run"))
    assert float(before.scores["fmri"]["r"].mean()) > 0.7 > 0.2 > abs(float(after.scores["fmri"]["r"].mean()))
    assert after.provenance["confounds"].startswith("gaze_x, gaze_y")
    assert "Confounds were projected out" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert float(after.ceilings["fmri"].mean()) < 0.5 < float(before.ceilings["fmri"].mean())

    # The same with scikit-learn, at the penalties that were chosen; rows are photographs in the order of names.
    names = own.events["stimulus"][:N].to_numpy()
    rows = np.argsort(names)
    x = own.features.astype(np.float32)[rows].astype(float)
    y, z = (np.asarray(part).reshape(2, N, -1).mean(axis=0)[rows] for part in (own.responses, gaze))
    result = EncodingResult.load(tmp_path / "run" / "scores" / "fmri" / "01" / "activation")
    alpha, r = result.alpha.values[0], result.r.values[0]
    plan = plan_splits(N, 5, groups=np.arange(N))
    for split, (train, test) in enumerate(plan.outer):
        cleaned = [part - LinearRegression().fit(z[train], part[train]).predict(z) for part in (x, y)]
        scaled = StandardScaler().fit(cleaned[0][train]).transform(cleaned[0])
        for target in range(10):
            model = Ridge(alpha[split, target]).fit(scaled[train], cleaned[1][train, target])
            expected = np.corrcoef(model.predict(scaled[test]), cleaned[1][test, target])[0, 1]
            assert abs(expected - r[split, target]) < 1e-5


def test_the_same_from_a_study_file_and_a_constant_column_is_told(tmp_path: Path) -> None:
    own, gaze = with_gaze(tmp_path / "own")
    own.write()
    gaze.assign(always=3.0, both=gaze["gaze_x"] - 2 * gaze["gaze_y"]).to_csv(tmp_path / "own" / "c.csv", index=False)
    (tmp_path / "study.yaml").write_text(
        "schema: 2\ndataset: own\nfeatures: own/features.npz\nown:\n  stimuli: own/photos\n"
        "  responses: own/responses.npy\n  events: own/events.tsv\n  targets: own/targets.tsv\n"
        "  confounds: own/c.csv\n",
        encoding="utf-8",
    )
    ended = run_brainmap("run", "study.yaml", "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "always never changes and is left out" in ended.stderr
    assert "3 confounds span 2 dimensions" in ended.stderr
    results = StudyResults.load(next((tmp_path / "run").rglob("results")))
    assert abs(float(results.scores["fmri"]["r"].mean())) < 0.2


def test_what_gradients_add_knows_the_confounds(tmp_path: Path) -> None:
    """Gradients that are gaze: they add everything without confounds, and nothing with them."""
    own, gaze = with_gaze(tmp_path / "own")
    options = own.write()
    file = tmp_path / "own" / "confounds.tsv"
    gaze.to_csv(file, sep="\t", index=False)
    rng = np.random.default_rng(3)
    with np.load(tmp_path / "own" / "features.npz") as stored:
        kept = dict(stored)
    kept["block"] = rng.standard_normal((N, 12)).astype(np.float32)
    kept["gradient/block"] = (gaze.to_numpy() @ rng.standard_normal((2, 8))).astype(np.float32)
    kept["gradient/block"] += 0.1 * rng.standard_normal((N, 8)).astype(np.float32)
    np.savez(tmp_path / "own" / "features.npz", **kept)
    two = (*options, "--signals", "activation,gradient")
    assert run_brainmap("fit", *two, "--out", "plain", cwd=tmp_path).returncode == 0
    assert run_brainmap("fit", *two, "--confounds", str(file), "--out", "run", cwd=tmp_path).returncode == 0
    before, after = (StudyResults.load(tmp_path / name / "results").residual["fmri"] for name in ("plain", "run"))
    assert before["significant"].all() and (before["delta"] > 0.5).all()
    assert not after["significant"].any() and (after["delta"].abs() < 0.15).all()


def test_catch_trials_need_no_confounds(tmp_path: Path) -> None:
    own, gaze = with_gaze(tmp_path / "own")
    options = own.write()
    events = own.events.copy()
    events.loc[5, "stimulus"] = "n/a"
    events.to_csv(tmp_path / "own" / "events.tsv", sep="\t", index=False, na_rep="n/a")
    gaze.loc[5] = np.nan
    file = tmp_path / "own" / "confounds.tsv"
    gaze.to_csv(file, sep="\t", index=False, na_rep="n/a")
    ended = run_brainmap("fit", *options, "--confounds", str(file), "--dry-run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr + ended.stdout


def broken(gaze: pd.DataFrame, events: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str]]:
    hole, word, endless = (gaze.astype(object) for _ in range(3))
    hole.iloc[7, 1], word.iloc[7, 1], endless.iloc[7, 1] = np.nan, "left", np.inf
    return {
        "too few rows": (gaze.iloc[:-1], "119 rows for 120 trials"),
        "scans": (pd.concat([gaze] * 3), "360 rows for 120 trials"),
        "empty cell": (hole, "Row 7 of"),
        "word": (word, "Row 7 of"),
        "infinite": (endless, "infinite in the column 'gaze_y'"),
        "constant": (gaze * 0 + 4, "changes from trial to trial"),
        "other order": (gaze.assign(stimulus=events["stimulus"].to_numpy()[::-1]), "order of the events"),
        "labels only": (events[["stimulus"]], "no column of confounds"),
    }


CASES = ("too few rows", "scans", "empty cell", "word", "infinite", "constant", "other order", "labels only")


@pytest.mark.parametrize("case", CASES)
def test_tables_that_do_not_fit_are_refused_by_row(tmp_path: Path, case: str) -> None:
    own, gaze = with_gaze(tmp_path / "own")
    options = own.write()
    table, sentence = broken(gaze, own.events)[case]
    file = tmp_path / "own" / "confounds.tsv"
    table.to_csv(file, sep="\t", index=False, na_rep="n/a")
    ended = run_brainmap("fit", *options, "--confounds", str(file), "--dry-run", cwd=tmp_path)
    said = ended.stderr + ended.stdout
    assert ended.returncode == 2 and sentence in said and "Traceback" not in said, said


def test_what_is_not_supported_says_so(tmp_path: Path) -> None:
    own, gaze = with_gaze(tmp_path / "own")
    options, file = own.write(), tmp_path / "confounds.tsv"
    gaze.to_csv(file, sep="\t", index=False)
    for more, sentence in (
        (("--confounds", "nowhere.tsv"), "nowhere.tsv"),
        (("--nuisance", "gaze"), "own.confounds"),
        (("--confounds", str(file), "--test", "permutation"), "permutations do not project confounds out"),
    ):
        ended = run_brainmap("fit", *options, *more, "--dry-run", cwd=tmp_path)
        said = ended.stderr + ended.stdout
        assert ended.returncode == 2 and sentence in said and "Traceback" not in said, said
