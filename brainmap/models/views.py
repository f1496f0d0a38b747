"""Random views of one image: multi-crop and patch masks, drawn from the image's own generator.

The draws are those of ``tools/train_dino_tiny.py`` (after DINO, iBOT and DINOv2), one generator per image
instead of one per batch, so that an image's gradient depends on nothing but the image and the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.models.image_batch import Batch
from brainmap.models.model_cards import ViewSpec
from brainmap.models.preprocessing import check_image
from brainmap.models.vision_model import VisionModel

CROPS, MASKS = 1, 2  # purposes of the per-image generators


@dataclass(frozen=True)
class Views:
    """Views of n images, normalised, on the model's device.

    Attributes
    ----------
    large : Tensor, (2 n, 3, g, g)
        Global crops, view-major.
    small : Tensor, (v n, 3, l, l)
        Local crops, view-major; v may be 0.
    """

    large: Tensor
    small: Tensor


def multi_crop(model: VisionModel, batch: Batch, *, seed: int) -> Views:
    """Two global and v local random resized crops of each image, with photometric changes where the card says so.

    Parameters
    ----------
    model : VisionModel
        Its card's ``views`` hold sizes, scales and counts.
    batch : Batch
        n images; their ids seed the draws.
    seed : int
        Of the whole extraction.

    Returns
    -------
    Views
    """
    spec, size, local = view_sizes(model)
    generators = batch.generators(seed, CROPS)
    large: list[list[Tensor]] = [[], []]
    small: list[list[Tensor]] = [[] for _ in range(spec.local_crops)]
    for row, (image, rng) in enumerate(zip(batch.images, generators, strict=True)):
        picture = _as_tensor(check_image(image, row), spec.short_side)
        for view in large:
            view.append(_view(picture, size, spec.global_scale, spec.photometric, rng))
        for view in small:
            view.append(_view(picture, local, spec.local_scale, spec.photometric, rng))
    pixels = batch.pixels

    def stack(views: list[list[Tensor]], side: int) -> Tensor:
        if not views:
            return pixels.new_zeros(0, 3, side, side)
        flat = torch.stack([crop for view in views for crop in view])
        return model.preprocessing.normalise(flat).to(pixels.device, pixels.dtype)

    return Views(stack(large, size), stack(small, local))


def view_sizes(model: VisionModel) -> tuple[ViewSpec, int, int]:
    """The card's view settings with the sides of global and local crops in pixels."""
    spec = model.card.views
    size = spec.global_pixels or model.preprocessing.crop
    patch = model.card.patch or 1
    local = spec.local_pixels or max(patch, round(size * 3 / 7 / patch) * patch)
    return spec, size, size if model.card.sizes == "fixed" else local


def patch_masks(batch: Batch, patches: int, mask_ratio: tuple[float, float], *, seed: int) -> Tensor:
    """Random patch masks of the two global crops: for each image, one crop is masked and the other is not.

    Training masks each crop with probability one half; exactly one of the two keeps that share without leaving any
    image without a loss.

    Parameters
    ----------
    batch : Batch
        n images; their ids seed the draws.
    patches : int
        Patches of a global crop.
    mask_ratio : tuple of float
        Range of the share of masked patches, drawn uniformly; at least one patch is masked.
    seed : int
        Of the whole extraction.

    Returns
    -------
    Tensor of bool, (2 n, patches)
        View-major.
    """
    masks = np.zeros((2, len(batch), patches), bool)
    for row, rng in enumerate(batch.generators(seed, MASKS)):
        count = max(1, round(patches * rng.uniform(*mask_ratio)))
        masks[rng.integers(2), row, rng.permutation(patches)[:count]] = True
    return torch.from_numpy(masks).flatten(0, 1)


def _as_tensor(image: np.ndarray, short_side: int | None) -> Tensor:
    """Image as uint8 tensor (3, h, w), its short side resized where the training set's was."""
    if short_side is not None and min(image.shape[:2]) != short_side:
        from PIL import Image

        scale = short_side / min(image.shape[:2])
        width, height = (max(short_side, round(side * scale)) for side in image.shape[1::-1])
        image = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)


def _view(picture: Tensor, pixels: int, scale: tuple[float, float], change: bool, rng: np.random.Generator) -> Tensor:
    crop = random_crop(picture, pixels, scale, rng)
    return photometric(crop, rng) if change else crop


def random_crop(picture: Tensor, pixels: int, scale: tuple[float, float], rng: np.random.Generator) -> Tensor:
    """Random resized crop with random flip of a uint8 image (3, h, w) to (3, pixels, pixels), float32 in [0, 1]."""
    height, width = picture.shape[1:]
    area = height * width * rng.uniform(*scale)
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    h = min(height, max(8, round(math.sqrt(area / ratio))))
    w = min(width, max(8, round(math.sqrt(area * ratio))))
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    crop = picture[None, :, top : top + h, left : left + w].float().div_(255.0)
    crop = F.interpolate(crop, (pixels, pixels), mode="bilinear", antialias=True, align_corners=False)[0]
    return crop.flip(-1) if rng.random() < 0.5 else crop


def photometric(crop: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation, grey and blur of a crop (3, h, w) in [0, 1], each with a probability."""

    def draw(low: float, high: float, probability: float, neutral: float) -> float:
        value = rng.uniform(low, high)
        return float(value) if rng.random() < probability else neutral

    crop = crop * draw(0.6, 1.4, 0.8, 1.0)
    mean = crop.mean()
    crop = mean + (crop - mean) * draw(0.6, 1.4, 0.8, 1.0)
    grey = (crop * crop.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
    crop = grey + (crop - grey) * draw(0.4, 1.6, 0.8, 1.0) * draw(0.0, 0.0, 0.2, 1.0)
    strength = draw(0.3, 1.0, 0.3, 0.0)
    if strength:
        blurred = F.avg_pool2d(F.pad(crop[None], (1, 1, 1, 1), mode="reflect"), 3, stride=1)[0]
        crop = crop + (blurred - crop) * strength
    return crop.clamp(0.0, 1.0)
