"""From photographs to the tensor a model reads: Pillow for resizing, torch for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from brainmap.common.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Preprocessing(BaseModel):
    """Resize, centre crop, scale to [0, 1], normalise.

    Attributes
    ----------
    crop : int
        Side of the square the model reads, in pixels.
    resize : int, optional
        Length of the short side before the centre crop; ``crop`` by default.
    squash : bool
        Resize both sides to that length instead, changing the aspect ratio (SigLIP's and OWL-ViT's convention).
    centre : {"nearest", "down"}
        Where the crop begins if its margins cannot be equal: at the nearest pixel, halves to the even one, as
        ``torchvision`` and so the authors do; or rounded down, as the processors of the hub do.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}
        Pillow's antialiased filter.
    mean, std : tuple of 3 float
        Of the RGB channels in [0, 1]; ImageNet's by default.

    Examples
    --------
    >>> from brainmap.models import Preprocessing
    >>> preprocessing = Preprocessing(crop=32, resize=40)
    >>> preprocessing.with_size(64).crop
    64
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: int = Field(default=224, ge=1)
    resize: int | None = Field(default=None, ge=1)
    squash: bool = False
    centre: Literal["nearest", "down"] = "nearest"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def with_size(self, input_size: int) -> Preprocessing:
        """The same steps for another input size, the margin around the centre crop kept in proportion."""
        resize = None if self.resize is None else self.resize * input_size // self.crop
        return self.model_copy(update={"crop": input_size, "resize": resize})

    def __call__(self, images: Sequence[np.ndarray]) -> Tensor:
        """Preprocess photographs.

        Parameters
        ----------
        images : sequence of (h, w, 3) uint8 arrays
            RGB; sizes may differ.

        Returns
        -------
        Tensor, (n, 3, crop, crop), float32
        """
        import torch  # here, so that listing models does not wait for it

        if not len(images):
            raise InputError("There are no images to preprocess; give at least one (h, w, 3) uint8 array.")
        squares = np.stack([self._square(image, row) for row, image in enumerate(images)])
        return self.normalise(torch.from_numpy(squares).permute(0, 3, 1, 2).to(torch.float32).div_(255.0))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Subtract the channel means and divide by the channel deviations; ``pixels`` (n, 3, h, w) in [0, 1]."""
        mean, std = pixels.new_tensor(self.mean), pixels.new_tensor(self.std)
        return (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)

    def _square(self, image: np.ndarray, row: int) -> np.ndarray:
        picture = Image.fromarray(check_image(image, row))
        short = self.resize or self.crop
        if self.squash:
            size = (short, short)
        else:  # the long side is cut to whole pixels, not rounded, by torchvision and by the hub's processors
            least = min(picture.size)
            width, height = (short * side // least for side in picture.size)
            size = (width, height)
        if size != picture.size:
            picture = picture.resize(size, _FILTERS[self.interpolation])
        left, top = (self._margin(side) for side in size)
        # A crop that reaches beyond a small picture is filled with black, as torchvision does.
        return np.asarray(picture.crop((left, top, left + self.crop, top + self.crop)))

    def _margin(self, side: int) -> int:
        """Pixels before the crop of one side; negative where the picture is smaller than the crop."""
        spare = side - self.crop
        if spare < 0:
            return -(-spare // 2)
        return round(spare / 2) if self.centre == "nearest" else spare // 2


def check_image(image: np.ndarray, row: int) -> np.ndarray:
    """Return the image if it is (h, w, 3) uint8.

    Raises
    ------
    InputError
        Naming the row, its shape and dtype.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"Image {row} is {given}, not uint8 (height, width, 3); convert it to RGB bytes first.")
    return image
