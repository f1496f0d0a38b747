"""How each kind of network is built, filled with weights and called. A card names its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models.adapters.adapter import Adapter, _setting


class ClassifierAdapter(Adapter):
    """A backbone with a classification head."""

    has_logits = True

    def suited(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Adapter:
        """DeiT without its distillation token and head is a plain ViT classifier."""
        distilled = any("dist" in name for name in tensors)
        if not self.card.architecture.startswith("DeiT") or distilled:
            return self
        plain = {"architecture": "ViTForImageClassification", "network": "vit", "tokens": {"cls": 1}}
        return ClassifierAdapter(self.card.model_copy(update=plain))

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """Class logits (n, classes); runs the backbone once."""
        return module(pixel_values=pixels, **self._sizes()).logits


class ImageTextAdapter(Adapter):
    """An image tower and a text tower with a common space."""

    has_text = True

    def image_embedding(self, module: Any, pixels: Tensor) -> Tensor:
        """Projected image vectors (n, d), not normalised; runs the image tower once."""
        pooled = self.forward(module.get_submodule(self.card.network), pixels).pooler_output
        return module.visual_projection(pooled) if hasattr(module, "visual_projection") else pooled

    def text_embedding(self, module: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        """Projected caption vectors (n, d), not normalised."""
        pooled = module.text_model(**tokens).pooler_output
        return module.text_projection(pooled) if hasattr(module, "text_projection") else pooled


class MAEAdapter(Adapter):
    """ViT-MAE with its decoder; unmasked and in image order unless an objective says otherwise."""

    def suited(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Adapter:
        """Most of the authors' files hold the encoder only: no reconstruction, so the surrogate is the default loss."""
        if any("decoder" in name for name in tensors):
            return self
        encoder = {
            "adapter": "mae-encoder",
            "architecture": "ViTMAEModel",
            "network": "",
            "objective": "feature-energy",
        }
        return MAEAdapter(self.card.model_copy(update=encoder))

    def forward(  # type: ignore[override]
        self, network: Any, pixels: Tensor, *, mask_ratio: float = 0.0, noise: Tensor | None = None
    ) -> Any:
        """Run the encoder.

        Parameters
        ----------
        network : nn.Module
            The encoder.
        pixels : Tensor, (n, 3, s, s)
            Preprocessed images.
        mask_ratio : float
            Share of patches hidden from the encoder.
        noise : Tensor, (n, patches), optional
            Patches with the smallest values stay visible, in order of their values; image order by default.
        """
        if noise is None:
            count = network.embeddings.patch_embeddings.num_patches
            noise = torch.arange(count, device=pixels.device, dtype=pixels.dtype).expand(len(pixels), -1)
        with _setting(network.config, "mask_ratio", mask_ratio):
            return network(pixel_values=pixels, noise=noise)


class VideoAdapter(Adapter):
    """A video encoder; a still image becomes a clip of identical frames."""

    def forward(  # type: ignore[override]
        self, network: Any, pixels: Tensor, *, keep: Tensor | None = None
    ) -> Any:
        """Run the encoder.

        Parameters
        ----------
        network : nn.Module
            The encoder.
        pixels : Tensor, (n, 3, s, s)
            Preprocessed images.
        keep : Tensor of int, (n, k), optional
            Positions of the tokens the encoder sees, as in training; all by default.
        """
        clip = pixels[:, None].expand(-1, self.card.frames or 1, -1, -1, -1)
        if keep is None:
            return network(pixel_values_videos=clip)
        hidden = network.embeddings(clip)
        hidden = hidden.gather(1, keep[..., None].expand(-1, -1, hidden.shape[-1]))
        for layer in network.layer:
            hidden = layer(hidden, keep)[0]
        return network.layernorm(hidden)


class DetectorAdapter(Adapter):
    """The convolutional backbone of a detector of the DETR family; the detector around it is loaded, but not run."""

    def tokens(self, output: Any) -> Tensor:
        """Grid (n, c, h, w) after the last stage."""
        return output.feature_maps[-1]


class ModuleAdapter(Adapter):
    """Any ``nn.Module`` that takes a batch of pixels as its only argument."""

    @property
    def has_logits(self) -> bool:  # type: ignore[override]
        """Whether the user declared the output to be class logits."""
        return self.card.output == "logits"

    def build(self, seed: int) -> nn.Module:
        """Refuse: the module is the user's."""
        raise InputError(f"Model '{self.card.name}' is a module of your own; build it and pass it to from_module.")

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Call the module."""
        return network(pixels, **options)

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """The module's output."""
        return module(pixels)
