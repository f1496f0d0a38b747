"""How an extraction runs: reading and writing beside the computing, memory that runs out, half precision, poolings."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmap.common.errors import InputError
from brainmap.features import FeatureExtractor, RandomProjection, batch_size_for, feature_blocks
from brainmap.features.store import FeatureArray
from brainmap.models import ImageBatch, VisionModel, load_model
from brainmap.stimuli import StimulusSet

PATIENCE = 60.0  # seconds to wait for another thread before a test fails instead of hanging


def test_reading_runs_beside_computing(
    dino_tiny: VisionModel, stimuli: StimulusSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch is computed only once the second is being read, on another thread: else the wait runs out."""
    being_read, threads = threading.Event(), set()
    load, compute = FeatureExtractor._load, FeatureExtractor.compute

    def noted(self: FeatureExtractor, images: StimulusSet, rows: np.ndarray) -> ImageBatch:
        threads.add(threading.get_ident())
        if rows[0] > 0:
            being_read.set()
        return load(self, images, rows)

    def waiting(self: FeatureExtractor, batch: ImageBatch) -> dict[Any, np.ndarray]:
        assert being_read.wait(PATIENCE)
        return compute(self, batch)

    monkeypatch.setattr(FeatureExtractor, "_load", noted)
    monkeypatch.setattr(FeatureExtractor, "compute", waiting)
    FeatureExtractor(dino_tiny, layers=["block.0"], signals=["activation"], batch_size=3).extract(stimuli)
    assert threads and threading.get_ident() not in threads


