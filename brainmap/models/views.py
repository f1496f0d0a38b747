"""Random views of one image: multi-crop and patch masks, drawn from the image's own generator.

One generator per image instead of one per batch, so that an image's gradient depends on nothing but the image and the
seed. The card's :class:`~brainmap.models.model_cards.ViewSpec` says what is drawn: the recipe of a training checkpoint
that states one (:mod:`brainmap.models.augmentation`), else a simplified set, that of ``tools/train_dino_tiny.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from brainmap.common.random_purposes import VIEW_CROPS, VIEW_MASKS
from brainmap.models.augmentation import Crop, block_mask, distorted, flipped, jittered, resized_crop
from brainmap.models.image_batch import ImageBatch, image_generators
from brainmap.models.model_cards import ViewSpec
from brainmap.models.preprocessing import check_image
from brainmap.models.vision_model import VisionModel

GLOBAL: tuple[Crop, Crop] = ("first", "second")


@dataclass(frozen=True)
class Views:
    """Views of n images, normalised, on the model's device.

    Attributes
    ----------
    large : Tensor, (2 n, 3, g, g)
        Global crops, view-major.
    small : Tensor, (v n, 3, l, l)
        Local crops, view-major; v may be 0.
    gram : Tensor, (2 n, 3, k, k), optional
        The global crops as a Gram teacher of its own sees them, often larger.
    """

    large: Tensor
    small: Tensor
    gram: Tensor | None = None


@dataclass(frozen=True)
class _Crops:
    """Crops of one image, each (3, side, side) in [0, 1]."""

    large: list[Tensor]
    small: list[Tensor]
    gram: list[Tensor]


def multi_crop(model: VisionModel, batch: ImageBatch, *, seed: int, local: bool = True) -> Views:
    """Two global and v local random resized crops of each image, changed in colour as the card says.

    Parameters
    ----------
    model : VisionModel
        Its card's ``views`` hold sizes, scales and counts.
    batch : ImageBatch
        n images; their ids seed the draws.
    seed : int
        Of the whole extraction.
    local : bool
        Whether local crops are wanted; global ones are the same with or without.

    Returns
    -------
    Views
    """
    spec, size, local_size = view_sizes(model)
    count = spec.local_crops if local else 0
    draw: Callable[..., _Crops] = _simplified_crops if spec.augmentation in ("simplified", "none") else _authors_crops
    drawn = [
        draw(check_image(image, row), spec, size, (local_size, count), rng)
        for row, (image, rng) in enumerate(zip(batch.images, batch.generators(seed, VIEW_CROPS), strict=True))
    ]
    pixels = batch.pixels

    def stack(crops: list[list[Tensor]], side: int) -> Tensor:
        views = [view for image in zip(*crops, strict=True) for view in image]
        if not views:
            return pixels.new_zeros(0, 3, side, side)
        return model.preprocessing.normalise(torch.stack(views)).to(pixels.device, pixels.dtype)

    gram = stack([crops.gram for crops in drawn], spec.gram_pixels) if spec.gram_pixels else None
    return Views(stack([crops.large for crops in drawn], size), stack([c.small for c in drawn], local_size), gram)


def view_sizes(model: VisionModel) -> tuple[ViewSpec, int, int]:
    """The card's view settings with the sides of global and local crops in pixels."""
    spec = model.card.views
    size = spec.global_pixels or model.preprocessing.crop
    patch = model.card.patch or 1
    local = spec.local_pixels or max(patch, round(size * 3 / 7 / patch) * patch)
    return spec, size, size if model.card.sizes == "fixed" else local


