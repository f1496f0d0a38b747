"""How authors name the tensors of their models, as rules that turn them into the names of ``transformers``.

Every layout is recognised by names that no other has, and is a chain of substitutions. What substitution cannot say
(fused query, key and value; transposed matrices; stacked layers) is done before, in
:mod:`brainmap.models.checkpoints.tensor_changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from brainmap.models.checkpoints.layout_rules import (
    AIMV2,
    CLIP,
    CLIP_TEXT,
    CONVNEXT,
    CONVNEXT_TIMM,
    CONVNEXT_TORCHVISION,
    DETR,
    DINOV2,
    DINOV3,
    DINOV3_CONVNEXT,
    MAE,
    RADIO,
    RESNET,
    SIGLIP,
    SWIN,
    SWIN_TORCHVISION,
    VIT,
    VIT_TORCHVISION,
    VJEPA2,
    Rules,
)
from brainmap.models.checkpoints.tensor_changes import (
    big_vision_to_torch,
    clip_to_linear,
    detr_attention,
    flat_positions,
    masked_qkv,
    radio_parts,
    repeated_mask_tokens,
    resnet_numbers,
    split_in_proj,
    split_qkv,
)

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """One way of naming a model's tensors.

    Attributes
    ----------
    name : str
        Whose it is, with an example: it stands in the message about a file of another layout.
    signature : str
        Regular expression; a file has this layout if one of its names matches from the start.
    rules : tuple of (str, str)
        Patterns and replacements, applied to every name in this order.
    before : tuple of callable
        Changes of tensors before their names are changed.
    dropped : str
        Regular expression of names that the network has no use for.
    prefix : str
        Set before every renamed tensor but those of the heads.
    heads : dict of str to str
        Beginnings of the names of heads, and what becomes of them.
    apart : tuple of str
        Beginnings of new names, besides those of heads, that the prefix is not set before.
    """

    name: str
    signature: str
    rules: Rules
    before: tuple[Callable[[Mapping[str, Tensor]], Tensors], ...] = ()
    dropped: str = r"(?!)"
    prefix: str = ""
    heads: Mapping[str, str] = field(default_factory=dict)
    apart: tuple[str, ...] = ()


_TIMM = "timm's and DINO's (blocks.0.attn.qkv.weight, norm.weight)"
_UNUSED = r"^(fc|head|head_dist|fc_norm|pre_logits)\.|^norms\.|cls_norm\."
_BACKBONE_VIT = Layout(_TIMM, r"blocks\.", VIT, (split_qkv,), _UNUSED)
_BACKBONE_RESNET = Layout(
    "torchvision's (conv1.weight, layer1.0.conv1.weight)", r"layer1\.0\.", RESNET, (resnet_numbers,), r"^fc\."
)
_DINOV2_LAYOUT = Layout(
    "DINOv2's (blocks.0.attn.qkv.weight, blocks.0.ls1.gamma)", r"blocks\.", DINOV2, (split_qkv,), _UNUSED
)

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "ViTModel": (_BACKBONE_VIT,),
    "IJepaModel": (_BACKBONE_VIT,),
    "Dinov2Model": (_DINOV2_LAYOUT,),
    "Dinov2WithRegistersModel": (_DINOV2_LAYOUT,),
    "DINOv3ViTModel": (
        Layout(
            "DINOv3's (blocks.0.attn.qkv.weight, storage_tokens)", r"blocks\.", DINOV3, (masked_qkv,),
            _UNUSED + r"|rope_embed\.",
        ),
    ),
    "DINOv3ConvNextModel": (
        Layout("DINOv3's (downsample_layers.0.0.weight)", r"downsample_layers\.", DINOV3_CONVNEXT, (), _UNUSED),
    ),
    "ResNetModel": (_BACKBONE_RESNET,),
    "ResNetForImageClassification": (
        Layout(
            _BACKBONE_RESNET.name, r"layer1\.0\.", RESNET, (resnet_numbers,), prefix="resnet.",
            heads={"fc.": "classifier.1."},
        ),
    ),
    "ViTForImageClassification": (
        Layout(
            _TIMM, r"blocks\.", VIT, (split_qkv,), r"^(fc_norm|pre_logits)\.", prefix="vit.",
            heads={"head.": "classifier."},
        ),
        Layout(
            "torchvision's (encoder.layers.encoder_layer_0.ln_1.weight)", r"encoder\.layers\.encoder_layer_",
            VIT_TORCHVISION, (split_in_proj,), prefix="vit.",
            heads={"heads.head.": "classifier.", "heads.": "classifier."},
        ),
    ),
    "DeiTForImageClassificationWithTeacher": (
        Layout(
            "DeiT's (dist_token, blocks.0.attn.qkv.weight, head_dist.weight)", r"blocks\.", VIT, (split_qkv,),
            prefix="deit.", heads={"head_dist.": "distillation_classifier.", "head.": "cls_classifier."},
        ),
    ),
    "ConvNextForImageClassification": (
        Layout(
            "the authors' (downsample_layers.0.0.weight, stages.0.0.dwconv.weight)", r"downsample_layers\.", CONVNEXT,
            prefix="convnext.", heads={"head.": "classifier."},
        ),
        Layout(
            "timm's (stem.0.weight, stages.0.blocks.0.conv_dw.weight)", r"stages\.0\.blocks\.", CONVNEXT_TIMM,
            prefix="convnext.", heads={"head.fc.": "classifier."},
        ),
        Layout(
            "torchvision's (features.1.0.block.0.weight)", r"features\.1\.0\.block\.", CONVNEXT_TORCHVISION,
            (lambda tensors: {n: t.flatten() if n.endswith("layer_scale") else t for n, t in tensors.items()},),
            prefix="convnext.", heads={"classifier.2.": "classifier."},
        ),
    ),
    "SwinForImageClassification": (
        Layout(
            "the authors' (layers.0.blocks.0.attn.qkv.weight)", r"layers\.0\.blocks\.", SWIN, (split_qkv,),
            r"relative_position_index$|attn_mask$", "swin.", {"head.": "classifier."},
        ),
        Layout(
            "torchvision's (features.1.0.attn.qkv.weight)", r"features\.1\.0\.attn\.", SWIN_TORCHVISION, (split_qkv,),
            r"relative_position_index$", "swin.", {"head.": "classifier."},
        ),
    ),
    "ViTMAEForPreTraining": (
        Layout(
            "MAE's (blocks.0.attn.qkv.weight, decoder_blocks.0.attn.qkv.weight)", r"decoder_blocks\.", MAE,
            (split_qkv,), prefix="vit.", apart=("decoder.",),
        ),
    ),
    "ViTMAEModel": (Layout("MAE's (blocks.0.attn.qkv.weight)", r"blocks\.", VIT, (split_qkv,), r"^(head|fc_norm)\."),),
    "CLIPModel": (
        Layout(
            "OpenAI's (visual.transformer.resblocks.0.ln_1.weight)", r"visual\.transformer\.resblocks\.", CLIP,
            (split_in_proj, clip_to_linear), r"^(input_resolution|context_length|vocab_size)$|attn_mask$",
        ),
    ),
    "SLIP": (
        Layout(
            "SLIP's (visual.blocks.0.attn.qkv.weight, image_projection)", r"visual\.blocks\.", CLIP_TEXT,
            (split_in_proj, clip_to_linear), r"^image_mlp\.",
        ),
    ),
    "SiglipModel": (
        Layout(
            "big_vision's .npz (img/Transformer/encoderblock_0/…)", r"(params\.)?img\.Transformer\.", SIGLIP,
            (big_vision_to_torch,),
        ),
    ),
    "Siglip2Model": (
        Layout(
            "big_vision's .npz of NaFlex (img/Transformer/encoderblock_0/…, img/embedding/kernel)",
            r"(params\.)?img\.Transformer\.", SIGLIP, (big_vision_to_torch,),
        ),
    ),
    "Aimv2VisionModel": (
        Layout(
            "AIMv2's (preprocessor.patchifier.proj.weight, trunk.blocks.0.attn.qkv.weight)",
            r"preprocessor\.patchifier\.", AIMV2, (flat_positions, split_qkv), r"^head\.",
        ),
    ),
    "RadioModel": (
        Layout(
            "RADIO's (base_model.patch_generator.pos_embed, base_model.blocks.0.attn.qkv.weight)",
            r"(base_model\.|radio_model\.model\.)patch_generator\.", RADIO, (radio_parts, split_qkv),
        ),
    ),
    "VJEPA2Model": (
        Layout(
            "V-JEPA 2's (encoder.module.backbone.blocks.0.attn.qkv.weight)",
            r"encoder\.(module\.)?(backbone\.)?blocks\.", VJEPA2, (split_qkv, repeated_mask_tokens),
            r"^target_encoder\.|^classifier|pos_embed$",
        ),
    ),
    "DetrForObjectDetection": (
        Layout(
            "DETR's (backbone.0.body.conv1.weight, transformer.encoder.layers.0.linear1.weight)",
            r"backbone\.0\.body\.", DETR, (detr_attention, resnet_numbers), r"num_batches_tracked$",
        ),
    ),
}  # fmt: skip
