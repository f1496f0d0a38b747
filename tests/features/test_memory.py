"""Batch sizes from a memory budget."""

from __future__ import annotations

import pytest

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.features.batch_size import HEADROOM, batch_size_for, bytes_per_image
from brainmap.models import VisionModel


@pytest.mark.parametrize(("text", "wanted"), [("8GB", 8 * 10**9), ("500 MB", 5 * 10**8), ("1.5g", 15 * 10**8), (7, 7)])
def test_sizes_are_read(text: str | int, wanted: int) -> None:
    assert parse_memory(text) == wanted


@pytest.mark.parametrize("text", ["much", "-1GB", "0"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a size such as 8GB"):
        parse_memory(text)


def test_bytes_of_an_image_are_those_of_its_tokens(dino_tiny: VisionModel) -> None:
    """A block with frozen weights saves its norms, query, key, value, attention and MLP: about ten token arrays."""
    found = bytes_per_image(dino_tiny, objective="feature-energy")
    tokens = 21 * 96 * 4
    assert 12 * 6 * tokens < found < 12 * 20 * tokens
    crops = bytes_per_image(dino_tiny, objective="dino-ibot")
    assert 2 < crops / found < 5  # two global and two local crops


def test_batch_sizes_fill_the_budget(dino_tiny: VisionModel) -> None:
    weights = sum(tensor.numel() * 4 for tensor in dino_tiny.module.state_dict().values())
    image = HEADROOM * bytes_per_image(dino_tiny, objective="feature-energy")
    for wanted, room in ((32, 40), (1, 1.5), (1, 0.3), (256, 10**4)):
        found = batch_size_for(dino_tiny, int(weights + room * image), objective="feature-energy")
        assert found == wanted
    with pytest.raises(InputError, match=r"weights of 'dino-tiny' alone take 0\.01 GB"):
        batch_size_for(dino_tiny, "1MB")
