"""Substitutions that turn the names of tensors in authors' files into those of ``transformers``, one chain a family."""

from __future__ import annotations

Rules = tuple[tuple[str, str], ...]

TRANSFORMER: Rules = (
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^masked_embed$", "embeddings.mask_token"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.(?:\d+\.)?(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
)
VIT: Rules = (
    *TRANSFORMER,
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
)
DINOV2: Rules = (
    *TRANSFORMER,
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w12\.", ".mlp.weights_in."),
    (r"\.mlp\.w3\.", ".mlp.weights_out."),
    (r"^norm\.", "layernorm."),
)
DINOV3: Rules = (
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
DINOV3_CONVNEXT: Rules = (
    (r"^downsample_layers\.(\d)\.(\d)\.", r"model.stages.\1.downsample_layers.\2."),
    (r"^stages\.(\d)\.(\d+)\.", r"model.stages.\1.layers.\2."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.norm\.", ".layer_norm."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"^norm\.", "layer_norm."),
)
RESNET: Rules = (
    (r"^conv1\.", "embedder.embedder.convolution."),
    (r"^bn1\.", "embedder.embedder.normalization."),
    (r"\.downsample\.0\.", ".shortcut.convolution."),
    (r"\.downsample\.1\.", ".shortcut.normalization."),
)
CONVNEXT: Rules = (
    (r"^downsample_layers\.0\.0\.", "embeddings.patch_embeddings."),
    (r"^downsample_layers\.0\.1\.", "embeddings.layernorm."),
    (r"^downsample_layers\.(\d)\.(\d)\.", r"encoder.stages.\1.downsampling_layer.\2."),
    (r"^stages\.(\d)\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.norm\.", ".layernorm."),
    (r"\.gamma$", ".layer_scale_parameter"),
    (r"^norm\.", "layernorm."),
)
CONVNEXT_TIMM: Rules = (
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
CONVNEXT_TORCHVISION: Rules = (
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
VIT_TORCHVISION: Rules = (
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
SWIN_BLOCK: Rules = (
    (r"\.attn\.(query|key|value)\.", r".attention.self.\1."),
    (r"\.attn\.relative_position_bias_table$", ".attention.self.relative_position_bias_table"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.(?:fc1|0)\.", ".intermediate.dense."),
    (r"\.mlp\.(?:fc2|3)\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
)
SWIN: Rules = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^layers\.", "encoder.layers."),
    *SWIN_BLOCK,
)
SWIN_TORCHVISION: Rules = (
    (r"^features\.0\.0\.", "embeddings.patch_embeddings.projection."),
    (r"^features\.0\.2\.", "embeddings.norm."),
    *((rf"^features\.{2 * k + 2}\.", rf"encoder.layers.{k}.downsample.") for k in range(3)),
    *((rf"^features\.{2 * k + 1}\.(\d+)\.", rf"encoder.layers.{k}.blocks.\1.") for k in range(4)),
    *SWIN_BLOCK,
)
MAE: Rules = (
    (r"^mask_token$", "decoder.mask_token"),
    (r"^decoder_(embed|pos_embed|norm|pred)\b", r"decoder.decoder_\1"),
    (r"^decoder_blocks\.(\d+)\.", r"decoder.decoder_layers.\1."),
    *VIT,
)
CLIP: Rules = (
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
SIGLIP: Rules = (
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
VJEPA2: Rules = (
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
DETR: Rules = (
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
    *RESNET[2:],
)
CLIP_TEXT = CLIP[6:]
AIMV2: Rules = (
    (r"^preprocessor\.patchifier\.proj\.", "embeddings.patch_embed."),
    (r"^preprocessor\.patchifier\.norm\.", "embeddings.rms_norm."),
    (r"^trunk\.blocks\.", "encoder.layers."),
    (r"^trunk\.post_trunk_norm\.", "rms_norm."),
    (r"\.norm_(\d)\.", r".rms_norm\1."),
    (r"\.attn\.query\.", ".attention.q_proj."),
    (r"\.attn\.key\.", ".attention.k_proj."),
    (r"\.attn\.value\.", ".attention.v_proj."),
    (r"\.attn\.proj\.", ".attention.out_proj."),
    (r"\.mlp\.fc1\.", ".ffn.gate_proj."),
    (r"\.mlp\.fc3\.", ".ffn.up_proj."),
    (r"\.mlp\.fc2\.", ".ffn.down_proj."),
)
RADIO: Rules = (
    (r"^patch_generator\.embedder\.", "embeddings.patch_projection."),
    (r"^patch_generator\.pos_embed$", "embeddings.position_embedding"),
    (r"^patch_generator\.cls_token\.token$", "embeddings.cls_register_token"),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.query\.", ".attention.q_proj."),
    (r"\.attn\.key\.", ".attention.k_proj."),
    (r"\.attn\.value\.", ".attention.v_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
)
