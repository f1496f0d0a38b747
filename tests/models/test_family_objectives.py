"""Objectives of the families against the library's own losses and scores, and against plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from models.tiny_towers import TEXT, TOWER

from brainmap.common.errors import InputError
from brainmap.features import FeatureExtractor
from brainmap.models import ImageBatch, ModelCard, VisionModel, fit_clip_bridge, load_model, model_card, register_model
from brainmap.models.objectives import OBJECTIVES, MAEReconstruction
from brainmap.models.objectives.masked import block_mask
from brainmap.stimuli import StimulusSet

DECODER = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}


def small(name: str, config: dict[str, Any]) -> VisionModel:
    card: ModelCard = model_card(name)
    changes = {
        "name": f"small-{name}",
        "config": {**card.config, **config},
        "preprocessing": card.preprocessing.model_copy(update={"crop": 32, "resize": None}),
        "patch": 8,
    }
    return load_model(register_model(card.model_copy(update=changes)).name, weights="untrained", dtype="float64")


def batch_of(model: VisionModel, count: int = 3, **columns: Any) -> ImageBatch:
    rng = np.random.default_rng(7)
    images = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(count)]
    table = pd.DataFrame(columns, index=range(count))
    return ImageBatch(images, model.preprocess(images), [f"{i:016x}" for i in range(count)], table)


@pytest.mark.parametrize("normalised", [True, False])
@torch.no_grad()
def test_mae_is_the_library_loss(normalised: bool) -> None:
    model = small("vit-mae-base", {**TOWER, **DECODER, "decoder_intermediate_size": 20, "norm_pix_loss": normalised})
    batch = batch_of(model)
    found = MAEReconstruction(seed=4)(model, batch)
    for i in range(3):
        noise = torch.from_numpy(batch.generators(4, 3)[i].random(16))[None]
        model.module.config.mask_ratio = 0.75
        wanted = model.module(pixel_values=batch.pixels[i : i + 1], noise=noise).loss
        torch.testing.assert_close(found[i], wanted, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("clip-vit-base-patch32", {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT}),
        ("owlvit-base-patch32", {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT}),
        ("siglip2-base-patch16", {"vision_config": TOWER, "text_config": {**TEXT, "projection_size": 24}}),
    ],
)
@torch.no_grad()
def test_similarity_is_the_library_score(name: str, config: dict[str, Any]) -> None:
    model = small(name, config)
    batch = batch_of(model, caption=["a cat", "a dog on a beach", "a cat"])
    assert model.tokenizer is not None
    tokens = model.tokenizer(batch.table["caption"].tolist())
    scores = model.module(pixel_values=batch.pixels, **tokens).logits_per_image
    objective = OBJECTIVES["image-text-similarity"]
    assert objective.exactness == "native similarity"
    torch.testing.assert_close(objective(model, batch), -scores.diagonal(), rtol=1e-10, atol=1e-12)
    with pytest.raises(InputError, match="column 'caption'"):
        objective(model, batch_of(model))
    with pytest.raises(InputError, match="empty for stimulus 0000000000000001"):
        objective(model, batch_of(model, caption=["a", None, "b"]))


@torch.no_grad()
def test_cross_entropies_are_torch_s() -> None:
    model = small("vit-base-patch16", {**TOWER, "num_labels": 5})
    batch = batch_of(model, label=[4, 0, "LABEL_2"])
    logits = model.module(batch.pixels).logits
    given = F.cross_entropy(logits, torch.tensor([4, 0, 2]), reduction="none")
    torch.testing.assert_close(OBJECTIVES["cross-entropy"](model, batch), given, rtol=1e-10, atol=0)
    own = -torch.log_softmax(logits, -1).max(-1).values
    torch.testing.assert_close(OBJECTIVES["cross-entropy-top1"](model, batch), own, rtol=1e-10, atol=0)
    for label, sentence in ((5, "outside the 5 classes"), ("cat", "neither a class index nor a class name")):
        with pytest.raises(InputError, match=sentence):
            OBJECTIVES["cross-entropy"](model, batch_of(model, label=[0, label, 0]))


@torch.no_grad()
def test_vjepa_is_its_formula() -> None:
    width = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "crop_size": 32, "patch_size": 8}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    model = small("vjepa2-vitl", {**width, **predictor})
    batch = batch_of(model)
    found = OBJECTIVES["vjepa-latent"](model, batch)
    module: Any = model.module
    for i in range(3):
        clip = batch.pixels[i].expand(1, 2, 3, 32, 32)
        mask = torch.from_numpy(block_mask(4, 0.75, batch.generators(0, 3)[i]).ravel())
        keep, hide = (part.nonzero()[:, 0][None] for part in (~mask, mask))
        target = F.layer_norm(module.encoder(clip).last_hidden_state, (24,))[:, mask]
        visible = module.encoder.embeddings(clip)[:, ~mask]
        for layer in module.encoder.layer:
            visible = layer(visible, keep)[0]
        full = torch.zeros(1, 16, 24, dtype=torch.float64)
        full[:, ~mask] = module.encoder.layernorm(visible)
        predicted = module.predictor(full, [keep], [hide]).last_hidden_state
        torch.testing.assert_close(found[i], (predicted - target).abs().mean(), rtol=1e-10, atol=0)


def test_encoder_of_some_tokens_equals_all_when_all_are_kept() -> None:
    width = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "crop_size": 32, "patch_size": 8}
    model = small("vjepa2-vitl", {**width, "pred_hidden_size": 24, "pred_num_attention_heads": 2})
    pixels = batch_of(model).pixels
    with torch.no_grad():
        kept = model.forward(pixels, keep=torch.arange(16).expand(3, -1))
        torch.testing.assert_close(kept, model.tokens(pixels), rtol=1e-10, atol=1e-12)


def test_clip_bridge_is_a_ridge_into_caption_space() -> None:
    from sklearn.linear_model import RidgeCV

    classifier = small("vit-base-patch16", {**TOWER, "num_labels": 5})
    clip = small("clip-vit-base-patch32", {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT})
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(11)]
    captions = [f"{'red' if image[..., 0].mean() > 127 else 'blue'} thing {i % 3}" for i, image in enumerate(images)]
    table = pd.DataFrame({"name": range(11), "caption": captions})
    stimuli = StimulusSet.from_arrays(images, table.astype({"name": str}))
    bridge = fit_clip_bridge(classifier, clip, stimuli, batch_size=4)
    pixels = classifier.preprocess(images)
    with torch.no_grad():
        logits = classifier.module(pixels).logits.numpy()
    wanted = F.normalize(clip.text_embedding(captions), dim=-1).numpy()
    oracle = RidgeCV([10.0**power for power in range(-3, 7)]).fit(logits, wanted)
    assert bridge.alpha == oracle.alpha_
    np.testing.assert_allclose(bridge.weights, oracle.coef_.T, rtol=1e-6, atol=1e-9)
    mapped = oracle.predict(logits)
    cosine = (mapped * wanted).sum(1) / np.linalg.norm(mapped, axis=1)
    found = FeatureExtractor(classifier, objective=bridge, layers=["block.0"]).extract(stimuli)
    np.testing.assert_allclose(found.losses, -cosine, rtol=1e-6)
    assert found.provenance["exactness"] == "surrogate"
    assert np.abs(found["gradient", "block.0"]).max() > 0
    with pytest.raises(InputError, match="has no text tower"):
        fit_clip_bridge(clip, classifier, stimuli)


@pytest.mark.parametrize("side", [2, 4, 16])
def test_block_masks_have_a_fixed_size(side: int) -> None:
    rng = np.random.default_rng(0)
    counts = {int(block_mask(side, 0.75, rng).sum()) for _ in range(50)}
    assert counts == {round(0.75 * side * side)}


@torch.no_grad()
def test_tokens_of_image_towers_are_normed() -> None:
    """CLIP's and OWL-ViT's last norm, which the library applies to the CLS token only; SigLIP's is applied already."""
    for name in ("clip-vit-base-patch32", "owlvit-base-patch32", "siglip2-base-patch16"):
        text = {**TEXT, "projection_size": 24} if "siglip" in name else TEXT
        config = {"vision_config": TOWER, "text_config": text}
        model = small(name, config if "siglip" in name else {**config, "projection_dim": 12})
        network: Any = model.network()
        network.post_layernorm.weight.data.uniform_(0.5, 2.0)
        before: list[torch.Tensor] = []
        handle = network.encoder.register_forward_hook(lambda _m, _i, out, seen=before: seen.append(out[0]))
        found = model.tokens(batch_of(model).pixels)
        handle.remove()
        torch.testing.assert_close(found, network.post_layernorm(before[0]), rtol=1e-10, atol=1e-12)


def test_siglip_2_captions_are_lower_cased_and_padding_is_read() -> None:
    from brainmap.models.tokenizers import HubTokenizer

    seen: list[list[str]] = []

    def library(captions: list[str], **_options: Any) -> dict[str, torch.Tensor]:
        seen.append(captions)
        ids = torch.tensor([[5, 1, 0]] * len(captions))
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    card = model_card("siglip2-base-patch16")
    plain = HubTokenizer(library, 3, "here")
    siglip = HubTokenizer(library, 3, "here", lowercase=card.caption_lowercase, mask=card.caption_mask)
    assert set(plain(["A Cat"])) == {"input_ids", "attention_mask"} and set(siglip(["A Cat"])) == {"input_ids"}
    assert seen == [["A Cat"], ["a cat"]] and plain.identity != siglip.identity
