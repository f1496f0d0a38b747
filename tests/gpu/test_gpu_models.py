"""Checks for a GPU, in one file of minutes: ``pytest -m gpu tests/gpu``. Elsewhere they skip.

Both signals against the CPU, half precision against single, the batch found from a bound of memory, and the batch
halved when the device runs out of it. Weights are random: nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmap.features import FeatureExtractor
from brainmap.models import load_model
from brainmap.stimuli import StimulusSet

pytestmark = pytest.mark.gpu
MODELS = ("dinov3-vits16", "dinov2-small", "clip-vit-base-patch32", "convnext-tiny", "resnet-50")


@pytest.fixture(scope="module")
def photographs() -> StimulusSet:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (240 + 3 * i, 300, 3), dtype=np.uint8) for i in range(24)]
    return StimulusSet.from_arrays(
        images, pd.DataFrame({"name": [f"{i}" for i in range(24)], "caption": ["noise"] * 24})
    )


def features(name: str, photographs: StimulusSet, device: str, dtype: str = "float32", **options: object) -> dict:
    model = load_model(name, weights="untrained", device=device, dtype=dtype)
    extractor = FeatureExtractor(
        model, signals=["activation", "gradient"], layers=["block.0", model.layers[-1].name], **options
    )
    found = extractor.extract(photographs)
    return {
        (signal, layer): np.asarray(found[signal, layer])
        for signal in ("activation", "gradient")
        for layer in found.layers
    }


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("name", MODELS)
def test_both_signals_equal_the_cpu_s(name: str, photographs: StimulusSet) -> None:
    few = photographs.subset(range(4))
    wanted, found = (features(name, few, device, batch_size=4) for device in ("cpu", "cuda"))
    for key, values in wanted.items():
        assert cosine(values, found[key]) > 0.9999, key


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_stays_close(name: str, photographs: StimulusSet) -> None:
    single, half = (features(name, photographs, "cuda", dtype, batch_size=8) for dtype in ("float32", "bfloat16"))
    for (signal, layer), values in single.items():
        assert half[signal, layer].dtype == np.float32
        assert cosine(values, half[signal, layer]) > (0.99 if signal == "activation" else 0.9), (signal, layer)


def test_the_batch_follows_from_a_bound_of_memory(photographs: StimulusSet) -> None:
    import torch

    torch.cuda.reset_peak_memory_stats()
    features("dinov3-vits16", photographs, "cuda", memory="2GB", batch_size=None)
    assert torch.cuda.max_memory_allocated() < 2.2e9


def test_a_device_that_runs_out_halves_the_batch(photographs: StimulusSet, tmp_path: Path) -> None:
    import torch

    wanted = features("dinov3-vits16", photographs, "cuda", batch_size=4)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 0.9e9 / total))
    try:
        found = features("dinov3-vits16", photographs, "cuda", batch_size=24)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for key, values in wanted.items():
        assert cosine(values, found[key]) > 0.9999, key
