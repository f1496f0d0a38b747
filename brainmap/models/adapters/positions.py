"""Positions as the authors' code computes them, where the library's does it differently.

Learned position embeddings are interpolated for inputs of another size than they were trained at. DINO and the models
built on its code (iBOT, DINOv2 without registers, Web-SSL) give the interpolation a scale factor, enlarged by 0.1
patches, and no output size: the sampling grid differs, by up to .6 in the tokens. DINOv3's rotary periods are a stored
tensor, which some files hold rounded to bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def interpolate_as_authors(module: nn.Module, offset: float) -> None:
    """Give the embeddings of a vision transformer the interpolation of DINO's code.

    Parameters
    ----------
    module : nn.Module
        Whose submodules with ``position_embeddings`` and ``interpolate_pos_encoding`` are changed.
    offset : float
        Patches added to the grid's sides before they are divided by those of training.
    """
    for part in module.modules():
        if hasattr(part, "interpolate_pos_encoding") and hasattr(part, "position_embeddings"):
            changed: Any = part
            changed.offset_of_positions = offset
            changed.interpolate_pos_encoding = MethodType(_interpolated, part)


def _interpolated(embeddings: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """Position embeddings (1, 1 + h·w, d) for an image of ``height`` × ``width`` pixels."""
    positions = embeddings.position_embeddings
    patch = embeddings.patch_size if hasattr(embeddings, "patch_size") else embeddings.patch_embeddings.patch_size
    patch = patch[0] if isinstance(patch, tuple | list) else patch
    side = round((positions.shape[1] - 1) ** 0.5)
    rows, columns = height // patch, width // patch
    if tokens.shape[1] == positions.shape[1] and height == width:
        return positions
    grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    # bicubic in float32 at least: half precision shifts the embeddings
    resized = F.interpolate(
        grid if grid.dtype == torch.float64 else grid.float(),
        scale_factor=(
            (rows + embeddings.offset_of_positions) / side,
            (columns + embeddings.offset_of_positions) / side,
        ),
        mode="bicubic",
    )
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)


def use_stored_periods(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Compute a DINOv3's rotary positions from the periods in its file, as its authors do."""
    stored = next((tensor for name, tensor in tensors.items() if name.endswith("rope_embed.periods")), None)
    if stored is None:
        return
    for part in module.modules():
        frequencies = getattr(part, "inv_freq", None)
        if isinstance(frequencies, Tensor) and frequencies.shape == stored.shape:
            frequencies.copy_(1.0 / stored.to(frequencies.dtype))
            changed: Any = part
            changed.periods_of_file = stored.double()


def stored_periods(module: nn.Module) -> list[float] | None:
    """A model's rotary frequencies where they are not those of its configuration: they decide its numbers.

    Returns
    -------
    list of float or None
    """
    for part in module.modules():
        frequencies, base = getattr(part, "inv_freq", None), getattr(part, "base", None)
        if isinstance(frequencies, Tensor) and isinstance(base, float | int) and not frequencies.is_meta:
            usual = 1 / base ** (torch.arange(len(frequencies), dtype=torch.float64) / len(frequencies))
            if not torch.allclose(frequencies.double().cpu(), usual, rtol=1e-5):
                return [float(value) for value in frequencies]
    return None
