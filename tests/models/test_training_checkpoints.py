"""Official training checkpoints, reproduced in synthetic files: loaded strictly, right to the last number."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.features import FeatureExtractor
from brainmap.models import ImageBatch, VisionModel, checkpoint_series, load_model, model_card, register_model
from brainmap.models.adapters.ijepa import target_and_context
from brainmap.models.objectives import OBJECTIVES
from brainmap.models.views import multi_crop

WIDTH, HEADS, BLOCKS, PATCH = 16, 2, 2, 8
CONFIG = {
    "hidden_size": WIDTH,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "image_size": 32,
    "patch_size": PATCH,
}


class OfficialBlock(nn.Module):
    """A block with the authors' names: fused qkv, optional layer scale."""

    def __init__(self, scale: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        for name in ("ls1", "ls2") if scale else ():
            holder = nn.Module()
            holder.gamma = nn.Parameter(torch.rand(WIDTH))
            setattr(self, name, holder)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        qkv = self.attn.qkv(self.norm1(x)).reshape(n, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(n, tokens, WIDTH)
        first = self.attn.proj(attended)
        x = x + (first * self.ls1.gamma if hasattr(self, "ls1") else first)
        second = self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))
        return x + (second * self.ls2.gamma if hasattr(self, "ls2") else second)


class OfficialViT(nn.Module):
    """The authors' ViT (DINO, iBOT, DINOv2) for images of the configured size."""

    def __init__(self, *, scale: bool, registers: int = 0, mask: str | None = None) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, WIDTH))
        if registers:
            self.register_tokens = nn.Parameter(torch.randn(1, registers, WIDTH))
        if mask:
            setattr(self, mask, nn.Parameter(torch.randn(1, WIDTH)))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.blocks = nn.ModuleList(OfficialBlock(scale) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches], 1) + self.pos_embed
        if hasattr(self, "register_tokens"):
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(pixels), -1, -1), x[:, 1:]], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def official_head(prototypes: int, weight_norm: bool) -> dict[str, Tensor]:
    mlp = nn.Sequential(nn.Linear(WIDTH, 24), nn.GELU(), nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 10))
    tensors = {f"mlp.{name}": tensor for name, tensor in mlp.state_dict().items()}
    if weight_norm:
        gain = {"last_layer.weight_g": torch.rand(prototypes, 1) + 0.5}
        return {**tensors, **gain, "last_layer.weight_v": torch.randn(prototypes, 10)}
    return {**tensors, "last_layer.weight": torch.randn(prototypes, 10)}


def head_output(tensors: dict[str, Tensor], tokens: Tensor, last: str = "last_layer") -> Tensor:
    for i in (0, 2, 4):
        tokens = F.linear(tokens, tensors[f"mlp.{i}.weight"], tensors[f"mlp.{i}.bias"])
        tokens = F.gelu(tokens) if i < 4 else tokens
    if f"{last}.weight_v" in tensors:
        direction = tensors[f"{last}.weight_v"]
        weight = tensors[f"{last}.weight_g"] * direction / direction.norm(dim=1, keepdim=True)
    else:
        weight = tensors[f"{last}.weight"]
    return F.linear(F.normalize(tokens, dim=-1), weight)


def small_card(name: str) -> str:
    card = model_card(name)
    preprocessing = card.preprocessing.model_copy(update={"crop": 32, "resize": None})
    views = card.views.model_copy(update={"local_pixels": 32, "local_crops": 1})
    changes: dict[str, Any] = {"name": f"small-{name}", "patch": PATCH, "views": views, "preprocessing": preprocessing}
    return register_model(card.model_copy(update={**changes, "config": {**card.config, **CONFIG}})).name


def dino_file(
    path: Path, backbones: list[nn.Module], heads: list[dict[str, Tensor]], losses: dict[str, dict[str, Tensor]]
) -> Path:
    """DINO's ``checkpoint.pth``: dictionaries of tensors beside epoch and arguments."""
    saved: dict[str, Any] = {"epoch": 99, "args": argparse.Namespace(teacher_temp=0.05, arch="vit_small")}
    for top, prefix, backbone, head in zip(("student", "teacher"), ("module.", ""), backbones, heads, strict=True):
        state = {f"{prefix}backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
        saved[top] = {**state, **{f"{prefix}head.{name}": tensor for name, tensor in head.items()}}
    torch.save({**saved, **losses}, path)
    return path


def batch_of(model: VisionModel) -> ImageBatch:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 44, 3), dtype=np.uint8) for _ in range(3)]
    return ImageBatch(images, model.preprocess(images), ["a", "b", "c"], pd.DataFrame(index=range(3)))


