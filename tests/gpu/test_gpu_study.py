"""A GPU against the CPU, in minutes: ``pytest -m gpu -s tests/gpu``: extraction, ridge, permutations, and ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brainmap.encoding import EncodingRidgeCV, cross_val_encode
from brainmap.features import FeatureExtractor
from brainmap.models import load_model
from brainmap.statistics.permutation.permutation_test import group_permutation_test
from brainmap.statistics.permutation.permuted_subject import PermutationInput, PermutationOptions
from brainmap.stimuli import StimulusSet

pytestmark = pytest.mark.gpu
ROWS, WIDTH, TARGETS = 2_000, 384, 4_000


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun


def told(what: str, cpu: float, gpu: float) -> None:
    print(f"\n{what}: CPU {cpu:.1f} s, GPU {gpu:.1f} s, {cpu / gpu:.1f} times as fast")


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, WIDTH)).astype(np.float32)
    weights = rng.standard_normal((WIDTH, TARGETS)).astype(np.float32) * (rng.random(TARGETS) < 0.5)
    return X, X @ weights / np.sqrt(WIDTH) + 2 * rng.standard_normal((ROWS, TARGETS)).astype(np.float32)


def test_extraction() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (240, 300, 3), dtype=np.uint8) for _ in range(64)]
    photographs = StimulusSet.from_arrays(images, pd.DataFrame({"name": [str(i) for i in range(64)]}))

    def extracted(device: str) -> np.ndarray:
        model = load_model("dinov3-vits16", weights="untrained", device=device)
        extractor = FeatureExtractor(model, signals=["activation", "gradient"], layers=["block.11"], batch_size=32)
        found = extractor.extract(photographs)
        return np.concatenate([np.asarray(found[signal, "block.11"]) for signal in ("activation", "gradient")], axis=1)

    extracted("cuda")  # the first use of a device loads its libraries
    (wanted, cpu), (found, gpu) = timed(lambda: extracted("cpu")), timed(lambda: extracted("cuda"))
    similar = (wanted * found).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    assert similar.min() > 0.9999
    told("extraction of 64 photographs, activations and gradients", cpu, gpu)


def test_ridge(planted: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = planted
    ridge = EncodingRidgeCV(np.logspace(0, 6, 7))

    def encoded(device: str) -> Any:
        return cross_val_encode(X, Y, estimator=ridge, device=device)

    encoded("cuda")
    (wanted, cpu), (found, gpu) = timed(lambda: encoded("cpu")), timed(lambda: encoded("cuda"))
    same = wanted.alpha.values == found.alpha.values
    assert same.mean() > 0.99  # penalties whose scores tie may fall to either side
    assert np.abs(wanted.r.values - found.r.values)[same].max() < 1e-3
    told(f"ridge of {ROWS} × {WIDTH} features and {TARGETS} targets", cpu, gpu)


def test_permutations(planted: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = planted
    options = PermutationOptions(n_permutations=99, block=TARGETS)

    def tested(device: str) -> pd.DataFrame:
        return group_permutation_test([PermutationInput(X, Y, 1000.0)], options=options, device=device).table

    tested("cuda")
    (wanted, cpu), (found, gpu) = timed(lambda: tested("cpu")), timed(lambda: tested("cuda"))
    assert np.abs(wanted["r"] - found["r"]).max() < 1e-3
    assert np.abs(wanted["p"] - found["p"]).max() <= 0.021  # a null score within 1e-3 of r may fall to either side
    told(f"99 permutations of {TARGETS} targets", cpu, gpu)
