"""Changes of tensors, besides their names, between authors' code and ``transformers``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from brainmap.common.errors import InputError

Tensors = dict[str, Tensor]
_PARTS = ("query", "key", "value")
_NOT_IN_RADIO = re.compile(
    r"parametrizations|\.patch_normalizer\.|^(base_model|radio_model\.model)\.norm\.|feature_normalizer"
)


def split_qkv(tensors: Mapping[str, Tensor]) -> Tensors:
    """Fused ``attn.qkv`` to ``attn.query``, ``attn.key`` and ``attn.value``.

    BEiT's separate ``q_bias`` and ``v_bias`` are no part of this: the models that have them use other classes.
    """
    split: Tensors = {}
    for name, tensor in tensors.items():
        if ".attn.qkv." not in name:
            split[name] = tensor
            continue
        for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
            split[name.replace(".qkv.", f".{part}.")] = piece.contiguous()
    return split


def masked_qkv(tensors: Mapping[str, Tensor]) -> Tensors:
    """The same for DINOv3, whose authors multiply the fused bias by a stored ``bias_mask`` that removes the keys'.

    Raises
    ------
    InputError
        If a mask keeps the keys' bias, for which the library's class has no place, or is not a number.
    """
    masks = {name.removesuffix("_mask"): mask for name, mask in tensors.items() if name.endswith("qkv.bias_mask")}
    masked = {name: tensor for name, tensor in tensors.items() if not name.endswith("qkv.bias_mask")}
    for name, mask in masks.items():
        if not bool(torch.isfinite(mask).all()):
            raise InputError(f"The file's {name}_mask is not a number: its training never set it; use another file.")
        if name not in masked:
            continue
        masked[name] = masked[name] * mask.to(masked[name].dtype)
        if bool(masked[name].chunk(3)[1].any()):
            raise InputError(f"The file's {name}_mask keeps a bias on keys, which DINOv3 in transformers hasn't.")
    split = split_qkv(masked)
    return {name: tensor for name, tensor in split.items() if not name.endswith(".attn.key.bias")}


def split_in_proj(tensors: Mapping[str, Tensor]) -> Tensors:
    """``in_proj_weight`` and ``in_proj_bias`` of ``nn.MultiheadAttention`` to query, key and value."""
    split: Tensors = {}
    for name, tensor in tensors.items():
        fused = re.fullmatch(r"(.*)\.in_proj_(weight|bias)", name)
        if fused is None:
            split[name] = tensor
            continue
        for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
            split[f"{fused[1]}.{part}.{fused[2]}"] = piece.contiguous()
    return split


def detr_attention(tensors: Mapping[str, Tensor]) -> Tensors:
    """DETR's attentions: projections of ``nn.MultiheadAttention`` one by one, named as in the library."""
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
    renamed: Tensors = {}
    for name, tensor in split_in_proj(tensors).items():
        name = re.sub(r"_attn\.(query|key|value)\.", lambda part: f"_attn.{names[part[1]]}.", name)
        renamed[re.sub(r"_attn\.out_proj\.", "_attn.o_proj.", name)] = tensor
    return renamed


def resnet_numbers(tensors: Mapping[str, Tensor]) -> Tensors:
    """Stages and convolutions of ``torchvision``'s ResNets, which count from one, to the library's, from zero."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        name = re.sub(r"\blayer([1-4])\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.", name)
        if "encoder.stages." in name:
            name = re.sub(r"\.conv(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.convolution.", name)
            name = re.sub(r"\.bn(\d)\.", lambda m: f".layer.{int(m[1]) - 1}.normalization.", name)
        renamed[name] = tensor
    return renamed


def clip_to_linear(tensors: Mapping[str, Tensor]) -> Tensors:
    """Projections that the authors multiply from the right, to the weights of linear layers."""
    names = {
        "visual.proj": "visual_projection.weight",
        "image_projection": "visual_projection.weight",
        "text_projection": "text_projection.weight",
    }
    return {
        names.get(name, name): tensor.T.contiguous() if name in names else tensor for name, tensor in tensors.items()
    }


def repeated_mask_tokens(tensors: Mapping[str, Tensor]) -> Tensors:
    """V-JEPA 2's list of mask tokens to one tensor."""
    pattern = re.compile(r"predictor\.(?:.*\.)?mask_tokens\.(\d+)")
    listed = {int(match[1]): name for name in tensors if (match := pattern.fullmatch(name))}
    kept = {name: tensor for name, tensor in tensors.items() if name not in listed.values()}
    if listed:
        kept["predictor.mask_tokens"] = torch.stack([tensors[listed[index]] for index in sorted(listed)])
    return kept