@torch.no_grad()
def test_dino_checkpoint_gives_the_exact_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student, teacher = OfficialViT(scale=False), OfficialViT(scale=False)
    heads, centre = [official_head(20, weight_norm=True) for _ in range(2)], torch.randn(1, 20)
    losses = {"dino_loss": {"center": centre}}
    file = dino_file(tmp_path / "checkpoint0099.pth", [student, teacher], heads, losses)
    model = load_model(small_card("dino-vits16"), weights=file)
    batch = batch_of(model)
    torch.testing.assert_close(model.tokens(batch.pixels), teacher(batch.pixels), rtol=1e-4, atol=1e-5)
    seen = model.tokens(batch.pixels, branch="student")
    torch.testing.assert_close(seen, student(batch.pixels), rtol=1e-4, atol=1e-5)
    assert model.card.objective == "dino" and "dino-ibot" not in model.objectives
    assert model.recipe == {"epoch": 99, "args": {"teacher_temp": 0.05, "arch": "vit_small"}}
    views = multi_crop(model, batch, seed=0)
    crops = [*views.large.unflatten(0, (2, 3)), *views.small.unflatten(0, (1, 3))]
    goals = [torch.softmax((head_output(heads[1], teacher(crop)[:, 0]) - centre) / 0.05, -1) for crop in crops[:2]]
    terms = [
        -(goals[u] * torch.log_softmax(head_output(heads[0], student(crops[v])[:, 0]) / 0.1, -1)).sum(-1)
        for u in range(2)
        for v in range(3)
        if u != v
    ]
    torch.testing.assert_close(OBJECTIVES["dino"](model, batch), torch.stack(terms).mean(0), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_ibot_checkpoint_has_two_heads_of_one_mlp(tmp_path: Path) -> None:
    torch.manual_seed(1)
    backbones = [OfficialViT(scale=False, mask="masked_embed") for _ in range(2)]
    heads = []
    for _ in range(2):
        head, second = official_head(20, weight_norm=True), official_head(30, weight_norm=True)
        heads.append(head | {f"last_layer2.{key[11:]}": second[key] for key in second if key.startswith("last_layer")})
    centres = {"center": torch.randn(1, 1, 20), "center2": torch.randn(1, 1, 30)}
    file = dino_file(tmp_path / "checkpoint.pth", backbones, heads, {"ibot_loss": centres})
    model = load_model(small_card("ibot-vits16"), weights=file)
    batch = batch_of(model)
    patches = model.tokens(batch.pixels, branch="student")[:, 1:]
    wanted = head_output(heads[0], backbones[0](batch.pixels)[:, 1:], "last_layer2")
    torch.testing.assert_close(model.module.student.ibot_head(patches), wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(model.module.ibot_patch_loss.center, centres["center2"][0])
    mask = backbones[1].state_dict()["masked_embed"]
    torch.testing.assert_close(model.module.teacher.backbone.embeddings.mask_token[0], mask)
    assert model.card.objective == "dino-ibot"
    assert torch.isfinite(OBJECTIVES["dino-ibot"](model, batch)).all()


@pytest.mark.parametrize("name", ["dinov2-small", "dinov2-registers-small"])
@torch.no_grad()
def test_dinov2_checkpoint_loads_strictly(name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    registers = 4 if "registers" in name else 0
    student, teacher = (OfficialViT(scale=True, registers=registers, mask="mask_token") for _ in range(2))
    tensors = {}
    for top, backbone in (("student", student), ("teacher", teacher)):
        for key, tensor in backbone.state_dict().items():
            tensors[f"{top}.backbone.{key.replace('blocks.', 'blocks.0.')}"] = tensor
        for head in ("dino_head", "ibot_head"):
            tensors.update({f"{top}.{head}.{key}": value for key, value in official_head(20, weight_norm=True).items()})
    tensors["dino_loss.center"] = torch.randn(1, 20)
    tensors["ibot_patch_loss.center"] = torch.randn(1, 1, 20)
    torch.save({"model": tensors, "iteration": 7}, tmp_path / "model.pth")
    model = load_model(small_card(name), weights=tmp_path / "model.pth")
    batch = batch_of(model)
    torch.testing.assert_close(model.tokens(batch.pixels), teacher(batch.pixels), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.module.dino_loss.center, tensors["dino_loss.center"])
    head = {key.removeprefix("teacher.ibot_head."): value for key, value in tensors.items() if "teacher.ibot" in key}
    tokens = torch.randn(5, WIDTH)
    torch.testing.assert_close(model.module.teacher.ibot_head(tokens), head_output(head, tokens), rtol=1e-4, atol=1e-5)
    found = FeatureExtractor(model, pooling="flatten").compute(batch)
    assert all(np.isfinite(values).all() for values in found.values())
    tensors.pop("teacher.backbone.blocks.0.1.norm2.bias")
    torch.save({"model": tensors}, tmp_path / "lacking.pth")
    with pytest.raises(InputError, match=r"lacking.pth \(teacher\) do not fill"):
        load_model(small_card(name), weights=tmp_path / "lacking.pth")


def official_dinov3(backbone: nn.Module) -> dict[str, Tensor]:
    """Today's tensors of ``transformers`` in the authors' layout, with the parts that are not parameters here."""
    state = backbone.state_dict()
    names = {"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2", "attention.o_proj": "attn.proj"}
    official: dict[str, Tensor] = {"rope_embed.periods": torch.ones(4), "local_cls_norm.weight": torch.ones(WIDTH)}
    official["local_cls_norm.bias"] = torch.zeros(WIDTH)
    for key, tensor in state.items():
        key = key.replace("model.layer.", "layer.")
        key = key.replace("layer.", "blocks.", 1) if key.startswith("layer.") else key
        for new, old in names.items():
            key = key.replace(new, old)
        for number in "12":
            key = key.replace(f"layer_scale{number}.lambda1", f"ls{number}.gamma")
        key = key.replace("embeddings.patch_embeddings", "patch_embed.proj")
        key = key.replace("embeddings.register_tokens", "storage_tokens").replace("embeddings.", "")
        official[key] = tensor[0] if key == "mask_token" else tensor
    for i in range(BLOCKS):
        parts = [official.pop(f"blocks.{i}.attention.{part}_proj.weight") for part in "qkv"]
        official[f"blocks.{i}.attn.qkv.weight"] = torch.cat(parts)
        query, value = (official.pop(f"blocks.{i}.attention.{part}_proj.bias") for part in "qv")
        official[f"blocks.{i}.attn.qkv.bias"] = torch.cat([query, torch.full((WIDTH,), 9.0), value])
        official[f"blocks.{i}.attn.qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(WIDTH)
    return official


def test_dinov3_checkpoint_loads_strictly(tmp_path: Path) -> None:
    name = small_card("dinov3-vits16")
    backbones = [load_model(name, weights="untrained", seed=seed).module for seed in (1, 2)]
    tensors = {}
    for top, backbone in zip(("student", "teacher"), backbones, strict=True):
        tensors.update({f"{top}.backbone.{key}": tensor for key, tensor in official_dinov3(backbone).items()})
        for head in ("dino_head", "ibot_head"):
            made = official_head(20, weight_norm=False)
            tensors.update({f"{top}.{head}.{key}": value for key, value in made.items()})
    torch.save(tensors, tmp_path / "training.pth")
    model = load_model(name, weights=tmp_path / "training.pth")
    for top, backbone in zip(("student", "teacher"), backbones, strict=True):
        found = model.module.get_submodule(f"{top}.backbone").state_dict()
        for key, tensor in backbone.state_dict().items():
            assert torch.equal(found[key], tensor), key
    assert model.card.objective == "dinov3"
    assert OBJECTIVES["dinov3"].label(model) == "exact loss, default settings, simplified views (batch-coupled)"
    assert OBJECTIVES["dino-ibot"].label(model) == "surrogate"


class OfficialPredictor(nn.Module):
    """I-JEPA's predictor as its authors write it, for one context and one target block."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.predictor_embed, self.predictor_proj = nn.Linear(WIDTH, inner), nn.Linear(inner, WIDTH)
        self.mask_token = nn.Parameter(torch.randn(1, 1, inner))
        self.predictor_pos_embed = nn.Parameter(torch.randn(1, 16, inner))
        self.predictor_blocks = nn.ModuleList([OfficialBlock(scale=False) for _ in range(2)])
        self.predictor_norm = nn.LayerNorm(inner, eps=1e-6)

    def forward(self, x: Tensor, keep: Tensor, wanted: Tensor) -> Tensor:
        x = self.predictor_embed(x) + self.predictor_pos_embed[:, keep]
        x = torch.cat([x, self.mask_token.repeat(1, len(wanted), 1) + self.predictor_pos_embed[:, wanted]], 1)
        for block in self.predictor_blocks:
            x = block(x)
        return self.predictor_proj(self.predictor_norm(x)[:, len(keep) :])


class OfficialIJEPAEncoder(OfficialViT):
    """The same blocks without a CLS token, on some of the patches."""

    def __init__(self) -> None:
        super().__init__(scale=False)
        del self.cls_token
        self.pos_embed = nn.Parameter(torch.randn(1, 16, WIDTH))

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        x = self.patch_embed.proj(pixels).flatten(2).transpose(1, 2) + self.pos_embed
        x = x if keep is None else x[:, keep]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


@torch.no_grad()
def test_ijepa_checkpoint_gives_its_loss(tmp_path: Path) -> None:
    torch.manual_seed(4)
    encoder, target, predictor = OfficialIJEPAEncoder(), OfficialIJEPAEncoder(), OfficialPredictor(WIDTH)
    parts = {"encoder": encoder, "target_encoder": target, "predictor": predictor}
    saved = {name: {f"module.{k}": v for k, v in part.state_dict().items()} for name, part in parts.items()}
    torch.save({**saved, "epoch": 300, "opt": {"state": {0: {"exp_avg": torch.ones(2)}}}}, tmp_path / "full.pth.tar")
    name = small_card("ijepa-vith14")
    card = model_card(name)
    register_model(card.model_copy(update={"config": {**card.config, "layer_norm_eps": 1e-6}}))
    model = load_model(name, weights=tmp_path / "full.pth.tar")
    batch = batch_of(model)
    torch.testing.assert_close(model.tokens(batch.pixels), target(batch.pixels), rtol=1e-4, atol=1e-5)
    assert model.card.objective == "ijepa-latent"
    found = OBJECTIVES["ijepa-latent"](model, batch)
    for i, rng in enumerate(batch.generators(0, 3)):
        wanted, keep = (torch.from_numpy(part) for part in target_and_context(4, rng, targets=4, scale=0.175))
        assert not set(wanted.ravel().tolist()) & set(keep.tolist())
        image = batch.pixels[i : i + 1]
        goal = F.layer_norm(target(image), (WIDTH,))
        losses = [F.smooth_l1_loss(predictor(encoder(image, keep), keep, part), goal[:, part]) for part in wanted]
        torch.testing.assert_close(found[i], torch.stack(losses).mean(), rtol=1e-4, atol=1e-6)
    features = FeatureExtractor(model, pooling="patch-mean").compute(batch)
    assert np.abs(features["gradient", "block.0"]).max() > 0


@pytest.mark.parametrize("side", [4, 14, 16])
def test_ijepa_blocks_are_equally_many(side: int) -> None:
    rng = np.random.default_rng(0)
    shapes = {tuple(p.shape for p in target_and_context(side, rng, targets=4, scale=0.175)) for _ in range(30)}
    assert len(shapes) == 1


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    torch.save({"student.head.x": torch.ones(1), "teacher.head.x": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="Training checkpoints of IJepaModel are not understood"):
        load_model("ijepa-vith14", weights=tmp_path / "x.pth")


def test_damaged_shards_are_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "12499"
    folder.mkdir()
    (folder / ".metadata").write_bytes(b"pickle")
    (folder / "__0_0.distcp").write_bytes(b"")
    assert checkpoint_series(tmp_path) == {12499: folder}
    with pytest.raises(InputError, match="12499 is not a readable sharded checkpoint"):
        load_model("dinov3-vits16", weights=folder)
