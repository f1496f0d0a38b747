"""``dino-tiny``: the project's own small self-supervised ViT, in the architecture of DINOv3, in three widths."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from brainmap.models.adapters.adapter import Adapter
from brainmap.models.checkpoints.weight_files import fill
from brainmap.models.self_distillation import Branch, DINOHead, SelfDistillation

HEADS = {32: 2, 48: 3, 96: 3}  # attention heads by width


def dino_tiny_config(width: int = 96) -> DINOv3ViTConfig:
    """Twelve blocks, patches of 16 px, 4 registers, rotary positions: any multiple of 16 px goes in."""
    return DINOv3ViTConfig(
        image_size=64,
        patch_size=16,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=12,
        num_attention_heads=HEADS[width],
        num_register_tokens=4,
        layerscale_value=1.0,
        attn_implementation="sdpa",  # type: ignore[call-arg]
    )


def build_self_distillation(seed: int, width: int = 96) -> SelfDistillation:
    """Student, teacher and heads with initial weights drawn from ``seed``; the caller's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = DINOv3ViTModel(dino_tiny_config(width))
        heads = [DINOHead(width, hidden=192, bottleneck=48, prototypes=512) for _ in range(2)]
        return SelfDistillation(Branch(backbone, *heads))


class DinoTinyAdapter(Adapter):
    """Student, teacher and heads of ``dino-tiny``; activations are the teacher's, as in every DINO release."""

    def build(self, seed: int) -> nn.Module:
        """Build from the project's own configuration."""
        from brainmap.models.adapters.dino_tiny import build_self_distillation

        return build_self_distillation(seed)

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Fill strictly."""
        return fill(self.build(0), tensors, source)

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Backbones of teacher and student."""
        return {name: module.get_submodule(f"{name}.backbone") for name in ("teacher", "student")}
