"""Backbones in their authors' files, reproduced synthetically: loaded strictly, and computing what the authors' do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models import ImageBatch, VisionModel, load_model, model_card, register_model
from brainmap.models.objectives import OBJECTIVES
from brainmap.models.views import multi_crop

VIT = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96}
STAGES = {"depths": [1, 1, 2, 1], "hidden_sizes": [16, 32, 64, 128]}


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


# --- torchvision's ResNet, of DINO ------------------------------------------------------------------------------------


class Bottleneck(nn.Module):
    """As in ``torchvision``: the stride is in the middle convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class TorchvisionResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        widths = [8, *STAGES["hidden_sizes"]]
        for stage in range(4):
            blocks = []
            for block in range(STAGES["depths"][stage]):
                inputs = widths[stage] if block == 0 else widths[stage + 1]
                blocks.append(Bottleneck(inputs, widths[stage + 1], 2 if stage and not block else 1))
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x


@torch.no_grad()
def test_dino_resnet_in_torchvision_s_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    official = TorchvisionResNet().eval()
    torch.save(official.state_dict(), tmp_path / "dino_resnet50_pretrain.pth")
    name = small_card("dino-resnet50", {**STAGES, "embedding_size": 8})
    model = load_model(name, weights=tmp_path / "dino_resnet50_pretrain.pth")
    pixels = batch_of(model).pixels
    wanted = official(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.tokens(pixels), wanted, rtol=1e-4, atol=1e-5)
    assert model.card.objective == "headless" and len(model.layers) == 5


def head(width: int, prototypes: int) -> dict[str, Tensor]:
    mlp = nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 10))
    tensors = {f"head.mlp.{name}": tensor for name, tensor in mlp.state_dict().items()}
    return {**tensors, "head.last_layer.weight": torch.randn(prototypes, 10)}


@torch.no_grad()
def test_full_checkpoint_of_a_resnet_gives_dino_s_loss(tmp_path: Path) -> None:
    """Heads on the pooled grid; student and teacher of DINO's ResNet-50 checkpoint."""
    torch.manual_seed(1)
    saved: dict[str, Any] = {"epoch": 7, "dino_loss": {"center": torch.randn(1, 20)}}
    networks, heads = {}, {}
    for top, prefix in (("student", "module."), ("teacher", "")):
        networks[top], heads[top] = TorchvisionResNet().eval(), head(128, 20)
        state = {f"backbone.{key}": tensor for key, tensor in networks[top].state_dict().items()} | heads[top]
        saved[top] = {prefix + key: tensor for key, tensor in state.items()}
    torch.save(saved, tmp_path / "full.pth")
    model = load_model(small_card("dino-resnet50", {**STAGES, "embedding_size": 8}), weights=tmp_path / "full.pth")
    assert model.card.objective == "dino" and tuple(model.branches) == ("teacher", "student")
    batch = batch_of(model)
    views = multi_crop(model, batch, seed=0)
    crops = [*views.large.unflatten(0, (2, 3)), *views.small.unflatten(0, (1, 3))]

    def logits(top: str, crop: Tensor) -> Tensor:
        values = networks[top](crop).mean((2, 3))
        for i in (0, 2, 4):
            values = F.linear(values, heads[top][f"head.mlp.{i}.weight"], heads[top][f"head.mlp.{i}.bias"])
            values = F.gelu(values) if i < 4 else values
        return F.linear(F.normalize(values, dim=-1), heads[top]["head.last_layer.weight"])

    centre = saved["dino_loss"]["center"]
    goals = [torch.softmax((logits("teacher", crop) - centre) / 0.07, -1) for crop in crops[:2]]
    terms = [
        -(goals[u] * torch.log_softmax(logits("student", crops[v]) / 0.1, -1)).sum(-1)
        for u in range(2)
        for v in range(3)
        if u != v
    ]
    torch.testing.assert_close(OBJECTIVES["dino"](model, batch), torch.stack(terms).mean(0), rtol=1e-3, atol=1e-4)


# --- DINOv3's ConvNeXt, of EUPE ---------------------------------------------------------------------------------------


class OfficialConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))).permute(0, 3, 1, 2)


class ChannelNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class OfficialConvNeXt(nn.Module):
    def __init__(self, widths: list[int], depths: list[int]) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0]))
        down = [nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, 2)) for a, b in itertools.pairwise(widths)]
        self.downsample_layers = nn.ModuleList([stem, *down])
        stages = [
            nn.Sequential(*(OfficialConvNeXtBlock(w) for _ in range(d))) for w, d in zip(widths, depths, strict=True)
        ]
        self.stages = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.norms = nn.ModuleList([nn.Identity(), nn.Identity(), nn.Identity(), self.norm])

    def forward(self, x: Tensor) -> Tensor:
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        tokens = torch.cat([x.mean((2, 3))[:, None], x.flatten(2).transpose(1, 2)], 1)
        return self.norm(tokens)


