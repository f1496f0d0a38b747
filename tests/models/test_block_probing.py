"""Blocks, axis orders, token roles and preprocessing of networks that have no card."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from torch import Tensor, nn

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models import from_module, load_model
from brainmap.models.adapters.user_packages import packaged_card
from brainmap.models.block_probing import block_levels, probe
from brainmap.models.loading.probing import probed_card

VIT = {
    "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
STAGES = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
SWIN = {"embed_dim": 16, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 64, "patch_size": 4}
SAM = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
    "output_channels": 6, "window_size": 4, "global_attn_indexes": [1], "mlp_dim": 32,
}  # fmt: skip
MOBILE = {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 16, 16, 24, 24, 24, 32]}
# what: class, configuration, side; blocks, layout of a block, leading tokens, whether it classifies
NETWORKS: dict[str, tuple[Any, Any, int, int, str, dict[str, int]]] = {
    "ViT classifier": (t.ViTForImageClassification, t.ViTConfig(**VIT), 32, 3, "tokens", {"cls": 1}),
    "registers": (
        t.Dinov2WithRegistersForImageClassification, t.Dinov2WithRegistersConfig(**VIT), 32, 3, "tokens",
        {"cls": 1, "register": 4},
    ),
    "distilled DeiT": (
        t.DeiTForImageClassification, t.DeiTConfig(**VIT), 32, 3, "tokens", {"cls": 1, "register": 1}
    ),
    "BEiT classifier": (t.BeitForImageClassification, t.BeitConfig(**VIT), 32, 3, "tokens", {"cls": 1}),
    "Swin classifier": (t.SwinForImageClassification, t.SwinConfig(**SWIN), 64, 3, "tokens", {}),
    "Swin v2": (t.Swinv2Model, t.Swinv2Config(**SWIN), 64, 3, "tokens", {}),
    "ResNet classifier": (
        t.ResNetForImageClassification, t.ResNetConfig(embedding_size=8, **STAGES), 64, 5, "channels-first", {}
    ),
    "ConvNeXt classifier": (t.ConvNextForImageClassification, t.ConvNextConfig(**STAGES), 64, 5, "channels-first", {}),
    "MobileViT": (t.MobileViTModel, t.MobileViTConfig(**MOBILE), 64, 5, "channels-first", {}),
    "SAM": (t.SamModel, t.SamConfig(vision_config=SAM), 64, 2, "channels-last", {}),
    "AIMv2": (t.Aimv2VisionModel, t.Aimv2VisionConfig(**VIT), 32, 3, "tokens", {}),
    "CLIP classifier": (
        t.CLIPForImageClassification,
        t.CLIPConfig(vision_config=VIT, text_config={"hidden_size": 24, "num_hidden_layers": 1}),
        32, 3, "tokens", {"cls": 1},
    ),
}  # fmt: skip


def folder_of(kind: Any, config: Any, side: int, path: Path, **settings: Any) -> str:
    kind(config).save_pretrained(path)
    settings = {"size": {"height": side, "width": side}, **settings}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(path)


@pytest.mark.parametrize("what", NETWORKS)
def test_folders_get_the_right_layers(what: str, tmp_path: Path) -> None:
    kind, config, side, blocks, layout, tokens = NETWORKS[what]
    model = load_model(folder_of(kind, config, side, tmp_path / "net"))
    assert len(model.layers) == blocks
    assert model.card.sites["block"].layout == layout
    assert dict(model.card.tokens) == tokens
    pixels = torch.rand(2, 3, side, side)
    if kind.__name__.endswith("ForImageClassification"):
        with torch.no_grad():
            wanted = kind.from_pretrained(tmp_path / "net").eval()(pixel_values=pixels)
        torch.testing.assert_close(model.logits(pixels), wanted.logits)
        assert model.card.objective == "cross-entropy-top1"


@pytest.mark.parametrize(("kind", "config", "sentence"), [
    (t.YolosModel, t.YolosConfig(**{**VIT, "image_size": [32, 32]}, num_detection_tokens=5), "22 tokens .* 6 more"),
    (t.DepthAnythingForDepthEstimation, t.DepthAnythingConfig(), "DepthAnythingConfig, for which transformers has no"),
])  # fmt: skip
def test_what_cannot_be_told_is_one_sentence(kind: Any, config: Any, sentence: str, tmp_path: Path) -> None:
    config.architectures = [kind.__name__]
    config.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 32, "width": 32}}')
    with pytest.raises(InputError, match=sentence):
        probed_card(str(tmp_path))


class ChannelsLast(nn.Module):
    """Blocks that give (n, h, w, c), as Swin's do in timm and torchvision."""

    def __init__(self, width: int, merge: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.Linear(2 * width, width)) for _ in "abc"
        )

    def forward(self, pixels: Tensor) -> Tensor:
        grid = self.stem(pixels).permute(0, 2, 3, 1)
        for layer in self.layers:
            grid = grid + layer(grid)
        return grid


