"""Models of timm, torchvision and open_clip against the packages' own numbers, where they are installed.

None of them is a dependency, and timm and torchvision do not import beside some builds of torch: each case says why it
is skipped. Run it in an environment that has them: ``python -m pytest -rs tests/models/test_user_packages.py``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from brainmap.features.capture import SiteRecorder
from brainmap.models import VisionModel, load_model

TIMM = (
    "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "convnext_atto",
    "beit_base_patch16_224", "eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384", "resnet18",
    "swin_tiny_patch4_window7_224", "mobilenetv3_small_050", "regnety_002", "vit_tiny_r_s16_p8_224",
)  # fmt: skip
TORCHVISION = (
    "resnet18",
    "vit_b_16",
    "convnext_tiny",
    "swin_t",
    "swin_v2_t",
    "efficientnet_b0",
    "regnet_y_400mf",
    "densenet121",
)
OPEN_CLIP = ("ViT-B-32", "ViT-B-16-SigLIP", "RN50", "convnext_base", "ViT-B-32-quickgelu", "EVA02-B-16")


def package(name: str) -> Any:
    """The package, or a skip that says why not."""
    try:
        return import_module(name)
    except Exception as error:  # torchvision's operators may not fit this torch: a RuntimeError
        reason = (str(error).splitlines() or [""])[0]
        pytest.skip(f"{name} does not import here ({type(error).__name__}: {reason}): no dependency of brainmap")


def blocks(model: VisionModel, pixels: Tensor) -> list[Tensor]:
    names = [layer.name for layer in model.layers]
    with torch.no_grad(), SiteRecorder(model, names, site="block") as recorder:
        model.forward(pixels)
    return [model.as_tokens(recorder.outputs[name][0], "block") for name in names]


def pixels_for(model: VisionModel) -> Tensor:
    side = model.preprocessing.crop
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TIMM)
def test_timm_s_own_intermediate_features(name: str) -> None:
    """Where timm returns features of every block, they are ours; where of stages only, the last of ours."""
    package("timm")
    model = load_model(f"timm:{name}", weights="untrained")
    pixels = pixels_for(model)
    network: Any = model.module
    ours = blocks(model, pixels)
    with torch.no_grad():
        kept = network.forward_intermediates(pixels, norm=False, intermediates_only=True)
        final = network(pixels)
    torch.testing.assert_close(model.logits(pixels), final, rtol=0, atol=1e-5)
    theirs = [tensor.flatten(2).transpose(1, 2) for tensor in kept]
    leading = sum(model.card.tokens.values())
    if len(theirs) == len(ours):
        for mine, wanted in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine[:, leading:], wanted, rtol=1e-5, atol=1e-5)
        return
    shapes = {tuple(tensor.shape): tensor for tensor in ours}
    assert any(tuple(tensor.shape) in shapes for tensor in theirs), "no stage of timm's ends where a block does"


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_s_own_features(name: str) -> None:
    package("torchvision")
    extraction = import_module("torchvision.models.feature_extraction")
    model = load_model(f"torchvision:{name}", weights="untrained")
    pixels = pixels_for(model)
    paths = [model._paths[layer.name] for layer in model.layers]
    extractor = extraction.create_feature_extractor(model.module, {path: path for path in paths})
    with torch.no_grad():
        theirs = extractor(pixels)
        torch.testing.assert_close(model.logits(pixels), model.module(pixels), rtol=0, atol=0)
    for path, mine in zip(paths, blocks(model, pixels), strict=True):
        torch.testing.assert_close(mine, model.as_tokens(theirs[path], "block"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_open_clip_s_own_image_tower(name: str) -> None:
    package("timm")
    package("open_clip")
    model = load_model(f"open_clip:{name}", weights="untrained")
    pixels = pixels_for(model)
    tower: Any = model.module
    with torch.no_grad():
        wanted = tower(pixels)
        found = model.adapter.tokens(model.forward(pixels))
    torch.testing.assert_close(found, wanted[0] if isinstance(wanted, tuple) else wanted, rtol=0, atol=1e-6)
    ours = blocks(model, pixels)
    assert all(len(block) == len(pixels) and torch.isfinite(block).all() for block in ours)
    if hasattr(tower, "forward_intermediates"):
        with torch.no_grad():
            kept = tower.forward_intermediates(pixels, intermediates_only=True, normalize_intermediates=False)
        theirs = [tensor.flatten(2).transpose(1, 2) for tensor in kept["image_intermediates"]]
        leading = sum(model.card.tokens.values())
        if len(theirs) == len(ours):
            for mine, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(mine[:, leading:], other, rtol=1e-5, atol=1e-5)
