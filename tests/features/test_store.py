"""The store: keys, appending, resuming after a kill, nothing computed twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmap.common.errors import BrainmapError, InputError
from brainmap.features import FeatureExtractor, Features, FeatureStore, feature_blocks
from brainmap.models import Preprocessing, VisionModel, from_module, load_model
from brainmap.stimuli import StimulusSet


def images_of(stimuli: StimulusSet) -> list[np.ndarray]:
    return [stimuli.image(i) for i in range(len(stimuli))]


def same(left: Features, right: Features) -> None:
    assert list(left) == list(right)
    for key in left:
        np.testing.assert_array_equal(np.asarray(left[key]), np.asarray(right[key]), err_msg=str(key))
    np.testing.assert_array_equal(left.losses, right.losses)
    for layer in left.layers:
        np.testing.assert_array_equal(left.gradient_norms[layer], right.gradient_norms[layer])


class Counter:
    """Counts the images an extractor computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        compute = FeatureExtractor._compute

        def counted(extractor: FeatureExtractor, batch: object) -> object:
            self.images += len(batch)  # type: ignore[arg-type]
            return compute(extractor, batch)  # type: ignore[arg-type]

        monkeypatch.setattr(FeatureExtractor, "_compute", counted)


def test_stored_equals_computed_and_is_found_again(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = FeatureExtractor(dino_tiny, batch_size=3).extract(stimuli)
    counter = Counter(monkeypatch)
    stored = FeatureExtractor(dino_tiny, batch_size=3, store=tmp_path).extract(stimuli)
    assert counter.images == 7
    same(fresh, stored)
    again = FeatureExtractor(dino_tiny, batch_size=3, store=tmp_path).extract(stimuli)
    assert counter.images == 7
    same(fresh, again)
    assert stored.provenance["stored"] and not fresh.provenance["stored"]


def test_adding_images_appends_and_order_is_an_index(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    extractor = FeatureExtractor(dino_tiny, layers=["block.3"], batch_size=2, store=tmp_path)
    few = extractor.extract(stimuli.subset([5, 1]))
    assert counter.images == 2
    everything = extractor.extract(stimuli)
    assert counter.images == 7
    for key in few:
        np.testing.assert_array_equal(np.asarray(few[key]), everything[key][[5, 1]])
    backwards = extractor.extract(stimuli.subset([6, 5, 4, 3, 2, 1, 0]))
    assert counter.images == 7
    np.testing.assert_array_equal(
        np.asarray(backwards["gradient", "block.3"]), np.asarray(everything["gradient", "block.3"])[::-1]
    )


def test_adding_layers_computes_only_what_is_missing(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FeatureExtractor(dino_tiny, layers=["block.3"], store=tmp_path).extract(stimuli)
    counter = Counter(monkeypatch)
    FeatureExtractor(dino_tiny, layers=["block.3"], signals=["activation"], store=tmp_path).extract(stimuli)
    assert counter.images == 0
    FeatureExtractor(dino_tiny, layers=["block.3", "block.4"], store=tmp_path).extract(stimuli)
    assert counter.images == 7


def key_hashes(extractor: FeatureExtractor) -> dict[tuple[str, str], str | None]:
    return {name: FeatureStore.key_hash(key) for name, key in extractor.array_keys().items()}


def test_everything_that_changes_a_number_changes_the_key(dino_tiny: VisionModel) -> None:
    reference = key_hashes(FeatureExtractor(dino_tiny))
    heavier = load_model("dino-tiny", weights="untrained")
    with torch.no_grad():
        heavier.module.teacher.backbone.norm.weight[3] += 1e-3
    changed = {
        "weight": FeatureExtractor(heavier),
        "seed": FeatureExtractor(load_model("dino-tiny", weights="untrained", seed=1)),
        "input size": FeatureExtractor(load_model("dino-tiny", weights="untrained", input_size=96)),
        "precision": FeatureExtractor(load_model("dino-tiny", weights="untrained", dtype="bfloat16")),
        "site": FeatureExtractor(dino_tiny, site="mlp"),
        "batch": FeatureExtractor(dino_tiny, batch_size=16),
    }
    for what, extractor in changed.items():
        for name, found in key_hashes(extractor).items():
            assert found != reference[name] or (what, name) == ("site", ("loss", "")), (what, name)
    pooled = key_hashes(FeatureExtractor(dino_tiny, pooling="cls"))
    assert {name[0] for name in pooled if pooled[name] != reference[name]} == {"activation", "gradient"}
    other_loss = key_hashes(FeatureExtractor(dino_tiny, objective="dino"))
    assert {name[0] for name in reference if other_loss[name] != reference[name]} == {
        "gradient",
        "gradient-norm",
        "loss",
    }
    assert len(set(reference.values())) == len(reference)
    same_again = FeatureExtractor(load_model("dino-tiny", weights="untrained"))
    assert key_hashes(same_again) == reference


def test_one_pixel_changes_the_row_key(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FeatureExtractor(dino_tiny, layers=["block.0"], store=tmp_path).extract(stimuli)
    images = images_of(stimuli)
    images[4] = images[4].copy()
    images[4][10, 20, 1] ^= 1
    counter = Counter(monkeypatch)
    FeatureExtractor(dino_tiny, layers=["block.0"], store=tmp_path).extract(StimulusSet.from_arrays(images))
    assert counter.images == 1


def test_unknown_code_is_not_cached(stimuli: StimulusSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.Conv2d(4, 5, 3))
    options = {"name": "own", "layers": ["*"], "preprocessing": Preprocessing(crop=32)}
    unknown = from_module(network, **options)
    found = FeatureExtractor(unknown, store=tmp_path).extract(stimuli)
    assert not list(tmp_path.iterdir())
    assert found.provenance["not_stored_because"] == "unknown: model.code"
    known = from_module(network, **options, code_version="1")
    kept = FeatureExtractor(known, store=tmp_path).extract(stimuli)
    assert kept.provenance["stored"]
    same(found, kept)
    with pytest.raises(InputError, match=r"model\.code of the key is unknown"):
        FeatureStore(tmp_path).array(next(iter(FeatureExtractor(unknown).array_keys().values())))


def test_rows_read_like_an_array(dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path) -> None:
    found = FeatureExtractor(dino_tiny, layers=["block.2"], batch_size=2, store=tmp_path).extract(stimuli)
    rows = found["activation", "block.2"]
    whole = np.asarray(rows)
    assert rows.shape == (7, 96) and rows.dtype == np.float32 and len(rows) == 7
    np.testing.assert_array_equal(rows[2:5], whole[2:5])
    np.testing.assert_array_equal(rows[[6, 0, 6]], whole[[6, 0, 6]])
    np.testing.assert_array_equal(rows[whole[:, 0] > 0], whole[whole[:, 0] > 0])
    np.testing.assert_array_equal(rows[3], whole[3])
    np.testing.assert_array_equal(rows[1:3, 4:9], whole[1:3, 4:9])
    with pytest.raises(IndexError):
        rows[7]


def test_damage_is_noticed(dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path) -> None:
    extractor = FeatureExtractor(dino_tiny, layers=["block.2"], signals=["activation"], store=tmp_path)
    extractor.extract(stimuli)
    shard = next(path for path in tmp_path.rglob("c/*/*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        np.asarray(extractor.extract(stimuli)["activation", "block.2"])
    key = next(tmp_path.rglob("key.json"))
    text = json.loads(key.read_text())
    text["key"]["pooling"] = "cls"
    key.write_text(json.dumps(text))
    with pytest.raises(BrainmapError, match="features of another key"):
        extractor.extract(stimuli)


def test_a_half_written_block_is_written_again(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill in the middle of a block leaves: grown arrays, a torn shard, no list of its rows."""
    monkeypatch.setattr(feature_blocks, "MAX_BLOCK_ROWS", 3)
    options = {"layers": ["block.2", "block.7"], "batch_size": 3}
    whole = FeatureExtractor(dino_tiny, **options).extract(stimuli)
    FeatureExtractor(dino_tiny, **options, store=tmp_path).extract(stimuli)
    for listing in sorted(tmp_path.rglob("rows/000001.json"))[::2]:  # some arrays of the block were finished
        listing.unlink()
        listing.with_name(".000001.json.4242.partial").write_text("[")
        (listing.parent.parent / "rows" / "000002.json").unlink(missing_ok=True)
        for shard in listing.parent.parent.glob("c/1/*"):
            shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    counter = Counter(monkeypatch)
    same(whole, FeatureExtractor(dino_tiny, **options, store=tmp_path).extract(stimuli))
    assert counter.images == 4
    same(whole, FeatureExtractor(dino_tiny, **options, store=tmp_path).extract(stimuli))
    assert counter.images == 4


def test_waiting_for_another_writer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, identity = FeatureStore(tmp_path), {"name": "m", "weights_digest": "0"}
    said, sentences = threading.Event(), []

    def heard(sentence: str, **options: object) -> None:
        sentences.append(sentence)
        said.set()

    monkeypatch.setattr("brainmap.features.store.warnings.warn", heard)

    def wait_and_release() -> bool:
        with store.lock(identity):
            return True

    with ThreadPoolExecutor(1) as pool:
        with store.lock(identity):
            waiting = pool.submit(wait_and_release)
            assert said.wait(60) and not waiting.done()
        assert waiting.result(60)
    assert len(sentences) == 1 and "Another process writes features" in sentences[0]


RESUMED = """
import sys, time
import numpy as np, torch
import brainmap.features.feature_blocks as blocks
from brainmap.features import FeatureExtractor
from brainmap.models import load_model
from brainmap.stimuli import StimulusSet
torch.set_num_threads(1)
blocks.MAX_BLOCK_ROWS = 4
compute = FeatureExtractor._compute
def slow(self, batch):
    time.sleep(0.5)
    return compute(self, batch)
FeatureExtractor._compute = slow
rng = np.random.default_rng(5)
images = StimulusSet.from_arrays([rng.integers(0, 256, (80, 80, 3), dtype=np.uint8) for _ in range(22)])
model = load_model("dino-tiny", weights="untrained")
options = {"layers": ["block.1", "block.9"], "pooling": ["cls", "register-mean", "patch-mean"], "batch_size": 4}
FeatureExtractor(model, **options, store=sys.argv[1]).extract_poolings(images)
"""


@pytest.mark.filterwarnings("ignore:Another process writes features")
def test_killed_run_continues_bit_for_bit(
    tmp_path: Path, dino_tiny: VisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both signals and three token roles: a run is killed; two writers continue it at once, one waits for the other."""
    command = [sys.executable, "-c", RESUMED, str(tmp_path)]
    killed = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 300
    while len(list(tmp_path.rglob("loss/*/rows/[0-9]*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    finished = 4 * len(list(tmp_path.rglob("loss/*/rows/[0-9]*.json")))
    assert 8 <= finished < 22

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(feature_blocks, "MAX_BLOCK_ROWS", 4)
    rng = np.random.default_rng(5)
    images = StimulusSet.from_arrays([rng.integers(0, 256, (80, 80, 3), dtype=np.uint8) for _ in range(22)])
    options = {"layers": ["block.1", "block.9"], "pooling": ["cls", "register-mean", "patch-mean"], "batch_size": 4}
    whole = FeatureExtractor(dino_tiny, **options).extract_poolings(images)
    counter = Counter(monkeypatch)
    models = [load_model("dino-tiny", weights="untrained") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(FeatureExtractor(model, **options, store=tmp_path).extract_poolings, images) for model in models
        ]
        continued = [run.result() for run in runs]
    torch.set_num_threads(threads)
    assert counter.images == 22 - finished
    assert len(list(tmp_path.rglob("loss/*/rows/[0-9]*.json"))) == 6
    for found in continued:
        for pooling, features in whole.items():
            same(features, found[pooling])
