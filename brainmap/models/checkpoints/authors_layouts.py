"""How authors name the tensors of their models, as rules that turn them into the names of ``transformers``.

Every layout is recognised by names that no other has, and is a chain of substitutions. What substitution cannot say
(fused query, key and value; transposed matrices; stacked layers) is done before, in
:mod:`brainmap.models.checkpoints.tensor_changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from brainmap.models.checkpoints.tensor_changes import (
    big_vision_to_torch,
    clip_to_linear,
    detr_attention,
    masked_qkv,
    repeated_mask_tokens,
    resnet_numbers,
    split_in_proj,
    split_qkv,
)

Tensors = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]


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


_TRANSFORMER: Rules = (
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^masked_embed$", "embeddings.mask_token"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.(?:\d+\.)?(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
_VIT: Rules = (
    *_TRANSFORMER,
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
)
_DINOV2: Rules = (
    *_TRANSFORMER,
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w12\.", ".mlp.weights_in."),
    (r"\.mlp\.w3\.", ".mlp.weights_out."),
    (r"^norm\.", "layernorm."),
)
_DINOV3: Rules = (
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
)
_DINOV3_CONVNEXT: Rules = (
    (r"^downsample_layers\.(\d)\.(\d)\.", r"model.stages.\1.downsample_layers.\2."),
    (r"^stages\.(\d)\.(\d+)\.", r"model.stages.\1.layers.\2."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.norm\.", ".layer_norm."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"^norm\.", "layer_norm."),
)
_RESNET: Rules = (
    (r"^conv1\.", "embedder.embedder.convolution."),
    (r"^bn1\.", "embedder.embedder.normalization."),
    (r"\.downsample\.0\.", ".shortcut.convolution."),
    (r"\.downsample\.1\.", ".shortcut.normalization."),
)
_CONVNEXT: Rules = (
    (r"^downsample_layers\.0\.0\.", "embeddings.patch_embeddings."),
    (r"^downsample_layers\.0\.1\.", "embeddings.layernorm."),
    (r"^downsample_layers\.(\d)\.(\d)\.", r"encoder.stages.\1.downsampling_layer.\2."),
    (r"^stages\.(\d)\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.norm\.", ".layernorm."),
    (r"\.gamma$", ".layer_scale_parameter"),
    (r"^norm\.", "layernorm."),
)
_CONVNEXT_TIMM: Rules = (
    (r"^stem\.0\.", "embeddings.patch_embeddings."),
    (r"^stem\.1\.", "embeddings.layernorm."),
    (r"^stages\.(\d)\.downsample\.(\d)\.", r"encoder.stages.\1.downsampling_layer.\2."),
    (r"^stages\.(\d)\.blocks\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.norm\.", ".layernorm."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.gamma$", ".layer_scale_parameter"),
    (r"^head\.layernorm\.", "layernorm."),
)
_CONVNEXT_TORCHVISION: Rules = (
    (r"^features\.0\.0\.", "embeddings.patch_embeddings."),
    (r"^features\.0\.1\.", "embeddings.layernorm."),
    *((rf"^features\.{2 * k}\.(\d)\.", rf"encoder.stages.{k}.downsampling_layer.\1.") for k in (1, 2, 3)),
    *((rf"^features\.{2 * k + 1}\.(\d+)\.", rf"encoder.stages.{k}.layers.\1.") for k in range(4)),
    (r"\.block\.0\.", ".dwconv."),
    (r"\.block\.2\.", ".layernorm."),
    (r"\.block\.3\.", ".pwconv1."),
    (r"\.block\.5\.", ".pwconv2."),
    (r"\.layer_scale$", ".layer_scale_parameter"),
    (r"^classifier\.0\.", "layernorm."),
)
_VIT_TORCHVISION: Rules = (
    (r"^class_token$", "embeddings.cls_token"),
    (r"^conv_proj\.", "embeddings.patch_embeddings.projection."),
    (r"^encoder\.pos_embedding$", "embeddings.position_embeddings"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"encoder.layer.\1."),
    (r"\.self_attention\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.self_attention\.out_proj\.", ".attention.output.dense."),
    (r"\.ln_1\.", ".layernorm_before."),
    (r"\.ln_2\.", ".layernorm_after."),
    (r"\.mlp\.(?:0|linear_1)\.", ".intermediate.dense."),
    (r"\.mlp\.(?:3|linear_2)\.", ".output.dense."),
    (r"^encoder\.ln\.", "layernorm."),
)
_SWIN_BLOCK: Rules = (
    (r"\.attn\.(query|key|value)\.", r".attention.self.\1."),
    (r"\.attn\.relative_position_bias_table$", ".attention.self.relative_position_bias_table"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.(?:fc1|0)\.", ".intermediate.dense."),
    (r"\.mlp\.(?:fc2|3)\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
)
_SWIN: Rules = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^layers\.", "encoder.layers."),
    *_SWIN_BLOCK,
)
_SWIN_TORCHVISION: Rules = (
    (r"^features\.0\.0\.", "embeddings.patch_embeddings.projection."),
    (r"^features\.0\.2\.", "embeddings.norm."),
    *((rf"^features\.{2 * k + 2}\.", rf"encoder.layers.{k}.downsample.") for k in range(3)),
    *((rf"^features\.{2 * k + 1}\.(\d+)\.", rf"encoder.layers.{k}.blocks.\1.") for k in range(4)),
    *_SWIN_BLOCK,
)
_MAE: Rules = (
    (r"^mask_token$", "decoder.mask_token"),
    (r"^decoder_(embed|pos_embed|norm|pred)\b", r"decoder.decoder_\1"),
    (r"^decoder_blocks\.(\d+)\.", r"decoder.decoder_layers.\1."),
    *_VIT,
)
_CLIP: Rules = (
    (r"^(?:visual\.)(class_embedding)$", r"vision_model.embeddings.\1"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.attn\.query\.", ".self_attn.q_proj."),
    (r"\.attn\.key\.", ".self_attn.k_proj."),
    (r"\.attn\.value\.", ".self_attn.v_proj."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_SIGLIP: Rules = (
    (r"^t$", "logit_scale"),
    (r"^b$", "logit_bias"),
    (r"^txt\.Embed_0\.weight$", "text_model.embeddings.token_embedding.weight"),
    (r"^txt\.pos_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^txt\.Encoder_0\.encoder_norm\.", "text_model.final_layer_norm."),
    (r"^txt\.Encoder_0\.encoderblock_(\d+)\.", r"text_model.encoder.layers.\1."),
    (r"^txt\.head\.", "text_model.head."),
    (r"^img\.embedding\.", "vision_model.embeddings.patch_embedding."),
    (r"^img\.pos_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^img\.Transformer\.encoder_norm\.", "vision_model.post_layernorm."),
    (r"^img\.Transformer\.encoderblock_(\d+)\.", r"vision_model.encoder.layers.\1."),
    (r"^img\.MAPHead_0\.probe$", "vision_model.head.probe"),
    (r"^img\.MAPHead_0\.LayerNorm_0\.", "vision_model.head.layernorm."),
    (r"^img\.MAPHead_0\.MlpBlock_0\.", "vision_model.head.MlpBlock_0."),
    (r"^img\.MAPHead_0\.MultiHeadDotProductAttention_0\.in_proj_", "vision_model.head.attention.in_proj_"),
    (r"^img\.MAPHead_0\.MultiHeadDotProductAttention_0\.out\.", "vision_model.head.attention.out_proj."),
    (r"\.LayerNorm_0\.", ".layer_norm1."),
    (r"\.LayerNorm_1\.", ".layer_norm2."),
    (r"\.MlpBlock_0\.Dense_0\.", ".mlp.fc1."),
    (r"\.MlpBlock_0\.Dense_1\.", ".mlp.fc2."),
    (r"\.MultiHeadDotProductAttention_0\.query\.", ".self_attn.q_proj."),
    (r"\.MultiHeadDotProductAttention_0\.key\.", ".self_attn.k_proj."),
    (r"\.MultiHeadDotProductAttention_0\.value\.", ".self_attn.v_proj."),
    (r"\.MultiHeadDotProductAttention_0\.out\.", ".self_attn.out_proj."),
)
_VJEPA2: Rules = (
    (r"^(encoder|predictor)\.(?:module\.)?(?:backbone\.)?", r"\1."),
    (r"^encoder\.patch_embed\.proj\.", "encoder.embeddings.patch_embeddings.proj."),
    (r"^encoder\.blocks\.", "encoder.layer."),
    (r"^encoder\.norm\.", "encoder.layernorm."),
    (r"^predictor\.predictor_embed\.", "predictor.embeddings.predictor_embeddings."),
    (r"^predictor\.mask_tokens$", "predictor.embeddings.mask_tokens"),
    (r"^predictor\.predictor_blocks\.", "predictor.layer."),
    (r"^predictor\.predictor_norm\.", "predictor.layernorm."),
    (r"^predictor\.predictor_proj\.", "predictor.proj."),
    (r"\.attn\.", ".attention."),
)
_DETR: Rules = (
    (r"^class_embed\.", "class_labels_classifier."),
    (r"^bbox_embed\.", "bbox_predictor."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^transformer\.decoder\.norm\.", "model.decoder.layernorm."),
    (r"^transformer\.", "model."),
    (r"\.linear(\d)\.", r".fc\1."),
    (r"^(model\.encoder\..*)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"^(model\.encoder\..*)\.norm2\.", r"\1.final_layer_norm."),
    (r"^(model\.decoder\..*)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"^(model\.decoder\..*)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"^(model\.decoder\..*)\.norm3\.", r"\1.final_layer_norm."),
    (r"\.multihead_attn\.", ".encoder_attn."),
    (r"^backbone\.0\.body\.", "model.backbone.model."),
    (r"^model\.backbone\.model\.conv1\.", "model.backbone.model.embedder.embedder.convolution."),
    (r"^model\.backbone\.model\.bn1\.", "model.backbone.model.embedder.embedder.normalization."),
    *_RESNET[2:],
)
_CLIP_TEXT = _CLIP[6:]

_TIMM = "timm's and DINO's (blocks.0.attn.qkv.weight, norm.weight)"
_UNUSED = r"^(fc|head|head_dist|fc_norm|pre_logits)\.|^norms\.|cls_norm\."
_BACKBONE_VIT = Layout(_TIMM, r"blocks\.", _VIT, (split_qkv,), _UNUSED)
_BACKBONE_RESNET = Layout(
    "torchvision's (conv1.weight, layer1.0.conv1.weight)", r"layer1\.0\.", _RESNET, (resnet_numbers,), r"^fc\."
)
_DINOV2_LAYOUT = Layout(
    "DINOv2's (blocks.0.attn.qkv.weight, blocks.0.ls1.gamma)", r"blocks\.", _DINOV2, (split_qkv,), _UNUSED
)

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "ViTModel": (_BACKBONE_VIT,),
    "IJepaModel": (_BACKBONE_VIT,),
    "Dinov2Model": (_DINOV2_LAYOUT,),
    "Dinov2WithRegistersModel": (_DINOV2_LAYOUT,),
    "DINOv3ViTModel": (
        Layout(
            "DINOv3's (blocks.0.attn.qkv.weight, storage_tokens)", r"blocks\.", _DINOV3, (masked_qkv,),
            _UNUSED + r"|rope_embed\.",
        ),
    ),
    "DINOv3ConvNextModel": (
        Layout("DINOv3's (downsample_layers.0.0.weight)", r"downsample_layers\.", _DINOV3_CONVNEXT, (), _UNUSED),
    ),
    "ResNetModel": (_BACKBONE_RESNET,),
    "ResNetForImageClassification": (
        Layout(
            _BACKBONE_RESNET.name, r"layer1\.0\.", _RESNET, (resnet_numbers,), prefix="resnet.",
            heads={"fc.": "classifier.1."},
        ),
    ),
    "ViTForImageClassification": (
        Layout(
            _TIMM, r"blocks\.", _VIT, (split_qkv,), r"^(fc_norm|pre_logits)\.", prefix="vit.",
            heads={"head.": "classifier."},
        ),
        Layout(
            "torchvision's (encoder.layers.encoder_layer_0.ln_1.weight)", r"encoder\.layers\.encoder_layer_",
            _VIT_TORCHVISION, (split_in_proj,), prefix="vit.",
            heads={"heads.head.": "classifier.", "heads.": "classifier."},
        ),
    ),
    "DeiTForImageClassificationWithTeacher": (
        Layout(
            "DeiT's (dist_token, blocks.0.attn.qkv.weight, head_dist.weight)", r"blocks\.", _VIT, (split_qkv,),
            prefix="deit.", heads={"head_dist.": "distillation_classifier.", "head.": "cls_classifier."},
        ),
    ),
    "ConvNextForImageClassification": (
        Layout(
            "the authors' (downsample_layers.0.0.weight, stages.0.0.dwconv.weight)", r"downsample_layers\.", _CONVNEXT,
            prefix="convnext.", heads={"head.": "classifier."},
        ),
        Layout(
            "timm's (stem.0.weight, stages.0.blocks.0.conv_dw.weight)", r"stages\.0\.blocks\.", _CONVNEXT_TIMM,
            prefix="convnext.", heads={"head.fc.": "classifier."},
        ),
        Layout(
            "torchvision's (features.1.0.block.0.weight)", r"features\.1\.0\.block\.", _CONVNEXT_TORCHVISION,
            (lambda tensors: {n: t.flatten() if n.endswith("layer_scale") else t for n, t in tensors.items()},),
            prefix="convnext.", heads={"classifier.2.": "classifier."},
        ),
    ),
    "SwinForImageClassification": (
        Layout(
            "the authors' (layers.0.blocks.0.attn.qkv.weight)", r"layers\.0\.blocks\.", _SWIN, (split_qkv,),
            r"relative_position_index$|attn_mask$", "swin.", {"head.": "classifier."},
        ),
        Layout(
            "torchvision's (features.1.0.attn.qkv.weight)", r"features\.1\.0\.attn\.", _SWIN_TORCHVISION, (split_qkv,),
            r"relative_position_index$", "swin.", {"head.": "classifier."},
        ),
    ),
    "ViTMAEForPreTraining": (
        Layout(
            "MAE's (blocks.0.attn.qkv.weight, decoder_blocks.0.attn.qkv.weight)", r"decoder_blocks\.", _MAE,
            (split_qkv,), prefix="vit.", apart=("decoder.",),
        ),
    ),
    "ViTMAEModel": (Layout("MAE's (blocks.0.attn.qkv.weight)", r"blocks\.", _VIT, (split_qkv,), r"^(head|fc_norm)\."),),
    "CLIPModel": (
        Layout(
            "OpenAI's (visual.transformer.resblocks.0.ln_1.weight)", r"visual\.transformer\.resblocks\.", _CLIP,
            (split_in_proj, clip_to_linear), r"^(input_resolution|context_length|vocab_size)$|attn_mask$",
        ),
    ),
    "SLIP": (
        Layout(
            "SLIP's (visual.blocks.0.attn.qkv.weight, image_projection)", r"visual\.blocks\.", _CLIP_TEXT,
            (split_in_proj, clip_to_linear), r"^image_mlp\.",
        ),
    ),
    "SiglipModel": (
        Layout(
            "big_vision's .npz (img/Transformer/encoderblock_0/…)", r"(params\.)?img\.Transformer\.", _SIGLIP,
            (big_vision_to_torch,),
        ),
    ),
    "VJEPA2Model": (
        Layout(
            "V-JEPA 2's (encoder.module.backbone.blocks.0.attn.qkv.weight)",
            r"encoder\.(module\.)?(backbone\.)?blocks\.", _VJEPA2, (split_qkv, repeated_mask_tokens),
            r"^target_encoder\.|^classifier|pos_embed$",
        ),
    ),
    "DetrForObjectDetection": (
        Layout(
            "DETR's (backbone.0.body.conv1.weight, transformer.encoder.layers.0.linear1.weight)",
            r"backbone\.0\.body\.", _DETR, (detr_attention, resnet_numbers), r"num_batches_tracked$",
        ),
    ),
}  # fmt: skip
