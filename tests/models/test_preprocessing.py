"""Preprocessing against Pillow's own operations and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from brainmap.common.errors import InputError
from brainmap.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_of_the_right_size_is_only_normalised() -> None:
    image = picture(8, 8)
    found = Preprocessing(crop=8)([image])
    wanted = (image / 255.0 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), wanted, atol=1e-6)


def test_short_side_is_resized_and_the_centre_kept() -> None:
    image = picture(30, 50)
    found = Preprocessing(crop=12, resize=15, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))([image])
    resized = np.asarray(Image.fromarray(image).resize((25, 15), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), resized[1:13, 6:18] / 255.0, atol=1e-6)


def test_squash_changes_the_aspect_ratio() -> None:
    image = picture(30, 50)
    found = Preprocessing(crop=12, squash=True, mean=(0, 0, 0), std=(1, 1, 1))([image])
    resized = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), resized / 255.0, atol=1e-6)


def test_another_input_size_keeps_the_margin() -> None:
    assert Preprocessing(crop=224, resize=256).with_size(448).resize == 512
    assert Preprocessing(crop=224).with_size(112).crop == 112


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), [[1]]])
def test_what_is_not_an_image_is_named(image: object) -> None:
    with pytest.raises(InputError, match="Image 1 is"):
        Preprocessing(crop=4)([picture(4, 4), image])  # type: ignore[list-item]
