"""Files in their authors' layouts, made from random tiny weights by tables written here: loaded, tensor for tensor.

That the layouts below are the authors' was checked with the authors' own code (docs/models.md has the numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from brainmap.models import VisionModel, load_model, model_card, register_model
from brainmap.models.tokenizers import HashedWords

Tensors = dict[str, Tensor]
VIT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
TEXT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 60,
    "max_position_embeddings": 10, "bos_token_id": 1, "eos_token_id": 59,
}  # fmt: skip
TOWER = dict(VIT)
STAGES = {"depths": [1, 2, 1, 1], "hidden_sizes": [16, 32, 64, 80], "num_labels": 7}


def small(name: str, config: dict[str, Any], crop: int = 32) -> str:
    card = model_card(name)
    preprocessing = card.preprocessing.model_copy(update={"crop": crop, "resize": None})
    changes = {"config": {**card.config, **config}, "preprocessing": preprocessing, "name": f"authors-{name}"}
    return register_model(card.model_copy(update={**changes, "patch": card.patch and 8})).name


def pair(tensors: Tensors, ours: str, theirs: str) -> Tensors:
    """Weight and bias of a module under another name."""
    return {f"{theirs}.{leaf}": tensors[f"{ours}.{leaf}"] for leaf in ("weight", "bias") if f"{ours}.{leaf}" in tensors}


def fused(tensors: Tensors, ours: list[str], theirs: str, between: str = ".") -> Tensors:
    return {
        f"{theirs}{between}{leaf}": torch.cat([tensors[f"{name}.{leaf}"] for name in ours])
        for leaf in ("weight", "bias")
    }


def batch_norm(tensors: Tensors, ours: str, theirs: str) -> Tensors:
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{theirs}.{leaf}": tensors[f"{ours}.{leaf}"] for leaf in leaves if f"{ours}.{leaf}" in tensors}


def timm_blocks(tensors: Tensors, ours: str, theirs: str, count: int = 2) -> Tensors:
    named: Tensors = {}
    for i in range(count):
        block, to = f"{ours}.{i}", f"{theirs}.{i}"
        named |= pair(tensors, f"{block}.layernorm_before", f"{to}.norm1")
        named |= pair(tensors, f"{block}.layernorm_after", f"{to}.norm2")
        named |= fused(tensors, [f"{block}.attention.{part}_proj" for part in "qkv"], f"{to}.attn.qkv")
        named |= pair(tensors, f"{block}.attention.o_proj", f"{to}.attn.proj")
        named |= pair(tensors, f"{block}.mlp.fc1", f"{to}.mlp.fc1") | pair(tensors, f"{block}.mlp.fc2", f"{to}.mlp.fc2")
    return named


def timm_vit(tensors: Tensors, prefix: str = "vit.") -> Tensors:
    named = timm_blocks(tensors, f"{prefix}layers", "blocks")
    named |= pair(tensors, f"{prefix}embeddings.patch_embeddings.projection", "patch_embed.proj")
    named |= pair(tensors, f"{prefix}layernorm", "norm")
    named["cls_token"] = tensors[f"{prefix}embeddings.cls_token"]
    named["pos_embed"] = tensors[f"{prefix}embeddings.position_embeddings"]
    return named


def vit_classifier(tensors: Tensors) -> Tensors:
    return timm_vit(tensors) | pair(tensors, "classifier", "head")


def deit(tensors: Tensors) -> Tensors:
    named = timm_vit(tensors, "deit.") | pair(tensors, "cls_classifier", "head")
    named |= pair(tensors, "distillation_classifier", "head_dist")
    return {**named, "dist_token": tensors["deit.embeddings.distillation_token"]}


def torchvision_vit(tensors: Tensors) -> Tensors:
    named = {
        "class_token": tensors["vit.embeddings.cls_token"],
        "encoder.pos_embedding": tensors["vit.embeddings.position_embeddings"],
    }
    named |= pair(tensors, "vit.embeddings.patch_embeddings.projection", "conv_proj")
    named |= pair(tensors, "vit.layernorm", "encoder.ln") | pair(tensors, "classifier", "heads.head")
    for i in range(2):
        block, to = f"vit.layers.{i}", f"encoder.layers.encoder_layer_{i}"
        projections = [f"{block}.attention.{part}_proj" for part in "qkv"]
        named |= fused(tensors, projections, f"{to}.self_attention.in_proj", "_")
        named |= pair(tensors, f"{block}.attention.o_proj", f"{to}.self_attention.out_proj")
        named |= pair(tensors, f"{block}.layernorm_before", f"{to}.ln_1")
        named |= pair(tensors, f"{block}.layernorm_after", f"{to}.ln_2")
        named |= pair(tensors, f"{block}.mlp.fc1", f"{to}.mlp.0") | pair(tensors, f"{block}.mlp.fc2", f"{to}.mlp.3")
    return named


def mae(tensors: Tensors) -> Tensors:
    named = timm_vit(tensors) | timm_blocks(tensors, "decoder.decoder_layers", "decoder_blocks", 1)
    for part in ("embed", "norm", "pred"):
        named |= pair(tensors, f"decoder.decoder_{part}", f"decoder_{part}")
    named["decoder_pos_embed"] = tensors["decoder.decoder_pos_embed"]
    return {**named, "mask_token": tensors["decoder.mask_token"]}


def clip_text(tensors: Tensors) -> Tensors:
    named = {
        "token_embedding.weight": tensors["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": tensors["text_model.embeddings.position_embedding.weight"],
        "text_projection": tensors["text_projection.weight"].T,
        "logit_scale": tensors["logit_scale"],
    }
    named |= pair(tensors, "text_model.final_layer_norm", "ln_final")
    return named | clip_blocks(tensors, "text_model.encoder.layers", "transformer.resblocks")


def clip_blocks(tensors: Tensors, ours: str, theirs: str) -> Tensors:
    named: Tensors = {}
    for i in range(2):
        block, to = f"{ours}.{i}", f"{theirs}.{i}"
        named |= pair(tensors, f"{block}.layer_norm1", f"{to}.ln_1") | pair(
            tensors, f"{block}.layer_norm2", f"{to}.ln_2"
        )
        named |= fused(tensors, [f"{block}.self_attn.{part}_proj" for part in "qkv"], f"{to}.attn.in_proj", "_")
        named |= pair(tensors, f"{block}.self_attn.out_proj", f"{to}.attn.out_proj")
        named |= pair(tensors, f"{block}.mlp.fc1", f"{to}.mlp.c_fc") | pair(
            tensors, f"{block}.mlp.fc2", f"{to}.mlp.c_proj"
        )
    return named


def clip(tensors: Tensors) -> Tensors:
    named = clip_text(tensors) | clip_blocks(tensors, "vision_model.encoder.layers", "visual.transformer.resblocks")
    named |= pair(tensors, "vision_model.pre_layrnorm", "visual.ln_pre")
    named |= pair(tensors, "vision_model.post_layernorm", "visual.ln_post")
    return {
        **named,
        "visual.class_embedding": tensors["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": tensors["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": tensors["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": tensors["visual_projection.weight"].T,
        "input_resolution": torch.tensor(32),
    }


def slip(tensors: Tensors) -> Tensors:
    flat = {name.replace("text_model.text_model.", "text_model."): tensor for name, tensor in tensors.items()}
    visual = {f"visual.{name}": tensor for name, tensor in timm_vit(flat, "visual.").items()}
    projector = {"image_mlp.layer1.weight": torch.ones(3, 24)}
    return {**clip_text(flat), **visual, **projector, "image_projection": flat["visual_projection.weight"].T}


def vjepa2(tensors: Tensors) -> Tensors:
    named: Tensors = {}
    for ours, theirs, blocks in (("encoder", "encoder", "blocks"), ("predictor", "predictor", "predictor_blocks")):
        for i in range(2 if ours == "encoder" else 1):
            block, to = f"{ours}.layer.{i}", f"{theirs}.module.backbone.{blocks}.{i}"
            named |= pair(tensors, f"{block}.norm1", f"{to}.norm1") | pair(tensors, f"{block}.norm2", f"{to}.norm2")
            named |= fused(tensors, [f"{block}.attention.{p}" for p in ("query", "key", "value")], f"{to}.attn.qkv")
            named |= pair(tensors, f"{block}.attention.proj", f"{to}.attn.proj")
            named |= pair(tensors, f"{block}.mlp.fc1", f"{to}.mlp.fc1") | pair(
                tensors, f"{block}.mlp.fc2", f"{to}.mlp.fc2"
            )
    at = "predictor.module.backbone"
    named |= pair(tensors, "encoder.embeddings.patch_embeddings.proj", "encoder.module.backbone.patch_embed.proj")
    named |= pair(tensors, "encoder.layernorm", "encoder.module.backbone.norm")
    named |= pair(tensors, "predictor.embeddings.predictor_embeddings", f"{at}.predictor_embed")
    named |= pair(tensors, "predictor.layernorm", f"{at}.predictor_norm")
    named |= pair(tensors, "predictor.proj", f"{at}.predictor_proj")
    tokens = tensors["predictor.embeddings.mask_tokens"]
    named |= {f"{at}.mask_tokens.{i}": token for i, token in enumerate(tokens)}
    return {**named, "target_encoder.module.backbone.norm.weight": torch.ones(24)}


def convnext(stem: str, down: str, block: str, parts: dict[str, str], final: str, head: str) -> Callable[..., Tensors]:
    """ConvNeXt by naming scheme: stem and downsampling with their index, blocks with stage and index."""

    def change(tensors: Tensors) -> Tensors:
        ours = "convnext.encoder.stages"
        named = pair(tensors, "convnext.embeddings.patch_embeddings", stem.format(0))
        named |= pair(tensors, "convnext.embeddings.layernorm", stem.format(1))
        named |= pair(tensors, "convnext.layernorm", final) | pair(tensors, "classifier", head)
        for stage, depth in enumerate(STAGES["depths"]):  # type: ignore[arg-type]
            for part in (0, 1) if stage else ():
                theirs = down.format(stage=stage, twice=2 * stage, part=part)
                named |= pair(tensors, f"{ours}.{stage}.downsampling_layer.{part}", theirs)
            for i in range(depth):
                theirs = block.format(stage=stage, odd=2 * stage + 1, i=i)
                for mine, name in parts.items():
                    named |= pair(tensors, f"{ours}.{stage}.layers.{i}.{mine}", f"{theirs}.{name}")
                gain = tensors[f"{ours}.{stage}.layers.{i}.layer_scale_parameter"]
                named[f"{theirs}.{parts['gamma']}"] = gain if parts["gamma"] == "gamma" else gain[:, None, None]
        return named

    return change


convnext_authors = convnext(
    "downsample_layers.0.{}", "downsample_layers.{stage}.{part}", "stages.{stage}.{i}",
    {"dwconv": "dwconv", "layernorm": "norm", "pwconv1": "pwconv1", "pwconv2": "pwconv2", "gamma": "gamma"},
    "norm", "head",
)  # fmt: skip
convnext_timm = convnext(
    "stem.{}", "stages.{stage}.downsample.{part}", "stages.{stage}.blocks.{i}",
    {"dwconv": "conv_dw", "layernorm": "norm", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2", "gamma": "gamma"},
    "head.norm", "head.fc",
)  # fmt: skip
convnext_torchvision = convnext(
    "features.0.{}", "features.{twice}.{part}", "features.{odd}.{i}",
    {"dwconv": "block.0", "layernorm": "block.2", "pwconv1": "block.3", "pwconv2": "block.5", "gamma": "layer_scale"},
    "classifier.0", "classifier.2",
)  # fmt: skip


def resnet_body(tensors: Tensors, ours: str, theirs: str) -> Tensors:
    named: Tensors = {}
    named |= pair(tensors, f"{ours}embedder.embedder.convolution", f"{theirs}conv1")
    named |= batch_norm(tensors, f"{ours}embedder.embedder.normalization", f"{theirs}bn1")
    for stage, depth in enumerate(STAGES["depths"]):  # type: ignore[arg-type]
        for i in range(depth):
            block, to = f"{ours}encoder.stages.{stage}.layers.{i}", f"{theirs}layer{stage + 1}.{i}"
            for c in range(3):
                named |= pair(tensors, f"{block}.layer.{c}.convolution", f"{to}.conv{c + 1}")
                named |= batch_norm(tensors, f"{block}.layer.{c}.normalization", f"{to}.bn{c + 1}")
            named |= pair(tensors, f"{block}.shortcut.convolution", f"{to}.downsample.0")
            named |= batch_norm(tensors, f"{block}.shortcut.normalization", f"{to}.downsample.1")
    return named


def resnet(tensors: Tensors) -> Tensors:
    return resnet_body(tensors, "resnet.", "") | pair(tensors, "classifier.1", "fc")


def detr(tensors: Tensors) -> Tensors:
    named = resnet_body(tensors, "model.backbone.model.", "backbone.0.body.")
    named |= pair(tensors, "class_labels_classifier", "class_embed")
    named |= pair(tensors, "model.query_position_embeddings", "query_embed")
    named |= pair(tensors, "model.input_projection", "input_proj")
    named |= pair(tensors, "model.decoder.layernorm", "transformer.decoder.norm")
    for i in range(3):
        named |= pair(tensors, f"bbox_predictor.layers.{i}", f"bbox_embed.layers.{i}")
    for half in ("encoder", "decoder"):
        block, to = f"model.{half}.layers.0", f"transformer.{half}.layers.0"
        norms = [
            "self_attn_layer_norm",
            *(["encoder_attn_layer_norm"] if half == "decoder" else []),
            "final_layer_norm",
        ]
        for number, norm in enumerate(norms, 1):
            named |= pair(tensors, f"{block}.{norm}", f"{to}.norm{number}")
        for mine, name in (("self_attn", "self_attn"), ("encoder_attn", "multihead_attn"))[: len(norms) - 1]:
            named |= fused(tensors, [f"{block}.{mine}.{part}_proj" for part in "qkv"], f"{to}.{name}.in_proj", "_")
            named |= pair(tensors, f"{block}.{mine}.o_proj", f"{to}.{name}.out_proj")
        named |= pair(tensors, f"{block}.mlp.fc1", f"{to}.linear1") | pair(tensors, f"{block}.mlp.fc2", f"{to}.linear2")
    return named


def swin(conv: str, norm: str, block: str, down: str, mlp: tuple[str, str]) -> Callable[..., Tensors]:
    def change(tensors: Tensors) -> Tensors:
        named = pair(tensors, "swin.embeddings.patch_embeddings.projection", conv)
        named |= pair(tensors, "swin.embeddings.norm", norm)
        named |= pair(tensors, "swin.layernorm", "norm") | pair(tensors, "classifier", "head")
        for stage in range(2):
            for i in range(2):
                ours = f"swin.encoder.layers.{stage}.blocks.{i}"
                theirs = block.format(stage=stage, odd=2 * stage + 1, i=i)
                named |= fused(tensors, [f"{ours}.attention.{part}_proj" for part in "qkv"], f"{theirs}.attn.qkv")
                named |= pair(tensors, f"{ours}.attention.o_proj", f"{theirs}.attn.proj")
                named |= pair(tensors, f"{ours}.layernorm_before", f"{theirs}.norm1")
                named |= pair(tensors, f"{ours}.layernorm_after", f"{theirs}.norm2")
                named |= pair(tensors, f"{ours}.mlp.fc1", f"{theirs}.mlp.{mlp[0]}")
                named |= pair(tensors, f"{ours}.mlp.fc2", f"{theirs}.mlp.{mlp[1]}")
                table = "relative_position_bias_table"
                bias = tensors[f"{ours}.attention.relative_position_bias.{table}"]
                named |= {f"{theirs}.attn.{table}": bias, f"{theirs}.attn.relative_position_index": torch.arange(9)}
        for part in ("reduction", "norm"):
            named |= pair(tensors, f"swin.encoder.layers.0.downsample.{part}", f"{down}.{part}")
        return named

    return change


swin_authors = swin(
    "patch_embed.proj", "patch_embed.norm", "layers.{stage}.blocks.{i}", "layers.0.downsample", ("fc1", "fc2")
)
swin_torchvision = swin("features.0.0", "features.0.2", "features.{odd}.{i}", "features.2", ("0", "3"))

DECODER = {
    "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
}  # fmt: skip
DETECTOR = {
    "use_timm_backbone": False, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_labels": 3,
    "backbone_config": {
        "model_type": "resnet", "out_features": ["stage4"], "embedding_size": 8, "depths": STAGES["depths"],
        "hidden_sizes": STAGES["hidden_sizes"],
    },
}  # fmt: skip
PREDICTOR = {
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
    "pred_num_mask_tokens": 2,
}
SWIN = {
    "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "num_labels": 7
}  # fmt: skip
TEXT_AND_IMAGE = {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[Tensors], Tensors]]] = {
    "timm ViT": ("vit-base-patch16", {**VIT, "num_labels": 7}, vit_classifier),
    "torchvision ViT": ("vit-base-patch16", {**VIT, "num_labels": 7}, torchvision_vit),
    "DeiT": ("deit-small", {**VIT, "num_labels": 7}, deit),
    "MAE": ("vit-mae-base", {**VIT, **DECODER}, mae),
    "CLIP": ("clip-vit-base-patch16", TEXT_AND_IMAGE, clip),
    "SLIP": ("slip-vitb16", {**VIT, "projection_dim": 12, "text_config": TEXT}, slip),
    "V-JEPA 2": ("vjepa2-vitl", {**VIT, **PREDICTOR, "crop_size": 32}, vjepa2),
    "ConvNeXt": ("convnext-tiny", STAGES, convnext_authors),
    "timm ConvNeXt": ("convnext-tiny", STAGES, convnext_timm),
    "torchvision ConvNeXt": ("convnext-tiny", STAGES, convnext_torchvision),
    "torchvision ResNet": ("resnet-50", {**STAGES, "embedding_size": 8}, resnet),
    "DETR": ("detr-resnet-50", DETECTOR, detr),
    "Swin": ("swin-tiny", SWIN, swin_authors),
    "torchvision Swin": ("swin-tiny", SWIN, swin_torchvision),
}


def random_model(case: str) -> VisionModel:
    name, config, _ = CASES[case]
    model = load_model(
        small(name, config, 64 if "depths" in config or "backbone_config" in config else 32), weights="untrained"
    )
    generator = torch.Generator().manual_seed(7)
    for tensor in model.module.state_dict().values():  # no two tensors alike, nothing at its initial value
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return model


@pytest.fixture(autouse=True)
def hashed_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "brainmap.models.loading.model_loading.hub_tokenizer",
        lambda card, source: HashedWords(_text(card.config), card.caption_length),
    )


def _text(config: dict[str, Any]) -> Any:
    return type("Text", (), {**config["text_config"]})


@pytest.mark.parametrize("case", CASES)
def test_authors_file_loads_tensor_for_tensor(case: str, tmp_path: Path) -> None:
    model = random_model(case)
    theirs = {name: tensor.clone() for name, tensor in CASES[case][2](dict(model.module.state_dict())).items()}
    torch.save({"model": theirs, "epoch": 3}, tmp_path / "authors.pth")
    loaded = load_model(model.name, weights=tmp_path / "authors.pth")
    wanted = {name: tensor for name, tensor in model.module.state_dict().items() if "batches_tracked" not in name}
    found = loaded.module.state_dict()
    different = [name for name, tensor in wanted.items() if not torch.equal(found[name], tensor)]
    assert not different


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "model.module.", "_orig_mod.module.", "net.backbone."]
)
def test_wrappers_of_training_frameworks_are_taken_off(prefix: str, tmp_path: Path) -> None:
    model = random_model("timm ViT")
    theirs = {prefix + name: tensor.clone() for name, tensor in vit_classifier(dict(model.module.state_dict())).items()}
    torch.save({"state_dict": theirs, "hyper_parameters": {"lr": 0.1}, "optimizer_states": []}, tmp_path / "last.ckpt")
    assert load_model(model.name, weights=tmp_path / "last.ckpt").digest == model.digest
    ours = {prefix + name: tensor for name, tensor in model.module.state_dict().items()}
    torch.save({"state_dict": ours}, tmp_path / "ours.ckpt")
    assert load_model(model.name, weights=tmp_path / "ours.ckpt").digest == model.digest


def test_siglip_in_big_vision_s_arrays(tmp_path: Path) -> None:
    """Both ways of big_vision: a layer a name, and layers stacked; heads apart, kernels (in, out)."""
    text = {**TEXT, "projection_size": 24, "hidden_size": 24, "intermediate_size": 96}
    name = small("siglip2-base-patch16", {"vision_config": TOWER, "text_config": text})
    model = load_model(name, weights="untrained", seed=5)
    ours = {key: tensor.numpy() for key, tensor in model.module.state_dict().items()}
    for stacked in (False, True):
        np.savez(tmp_path / f"siglip{stacked}.npz", **big_vision(ours, stacked))
        assert load_model(name, weights=tmp_path / f"siglip{stacked}.npz").digest == model.digest


def test_naflex_in_big_vision_s_arrays(tmp_path: Path) -> None:
    """Patches instead of pixels: a kernel of two axes, and positions as a grid."""
    text = {**TEXT, "projection_size": 24, "hidden_size": 24, "intermediate_size": 96}
    tower = {key: value for key, value in TOWER.items() if key != "image_size"} | {"num_patches": 16}
    name = small("siglip2-base-patch16-naflex", {"vision_config": tower, "text_config": text})
    model = load_model(name, weights="untrained", seed=5)
    ours = {key: tensor.numpy() for key, tensor in model.module.state_dict().items()}
    kernel = ours["vision_model.embeddings.patch_embedding.weight"]
    arrays = big_vision({**ours, "vision_model.embeddings.patch_embedding.weight": kernel[:, :, None, None]}, True)
    arrays["params/img/embedding/kernel"] = kernel.T
    arrays["params/img/pos_embedding"] = arrays["params/img/pos_embedding"].reshape(4, 4, -1)
    np.savez(tmp_path / "naflex.npz", **arrays)
    assert load_model(name, weights=tmp_path / "naflex.npz").digest == model.digest


def big_vision(ours: dict[str, np.ndarray], stacked: bool) -> dict[str, np.ndarray]:
    def dense(mine: str, theirs: str) -> dict[str, np.ndarray]:
        return {f"{theirs}/kernel": ours[f"{mine}.weight"].T, f"{theirs}/bias": ours[f"{mine}.bias"]}

    def norm(mine: str, theirs: str) -> dict[str, np.ndarray]:
        return {f"{theirs}/scale": ours[f"{mine}.weight"], f"{theirs}/bias": ours[f"{mine}.bias"]}

    def attention(weights: dict[str, np.ndarray], theirs: str, heads: int = 2) -> dict[str, np.ndarray]:
        arrays = {}
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v")):
            kernel = weights[f"{letter}_proj.weight"]
            arrays[f"{theirs}/{part}/kernel"] = kernel.T.reshape(kernel.shape[1], heads, -1)
            arrays[f"{theirs}/{part}/bias"] = weights[f"{letter}_proj.bias"].reshape(heads, -1)
        out = weights["out_proj.weight"]
        arrays[f"{theirs}/out/kernel"] = out.T.reshape(heads, -1, out.shape[0])
        return {**arrays, f"{theirs}/out/bias": weights["out_proj.bias"]}

    def below(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): value for key, value in ours.items() if key.startswith(prefix)}

    arrays = {"t": ours["logit_scale"].reshape(()), "b": ours["logit_bias"].reshape(())}
    towers = (("vision_model", "img/Transformer"), ("text_model", "txt/Encoder_0"))
    for tower, theirs in towers:
        layers = []
        for i in range(2):
            at = f"{tower}.encoder.layers.{i}"
            layer = norm(f"{at}.layer_norm1", "LayerNorm_0") | norm(f"{at}.layer_norm2", "LayerNorm_1")
            layer |= attention(below(f"{at}.self_attn."), "MultiHeadDotProductAttention_0")
            layer |= dense(f"{at}.mlp.fc1", "MlpBlock_0/Dense_0") | dense(f"{at}.mlp.fc2", "MlpBlock_0/Dense_1")
            layers.append(layer)
        if stacked:
            arrays |= {f"{theirs}/encoderblock/{k}": np.stack([layer[k] for layer in layers]) for k in layers[0]}
        else:
            arrays |= {f"{theirs}/encoderblock_{i}/{k}": v for i, layer in enumerate(layers) for k, v in layer.items()}
    arrays |= norm("vision_model.post_layernorm", "img/Transformer/encoder_norm")
    arrays |= norm("text_model.final_layer_norm", "txt/Encoder_0/encoder_norm")
    arrays |= dense("text_model.head", "txt/head")
    arrays["txt/Embed_0/embedding"] = ours["text_model.embeddings.token_embedding.weight"]
    arrays["txt/pos_embedding"] = ours["text_model.embeddings.position_embedding.weight"][None]
    arrays["img/pos_embedding"] = ours["vision_model.embeddings.position_embedding.weight"][None]
    arrays["img/embedding/kernel"] = ours["vision_model.embeddings.patch_embedding.weight"].transpose(2, 3, 1, 0)
    arrays["img/embedding/bias"] = ours["vision_model.embeddings.patch_embedding.bias"]
    pool = below("vision_model.head.attention.")
    for leaf in ("weight", "bias"):
        for letter, part in zip("qkv", np.split(pool.pop(f"in_proj_{leaf}"), 3), strict=True):
            pool[f"{letter}_proj.{leaf}"] = part
    arrays |= attention(pool, "img/MAPHead_0/MultiHeadDotProductAttention_0")
    arrays |= norm("vision_model.head.layernorm", "img/MAPHead_0/LayerNorm_0")
    arrays |= dense("vision_model.head.mlp.fc1", "img/MAPHead_0/MlpBlock_0/Dense_0")
    arrays |= dense("vision_model.head.mlp.fc2", "img/MAPHead_0/MlpBlock_0/Dense_1")
    arrays["img/MAPHead_0/probe"] = ours["vision_model.head.probe"]
    return {f"params/{key}": value for key, value in arrays.items()}


def test_mae_encoder_alone_has_no_reconstruction(tmp_path: Path) -> None:
    model = random_model("MAE")
    theirs = timm_vit(dict(model.module.state_dict()))
    torch.save({"model": {name: tensor.clone() for name, tensor in theirs.items()}}, tmp_path / "encoder.pth")
    alone = load_model(model.name, weights=tmp_path / "encoder.pth")
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(alone.tokens(pixels), model.tokens(pixels), rtol=0, atol=0)
    assert "mae-reconstruction" in model.objectives
    assert alone.card.objective in alone.objectives and "mae-reconstruction" not in alone.objectives


def test_deit_without_distillation_is_a_plain_vit(tmp_path: Path) -> None:
    plain = random_model("timm ViT")
    theirs = vit_classifier(dict(plain.module.state_dict()))
    torch.save({"model": {name: tensor.clone() for name, tensor in theirs.items()}}, tmp_path / "deit.pth")
    model = load_model(small("deit-small", {**VIT, "num_labels": 7}), weights=tmp_path / "deit.pth")
    assert model.card.tokens == {"cls": 1}
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model.logits(pixels), plain.logits(pixels))