def test_grids_with_channels_last_are_not_transposed() -> None:
    module = ChannelsLast(32)
    model = from_module(module, name="last", layers=["layers.*"])
    grid = torch.arange(4 * 4 * 32.0).reshape(1, 4, 4, 32)
    assert torch.equal(model.as_tokens(grid, "block"), grid.reshape(1, 16, 32))
    assert torch.equal(model.as_tokens(grid.permute(0, 3, 1, 2), "block"), grid.reshape(1, 16, 32))
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.tokens(pixels), module(pixels).flatten(1, 2))


def test_a_grid_as_wide_as_its_channels_is_refused_with_both_readings() -> None:
    model = from_module(ChannelsLast(8), name="cube", layers=["layers.*"])
    with pytest.raises(InputError, match=r"channels-first\) or .*channels-last\)"):
        model.as_tokens(torch.zeros(1, 4, 4, 4), "block")
    said = from_module(
        ChannelsLast(8), name="said", layers=["layers.*"], sites={"block": {"path": "", "layout": "channels-last"}}
    )
    assert said.as_tokens(torch.zeros(1, 4, 4, 4), "block").shape == (1, 16, 4)


class Prefixed(nn.Module):
    """RADIO's arrangement: several CLS tokens, then registers, then patches."""

    def __init__(self, cls: int, registers: int) -> None:
        super().__init__()
        self.cls_token, self.reg_token = (
            nn.Parameter(torch.zeros(1, cls, 12)),
            nn.Parameter(torch.zeros(1, registers, 12)),
        )
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 12)) for _ in range(3))

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        leading = torch.cat([self.cls_token, self.reg_token], 1).expand(len(tokens), -1, -1)
        tokens = torch.cat([leading, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def test_several_cls_tokens_and_registers_have_their_roles() -> None:
    network = Prefixed(3, 7)
    found = probe(network, network, 32, "prefixed")
    assert found.tokens == {"cls": 3, "register": 7} and found.patch == 8
    assert found.patterns == ("blocks.*",)


def test_blocks_among_other_modules_are_named_one_by_one() -> None:
    """As in torchvision's Swin: stages of blocks alternate with downsampling in one list."""
    stage = lambda width, count: nn.Sequential(  # noqa: E731
        *(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)) for _ in range(count))
    )
    network = nn.Module()
    network.features = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 4, 4)), stage(6, 2), nn.Sequential(nn.Conv2d(6, 10, 2, 2)), stage(10, 3)
    )
    network.forward = network.features.forward  # type: ignore[method-assign]
    assert probe(network, network, 32, "stages").patterns == ("features.1.*", "features.3.*")


def test_levels_end_at_blocks_not_at_their_convolutions() -> None:
    levels = block_levels(t.ResNetModel(t.ResNetConfig(embedding_size=8, **STAGES)))
    assert list(levels) == ["encoder.stages.*", "encoder.stages.*.layers.*"]


# --- preprocessing of folders -----------------------------------------------------------------------------------------

SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
     {"crop": 32, "resize": 36, "squash": False}),
    ({"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True},
     {"crop": 32, "resize": 36, "squash": True}),  # DeiT
    ({"size": {"shortest_edge": 32}, "crop_pct": 0.875}, {"crop": 32, "resize": 36, "squash": False}),  # ConvNeXt
    ({"size": {"height": 32, "width": 32}}, {"crop": 32, "resize": None, "squash": True}),
    ({"size": 32, "do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
     {"crop": 32, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),  # RADIO
    ({"size": 32, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2},
     {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear"}),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "wanted"), SETTINGS)
def test_folders_are_preprocessed_as_their_file_says(
    settings: dict[str, Any], wanted: dict[str, Any], tmp_path: Path
) -> None:
    kind, config = t.ViTModel, t.ViTConfig(**VIT)
    found = probed_card(folder_of(kind, config, 32, tmp_path / "net", **settings)).preprocessing.model_dump()
    assert {key: found[key] for key in wanted} == wanted
    assert found["centre"] == "down"


def test_pixels_up_to_255_are_refused(tmp_path: Path) -> None:
    folder = folder_of(t.ViTModel, t.ViTConfig(**VIT), 32, tmp_path / "net", do_rescale=False)
    with pytest.raises(InputError, match="0 to 255"):
        probed_card(folder)


# --- packages of the user's -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:resnet18", "open_clip:ViT-B-32/openai"])
def test_packages_that_are_not_there_are_named(name: str) -> None:
    package = name.partition(":")[0]
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed here")
    with pytest.raises(MissingFileError, match=rf"needs the package {package}.*pip install"):
        packaged_card(name)


def test_timm_s_blocks_are_those_of_its_own_features() -> None:
    """In environments that have timm; checked by hand for 12 architectures (docs/models.md)."""
    timm = pytest.importorskip("timm", reason="timm is no dependency of brainmap")
    model = load_model("timm:vit_tiny_patch16_224", weights="untrained")
    pixels = torch.rand(1, 3, 224, 224)
    caught: list[Tensor] = []
    handle = model.module.get_submodule("blocks.11").register_forward_hook(lambda _m, _i, out: caught.append(out))
    model.forward(pixels)
    handle.remove()
    wanted = model.module.forward_intermediates(
        pixels, indices=1, norm=False, intermediates_only=True, output_fmt="NLC"
    )
    np.testing.assert_allclose(caught[0][:, 1:].numpy(), wanted[-1].numpy(), atol=1e-6)
    assert timm.__version__
