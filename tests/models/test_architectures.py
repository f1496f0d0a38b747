"""Forty networks that no card describes, from their configurations alone: right layers, or one sentence.

``python tests/models/test_architectures.py`` prints what was found for each.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import transformers

from brainmap.common.errors import BrainmapError
from brainmap.models import ModelCard
from brainmap.models.loading.probing import probed_card
from brainmap.models.loading.weight_sources import find_card

V = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
VIT = {**V, "image_size": 32, "patch_size": 8}
TEXT = {**V, "vocab_size": 60}
STAGES = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
WINDOWS = {
    "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 64, "patch_size": 4
}  # fmt: skip
SAM = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
    "output_channels": 8, "window_size": 4, "global_attn_indexes": [1], "mlp_dim": 32,
}  # fmt: skip
HIERA = {"embed_dim": 16, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 2], "image_size": [64, 64]}
PYRAMID = {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 2]}
CVT = {"embed_dim": [16, 24, 32], "num_heads": [1, 2, 2], "depth": [1, 1, 2]}
MOBILEVIT = {
    "image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 16, 16, 24, 24, 24, 32]
}  # fmt: skip
SLIM = {"width_coefficient": 0.2, "depth_coefficient": 0.3, "image_size": 64, "hidden_dim": 64}
QWEN = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 16}
CLS = {"cls": 1}


@dataclass(frozen=True)
class Case:
    """A network and what should be found: its blocks and leading tokens, or words of the sentence that refuses it."""

    architecture: str
    config: dict[str, Any]
    size: int = 32
    pattern: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    layout: str = "tokens"
    patch: int | None = None
    refused: str = ""


def vit(architecture: str, config: dict[str, Any] = VIT, pattern: str = "layers.*", **tokens: int) -> Case:
    return Case(architecture, config, 32, pattern, {k: n for k, n in tokens.items() if n}, "tokens", 8)


def grid(architecture: str, config: dict[str, Any], pattern: str, layout: str = "channels-first") -> Case:
    return Case(architecture, config, 64, pattern, {}, layout)


CASES = {
    "ViT": vit("ViTModel", cls=1),
    "ViT, classifier": vit("ViTForImageClassification", cls=1),
    "DINOv2": vit("Dinov2Model", pattern="encoder.layer.*", cls=1),
    "DINOv2 with registers, classifier": vit(
        "Dinov2WithRegistersForImageClassification", pattern="encoder.layer.*", cls=1, register=4
    ),
    "DINOv3": vit("DINOv3ViTModel", {**VIT, "num_register_tokens": 4}, "model.layer.*", cls=1, register=4),
    "DeiT, classifier": vit("DeiTForImageClassification", cls=1, register=1),
    "DeiT, distilled": vit("DeiTForImageClassificationWithTeacher", cls=1, register=1),
    "BEiT": vit("BeitModel", cls=1),
    "BEiT, classifier": vit("BeitForImageClassification", cls=1),
    "data2vec": vit("Data2VecVisionForImageClassification", pattern="encoder.layer.*", cls=1),
    "ViT-MSN": vit("ViTMSNForImageClassification", cls=1),
    "I-JEPA, classifier": vit("IJepaForImageClassification"),
    "CLIP": vit("CLIPModel", {"vision_config": VIT, "text_config": TEXT}, "encoder.layers.*", cls=1),
    "CLIP, classifier": vit(
        "CLIPForImageClassification", {"vision_config": VIT, "text_config": TEXT}, "encoder.layers.*", cls=1
    ),
    "SigLIP": vit("SiglipModel", {"vision_config": VIT, "text_config": TEXT}, "encoder.layers.*"),
    "AIMv2": vit("Aimv2VisionModel", pattern="encoder.layers.*"),
    "RADIO": vit("RadioModel", {**V, "patch_size": 8, "image_size": 32}, "encoder.layer.*", cls=3, register=7),
    "DPT": vit(
        "DPTModel", {**VIT, "is_hybrid": False, "backbone_out_indices": [0, 1, 2, 2]}, "encoder.layer.*", cls=1
    ),
    "Swin": Case("SwinModel", WINDOWS, 64, "encoder.layers.*.blocks.*"),
    "Swin, classifier": Case("SwinForImageClassification", WINDOWS, 64, "encoder.layers.*.blocks.*"),
    "Swin v2": Case("Swinv2Model", WINDOWS, 64, "encoder.layers.*.blocks.*"),
    "Swin v2, classifier": Case("Swinv2ForImageClassification", WINDOWS, 64, "encoder.layers.*.blocks.*"),
    "Hiera": Case("HieraForImageClassification", HIERA, 64, "encoder.stages.*.layers.*"),
    "PVT": Case("PvtForImageClassification", {**PYRAMID, "image_size": 64}, 64, "encoder.block.*.*"),
    "SegFormer": Case("SegformerForImageClassification", PYRAMID, 64, "stages.*.blocks.*"),
    "FocalNet": Case(
        "FocalNetForImageClassification", {"image_size": 64, "embed_dim": 16, "depths": [1, 2, 1, 1]}, 64,
        "encoder.stages.*.layers.*",
    ),
    "LeViT": Case("LevitForImageClassification", {"image_size": 64}, 64, "encoder.stages.*.layers.*"),
    "CvT of odd depths": Case("CvtForImageClassification", CVT, 64, refused="cannot be built here (list index"),
    "ResNet": grid("ResNetForImageClassification", {"embedding_size": 8, **STAGES}, "encoder.stages.*.layers.*"),
    "RegNet": grid(
        "RegNetForImageClassification", {"embedding_size": 8, "groups_width": 8, **STAGES}, "encoder.stages.*.layers.*"
    ),
    "BiT": grid(
        "BitForImageClassification",
        {"embedding_size": 32, "num_groups": 8, "hidden_sizes": [32, 64, 96, 128], "depths": [1, 2, 1, 1]},
        "encoder.stages.*.layers.*",
    ),
    "ConvNeXt": grid("ConvNextForImageClassification", STAGES, "encoder.stages.*.layers.*"),
    "ConvNeXt v2": grid("ConvNextV2ForImageClassification", STAGES, "encoder.stages.*.layers.*"),
    "DINOv3 ConvNeXt": grid("DINOv3ConvNextModel", STAGES, "model.stages.*.layers.*"),
    "PoolFormer": grid("PoolFormerForImageClassification", STAGES, "encoder.block.*.*"),
    "MobileViT": grid("MobileViTForImageClassification", MOBILEVIT, "encoder.layer.*"),
    "MobileNet v2": grid("MobileNetV2ForImageClassification", {}, "layer.*"),
    "SAM": grid("SamModel", {"vision_config": SAM}, "vision_encoder.layers.*", "channels-last"),
    "SAM 2": Case("Sam2Model", {}, 1024, "backbone.blocks.*", {}, "channels-last"),
    "ViTDet": Case(
        "VitDetModel",
        {k: n for k, n in VIT.items() if k != "intermediate_size"} | {"mlp_ratio": 2}, 32, "encoder.layer.*", {},
        "channels-first",
    ),
    "YOLOS": Case("YolosModel", {**VIT, "image_size": [32, 32], "num_detection_tokens": 5}, refused="22 tokens"),
    "EfficientNet of odd widths": Case("EfficientNetForImageClassification", SLIM, 64, refused="does not run on"),
    "Depth Anything": Case("DepthAnythingForDepthEstimation", {}, refused="no base model of images"),
    "Florence-2": Case("Florence2ForConditionalGeneration", {}, 64, refused="no base model of images"),
    "Qwen2-VL": Case("Qwen2VLForConditionalGeneration", {"vision_config": QWEN}, refused="wrap"),
    "Qwen2.5-VL": Case("Qwen2_5_VLForConditionalGeneration", {"vision_config": QWEN}, refused="wrap"),
    "SigLIP 2 NaFlex": Case(
        "Siglip2Model", {"vision_config": {**V, "num_patches": 16, "patch_size": 8}, "text_config": TEXT},
        refused="does not run on images",
    ),
    "timm wrapper": Case("TimmWrapperModel", {"architecture": "resnet18"}, refused="timm"),
    "a language model": Case("BertModel", {"vocab_size": 60, **V}, refused="image"),
}  # fmt: skip


def probe_case(case: Case, folder: Path) -> ModelCard:
    """The card that probing makes of a folder with nothing but the configuration and the processor's."""
    config = getattr(transformers, case.architecture).config_class(**case.config)
    config.architectures = [case.architecture]
    config.save_pretrained(folder)
    processor = {"size": {"height": case.size, "width": case.size}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return probed_card(str(folder))


@pytest.mark.parametrize("name", CASES)
def test_architecture_gives_its_blocks_or_one_sentence(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if case.refused:
        with pytest.raises(BrainmapError) as caught:
            probe_case(case, tmp_path / "network")
        message = str(caught.value)
        assert case.refused in message and "\n" not in message and len(message) < 700
        return
    card = probe_case(case, tmp_path / "network")
    assert card.layers == (case.pattern,)
    assert dict(card.tokens) == case.tokens
    assert card.sites["block"].layout == case.layout
    assert card.patch == case.patch


def test_packages_that_are_not_installed_say_so() -> None:
    for name in ("timm:resnet18", "torchvision:resnet18", "open_clip:ViT-B-32/openai"):
        try:
            card = find_card(name)
        except BrainmapError as error:
            assert "does not import here" in str(error) and "pip install" in str(error)
        else:
            assert card.layers


def main() -> None:
    """Print the table."""
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                card = probe_case(case, Path(folder) / "network")
                roles = ", ".join(f"{n} {role}" for role, n in card.tokens.items()) or "–"
                found = (
                    f"{' '.join(card.layers)} ({card.sites['block'].layout}; {roles}; sites {', '.join(card.sites)})"
                )
            except BrainmapError as error:
                found = f"refused: {error}"
            print(f"{name:36}{found}")


if __name__ == "__main__":
    main()
