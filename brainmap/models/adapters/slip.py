"""SLIP: a vision transformer in timm's names beside CLIP's text tower, which ``transformers`` has no class for.

References
----------
.. [1] Mu et al. 2021, *SLIP: self-supervision meets language-image pre-training*, arXiv 2112.12750.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.models.adapters.adapter import Adapter
from brainmap.models.adapters.transformers_library import ImageTextAdapter
from brainmap.models.checkpoints.tensor_names import to_library_names
from brainmap.models.checkpoints.weight_files import fill


class SLIP(nn.Module):
    """Image tower, text tower, their projections and the temperature; the names are those of the library's CLIP.

    Parameters
    ----------
    visual, text_model : nn.Module
        A ``ViTModel`` without pooling, and a ``CLIPTextModel``.
    projection : int
        Width of the common space.
    """

    def __init__(self, visual: Any, text_model: Any, projection: int) -> None:
        super().__init__()
        self.visual, self.text_model = visual, text_model
        self.visual_projection = nn.Linear(visual.config.hidden_size, projection, bias=False)
        self.text_projection = nn.Linear(text_model.config.hidden_size, projection, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        text = text_model.config
        self.config = SimpleNamespace(
            text_config=text,
            patch_size=visual.config.patch_size,
            to_dict=lambda: {"vision": visual.config.to_dict(), "text": text.to_dict(), "projection": projection},
        )


class SLIPAdapter(ImageTextAdapter):
    """SLIP, and the authors' CLIP baselines of the same shape; the self-supervised projector is left out."""

    def build(self, seed: int) -> nn.Module:
        """Build from the card's sizes with initial weights drawn from ``seed``."""
        from transformers import CLIPTextConfig, CLIPTextModel, ViTConfig, ViTModel

        sizes = dict(self.card.config)
        text, projection = CLIPTextConfig(**sizes.pop("text_config")), sizes.pop("projection_dim")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            visual = ViTModel(ViTConfig(**sizes), add_pooling_layer=False)
            return SLIP(visual, CLIPTextModel(text), projection).float()

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Convert the authors' names, build and fill strictly."""
        named = to_library_names(tensors, self.card)
        inside = {name.removeprefix("visual."): tensor for name, tensor in named.items() if name.startswith("visual.")}
        rest = {name: tensor for name, tensor in named.items() if not name.startswith("visual.")}
        module: Any = self.build(0)
        if any(name.startswith("blocks.") for name in inside):  # else a file that save_model wrote from this class
            sizes = {
                key: self.card.config[key] for key in self.card.config if key not in ("text_config", "projection_dim")
            }
            update = {"architecture": "ViTModel", "config": sizes, "build_options": {"add_pooling_layer": False}}
            vision = self.card.model_copy(update=update)
            inside = Adapter(vision).from_tensors(inside, source).state_dict()
        text = {f"text_model.{name}" for name in module.text_model.state_dict()}
        prefix = "" if any(name in text for name in rest) else "text_model."  # the library's own prefix changed
        rest = {prefix + name if name.startswith("text_model.") else name: tensor for name, tensor in rest.items()}
        return fill(module, {**{f"visual.{name}": tensor for name, tensor in inside.items()}, **rest}, source)

    def image_embedding(self, module: Any, pixels: Tensor) -> Tensor:
        """Projected CLS tokens (n, d), not normalised; runs the image tower once."""
        return module.visual_projection(self.tokens(self.forward(module.visual, pixels))[:, 0])
