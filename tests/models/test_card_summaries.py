"""What ``brainmap models show`` says is counted, and needs neither torch nor a network."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import transformers

from brainmap.models import list_models, model_card, register_model
from brainmap.models.loading.card_summaries import card_summary, summarise
from brainmap.study.inspection.listing import describe_model

FAMILIES = sorted({model_card(name).family for name in list_models()})


@pytest.mark.parametrize("family", FAMILIES)
def test_summaries_are_what_networks_count(family: str) -> None:
    names = [name for name in list_models() if model_card(name).family == family]
    for name in names:
        package = model_card(name).package
        if package is not None and find_spec(package.replace("-", "_")) is None:
            pytest.skip(f"{package} is not installed")
        counted = summarise(name)
        assert card_summary(name) == counted, f"{name}: run tools/summarise_cards.py"
        stated = model_card(name).parameters
        assert stated is not None
        assert abs(stated - counted.vision_parameters) <= 0.05e6, f"{name}: its card says {stated}"


def test_no_card_needs_torch_to_be_shown() -> None:
    code = """
import sys
from brainmap.models import list_models
from brainmap.study import describe_model, describe_models
describe_models()
lines = {name: dict(describe_model(name)) for name in list_models()}
assert all(line["layers"] and line["objectives"] and line["weights"] for line in lines.values())
heavy = {"torch", "transformers", "pandas", "xarray", "scipy", "sklearn", "zarr", "brainmap.models.vision_model"}
print(*sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_folder_without_a_card_is_shown_by_counting(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40, image_size=32, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "own")
    shown = dict(describe_model(str(tmp_path / "own")))
    assert shown["layers"] == "3: block.0 … block.2"
    assert shown["tokens"] == "1 cls, then 16 patches of 8 px"
    assert shown["source"] == "the folder that was named"


def test_a_card_put_in_place_of_a_shipped_one_is_counted() -> None:
    card = model_card("dinov2-small")
    register_model(card.model_copy(update={"config": {**card.config, "num_hidden_layers": 5}}))
    assert dict(describe_model("dinov2-small"))["layers"] == "5: block.0 … block.4"


def test_every_hub_card_is_pinned_or_says_why_not() -> None:
    for name in list_models():
        card = model_card(name)
        source = dict(describe_model(name)).get("source", "")
        if card.hub is not None and card.package is None:
            assert card.revision in source if card.revision else "not pinned: " in source, name


@pytest.mark.parametrize("name", ["eupe-vitb16", "eupe-convnext-base"])
def test_unconfirmed_names_are_said_so(name: str) -> None:
    assert "name is not confirmed" in dict(describe_model(name))["notes"]


def test_noncommercial_licences_are_said_in_words() -> None:
    restricted = [name for name in list_models() if "oncommercial" in model_card(name).licence.replace("-", "")]
    assert {"vggt-omega-encoder", "vggt-omega-encoder-416", "eupe-vitb16"} <= set(restricted)
    for name in restricted:
        assert "not for commercial use" in dict(describe_model(name))["licence"]
