"""dino.txt and LeJEPA in their authors' files, reproduced synthetically: loaded strictly, computing what they do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainmap.common.errors import InputError, MissingFileError
from brainmap.features import FeatureExtractor
from brainmap.models import ImageBatch, VisionModel, load_model, model_card, register_model

VIT = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96}


def small_card(name: str, config: dict[str, Any], **changes: Any) -> str:
    card = model_card(name)
    crop = 64 if "depths" in config else 32
    preprocessing = card.preprocessing.model_copy(update={"crop": crop, "resize": None})
    views = card.views.model_copy(update={"global_pixels": crop, "local_pixels": crop, "local_crops": 1})
    fields = {"name": f"layout-{name}", "config": {**card.config, **config}, "preprocessing": preprocessing}
    patch = None if card.patch is None else 8
    return register_model(card.model_copy(update={**fields, "patch": patch, "views": views, **changes})).name


def batch_of(model: VisionModel, count: int = 3) -> ImageBatch:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (70, 74, 3), dtype=np.uint8) for _ in range(count)]
    captions = ["a cat", "two dogs on a beach", "sea"][:count]
    table = pd.DataFrame({"caption": captions})
    return ImageBatch(images, model.preprocess(images), list("abc")[:count], table)


def authors_dinov3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A DINOv3 backbone of ``transformers`` in the authors' names: fused qkv, storage tokens, layer scales."""
    found: dict[str, Tensor] = {"rope_embed.periods": torch.ones(4)}
    for key, tensor in state.items():
        key = key.removeprefix("model.").replace("layer.", "blocks.", 1)
        for new, old in (
            ("embeddings.register_tokens", "storage_tokens"),
            ("embeddings.patch_embeddings", "patch_embed.proj"),
            ("embeddings.", ""),
            ("mlp.up_proj", "mlp.fc1"),
            ("mlp.down_proj", "mlp.fc2"),
            ("attention.o_proj", "attn.proj"),
            ("layer_scale1.lambda1", "ls1.gamma"),
            ("layer_scale2.lambda1", "ls2.gamma"),
        ):
            key = key.replace(new, old)
        found[key] = tensor[0] if key == "mask_token" else tensor
    for i in range(VIT["num_hidden_layers"]):
        parts = [found.pop(f"blocks.{i}.attention.{part}_proj.weight") for part in "qkv"]
        found[f"blocks.{i}.attn.qkv.weight"] = torch.cat(parts)
        query, value = (found.pop(f"blocks.{i}.attention.{part}_proj.bias") for part in "qv")
        found[f"blocks.{i}.attn.qkv.bias"] = torch.cat([query, torch.full_like(query, 9.0), value])
    return found


# --- dino.txt ---------------------------------------------------------------------------------------------------------

TEXT = {
    "vocab_size": 60,
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 9,
}


