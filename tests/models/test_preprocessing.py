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
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), resized[2:14, 6:18] / 255.0, atol=1e-6)


def test_squash_changes_the_aspect_ratio() -> None:
    image = picture(30, 50)
    found = Preprocessing(crop=12, squash=True, mean=(0, 0, 0), std=(1, 1, 1))([image])
    resized = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(found[0].permute(1, 2, 0).numpy(), resized / 255.0, atol=1e-6)


SIZES = [(427, 640), (640, 427), (333, 500), (1000, 300), (301, 224), (100, 60)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (224, 224), (518, 518), (292, 256)])
def test_resize_and_crop_are_torchvision_s_arithmetic(height: int, width: int, resize: int, crop: int) -> None:
    """Written from its documentation: int(size · long / short), and the crop at the rounded half of what is spare."""
    image = picture(height, width)
    found = Preprocessing(crop=crop, resize=resize, mean=(0, 0, 0), std=(1, 1, 1))([image])[0]
    short, long = min(height, width), max(height, width)
    other = int(resize * long / short)
    size = (resize, other) if width <= height else (other, resize)
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    top, left = (int(round((side - crop) / 2.0)) for side in resized.shape[:2])  # noqa: RUF046 - as it is written there
    wanted = resized[top : top + crop, left : left + crop]
    assert np.abs(found.permute(1, 2, 0).numpy() * 255 - wanted).max() < 1e-3


def test_the_hub_s_processors_cut_the_margin_down() -> None:
    image = picture(256, 383)
    settings = {"crop": 224, "resize": 256, "mean": (0, 0, 0), "std": (1, 1, 1)}
    for centre, left in (("nearest", 80), ("down", 79)):
        found = Preprocessing(centre=centre, **settings)([image])[0]  # type: ignore[arg-type]
        np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), image[16:240, left : left + 224] / 255.0, atol=1e-6)


def test_squash_keeps_a_margin_to_cut_off() -> None:
    """DeiT's processor on the hub: 256 × 256 whatever the shape, then the centre."""
    image = picture(30, 50)
    found = Preprocessing(crop=12, resize=16, squash=True, mean=(0, 0, 0), std=(1, 1, 1))([image])[0]
    resized = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), resized[2:14, 2:14] / 255.0, atol=1e-6)


def test_a_crop_beyond_a_small_picture_is_black_around_it() -> None:
    found = Preprocessing(crop=9, resize=4, mean=(0, 0, 0), std=(1, 1, 1))([np.full((4, 4, 3), 255, np.uint8)])[0, 0]
    assert torch.equal(found.nonzero().min(0).values, torch.tensor([2, 2])) and int(found.sum()) == 16


def test_another_input_size_keeps_the_margin() -> None:
    assert Preprocessing(crop=224, resize=256).with_size(448).resize == 512
    assert Preprocessing(crop=224).with_size(112).crop == 112


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), [[1]]])
def test_what_is_not_an_image_is_named(image: object) -> None:
    with pytest.raises(InputError, match="Image 1 is"):
        Preprocessing(crop=4)([picture(4, 4), image])  # type: ignore[list-item]
