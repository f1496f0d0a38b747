"""Images extracted in shares: the store holds the same bytes as if one process did it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmap.features import FeatureExtractor, feature_blocks
from brainmap.features.shares import SHARES
from brainmap.models import ImageBatch, VisionModel
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
