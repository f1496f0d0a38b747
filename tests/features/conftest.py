"""Small photographs-like stimuli (random pixels) for the feature tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainmap.models import VisionModel, load_model
from brainmap.stimuli import StimulusSet


def random_stimuli(count: int, seed: int = 0) -> StimulusSet:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (96 + i % 3, 110 - i % 5, 3), dtype=np.uint8) for i in range(count)]
    table = pd.DataFrame(
        {"name": [f"noise_{i}" for i in range(count)], "category": [f"c{i % 3}" for i in range(count)]}
    )
    return StimulusSet.from_arrays(images, table)


@pytest.fixture(scope="session")
def stimuli() -> StimulusSet:
    return random_stimuli(7)


@pytest.fixture(scope="session")
def dino_tiny() -> VisionModel:
    return load_model("dino-tiny", weights="untrained")


@pytest.fixture(scope="session")
def dino_tiny_double() -> VisionModel:
    return load_model("dino-tiny", weights="untrained", dtype="float64")
