"""Own recordings of two people: a folder each or a column, one study; or a sentence that says how they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study.film import Film, N, film
from study.own_files import run_brainmap

from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.results import StudyResults
from brainmap.study.pooled_targets import check_alike, common_targets


def two_people(folder: Path, modality: str = "fmri") -> tuple[Film, list[str], Path]:
    """The second saw two thirds of the photographs, in another order."""
    own = film(folder, of_features=0.0, of_noise=0.0)
    own.responses[:, :4] += own.features[:, :4]
    options = own.write()
    rng = np.random.default_rng(2)
    rows = [np.arange(N), rng.permutation(N)[:80]]
    targets = pd.DataFrame({"roi": [f"A{i // 5}" for i in range(10)]})
    if modality == "meg":
        targets = pd.DataFrame({"sensor": np.repeat(["s1", "s2"], 5), "time": np.tile(np.arange(5) / 10, 2)})
    targets.to_csv(folder / "targets.tsv", sep="\t", index=False)
    parts = [own.responses[chosen] + rng.standard_normal((len(chosen), 10)) for chosen in rows]
    events = [own.events.iloc[chosen] for chosen in rows]
    for number, (values, table) in enumerate(zip(parts, events, strict=True), 1):
        place = folder / "people" / f"sub-{number:02d}"
        place.mkdir(parents=True)
        np.save(place / "responses.npy", values.astype(np.float32))
        table.to_csv(place / "events.tsv", sep="\t", index=False)
    np.save(folder / "all.npy", np.concatenate(parts).astype(np.float32))
    everything = pd.concat([table.assign(subject=f"sub-{i:02d}") for i, table in enumerate(events, 1)])
    everything.to_csv(folder / "all.tsv", sep="\t", index=False)
    shared = [part for pair in zip(options[::2], options[1::2], strict=True) for part in pair
              if pair[0] in ("--stimuli", "--targets", "--features")]  # fmt: skip
    return own, shared, folder


@pytest.mark.parametrize("modality", ["fmri", "meg"])
def test_a_folder_each_and_a_column_are_one_study(modality: str, tmp_path: Path) -> None:
    _, shared, folder = two_people(tmp_path / "own", modality)
    ways = {  # both for voxels; sensors come in a column only
        "folders": ["--responses", str(folder / "people")],
        "column": ["--responses", str(folder / "all.npy"), "--events", str(folder / "all.tsv")],
    }
    scores = []
    for name, options in list(ways.items())[modality == "meg" :]:
        ended = run_brainmap("fit", *shared, *options, "--out", name, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        results = StudyResults.load(tmp_path / name / "results")
        assert results.provenance["subjects"] == {modality: ["01", "02"]}
        assert "2 subjects" in (tmp_path / name / "report.html").read_text(encoding="utf-8")
        scores.append(results.scores[modality]["r"])
    assert scores[0].sizes["subject"] == 2
    np.testing.assert_array_equal(scores[0].values, scores[-1].values)
    mean = scores[0].mean(("subject", "split", "signal", "layer")).values
    assert mean[:4].min() > 0.4 > 0.25 > np.abs(mean[4:]).max()


def broken(folder: Path, case: str) -> str:
    second = folder / "people" / "sub-02"
    table = pd.read_csv(folder / "targets.tsv", sep="\t")
    values = np.load(second / "responses.npy")
    if case == "fewer targets":
        np.save(second / "responses.npy", values[:, :8])
        table.iloc[:8].to_csv(second / "targets.tsv", sep="\t", index=False)
        return "subject 02 has 8 targets and subject 01 10"
    if case == "other areas":
        table.assign(roi=[f"B{i}" for i in range(10)]).to_csv(second / "targets.tsv", sep="\t", index=False)
        return "target 0 has roi B0 in subject 02 and A0 in subject 01"
    if case == "other hemisphere":
        for number, side in (("01", "L"), ("02", "R")):
            placed = table.assign(hemisphere=side, vertex=range(10))
            placed.to_csv(folder / "people" / f"sub-{number}" / "targets.tsv", sep="\t", index=False)
        return "has hemisphere R in subject 02 and L in subject 01"
    if case == "other vertices":
        for number, start in (("01", 0), ("02", 5)):
            placed = table.assign(hemisphere="L", vertex=range(start, start + 10))
            placed.to_csv(folder / "people" / f"sub-{number}" / "targets.tsv", sep="\t", index=False)
        return "has vertex 5 in subject 02 and 0 in subject 01"
    if case == "no events":
        (second / "events.tsv").unlink()
        return "people/sub-02: responses.npy does not say which photograph"
    if case == "the same name":
        second.rename(folder / "people" / "01")
        return "which may be one"
    if case == "few photographs":
        np.save(second / "responses.npy", values[:6])
        pd.read_csv(second / "events.tsv", sep="\t").iloc[:6].to_csv(second / "events.tsv", sep="\t", index=False)
        return "subject 02 saw photographs of 6 sources"
    if case == "confounds of one":
        pd.DataFrame({"gaze": np.arange(80.0)}).to_csv(second / "confounds.tsv", sep="\t", index=False)
        return "Subject 02 has a table of confounds and subject 01 has none"
    if case == "too many confounds":
        for number, n in (("01", N), ("02", 80)):
            many = pd.DataFrame(np.random.default_rng(0).random((n, 79)), columns=[f"c{i}" for i in range(79)])
            many.to_csv(folder / "people" / f"sub-{number}" / "confounds.tsv", sep="\t", index=False)
        return "leave nothing to predict"
    times = pd.DataFrame({"sensor": ["a", "b"] * 5, "time": np.repeat(np.arange(5) / 10, 2)})
    times.to_csv(second / "targets.tsv", sep="\t", index=False)
    return "make a study of each"


CASES = (
    *("fewer targets", "other areas", "other hemisphere", "other vertices", "no events", "the same name"),
    *("few photographs", "confounds of one", "too many confounds", "mixed modalities"),
)


@pytest.mark.parametrize("case", CASES)
def test_people_that_do_not_go_together_are_refused_before_anything_is_computed(case: str, tmp_path: Path) -> None:
    _, shared, folder = two_people(tmp_path / "own")
    sentence = broken(folder, case)
    options = (*shared, "--responses", str(folder / "people"))
    for dry in (["--dry-run"], []):
        ended = run_brainmap("fit", *options, "--out", "run", *dry, cwd=tmp_path)
        said = ended.stderr + ended.stdout
        assert ended.returncode == 2 and sentence in said and "Traceback" not in said, said
        assert not (tmp_path / "run" / "scores").exists()


def responses(subject: str, modality: str, **columns) -> Responses:
    table = pd.DataFrame(columns)
    trials = pd.DataFrame({"stimulus": list("abc")})
    return Responses(np.zeros((3, len(table))), trials, table, modality, subject)


def test_what_is_a_subject_s_own_does_not_stand_in_the_way() -> None:
    """Noise ceilings of a data set and places of sensors differ between people."""
    areas = {"roi": ["V1", "V1"], "hemisphere": ["L", "L"], "vertex": [3, 4], "x": [1.0, 2.0], "y": 0.0, "z": 0.0}
    one = responses("1", "fmri", **areas, ncsnr=[0.1, 0.2])
    two = responses("2", "fmri", **{**areas, "x": [1.5, 2.0]}, ncsnr=[0.3, 0.2])
    check_alike({"fmri": {"1": one, "2": two}})
    table = common_targets([one, two])
    assert list(table) == list(areas) and table["x"].tolist() == [1.25, 2.0]
    alone = common_targets([one])
    pd.testing.assert_frame_equal(alone, one.targets)
    sensors = {"sensor": ["a", "a"], "time": [0.0, 0.1]}
    check_alike({"meg": {s: responses(s, "meg", **sensors, x=[float(s)] * 2, y=0.0, z=0.0) for s in "12"}})


def test_voxels_are_told_apart_by_their_place() -> None:
    voxels = {"roi": ["brain"] * 2, "hemisphere": "", "vertex": -1, "x": [1.0, 3.0], "y": 0.0, "z": 0.0}
    one, two = responses("1", "fmri", **voxels), responses("2", "fmri", **{**voxels, "x": [1.0, 5.0]})
    with pytest.raises(InputError, match=r"target 1 has x .*5.0.* in subject 2"):
        check_alike({"fmri": {"1": one, "2": two}})
