"""Losses of a study file: the bridge to captions, and gradients of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models.tiny_towers import TEXT, TOWER
from study.own_files import OwnFiles, run_brainmap

from brainmap.common.errors import InputError
from brainmap.models import model_card, register_model
from brainmap.study import Study, StudyConfig

FILES = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}


def study(own: OwnFiles, out: Path, **settings: Any) -> Study:
    files = {name: str(own.folder / file) for name, file in FILES.items()}
    if (own.folder / "captions.tsv").is_file():
        files["table"] = str(own.folder / "captions.tsv")
    values = {"dataset": "own", "own": files, "layers": ["block.5"], "flips": 100, **settings}
    return Study(StudyConfig.from_dict(values), out)


def test_captions_of_the_table_reach_the_bridge(own: OwnFiles, tmp_path: Path) -> None:
    card = model_card("clip-vit-base-patch32")
    config = {**card.config, "projection_dim": 12, "vision_config": TOWER, "text_config": TEXT}
    preprocessing = card.preprocessing.model_copy(update={"crop": 32, "resize": None})
    changes = {"name": "bridge-clip", "config": config, "patch": 8, "preprocessing": preprocessing}
    register_model(card.model_copy(update=changes))
    settings = {"objective": "clip-bridge", "bridge": "bridge-clip", "bridge_weights": "untrained"}
    assert "captions through bridge-clip" in study(own, tmp_path / "plan", **settings).plan().to_text()
    with pytest.raises(InputError, match="needs a column 'caption'"):
        study(own, tmp_path / "without", **settings).run(report=False)
    words = ["cat", "dog", "sea", "tree", "house"]
    captions = pd.DataFrame(
        {"name": [f"img_{i:02d}.png" for i in range(40)], "caption": [words[i % 5] for i in range(40)]}
    )
    captions.to_csv(own.folder / "captions.tsv", sep="\t", index=False)
    results = study(own, tmp_path / "run", **settings).run(report=False)
    assert results.provenance["objective"] == "clip-bridge" and results.provenance["exactness"] == "surrogate"
    assert any("captions of 40 photographs" in note for note in results.provenance["notes"])
    assert results.provenance["citations"][0].endswith("(model dino-tiny)")


def test_gradients_of_weights(own: OwnFiles, tmp_path: Path) -> None:
    settings = {"wrt": "weights", "site": "mlp", "projection": 20, "signals": ["gradient"]}
    made = study(own, tmp_path / "run", **settings)
    assert "mlp weights" in made.plan().to_text()
    results = made.run(report=False)
    assert results.provenance["gradient_of"].startswith("weights of site 'mlp'")
    assert all(np.isfinite(scores["r"]).all() for scores in results.scores.values())
    with pytest.raises(InputError, match="'wrt: weights' needs a site that is a projection"):
        study(own, tmp_path / "no", wrt="weights")
    ended = run_brainmap("fit", *own.options, "--wrt", "weights", "--out", str(tmp_path / "cli"), cwd=tmp_path)
    assert ended.returncode == 2 and "needs a site that is a projection" in ended.stderr


def test_the_plan_counts_passes(own: OwnFiles, tmp_path: Path) -> None:
    text = study(own, tmp_path / "run", objective="feature-energy").plan().to_text()
    assert "1 passes forward and 1 backward, about 2 forward passes an image" in text