def test_writing_runs_beside_computing(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block is written only once a later batch is computed, on another thread."""
    later, threads, calls = threading.Event(), set(), []
    append, compute = FeatureArray.append, FeatureExtractor.compute

    def waiting(self: FeatureArray, *arguments: Any, **options: Any) -> None:
        threads.add(threading.get_ident())
        assert later.wait(PATIENCE)
        append(self, *arguments, **options)

    def noted(self: FeatureExtractor, batch: ImageBatch) -> dict[Any, np.ndarray]:
        calls.append(len(batch))
        if len(calls) == 2:
            later.set()
        return compute(self, batch)

    monkeypatch.setattr(feature_blocks, "MAX_BLOCK_ROWS", 3)
    monkeypatch.setattr(FeatureArray, "append", waiting)
    monkeypatch.setattr(FeatureExtractor, "compute", noted)
    FeatureExtractor(dino_tiny, layers=["block.0"], signals=["activation"], batch_size=3, store=tmp_path).extract(
        stimuli
    )
    assert calls == [3, 3, 1]
    assert threads and threading.get_ident() not in threads


def test_a_failed_write_is_reported(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FeatureArray, *arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FeatureArray, "append", full)
    with pytest.raises(OSError, match="No space left"):
        FeatureExtractor(dino_tiny, layers=["block.0"], signals=["activation"], store=tmp_path).extract(stimuli)


class SmallDevice:
    """Fails like a GPU that holds no more than ``room`` images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.sizes: list[int] = []
        compute = FeatureExtractor._compute

        def limited(extractor: FeatureExtractor, batch: ImageBatch) -> dict[Any, np.ndarray]:
            self.sizes.append(len(batch))
            if len(batch) > room:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
            return compute(extractor, batch)

        monkeypatch.setattr(FeatureExtractor, "_compute", limited)


def test_running_out_of_memory_halves_the_batch_for_good(
    dino_tiny: VisionModel, stimuli: StimulusSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"layers": ["block.2", "block.9"], "batch_size": 4}
    wanted = FeatureExtractor(dino_tiny, **options).extract(stimuli)
    device = SmallDevice(monkeypatch, room=1)
    found = FeatureExtractor(dino_tiny, **options).extract(stimuli)
    assert device.sizes == [4, 2, 1, 1, 1, 1, 1, 1, 1]  # asked twice for too much, then never again
    assert found.provenance["batch_halved"] is True and wanted.provenance["batch_halved"] is False
    for key in wanted:
        error = np.linalg.norm(found[key] - wanted[key], axis=1)
        assert (error <= 1e-5 * np.linalg.norm(wanted[key], axis=1)).all()


def test_running_out_of_memory_for_good_is_explained(
    dino_tiny: VisionModel, stimuli: StimulusSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallDevice(monkeypatch, room=0)
    with pytest.raises(InputError, match="too small for one image of 'dino-tiny'"):
        FeatureExtractor(dino_tiny, layers=["block.2"]).extract(stimuli)
    with pytest.raises(InputError, match=r"ties its images together.*choose a smaller batch_size"):
        FeatureExtractor(dino_tiny, layers=["block.2"], objective="koleo").extract(stimuli)


def test_other_errors_are_not_taken_for_memory(
    dino_tiny: VisionModel, stimuli: StimulusSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(extractor: FeatureExtractor, batch: ImageBatch) -> dict[Any, np.ndarray]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(FeatureExtractor, "_compute", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        FeatureExtractor(dino_tiny, layers=["block.2"]).extract(stimuli)


def test_batch_size_is_found_from_the_budget(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    for memory in ("60MB", "120MB"):
        extractor = FeatureExtractor(dino_tiny, layers=["block.2"], batch_size=None, memory=memory)
        found = extractor.extract(stimuli)
        wanted = batch_size_for(dino_tiny, memory, objective=dino_tiny.card.objective)
        assert found.provenance["batch_size"] == extractor.batch_size == wanted
    small, large = (
        FeatureExtractor(dino_tiny, batch_size=None, memory=memory).batch_size for memory in ("60MB", "120MB")
    )
    assert 1 <= small < large
    activations = FeatureExtractor(dino_tiny, signals=["activation"], batch_size=None, memory="60MB").batch_size
    assert activations > small
    given = [FeatureExtractor(dino_tiny, batch_size=n, memory="60MB").batch_size for n in (2, 32)]
    assert given == [2, small]  # a batch given is kept as far as it fits
    assert FeatureExtractor(dino_tiny, batch_size=32).batch_size == 32
    with pytest.raises(InputError, match=r"weights of 'dino-tiny' alone take"):
        FeatureExtractor(dino_tiny, batch_size=None, memory="1MB").extract(stimuli)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.12), ("float16", 0.02)])
def test_half_precision_is_close_and_stored_in_single(
    precision: str, tolerance: float, dino_tiny: VisionModel, stimuli: StimulusSet
) -> None:
    """Relative error of activations and gradients against float32, over all layers; sums are made in float32."""
    half = load_model("dino-tiny", weights="untrained", dtype=precision)
    for site in ("block", "mlp"):
        options: dict[str, Any] = {"objective": "dino-ibot", "site": site, "pooling": "patch-mean"}
        wanted = FeatureExtractor(dino_tiny, **options).extract(stimuli)
        found = FeatureExtractor(half, **options).extract(stimuli)
        for key in wanted:
            assert found[key].dtype == np.float32
            error = np.linalg.norm(found[key] - wanted[key]) / np.linalg.norm(wanted[key])
            assert error < tolerance, (key, error)
        for layer in wanted.layers:
            np.testing.assert_allclose(found.gradient_norms[layer], wanted.gradient_norms[layer], rtol=tolerance)
        assert found.losses is not None and found.provenance["precision"] == precision
        np.testing.assert_allclose(found.losses, wanted.losses, rtol=tolerance)


def test_small_gradients_survive_half_precision(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    """A loss so small that its float16 gradients would all be zero without a scale."""
    from brainmap.models import OBJECTIVES, register_objective

    @register_objective("tiny-energy", plain_view=True, version=1)
    def tiny(model: VisionModel, batch: ImageBatch) -> torch.Tensor:
        return 1e-6 * model.tokens(batch.pixels).float()[:, :, 0].mean(1)

    try:
        half = load_model("dino-tiny", weights="untrained", dtype="float16")
        options: dict[str, Any] = {"objective": "tiny-energy", "layers": ["block.10"], "signals": ["gradient"]}
        wanted = np.asarray(FeatureExtractor(dino_tiny, **options).extract(stimuli)["gradient", "block.10"])
        found = np.asarray(FeatureExtractor(half, **options).extract(stimuli)["gradient", "block.10"])
    finally:
        del OBJECTIVES["tiny-energy"]
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


def test_weight_gradients_in_half_precision(dino_tiny: VisionModel, stimuli: StimulusSet) -> None:
    half = load_model("dino-tiny", weights="untrained", dtype="bfloat16")
    for site in ("mlp", "attn"):
        options: dict[str, Any] = {"layers": ["block.4"], "site": site, "wrt": "weights", "objective": "feature-energy"}
        found, wanted = (
            np.asarray(
                FeatureExtractor(model, **options, projection=RandomProjection(64)).extract(stimuli)[
                    "gradient", "block.4"
                ]
            )
            for model in (half, dino_tiny)
        )
        assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


def test_several_poolings_are_those_extracted_one_by_one(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"layers": ["block.1", "block.11"], "batch_size": 3}
    poolings = ("cls", "register-mean", "patch-mean")
    several = FeatureExtractor(dino_tiny, **options, pooling=poolings, store=tmp_path).extract_poolings(stimuli)
    in_memory = FeatureExtractor(dino_tiny, **options, pooling=poolings).extract_poolings(stimuli)
    assert tuple(several) == poolings
    arrays = len(list(tmp_path.rglob("key.json")))
    for pooling in poolings:
        for store in (None, tmp_path):
            one = FeatureExtractor(dino_tiny, **options, pooling=pooling, store=store).extract(stimuli)
            assert list(one) == list(several[pooling])
            for key in one:
                np.testing.assert_array_equal(np.asarray(one[key]), np.asarray(several[pooling][key]))
                np.testing.assert_array_equal(np.asarray(one[key]), np.asarray(in_memory[pooling][key]))
            np.testing.assert_array_equal(one.losses, several[pooling].losses)
            assert several[pooling].provenance["pooling"] == pooling
    assert len(list(tmp_path.rglob("key.json"))) == arrays  # nothing was stored twice
    with pytest.raises(InputError, match="extract_poolings"):
        FeatureExtractor(dino_tiny, **options, pooling=poolings).extract(stimuli)
    with pytest.raises(InputError, match="no tokens to pool"):
        FeatureExtractor(dino_tiny, pooling=poolings, site="mlp", wrt="weights", projection=RandomProjection(8))
