"""``terms: split`` in a study file, from photographs to results on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study.own_files import write_own

import brainmap
from brainmap.common.errors import InputError
from brainmap.study import Study, StudyConfig

FILES = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
FEW: dict[str, Any] = {"layers": ("block.3", "block.7"), "cv": 3, "flips": 100, "controls": ("pixels",)}


def test_terms_from_photographs_to_results(tmp_path: Path) -> None:
    write_own(tmp_path)
    files = {key: str(tmp_path / file) for key, file in FILES.items()}
    runs = {}
    for terms in ("together", "split"):
        study = Study(StudyConfig.from_dict({**files, **FEW, "set": {"terms": terms}}), tmp_path / terms)
        text = study.plan().to_text()
        assert ("by term: dino, ibot" in text) == ("beyond the activations and the other terms" in text)
        assert ("by term" in text) == (terms == "split")
        study.run(report=False)
        runs[terms] = brainmap.open_run(tmp_path / terms)
    plain, split = runs["together"], runs["split"]
    assert not plain.terms and not plain.term_maps
    assert np.array_equal(plain.scores["meg"]["r"], split.scores["meg"]["r"])
    table = split.terms["meg"]
    times = np.unique(split.targets("meg")["time"])
    assert table["term"].tolist() == ["dino"] * len(times) + ["ibot"] * len(times)
    assert np.array_equal(table["unit"], np.tile(times, 2))
    assert table["p_fwer"].between(0, 1).all() and (table["low"] <= table["high"]).all()
    assert table["unique"].to_numpy() == pytest.approx((table["r2_all"] - table["r2_others"]).to_numpy(), abs=1e-6)
    assert not split.term_maps  # moments are units already
    made = split.provenance["p_values"]
    assert "each of 2 feature spaces" in str(made)


def test_old_studies_keep_their_keys() -> None:
    assert "terms" not in StudyConfig().describe()
    assert StudyConfig(terms="split").describe()["terms"] == "split"
    assert StudyConfig(terms="split").digest() != StudyConfig().digest()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"terms": "split", "signals": "activation"}, "add 'gradient' to 'signals'"),
        ({"terms": "split", "wrt": "weights", "site": "mlp", "projection": 20}, "leave out 'wrt: weights'"),
        ({"terms": "split", "objective": "clip-bridge"}, "'clip-bridge' has one"),
        ({"terms": "apart"}, "'together', 'split' or 'split-by-role'"),
    ],
)
def test_terms_are_checked(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        StudyConfig.from_dict(values)
