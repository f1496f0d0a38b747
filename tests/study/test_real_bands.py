"""Bands, stacks and kept encoders on real responses: two areas of Kay & Yeatman (2017), where the data are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import brainmap
from brainmap.study import FinishedRun, Study, StudyConfig


@pytest.fixture(scope="module")
def vtc(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    data, folder = shared_data / "kay2017_vtc", tmp_path_factory.mktemp("vtc")
    if not data.is_dir():
        pytest.skip("no kay2017_vtc")
    with np.load(data / "betas.npz") as file:
        labels, areas, betas = file["labels"], [str(area) for area in file["rois"]], file["betas"]
    names = sorted(path.stem for path in (data / "images").glob("*.png"))
    variants = [re.match("FACE|WORD|NOISE", label) for label in labels]  # of one picture: never in train and test
    sources = [label if found is None else found.group() for found, label in zip(variants, labels, strict=True)]
    pd.DataFrame({"name": names, "source": sources}).to_csv(folder / "table.tsv", sep="\t", index=False)
    pd.DataFrame({"stimulus": names}).to_csv(folder / "events.tsv", sep="\t", index=False)
    pd.DataFrame({"roi": areas, "hemisphere": "L"}).to_csv(folder / "targets.tsv", sep="\t", index=False)
    np.save(folder / "betas.npy", betas.astype(np.float32))
    own = {"stimuli": data / "images", "table": folder / "table.tsv", "responses": folder / "betas.npy"}
    return {**own, "events": folder / "events.tsv", "targets": folder / "targets.tsv"}


def run(own: dict[str, object], out: Path, **more: object) -> FinishedRun:
    few = {"layers": ("block.0", "block.5", "block.11"), "signals": ("activation",), "controls": ("pixels",), "cv": 4}
    Study(StudyConfig.from_dict({**own, **few, "flips": 100, **more}), out).run(report=False)
    return brainmap.open_run(out)


def test_bands_and_kept_encoders(vtc: dict[str, object], tmp_path: Path) -> None:
    bands = ("activation", "activation of dino-tiny@untrained", "pixels")
    finished = run(vtc, tmp_path / "run", method="banded", bands=bands, keep="encoders")
    explained = finished.together["fmri"]["explained"]
    assert list(explained["unit"].values) == ["FFA", "VWFA"]
    kinds = explained.drop_sel(kind="total").sum("kind")
    np.testing.assert_allclose(kinds, explained.sel(kind="total"), atol=1e-6)
    low, high = (finished.together["fmri"][f"explained_{side}"] for side in ("low", "high"))
    assert ((low < explained) & (explained < high)).all()


def test_stack(vtc: dict[str, object], tmp_path: Path) -> None:
    together = run(vtc, tmp_path / "run", method="stacked").together["fmri"]
    assert np.allclose(together["weight"].sum("layer"), 1)
    assert (
        together["depth"].sel(subject=together["subject"][0]).isel(target=1) <= 1 and np.isfinite(together["r"]).all()
    )
