"""Images extracted in shares: the store holds the same bytes as if one process did it all."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from brainmap.features import FeatureExtractor, feature_blocks, shares
from brainmap.features.shares import SHARES
from brainmap.models import ImageBatch, VisionModel, load_model
from brainmap.stimuli import StimulusSet


def files(store: Path) -> dict[str, bytes]:
    found = {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()}
    return {name: text for name, text in found.items() if not name.endswith((".lock", ".version"))}


@pytest.mark.parametrize(("of", "done"), [(2, [1, 2]), (3, [2, 3]), (4, [4, 1, 3, 2])])
def test_shares_are_the_whole(
    dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    of: int, done: list[int],
) -> None:  # fmt: skip
    monkeypatch.setattr(feature_blocks, "MAX_BLOCK_ROWS", 4)
    computed: list[int] = []
    compute = FeatureExtractor.compute

    def noted(self: FeatureExtractor, batch: ImageBatch) -> object:
        computed.append(len(batch))
        return compute(self, batch)

    monkeypatch.setattr(FeatureExtractor, "compute", noted)
    options = {"layers": ["block.0", "block.11"], "signals": ["activation", "gradient"], "batch_size": 2}
    FeatureExtractor(dino_tiny, store=tmp_path / "whole", **options).extract(stimuli)
    assert computed == [2, 2, 2, 1]
    for number in done:
        FeatureExtractor(dino_tiny, store=tmp_path / "shares", **options).extract_share(stimuli, (number, of))
    FeatureExtractor(dino_tiny, store=tmp_path / "shares", **options).extract_share(stimuli, (done[0], of))  # again
    FeatureExtractor(dino_tiny, store=tmp_path / "shares", **options).extract(stimuli)
    assert sorted(computed[4:]) == [1, 2, 2, 2]  # nothing twice
    assert files(tmp_path / "shares") == files(tmp_path / "whole")
    assert not list((tmp_path / "shares" / SHARES).rglob("*.json"))


def test_a_damaged_share_is_computed_again(dino_tiny: VisionModel, stimuli: StimulusSet, tmp_path: Path) -> None:
    options = {"layers": ["block.0"], "signals": ["activation"], "batch_size": 4}
    FeatureExtractor(dino_tiny, store=tmp_path / "whole", **options).extract(stimuli)
    extractor = FeatureExtractor(dino_tiny, store=tmp_path / "shares", **options)
    extractor.extract_share(stimuli, (1, 1))
    chunk = next(file for file in (tmp_path / "shares" / SHARES).rglob("c/0/0"))
    text = bytearray(chunk.read_bytes())
    text[10] ^= 1
    chunk.write_bytes(bytes(text))
    extractor.extract(stimuli)
    assert files(tmp_path / "shares") == files(tmp_path / "whole")


@pytest.mark.parametrize("first", [1, 3])
def test_who_finds_the_store_locked_computes_the_last_images(
    stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    models = {name: load_model("dino-tiny", weights="untrained") for name in ("holder", "helper")}
    monkeypatch.setattr(feature_blocks, "MAX_BLOCK_ROWS", 2)
    monkeypatch.setattr(shares, "HELPED", 1)
    options = {"layers": ["block.0", "block.11"], "signals": ["activation", "gradient"], "batch_size": 1}
    FeatureExtractor(models["holder"], store=tmp_path / "whole", **options).extract(stimuli)
    computed: dict[str, list[str]] = {"holder": [], "helper": []}
    begun, helped = threading.Event(), threading.Event()
    compute = FeatureExtractor.compute

    def noted(self: FeatureExtractor, batch: ImageBatch) -> object:
        mine = computed[threading.current_thread().name]
        if mine is computed["holder"] and len(mine) == first:
            begun.set()
            assert helped.wait(60)
        mine.extend(batch.ids)
        if mine is computed["helper"] and len(mine) == 2:
            threading.Timer(0.5, helped.set).start()  # when its first image has been written
        return compute(self, batch)

    monkeypatch.setattr(FeatureExtractor, "compute", noted)
    found: dict[str, np.ndarray] = {}

    def extract() -> None:
        me = threading.current_thread().name
        features = FeatureExtractor(models[me], store=tmp_path / "both", **options).extract(stimuli)
        found[me] = np.asarray(features["gradient", "block.11"])

    threads = [threading.Thread(target=extract, name=name) for name in computed]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(120)
    ids = [str(name) for name in stimuli.ids]
    assert computed["helper"][:2] == ids[:-3:-1]  # from the end
    assert ids[-1] not in computed["holder"]
    assert {*computed["holder"], *computed["helper"]} == {*ids}
    assert files(tmp_path / "both") == files(tmp_path / "whole")
    assert np.array_equal(found["holder"], found["helper"])
    assert not list((tmp_path / "both" / SHARES).rglob("*.json"))