def flat_positions(tensors: Mapping[str, Tensor]) -> Tensors:
    """AIMv2's learned positions (1, n, d) to the rows of an embedding."""
    learned = "preprocessor.pos_embed"
    kept = {name: tensor for name, tensor in tensors.items() if name != learned}
    if learned in tensors:
        kept["embeddings.position_embedding.weight"] = tensors[learned].squeeze(0)
    return kept


def radio_parts(tensors: Mapping[str, Tensor]) -> Tensors:
    """The backbone and the input's normalisation in a file of RADIO, without heads and adaptors of its teachers.

    Raises
    ------
    InputError
        If the file holds a part that the library's class hasn't.
    """
    kept: Tensors = {}
    for name, tensor in tensors.items():
        if re.search(
            r"parametrizations|\.patch_normalizer\.|^(base_model|radio_model\.model)\.norm\.|feature_normalizer", name
        ):
            raise InputError(
                f"The file holds {name}, which RADIO in transformers hasn't: it is of a training run, or of a version "
                "with further norms; use a released file of C-RADIO or RADIO 2.5."
            )
        own = re.match(r"(base_model\.|radio_model\.model\.)(patch_generator|blocks)\.", name)
        if own is not None:
            kept[name.removeprefix(own[1])] = tensor
        elif re.search(r"(^|\.)input_conditioner\.norm_(mean|std)$", name):
            kept[f"input_conditioner.{name.rpartition('.')[2]}"] = tensor
    kept["summary_idxs"] = torch.tensor([0])  # which CLS tokens the library sums up; no feature depends on it
    return kept


def big_vision_to_torch(tensors: Mapping[str, Tensor]) -> Tensors:
    """Flax arrays of big_vision to torch's layouts: kernels transposed, heads merged, stacked layers taken apart."""
    unstacked: Tensors = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("params.")
        stacked = re.fullmatch(r"(.*\.encoderblock)\.(.*)", name)
        if stacked is None:
            unstacked[name] = tensor
        else:
            unstacked.update({f"{stacked[1]}_{layer}.{stacked[2]}": part for layer, part in enumerate(tensor)})
    changed = dict(_flax_tensor(name, tensor) for name, tensor in unstacked.items())
    pool = "img.MAPHead_0.MultiHeadDotProductAttention_0."
    for leaf in ("weight", "bias"):
        parts = [changed.pop(f"{pool}{part}.{leaf}") for part in _PARTS if f"{pool}{part}.{leaf}" in changed]
        if parts:
            changed[f"{pool}in_proj_{leaf}"] = torch.cat(parts)
    return changed


def _flax_tensor(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    stem, _, leaf = name.rpartition(".")
    part = stem.rpartition(".")[2]
    if leaf in ("scale", "embedding"):
        return f"{stem}.weight", tensor
    if leaf == "pos_embedding":  # (1, n, d), or a grid (rows, columns, d) in NaFlex
        return name, tensor.reshape(-1, tensor.shape[-1])
    if name in ("t", "b"):
        return name, tensor.reshape(1)
    if leaf == "bias":
        return name, tensor.flatten()
    if leaf != "kernel":
        return name, tensor
    if tensor.ndim == 4:  # (height, width, in, out)
        return f"{stem}.weight", tensor.permute(3, 2, 0, 1).contiguous()
    if tensor.ndim == 3 and part == "out":  # (heads, head width, out)
        return f"{stem}.weight", tensor.flatten(0, 1).T.contiguous()
    return f"{stem}.weight", tensor.flatten(1).T.contiguous()  # (in, out) or (in, heads, head width)
