"""I-JEPA with its predictor, which ``transformers`` doesn't have: full checkpoints of its training.

References
----------
.. [1] Assran et al. 2023, *Self-supervised learning from images with a joint-embedding predictive architecture*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models.adapters.adapter import Adapter
from brainmap.models.checkpoints.tensor_names import backbone_names
from brainmap.models.checkpoints.weight_files import fill
from brainmap.models.model_cards import ModelCard


class Predictor(nn.Module):
    """Narrow transformer that predicts the target encoder's tokens at given positions; names as in the authors' code.

    Parameters
    ----------
    width, predictor_width : int
        Of the encoder's tokens, and inside.
    patches, depth, heads : int
        Patches of an image, blocks, attention heads.
    """

    def __init__(self, width: int, predictor_width: int, *, patches: int, depth: int, heads: int) -> None:
        super().__init__()
        self.predictor_embed = nn.Linear(width, predictor_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, predictor_width))
        self.predictor_pos_embed = nn.Parameter(torch.zeros(1, patches, predictor_width))
        self.predictor_blocks = nn.ModuleList(_Block(predictor_width, heads) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(predictor_width, eps=1e-6)
        self.predictor_proj = nn.Linear(predictor_width, width)

    def forward(self, context: Tensor, keep: Tensor, wanted: Tensor) -> Tensor:
        """Predict tokens (n, m, d) at positions ``wanted`` (n, m) from ``context`` (n, k, d) at positions ``keep``."""
        positions = self.predictor_pos_embed[0]
        known = self.predictor_embed(context) + positions[keep]
        tokens = torch.cat([known, self.mask_token + positions[wanted]], dim=1)
        for block in self.predictor_blocks:
            tokens = block(tokens)
        return self.predictor_proj(self.predictor_norm(tokens)[:, keep.shape[1] :])


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.attn["qkv"](self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).flatten(2)
        tokens = tokens + self.attn["proj"](attended)
        return tokens + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))


class IJEPA(nn.Module):
    """Encoder, its moving average (the target encoder), and the predictor between them."""

    def __init__(self, encoder: nn.Module, target_encoder: nn.Module, predictor: Predictor) -> None:
        super().__init__()
        self.encoder = encoder
        self.target_encoder = target_encoder
        self.predictor = predictor
        self.config: Any = encoder.config


class IJEPAAdapter(Adapter):
    """A full I-JEPA checkpoint; activations are the target encoder's, as in the paper's evaluations."""

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Target encoder and encoder."""
        return {"target": module.get_submodule("target_encoder"), "encoder": module.get_submodule("encoder")}

    def forward(  # type: ignore[override]
        self, network: Any, pixels: Tensor, *, keep: Tensor | None = None
    ) -> Any:
        """Run an encoder, on the patches at positions ``keep`` (n, k) only where given."""
        if keep is None:
            return super().forward(network, pixels)
        hidden = network.embeddings(pixels, interpolate_pos_encoding=True)
        hidden = hidden.gather(1, keep[..., None].expand(-1, -1, hidden.shape[-1]))
        blocks = network.layers if hasattr(network, "layers") else network.encoder.layer
        for block in blocks:
            output = block(hidden)
            hidden = output[0] if isinstance(output, tuple) else output
        return network.layernorm(hidden)

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Convert the authors' names, build and fill strictly."""
        parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "target_encoder": {}, "predictor": {}}
        for name, tensor in tensors.items():
            top, _, rest = name.partition(".")
            if top in parts:
                parts[top][rest.removeprefix("module.")] = tensor
        encoder, target = (
            super(IJEPAAdapter, self).from_tensors(backbone_names(parts[name], self.card), f"{source} ({name})")
            for name in ("encoder", "target_encoder")
        )
        return IJEPA(encoder, target, _predictor(parts["predictor"], encoder, source))


def is_ijepa_checkpoint(tensors: Mapping[str, Tensor], card: ModelCard) -> bool:
    """Whether a file holds encoder, target encoder and predictor of an I-JEPA training."""
    tops = {name.partition(".")[0] for name in tensors}
    return card.architecture == "IJepaModel" and {"encoder", "target_encoder", "predictor"} <= tops


def _predictor(tensors: Mapping[str, Tensor], encoder: Any, source: str) -> Predictor:
    try:
        inner, width = tensors["predictor_embed.weight"].shape
        patches = tensors["predictor_pos_embed"].shape[1]
    except KeyError as error:
        raise InputError(f"The predictor in {source} lacks {error}.") from None
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("predictor_blocks."))
    heads = encoder.config.num_attention_heads  # the authors give the predictor as many as the encoder
    predictor = Predictor(width, inner, patches=patches, depth=depth, heads=heads)
    filled = fill(predictor, tensors, source)
    assert isinstance(filled, Predictor)
    return filled


def target_and_context(
    side: int, rng: np.random.Generator, *, targets: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of target blocks and of the context, equally many for every image.

    Training draws block sizes per batch and trims all contexts to the shortest of the batch. Here target blocks are
    squares of a fixed share of the image, and contexts are trimmed to the least there can be.

    Parameters
    ----------
    side : int
        Patches along a side.
    rng : numpy.random.Generator
        Of this image.
    targets : int
        Number of target blocks.
    scale : float
        Share of the image of a target block.

    Returns
    -------
    ndarray of int, (targets, m)
    ndarray of int, (k,)
    """
    block = max(1, round(side * scale**0.5))
    grid = np.arange(side * side).reshape(side, side)
    corners = rng.integers(0, side - block + 1, (targets, 2))
    wanted = np.stack([grid[top : top + block, left : left + block].ravel() for top, left in corners])
    rest = np.setdiff1d(grid.ravel(), wanted.ravel())
    least = max(1, side * side - targets * block * block)
    return wanted, np.sort(rng.permutation(rest)[:least])
