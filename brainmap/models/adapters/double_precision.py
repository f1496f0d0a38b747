"""Parts of networks that compute in float32 whatever their weights are: in float64 they are given its arithmetic.

DINOv3's rotary angles and AIMv2's norms are cast to float32 by the library. Gradients are then those of float64 to 2e-9
and 4e-4 only.
"""

from __future__ import annotations

import math
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def compute_in_double(module: nn.Module) -> bool:
    """Let such parts compute in float64; returns whether there were any.

    Parameters
    ----------
    module : nn.Module
        With weights in float64.
    """
    arithmetic = {"DINOv3ViTRopePositionEmbedding": _rotary_angles, "Aimv2RMSNorm": _rms_norm}
    changed = False
    for part in module.modules():
        if type(part).__name__ in arithmetic:
            adjusted: Any = part
            adjusted.forward = MethodType(arithmetic[type(part).__name__], part)
            changed = True
    return changed


def _rotary_angles(part: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (patches, head width) of 2π × coordinate / period, for centres of patches from -1 to 1."""
    patch = part.config.patch_size
    across = [size // patch for size in pixels.shape[-2:]]
    centres = [(torch.arange(count, dtype=torch.float64, device=pixels.device) + 0.5) / count for count in across]
    grid = torch.stack(torch.meshgrid(*centres, indexing="ij"), dim=-1).flatten(0, 1) * 2.0 - 1.0
    periods = getattr(part, "periods_of_file", None)
    if periods is None:
        width = part.head_dim // 4
        periods = part.base ** (torch.arange(width, dtype=torch.float64) / width)
    angles = 2.0 * math.pi * grid[:, :, None] / periods.to(grid.device)
    angles = angles.flatten(1, 2).tile(2)
    return torch.cos(angles).to(pixels.dtype), torch.sin(angles).to(pixels.dtype)


def _rms_norm(part: Any, tokens: Tensor) -> Tensor:
    """Tokens over their root mean square, times a gain."""
    scale = torch.rsqrt(tokens.pow(2).mean(-1, keepdim=True) + part.variance_epsilon)
    normed: Tensor = part.weight * (tokens * scale)
    return normed
