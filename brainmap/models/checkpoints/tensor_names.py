"""Names of tensors in the authors' files to those of ``transformers``, by architecture.

Understood are the backbones of DINO, iBOT and I-JEPA (also ``timm``'s ViTs, which share the names), of DINOv2, DINOv3
and everything built on them (EUPE, VGGT, VGGT-Ω, dino.txt), and of ``torchvision``'s ResNets, bare or wrapped as
``teacher.backbone.``, ``module.`` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from brainmap.models.model_cards import ModelCard

# Fused qkv weights are split beforehand.
_COMMON = (
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^masked_embed$", "embeddings.mask_token"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.(?:\d+\.)?(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
_RENAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "ViTModel": (
        *_COMMON,
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
        (r"^norm\.", "layernorm."),
    ),
    "Dinov2Model": (
        *_COMMON,
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"\.mlp\.w12\.", ".mlp.weights_in."),
        (r"\.mlp\.w3\.", ".mlp.weights_out."),
        (r"^norm\.", "layernorm."),
    ),
    "DINOv3ViTModel": (
        (r"^(cls_token|mask_token)$", r"embeddings.\1"),
        (r"^(?:storage_tokens|register_tokens)$", "embeddings.register_tokens"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
        (r"^blocks\.(\d+)\.", r"layer.\1."),
        (r"\.attn\.query\.", ".attention.q_proj."),
        (r"\.attn\.key\.", ".attention.k_proj."),
        (r"\.attn\.value\.", ".attention.v_proj."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"\.mlp\.(?:fc1|w2)\.", ".mlp.up_proj."),
        (r"\.mlp\.(?:fc2|w3)\.", ".mlp.down_proj."),
        (r"\.mlp\.w1\.", ".mlp.gate_proj."),
    ),
    "DINOv3ConvNextModel": (
        (r"^downsample_layers\.(\d)\.(\d)\.", r"model.stages.\1.downsample_layers.\2."),
        (r"^stages\.(\d)\.(\d+)\.", r"model.stages.\1.layers.\2."),
        (r"\.dwconv\.", ".depthwise_conv."),
        (r"\.norm\.", ".layer_norm."),
        (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
        (r"^norm\.", "layer_norm."),
    ),
    "ResNetModel": (
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
        (r"\.downsample\.0\.", ".shortcut.convolution."),
        (r"\.downsample\.1\.", ".shortcut.normalization."),
    ),
}
_RENAMES["IJepaModel"] = _RENAMES["ViTModel"]
_RENAMES["Dinov2WithRegistersModel"] = _RENAMES["Dinov2Model"]
CONVERTED = tuple(_RENAMES)
_AUTHORS = re.compile(r"blocks\.|layer1\.|downsample_layers\.")
_DROPPED = re.compile(r"rope_embed\.|bias_mask$|local_cls_norm\.|cls_norm\.|^norms\.|^fc\.")
_WRAPPERS = (
    "model.teacher.backbone.", "teacher.module.backbone.", "teacher.backbone.", "teacher.module.", "teacher.",
    "model_ema.backbone.", "module.backbone.", "backbone.", "module.",
)  # fmt: skip
_MASKED = ("Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel")


def to_library_names(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """Tensors of a backbone's file in the names of ``transformers``, without prefixes and wrappers.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        As in the file.
    card : ModelCard
        Its ``prefix`` selects the backbone's tensors in a larger model's file.
    """
    named = dict(tensors)
    if card.prefix and any(name.startswith(card.prefix) for name in named):
        named = _below(named, card.prefix)
    if card.architecture in _RENAMES:
        for wrapper in _WRAPPERS:
            inside = _below(named, wrapper)
            if inside and not any(_AUTHORS.match(name) for name in named):
                named = inside
                break
    return backbone_names(named, card)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def backbone_names(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """A backbone's tensors in the names of ``transformers``; those that have them already pass unchanged."""
    if card.architecture not in _RENAMES or not any(_AUTHORS.match(name) for name in tensors):
        return dict(tensors)
    renamed: dict[str, Tensor] = {}
    for name, tensor in _split_qkv(tensors, card).items():
        if _DROPPED.search(name):
            continue
        if card.architecture == "ResNetModel":
            name = re.sub(r"^layer(\d)\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.", name)
            name = re.sub(r"\.conv(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.convolution.", name)
            name = re.sub(r"\.bn(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.normalization.", name)
        for pattern, replacement in _RENAMES[card.architecture]:
            name = re.sub(pattern, replacement, name)
        if name == "embeddings.mask_token" and card.architecture in ("DINOv3ViTModel", "ViTModel"):
            tensor = tensor.reshape(1, 1, -1)
        renamed[name] = tensor
    if card.architecture in _MASKED and "embeddings.mask_token" not in renamed:
        shape = (1, 1, -1) if card.architecture == "DINOv3ViTModel" else (1, -1)
        width = renamed["embeddings.cls_token"].shape[-1]
        renamed["embeddings.mask_token"] = torch.zeros(width).reshape(shape)  # only training uses it
    return renamed


def _split_qkv(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """Fused ``attn.qkv`` to query, key and value. DINOv3's keys have no bias: theirs is masked in the authors' code."""
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attn.qkv." not in name or name.endswith("bias_mask"):
            split[name] = tensor
            continue
        for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            if not (part == "key" and name.endswith("bias") and card.architecture == "DINOv3ViTModel"):
                split[name.replace(".qkv.", f".{part}.")] = piece.contiguous()
    return split
