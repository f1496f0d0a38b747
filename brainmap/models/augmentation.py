"""Random crops and changes of colour as DINO, iBOT, DINOv2 and DINOv3 train with, on Pillow images.

What is drawn, in which order and with which probabilities follows the authors' code; each draw comes from the image's
own generator. ``dino`` means DINO's and iBOT's script: Pillow's blur, always on the first global crop. ``dinov2`` means
DINOv2's and DINOv3's, whose blur is a 9 × 9 kernel and whose probabilities are, as the code stands, turned round: never
on the first global crop, nine times in ten on the second.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Crop = Literal["first", "second", "local"]
BLUR = {
    "dino": {"first": 1.0, "second": 0.1, "local": 0.5},
    "dinov2": {"first": 0.0, "second": 0.9, "local": 0.5},
}
JITTER, GREY, SOLARISE = 0.8, 0.2, 0.2  # probabilities
TRIES = 10  # of a crop that fits


def resized_crop(image: Image.Image, pixels: int, scale: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    """Crop of a random share of the area and of sides between 3:4 and 4:3, resized bicubically to a square.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB.
    pixels : int
        Side of the result.
    scale : tuple of float
        Range of the share.
    rng : numpy.random.Generator
        Of the image.
    """
    width, height = image.size
    left, top, w, h = _central_crop(width, height)
    for _ in range(TRIES):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        drawn = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < drawn[0] <= width and 0 < drawn[1] <= height:
            w, h = drawn
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            break
    cropped = image.crop((left, top, left + w, top + h))
    return cropped.resize((pixels, pixels), Image.Resampling.BICUBIC)


def _central_crop(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the largest central crop between 3:4 and 4:3."""
    ratio = width / height
    w = min(width, round(height * 4 / 3)) if ratio > 4 / 3 else width
    h = min(height, round(width * 4 / 3)) if ratio < 3 / 4 else height
    return (width - w) // 2, (height - h) // 2, w, h


def flipped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirror left and right every other time."""
    return ImageOps.mirror(image) if rng.random() < 0.5 else image


def jittered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue in random order, eight times in ten; grey, twice in ten."""
    if rng.random() < JITTER:
        order = rng.permutation(4)
        factors = rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.4), rng.uniform(0.8, 1.2)
        hue = rng.uniform(-0.1, 0.1)
        enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
        for change in order:
            image = turned_hue(image, hue) if change == 3 else enhancers[change](image).enhance(factors[change])
    if rng.random() < GREY:
        image = Image.merge("RGB", [image.convert("L")] * 3)
    return image


def turned_hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the hue by a share of the circle."""
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.asarray(hue) + np.uint8(int(turn * 255) % 256)  # wraps around
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


def distorted(image: Image.Image, crop: Crop, style: str, rng: np.random.Generator) -> Image.Image:
    """Blur, and solarise the second global crop."""
    if rng.random() < BLUR[style][crop]:
        strength = rng.uniform(0.1, 2.0)
        image = image.filter(ImageFilter.GaussianBlur(strength)) if style == "dino" else blurred(image, strength)
    if crop == "second" and rng.random() < SOLARISE:
        image = ImageOps.solarize(image, threshold=128)
    return image


def blurred(image: Image.Image, sigma: float, size: int = 9) -> Image.Image:
    """Gaussian blur with a kernel of ``size`` pixels and mirrored borders, rounded to whole grey levels."""
    offsets = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[:, None].float()
    values = F.pad(values, (size // 2,) * 4, mode="reflect")
    values = F.conv2d(F.conv2d(values, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return Image.fromarray(values.round().clamp(0, 255).to(torch.uint8)[:, 0].permute(1, 2, 0).numpy())


def block_mask(
    side: int, count: float, rng: np.random.Generator, *, least: float, largest: float, complete: bool
) -> np.ndarray:
    """Mask of rectangles of random size and shape, as BEiT, iBOT, DINOv2 and DINOv3 draw it.

    Parameters
    ----------
    side : int
        Patches along a side.
    count : float
        Patches to mask.
    rng : numpy.random.Generator
        Of the image.
    least, largest : float
        Smallest and largest area of a rectangle; no rectangle exceeds what is still to mask.
    complete : bool
        Whether patches are added at random where the rectangles leave some out (DINOv3); else fewer may be masked.

    Returns
    -------
    ndarray of bool, (side, side)
    """
    mask = np.zeros((side, side), bool)
    while (lacking := count - int(mask.sum())) > 0:
        if not _add_block(mask, min(lacking, largest), least, rng):
            break
    left_out = int(count) - int(mask.sum())
    if complete and left_out > 0:
        mask.ravel()[rng.choice(np.flatnonzero(~mask), left_out, replace=False)] = True
    return mask


def _add_block(mask: np.ndarray, largest: float, least: float, rng: np.random.Generator) -> bool:
    """Mask one rectangle more, of at most ``largest`` new patches; False where ten draws do not fit."""
    side = len(mask)
    for _ in range(TRIES):
        area, shape = (
            rng.uniform(min(least, largest), max(least, largest)),
            math.exp(rng.uniform(math.log(0.3), -math.log(0.3))),
        )
        h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if w >= side or h >= side:
            continue
        top, left = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
        block = mask[top : top + h, left : left + w]
        if 0 < block.size - int(block.sum()) <= largest:
            block[:] = True
            return True
    return False
