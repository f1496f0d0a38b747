"""``method: banded`` and ``method: stacked`` in a study file, from photographs to results on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from study.own_files import write_own

import brainmap
from brainmap.common.errors import InputError
from brainmap.encoding import EncodingRidgeCV
from brainmap.report.page.study_page import render_report
from brainmap.statistics import banded_partition, variance_partition
from brainmap.study import Study, StudyConfig
from brainmap.study.analysis.bands_and_stacks import bands_of

FILES = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bands")
    write_own(folder)
    return folder


def run(folder: Path, name: str, **more: object) -> brainmap.study.FinishedRun:
    files = {key: str(folder / file) for key, file in FILES.items()}
    few = {"layers": ("block.0", "block.5"), "cv": 4, "flips": 100, "controls": ("pixels",), "signals": ("activation",)}
    Study(StudyConfig.from_dict({**files, **few, **more}), folder / name).run(report=False)
    return brainmap.open_run(folder / name)


def test_stacked(own: Path) -> None:
    plain, stacked = run(own, "plain"), run(own, "stacked", method="stacked")
    assert not plain.together
    assert np.array_equal(plain.scores["meg"]["r"], stacked.scores["meg"]["r"])
    together = stacked.together["meg"]
    assert dict(together["weight"].sizes) == {"subject": 1, "signal": 1, "layer": 2, "target": 18}
    assert np.allclose(together["weight"].sum("layer"), 1)
    assert together["r"].mean() > 0.9 * float(stacked.scores["meg"]["r"].mean("split").max("layer").mean())
    assert ((together["depth"] >= 0) & (together["depth"] <= 1)).all()


def test_banded(own: Path) -> None:
    bands = ["activation:block.0", "pixels"]
    together = run(own, "banded", method="banded", bands=bands).together["meg"]
    assert together["part"].sizes["of"] == 3 and list(together["model"].values[:2]) == bands
    full = together["r2"].sel(model="+".join(bands))
    assert np.allclose(together["part"].sum("of"), full)  # unique and shared parts add up


def test_bands_of_several_models(own: Path) -> None:
    bands = ["activation:block.0", "activation:block.5 of dino-tiny@untrained"]
    finished = run(own, "models", method="banded", bands=bands)
    together = finished.together["meg"]
    assert list(together["kind"].values) == [*bands, "shared", "total"]
    assert dict(together["explained"].sizes) == {"kind": 4, "unit": 6}
    assert (together["low"] <= together["part"]).all() and (together["part"] <= together["high"]).all()
    mean = together["part"].sel(of=bands[0], subject="01").values.reshape(-1, 6, order="A")
    assert mean.mean() == pytest.approx(float(together["explained"].sel(kind=bands[0]).mean()), abs=1e-6)
    identity = json.loads((own / "models" / "study.json").read_text())["bands"]
    assert set(identity) == {"version", bands[1]}
    page = render_report(finished)
    assert "Several feature spaces together" in page and "Activations, block 5 of dino-tiny (untrained)" in page
    assert "Several feature spaces together" not in render_report(run(own, "plain again"))
    rows = [row for row in Study(finished_config(own, bands), own / "planned").plan().rows if "band" in row[0]]
    assert len(rows) == 1 and bands[1] in rows[0][1]


def finished_config(folder: Path, bands: list[str]) -> StudyConfig:
    files = {key: str(folder / file) for key, file in FILES.items()}
    return StudyConfig.from_dict({**files, "method": "banded", "bands": bands, "signals": ("activation",)})


def test_photographs_are_found_where_a_study_asks(own: Path) -> None:
    table = run(own, "found", retrieval="likelihood").retrieval["meg"]
    assert len(table) == 2 * 6 and set(table["subject"]) == {"01"} and table["gallery"].eq(10).all()
    assert (table["top1"] > table["chance1"]).mean() > 0.5 and table["p_corrected"].between(0, 1).all()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"bands": ["pixels"]}, "belong to 'method: banded'"),
        ({"method": "banded", "signals": "activation"}, "two to five bands, not 1"),
        ({"method": "banded", "bands": ["pixels of dino-tiny", "activation"]}, "its activation or its gradient"),
        ({"method": "banded", "bands": ["activation of ", "activation"]}, "must say of which model"),
        ({"method": "banded", "bands": ["activation of dinosaur", "activation"]}, "dinosaur"),
    ],
)
def test_bands_are_checked(values: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        StudyConfig.from_dict(values)


def test_a_band_that_is_not_there() -> None:
    config = StudyConfig(method="banded", bands=("activation:block.77", "pixels"))
    spaces = {"activation": {"block.0": np.ones((3, 2))}, "controls": {"pixels": np.ones((3, 2))}}
    with pytest.raises(InputError, match=r"names 'block\.77', which is not there"):
        bands_of(config, spaces)


def test_bands_find_what_one_penalty_misses() -> None:
    """A small band that predicts beside a wide one that does not: one penalty for both shrinks it away."""
    rng = np.random.default_rng(0)
    spaces = {"small": rng.standard_normal((150, 4)), "wide": rng.standard_normal((150, 300))}
    Y = spaces["small"] @ rng.standard_normal((4, 20)) / 2 + rng.standard_normal((150, 20))
    banded = banded_partition(spaces, Y)
    plain = variance_partition(spaces, Y, estimator=EncodingRidgeCV(scoring="r2"))
    both = [float(found.r2.sel(model="small+wide").mean()) for found in (banded, plain)]
    assert both[0] > 0.3 > 0.1 > both[1]
    unique = banded.parts.mean(("split", "target"))
    assert float(unique.sel(part="small")) > 0.3 and abs(float(unique.sel(part="wide"))) < 0.03