@torch.no_grad()
def test_eupe_convnext_in_the_authors_names(tmp_path: Path) -> None:
    torch.manual_seed(2)
    official = OfficialConvNeXt([8, 12, 16, 20], [1, 1, 2, 1])
    torch.save(official.state_dict(), tmp_path / "EUPE-ConvNeXt-T.pt")
    name = small_card("eupe-convnext-tiny", {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 12, 16, 20]})
    model = load_model(name, weights=tmp_path / "EUPE-ConvNeXt-T.pt")
    pixels = batch_of(model).pixels
    torch.testing.assert_close(model.tokens(pixels), official(pixels), rtol=1e-4, atol=1e-5)


# --- DINOv3's ViT, of EUPE, VGGT-Ω and dino.txt -----------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("card", "prefix"),
    [
        ("eupe-vits16", ""),
        ("dinov3-vits16", ""),
        ("dinov3-vits16", "teacher.backbone."),
        ("dinov3-vits16", "module.backbone."),
        ("vggt-omega-encoder", "aggregator.patch_embed."),
    ],
)
def test_dinov3_backbones_in_the_authors_names(card: str, prefix: str, tmp_path: Path) -> None:
    name = small_card(card, {**VIT, "image_size": 32, "patch_size": 8})
    random = load_model(name, weights="untrained", seed=4)
    named = authors_dinov3(random.module.state_dict())
    tensors = {prefix + key: tensor.clone() for key, tensor in named.items()}
    if card.startswith("vggt"):
        tensors["aggregator.camera_token"] = tensors["camera_head.blocks.0.norm1.weight"] = torch.ones(3)
        tensors.pop(f"{prefix}mask_token")  # and a file without it: only training uses it
    torch.save(tensors, tmp_path / "backbone.pt")
    model = load_model(name, weights=tmp_path / "backbone.pt")
    for key, tensor in random.module.state_dict().items():
        if "mask_token" not in key:
            assert torch.equal(model.module.state_dict()[key], tensor), key
    tensors.pop(f"{prefix}blocks.1.norm1.bias")
    torch.save(tensors, tmp_path / "lacking.pt")
    with pytest.raises(InputError, match=r"lacking.pt do not fill .*: 1 of its \d+ tensors .*norm1.bias"):
        load_model(name, weights=tmp_path / "lacking.pt")


def test_vggt_s_encoder_is_found_in_the_whole_model(tmp_path: Path) -> None:
    """DINOv2's names under VGGT's prefix, beside the rest of VGGT."""
    config = {**VIT, "image_size": 32, "patch_size": 8, "num_register_tokens": 4}
    name = small_card("vggt-encoder", config)
    random = load_model(name, weights="untrained", seed=3)
    tensors: dict[str, Tensor] = {"aggregator.frame_blocks.0.norm1.weight": torch.ones(2)}
    renames = {"norm.": "norm.", "layernorm.": "norm.", "embeddings.patch_embeddings.projection": "patch_embed.proj"}
    state = random.module.state_dict()
    for key, tensor in state.items():
        old = key.replace("encoder.layer.", "blocks.").replace("layers.", "blocks.")
        for new, official in renames.items():
            old = official + old.removeprefix(new) if old.startswith(new) else old
        old = old.replace("embeddings.position_embeddings", "pos_embed").replace("embeddings.", "")
        for number in "12":
            old = old.replace(f"layer_scale{number}.lambda1", f"ls{number}.gamma")
        old = old.replace("attention.o_proj", "attn.proj").replace("attention.output.dense", "attn.proj")
        tensors["aggregator.patch_embed." + old] = tensor.clone().contiguous()
    inside = "aggregator.patch_embed.blocks."
    for i in range(3):
        for leaf in ("weight", "bias"):
            parts = []
            for part, short in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
                options = (f"{inside}{i}.attention.{short}.{leaf}", f"{inside}{i}.attention.attention.{part}.{leaf}")
                parts.append(tensors.pop(next(option for option in options if option in tensors)))
            tensors[f"{inside}{i}.attn.qkv.{leaf}"] = torch.cat(parts)
    save_file(tensors, tmp_path / "model.safetensors")
    model = load_model(name, weights=tmp_path / "model.safetensors")
    for key, tensor in state.items():
        assert torch.equal(model.module.state_dict()[key], tensor), key