def attention(x: Tensor, tensors: dict[str, Tensor], prefix: str, *, causal: bool) -> Tensor:
    """Multi-head attention (two heads) spelled out."""
    n, length, width = x.shape
    q, k, v = F.linear(x, tensors[f"{prefix}.qkv.weight"]).reshape(n, length, 3, 2, width // 2).unbind(2)
    scores = torch.einsum("nihd,njhd->nhij", q, k) / math.sqrt(width // 2)
    if causal:
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    mixed = torch.einsum("nhij,njhd->nihd", scores.softmax(-1), v).reshape(n, length, width)
    return F.linear(mixed, tensors[f"{prefix}.proj.weight"], tensors[f"{prefix}.proj.bias"])


def norm(x: Tensor, tensors: dict[str, Tensor], prefix: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"], 1e-5)


def linear(x: Tensor, tensors: dict[str, Tensor], prefix: str) -> Tensor:
    return F.linear(x, tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"])


@pytest.fixture
def dinotxt(tmp_path: Path) -> tuple[str, Path, dict[str, Tensor]]:
    """A folder with the authors' two files, and all tensors in the authors' names."""
    name = small_card("dinotxt-vitl16", {**VIT, "image_size": 32, "patch_size": 8, "text_config": TEXT})
    random = load_model(name, weights="untrained", seed=6)
    generator = torch.Generator().manual_seed(0)
    for parameter in random.module.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    state = random.module.state_dict()
    inside = "visual_model.backbone."
    backbone = {key.removeprefix(inside): tensor for key, tensor in state.items() if key.startswith(inside)}
    rest = {key: tensor.clone() for key, tensor in state.items() if not key.startswith(inside)}
    torch.save(authors_dinov3(backbone), tmp_path / "dinov3_vitl16_pretrain.pth")
    torch.save(rest, tmp_path / "dinov3_vitl16_dinotxt_vision_head_and_text_encoder.pth")
    return name, tmp_path, {**rest, **state}


def test_dinotxt_computes_the_authors_similarity(dinotxt: tuple[str, Path, dict[str, Tensor]]) -> None:
    name, folder, tensors = dinotxt
    backbone = load_model(name, weights="untrained")
    module, source = backbone.adapter.pretrained(folder), load_model(name, weights="untrained", seed=6)
    assert source.tokenizer is not None
    pixels, ids = batch_of(source).pixels, source.tokenizer(["a cat", "two dogs on a beach", "sea"])["input_ids"]
    vision = module.get_submodule("visual_model.backbone")
    for key, tensor in vision.state_dict().items():
        assert torch.equal(tensor, tensors[f"visual_model.backbone.{key}"]), key
    with torch.no_grad():
        x = vision(pixels).last_hidden_state
        for i in range(2):
            at = f"visual_model.head.blocks.{i}"
            x = x + tensors[f"{at}.ls1.gamma"] * attention(
                norm(x, tensors, f"{at}.norm1"), tensors, f"{at}.attn", causal=False
            )
            y = norm(x, tensors, f"{at}.norm2")
            gated = F.silu(linear(y, tensors, f"{at}.mlp.w1")) * linear(y, tensors, f"{at}.mlp.w2")
            x = x + tensors[f"{at}.ls2.gamma"] * linear(gated, tensors, f"{at}.mlp.w3")
        x = norm(x, tensors, "visual_model.head.ln_final")
        image = torch.cat([x[:, 0], x[:, 5:].mean(1)], 1)
        t = tensors["text_model.backbone.token_embedding.weight"][ids]
        t = t + tensors["text_model.backbone.positional_embedding"][: ids.shape[1]]
        for i in range(2):
            at = f"text_model.backbone.blocks.{i}"
            t = t + attention(norm(t, tensors, f"{at}.attention_norm"), tensors, f"{at}.attention", causal=True)
            y = F.gelu(linear(norm(t, tensors, f"{at}.ffn_norm"), tensors, f"{at}.feed_forward.fc1"))
            t = t + linear(y, tensors, f"{at}.feed_forward.fc2")
        t = norm(t, tensors, "text_model.backbone.ln_final")
        ends = t[torch.arange(3), ids.argmax(1)]
        text = F.linear(ends, tensors["text_model.head.linear_projection.weight"])
        wanted = F.cosine_similarity(image, text) * tensors["logit_scale"].exp()
        found = backbone.adapter.image_embedding(module, pixels)
        torch.testing.assert_close(found, image, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            backbone.adapter.text_embedding(module, {"input_ids": ids}), text, rtol=1e-4, atol=1e-4
        )
        cosine = F.cosine_similarity(found, text) * module.logit_scale.exp()
        torch.testing.assert_close(cosine, wanted, rtol=1e-4, atol=1e-4)


def test_dinotxt_needs_both_files(dinotxt: tuple[str, Path, dict[str, Tensor]], tmp_path: Path) -> None:
    name, folder, _ = dinotxt
    head_file = folder / "dinov3_vitl16_dinotxt_vision_head_and_text_encoder.pth"
    with pytest.raises(InputError, match="lack its DINOv3 backbone: the authors publish two files"):
        load_model(name, weights=head_file)
    head_file.unlink()
    with pytest.raises(InputError, match="lack its vision head and text tower"):
        load_model(name, weights=folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="is empty: weights are"):
        load_model(name, weights=tmp_path / "empty")


# --- LeJEPA -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_lejepa_in_the_authors_names(tmp_path: Path) -> None:
    """``timm``'s ViT with a linear head, and ``torchvision``'s MLP, whose layers are numbered 0, 1, 4, 5, 8."""
    torch.manual_seed(5)
    name = small_card("lejepa-vits8", {**VIT, "image_size": 32, "patch_size": 8})
    backbone = load_model(name, weights="untrained", seed=2)
    tensors: dict[str, Tensor] = {}
    for key, tensor in backbone.module.state_dict().items():
        if not key.startswith("backbone."):
            continue
        key = key.replace("encoder.layer.", "blocks.").replace("layers.", "blocks.")
        for new, old in (
            ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.cls_token", "cls_token"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("layernorm.", "norm."),
            ("attention.o_proj", "attn.proj"),
            ("attention.output.dense", "attn.proj"),
            ("intermediate.dense", "mlp.fc1"),
        ):
            key = key.replace(new, old)
        tensors[key if "mlp" in key or "attn" in key else key.replace("output.dense", "mlp.fc2")] = tensor.clone()
    for i in range(3):
        for leaf in ("weight", "bias"):
            parts = []
            for part, short in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
                at = f"backbone.blocks.{i}.attention"
                options = (f"{at}.{short}.{leaf}", f"{at}.attention.{part}.{leaf}")
                parts.append(tensors.pop(next(option for option in options if option in tensors)))
            tensors[f"backbone.blocks.{i}.attn.qkv.{leaf}"] = torch.cat(parts)
    head, mlp = nn.Linear(24, 10), nn.Sequential(
        nn.Linear(10, 14), nn.BatchNorm1d(14), nn.ReLU(), nn.Dropout(0.0), nn.Linear(14, 14), nn.BatchNorm1d(14),
        nn.ReLU(), nn.Dropout(0.0), nn.Linear(14, 6), nn.Dropout(0.0),
    )  # fmt: skip
    mlp[1].running_mean.uniform_(-1, 1)
    tensors |= {f"backbone.head.{key}": tensor for key, tensor in head.state_dict().items()}
    tensors |= {f"proj.{key}": tensor.clone() for key, tensor in mlp.state_dict().items()}
    torch.save(tensors, tmp_path / "lejepa.pt")
    model = load_model(name, weights=tmp_path / "lejepa.pt")
    batch = batch_of(model)
    torch.testing.assert_close(model.tokens(batch.pixels), backbone.tokens(batch.pixels))
    cls = model.tokens(batch.pixels)[:, 0]
    trained = mlp.train()(head(cls))
    mlp.load_state_dict({key.removeprefix("proj."): tensors[key] for key in tensors if key.startswith("proj.")})
    torch.testing.assert_close(model.module.project(cls, batch_statistics=True), trained, rtol=1e-4, atol=1e-5)
    evaluated = mlp.eval()(head(cls))
    torch.testing.assert_close(model.module.project(cls, batch_statistics=False), evaluated, rtol=1e-4, atol=1e-5)
    found = FeatureExtractor(model, layers=["block.0"], pooling="cls").compute(batch)
    assert np.abs(found["gradient", "block.0"]).max() > 0
    tensors.pop("proj.8.weight")
    torch.save(tensors, tmp_path / "headless.pt")
    with pytest.raises(InputError, match=r"lack 'proj\.8\.weight': LeJEPA needs its embedding and projector"):
        load_model(name, weights=tmp_path / "headless.pt")