def patch_masks(ids: Sequence[str], side: int, spec: ViewSpec, *, seed: int) -> Tensor:
    """Random patch masks of the two global crops of each image, as the card says.

    Parameters
    ----------
    ids : sequence of str
        Of n images; they seed the draws.
    side : int
        Patches along a side of a global crop.
    spec : ViewSpec
        Which crops are masked and how. Trainings spread the shares of masked patches evenly over a batch; here each
        image draws its own from the same range.
    seed : int
        Of the whole extraction.

    Returns
    -------
    Tensor of bool, (2 n, patches)
        View-major.
    """
    masks = np.zeros((2, len(ids), side, side), bool)
    for row, rng in enumerate(image_generators(ids, seed, VIEW_MASKS)):
        if spec.masking == "one crop":
            count = max(1, round(side * side * rng.uniform(*spec.mask_ratios[0])))
            masks[rng.integers(2), row].ravel()[rng.permutation(side * side)[:count]] = True
            continue
        for crop in range(2):
            if rng.random() < spec.mask_probability:
                masks[crop, row] = _mask(side, spec, rng)
    return torch.from_numpy(masks).flatten(2).flatten(0, 1)


def _mask(side: int, spec: ViewSpec, rng: np.random.Generator) -> np.ndarray:
    """Mask of one crop (side, side)."""
    patches = side * side
    low, high = spec.mask_ratios[rng.integers(len(spec.mask_ratios))]
    share = patches * rng.uniform(low, high)
    if spec.masking == "random":
        mask = np.zeros((side, side), bool)
        mask.ravel()[rng.permutation(patches)[: max(1, round(share))]] = True
    elif spec.masking == "ibot blocks":
        mask = block_mask(side, share, rng, least=(side // 3) ** 2, largest=share, complete=False)
    else:
        full = spec.masking == "full blocks"
        mask = block_mask(side, int(share), rng, least=4, largest=patches / 2, complete=full)
    if spec.mask_shift:
        mask = np.roll(mask, tuple(rng.integers(0, side, 2)), (0, 1))
    return mask


def _authors_crops(
    image: np.ndarray, spec: ViewSpec, size: int, local: tuple[int, int], rng: np.random.Generator
) -> _Crops:
    """Crops of one image (h, w, 3) by the authors' recipe; ``local`` is their side and number."""
    picture = Image.fromarray(image)
    if spec.shared_colour:
        picture = jittered(picture, rng)

    def geometry(side: int, scale: tuple[float, float]) -> Image.Image:
        crop = resized_crop(picture, side, scale, rng)
        return flipped(crop, rng) if spec.flips else crop

    def changed(crop: Image.Image, kind: Crop) -> Image.Image:
        coloured = crop if spec.shared_colour else jittered(crop, rng)
        return distorted(coloured, kind, spec.augmentation, rng)

    large, gram = [], []
    for kind in GLOBAL:
        base = geometry(max(size, spec.gram_pixels or 0), spec.global_scale)
        if spec.gram_pixels and spec.gram_distorted:
            base = crop = changed(base, kind)
        else:
            crop = changed(_resized(base, size), kind)
        large.append(_to_tensor(_resized(crop, size)))
        if spec.gram_pixels:
            gram.append(_to_tensor(_resized(base, spec.gram_pixels)))
    small = [_to_tensor(changed(geometry(local[0], spec.local_scale), "local")) for _ in range(local[1])]
    return _Crops(large, small, gram)


def _resized(image: Image.Image, side: int) -> Image.Image:
    return image if image.width == side else image.resize((side, side), Image.Resampling.BICUBIC)


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255.0)


def _simplified_crops(
    image: np.ndarray, spec: ViewSpec, size: int, local: tuple[int, int], rng: np.random.Generator
) -> _Crops:
    """Crops of one image (h, w, 3) by the simplified recipe; ``local`` is their side and number."""
    picture = _as_tensor(image, spec.short_side)
    change = spec.augmentation == "simplified"
    large = [_view(picture, size, spec.global_scale, change, rng) for _ in range(2)]
    return _Crops(large, [_view(picture, local[0], spec.local_scale, change, rng) for _ in range(local[1])], [])


def _as_tensor(image: np.ndarray, short_side: int | None) -> Tensor:
    """Image as uint8 tensor (3, h, w), its short side resized where the training set's was."""
    if short_side is not None and min(image.shape[:2]) != short_side:
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
