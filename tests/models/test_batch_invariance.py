"""Every image-wise objective: gradients of 33 photographs don't depend on batch size or order (float32)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from models.tiny_towers import TEXT, TOWER

from brainmap.features import FeatureExtractor
from brainmap.models import OBJECTIVES, VisionModel, fit_clip_bridge, load_model, model_card, register_model
from brainmap.models.adapters.adapter import transformers_class, transformers_config
from brainmap.models.adapters.ijepa import IJEPA, IJEPAAdapter, Predictor
from brainmap.models.objectives import Objective
from brainmap.models.vision_model import Loaded
from brainmap.stimuli import StimulusSet

DECODER = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
VIDEO = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "crop_size": 32, "patch_size": 8,
    "pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1,
}  # fmt: skip
WHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "dino": ("dino-tiny", {}),
    "ibot": ("dino-tiny", {}),
    "dino-ibot": ("dino-tiny", {}),
    "feature-energy": ("resnet-50", {"depths": [1, 1, 2, 1], "hidden_sizes": [6, 8, 10, 12], "embedding_size": 6}),
    "headless": ("dinov2-small", TOWER),
    "mae-reconstruction": ("vit-mae-base", {**TOWER, **DECODER, "decoder_intermediate_size": 20}),
    "vjepa-latent": ("vjepa2-vitl", VIDEO),
    "ijepa-latent": ("ijepa-vith14", TOWER),
    "cross-entropy": ("vit-base-patch16", {**TOWER, "num_labels": 7}),
    "cross-entropy-top1": ("vit-base-patch16", {**TOWER, "num_labels": 7}),
    "image-text-similarity": (
        "clip-vit-base-patch32",
        {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT},
    ),
    "clip-bridge": ("vit-base-patch16", {**TOWER, "num_labels": 7}),
}


def test_every_image_wise_objective_is_here() -> None:
    image_wise = {name for name, objective in OBJECTIVES.items() if not objective.batch_coupled}
    assert image_wise <= set(WHERE)


def small(name: str, config: dict[str, Any]) -> VisionModel:
    card = model_card(name)
    if not config:
        return load_model(name, weights="untrained")
    crop = 64 if "depths" in config else 32
    changes = {
        "name": f"invariant-{name}",
        "config": {**card.config, **config},
        "preprocessing": card.preprocessing.model_copy(update={"crop": crop, "resize": None}),
        "views": card.views.model_copy(update={"local_pixels": crop // 2}),
        "patch": None if card.patch is None else 8,
    }
    return load_model(register_model(card.model_copy(update=changes)).name, weights="untrained")


def small_ijepa() -> VisionModel:
    """Encoder, target encoder and predictor, untrained."""
    card = register_model(small("ijepa-vith14", TOWER).card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind = transformers_class(card)
        encoder, target = (kind(transformers_config(card), **card.build_options) for _ in range(2))
        predictor = Predictor(24, 16, patches=16, depth=1, heads=2)
        torch.nn.init.normal_(predictor.predictor_pos_embed)
        module = IJEPA(encoder, target, predictor)
    loaded = Loaded("untrained", "here", code="test")
    return VisionModel(card, module, IJEPAAdapter(card), preprocessing=card.preprocessing, loaded=loaded)


@pytest.fixture(scope="module")
def stimuli() -> StimulusSet:
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (40 + i % 4, 44, 3), dtype=np.uint8) for i in range(33)]
    table = pd.DataFrame(
        {
            "name": [f"p{i}" for i in range(33)],
            "label": [i % 7 for i in range(33)],
            "caption": [f"{('cat', 'dog', 'sea')[i % 3]} number {i}" for i in range(33)],
        }
    )
    return StimulusSet.from_arrays(images, table)


@pytest.mark.parametrize("name", WHERE)
def test_gradients_depend_on_the_image_alone(name: str, stimuli: StimulusSet) -> None:
    model = small_ijepa() if name == "ijepa-latent" else small(*WHERE[name])
    objective: str | Objective = name
    if name == "clip-bridge":
        objective = fit_clip_bridge(model, small(*WHERE["image-text-similarity"]), stimuli.subset(list(range(12))))
    layer = model.layer_names()[0]
    options: dict[str, Any] = {"layers": [layer], "pooling": "all-mean", "objective": objective}
    wanted = np.asarray(FeatureExtractor(model, **options, batch_size=32).extract(stimuli)["gradient", layer])
    size = np.linalg.norm(wanted, axis=1)
    # One in four images has no masked patch in either crop, and no gradient of iBOT.
    assert size.min() > 0 if name != "ibot" else 0 < np.sum(size == 0) < 20
    order = np.random.default_rng(1).permutation(33)
    for batch_size, rows in ((1, np.arange(33)), (7, np.arange(33)), (32, order)):
        found = FeatureExtractor(model, **options, batch_size=batch_size).extract(stimuli.subset(rows))
        error = np.linalg.norm(found["gradient", layer] - wanted[rows], axis=1)
        assert (error <= 1e-5 * size[rows]).all(), batch_size
