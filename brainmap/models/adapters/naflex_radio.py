"""SigLIP 2 NaFlex, which reads patches instead of pixels, and RADIO, whose leading tokens are those of its teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.models.adapters.adapter import Adapter
from brainmap.models.adapters.transformers_library import ImageTextAdapter


class NaFlexAdapter(ImageTextAdapter):
    """SigLIP 2 with native aspect ratios: patches go in, their grid's shape, and which are padding.

    Preprocessing makes square images, so that grids are square and nothing is padding.
    """

    def forward(self, network: Any, pixels: Tensor, **options: Any) -> Any:
        """Run the image tower on preprocessed pixels (n, 3, h, w)."""
        patch = self.card.patch or 16
        rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        grid = pixels.unflatten(3, (columns, patch)).unflatten(2, (rows, patch))  # (n, 3, rows, p, columns, p)
        patches = grid.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), -1)
        mask = torch.ones(patches.shape[:2], dtype=torch.long, device=pixels.device)
        return network(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes, **options)


class RadioAdapter(Adapter):
    """RADIO: one CLS token for each of its teachers, and registers; a file says how many of each."""

    def suited(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Adapter:
        """Roles of tokens, sizes and patch of the positions' grid from a file in the authors' layout."""
        token = _ending(tensors, "patch_generator.cls_token.token")
        positions = _ending(tensors, "patch_generator.pos_embed")
        if token is None or positions is None:
            return self
        arguments = settings.get("args", {})
        classes = _class_tokens(arguments, self.card.tokens.get("cls", 1))
        registers = len(token) - classes
        if registers < 0:
            raise InputError(f"The file has {len(token)} leading tokens, fewer than its {classes} teachers.")
        patch = self.card.patch or 16
        config = {
            **self.card.config,
            "num_cls_tokens": classes,
            "num_registers": registers,
            "max_img_size": round(positions.shape[1] ** 0.5) * patch,
            "summary_idxs": [0],
        }
        tokens = {role: count for role, count in (("cls", classes), ("register", registers)) if count}
        return RadioAdapter(self.card.model_copy(update={"config": config, "tokens": tokens}))


def _ending(tensors: Mapping[str, Tensor], end: str) -> Tensor | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith(end)), None)


def _class_tokens(arguments: Mapping[str, Any], usual: int) -> int:
    """One for each teacher of another name, or one in all, as the training's arguments say."""
    teachers = arguments.get("teachers")
    if not isinstance(teachers, list) or not all(isinstance(teacher, Mapping) for teacher in teachers):
        return usual
    return (
        len({str(teacher.get("name")) for teacher in teachers}) if arguments.get("cls_token_per_teacher", True) else 1
    )
