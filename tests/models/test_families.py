"""One battery for every family: built from its real configuration class, tiny and random, without a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from torch import Tensor

from brainmap.features import FeatureExtractor, Features
from brainmap.models import ImageBatch, VisionModel, list_models, load_model, model_card, register_model
from brainmap.models.objectives import OBJECTIVES, Objective
from brainmap.models.objectives.objective import Exactness
from brainmap.stimuli import StimulusSet

VIT = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
TEXT = {**VIT, "vocab_size": 60, "max_position_embeddings": 10, "bos_token_id": 1, "eos_token_id": 59}
STAGES = {"depths": [1, 1, 2, 1], "hidden_sizes": [6, 8, 10, 12]}
TOWER = {**VIT, "image_size": 32, "patch_size": 8}
DECODER = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
BACKBONE = {"model_type": "resnet", "out_features": ["stage4"]}
DETECTOR = {
    "use_timm_backbone": False, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 20,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 20,
}  # fmt: skip

# family: a model of it, its configuration made tiny
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov3": ("dinov3-vits16", {**VIT, "image_size": 32, "patch_size": 8, "num_register_tokens": 4}),
    "dinov3-gated": ("dinov3-vits16plus", {**VIT, "image_size": 32, "patch_size": 8, "num_register_tokens": 4}),
    "dinov3-convnext": ("dinov3-convnext-tiny", STAGES),
    "dinov2": ("dinov2-small", {**VIT, "image_size": 40, "patch_size": 8}),
    "dinov2-swiglu": ("dinov2-giant", {**VIT, "image_size": 40, "patch_size": 8, "use_swiglu_ffn": True}),
    "dinov2-registers": ("dinov2-registers-small", {**VIT, "image_size": 40, "patch_size": 8}),
    "dino": ("dino-vits16", TOWER),
    "ibot": ("ibot-vits16", TOWER),
    "vit-mae": ("vit-mae-base", {**TOWER, **DECODER, "decoder_intermediate_size": 20}),
    "vit": ("vit-large-patch16", {**TOWER, "num_labels": 7}),
    "deit": ("deit-small", {**TOWER, "num_labels": 7}),
    "convnext": ("convnext-large", {**STAGES, "num_labels": 7}),
    "resnet": ("resnet-50", {**STAGES, "embedding_size": 6, "num_labels": 7}),
    "clip": ("clip-vit-base-patch32", {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT}),
    "siglip2": ("siglip2-base-patch16", {"vision_config": TOWER, "text_config": {**TEXT, "projection_size": 24}}),
    "siglip2-naflex": (
        "siglip2-base-patch16-naflex",
        {"vision_config": {**VIT, "num_patches": 16, "patch_size": 8}, "text_config": {**TEXT, "projection_size": 24}},
    ),
    "aimv2": ("aimv2-large-patch14", {**TOWER, "use_head": False}),
    "radio": ("c-radiov4-h", {**VIT, "patch_size": 8, "max_img_size": 64}),
    "owlvit": ("owlvit-base-patch32", {"projection_dim": 12, "vision_config": TOWER, "text_config": TEXT}),
    "ijepa": ("ijepa-vith14", TOWER),
    "vjepa2": ("vjepa2-vitl", {**VIT, **PREDICTOR, "crop_size": 32, "patch_size": 8}),
    "dinotxt": ("dinotxt-vitl16", {**VIT, "image_size": 32, "patch_size": 8, "text_config": TEXT}),
    "eupe": ("eupe-vits16", {**VIT, "image_size": 32, "patch_size": 8}),
    "eupe-convnext": ("eupe-convnext-tiny", STAGES),
    "vggt": ("vggt-encoder", {**VIT, "image_size": 40, "patch_size": 8}),
    "vggt-omega": ("vggt-omega-encoder", {**VIT, "image_size": 32, "patch_size": 8}),
    "lejepa": ("lejepa-vits16", TOWER),
    "detr": ("detr-resnet-50", {**DETECTOR, "backbone_config": {**BACKBONE, **STAGES, "embedding_size": 6}}),
    "dino-resnet": ("dino-resnet50", {**STAGES, "embedding_size": 6}),
    "webssl-dino": ("webssl-dino300m", {**VIT, "image_size": 40, "patch_size": 8}),
    "webssl-mae": ("webssl-mae300m", TOWER),
    "swin": (
        "swin-tiny",
        {"embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "num_labels": 7},
    ),
    "slip": ("slip-vitb16", {**TOWER, "projection_dim": 12, "text_config": TEXT}),
    "rad-dino": ("rad-dino", {**VIT, "image_size": 40, "patch_size": 8}),
    "dino-tiny": ("dino-tiny", {}),
}
IMAGE_WISE = [name for name, objective in OBJECTIVES.items() if not objective.batch_coupled]
ROLES = {"cls": "cls", "register-mean": "register", "patch-mean": "patch"}


def tiny(family: str, **options: Any) -> VisionModel:
    name, config = TINY[family]
    card = model_card(name)
    if config:
        crop = 64 if "hidden_sizes" in config or "backbone_config" in config else 32
        pixels = {"local_pixels": crop // 2} if card.sizes != "fixed" else {"global_pixels": crop, "local_pixels": crop}
        views = card.views.model_copy(update=pixels)
        preprocessing = card.preprocessing.model_copy(update={"crop": crop, "resize": None})
        changes = {"config": {**card.config, **config}, "preprocessing": preprocessing, "views": views}
        patch = None if card.patch is None else 8
        card = register_model(card.model_copy(update={**changes, "name": f"tiny-{family}", "patch": patch}))
    return load_model(card.name, weights="untrained", **options)


@pytest.fixture(scope="module", params=TINY)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str) -> VisionModel:
    found = tiny(family, dtype="float64")
    generator = torch.Generator().manual_seed(0)
    for parameter in found.module.parameters():  # away from the symmetries of initial weights: zero biases, unit gains
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return found


@pytest.fixture(scope="module")
def stimuli() -> StimulusSet:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (40 + i, 48, 3), dtype=np.uint8) for i in range(4)]
    table = pd.DataFrame(
        {"name": list("abcd"), "label": [0, 3, 6, 3], "caption": ["a cat", "two dogs", "sea", "a cat"]}
    )
    return StimulusSet.from_arrays(images, table)


def batch_of(model: VisionModel, stimuli: StimulusSet, rows: list[int]) -> ImageBatch:
    images = [stimuli.image(i) for i in rows]
    table = stimuli.table.iloc[rows].reset_index(drop=True)
    return ImageBatch(images, model.preprocess(images), [str(stimuli.ids[i]) for i in rows], table)


def objectives_of(model: VisionModel) -> list[Objective]:
    if model.name == "dino-tiny":  # its own objectives, in full: tests/features/test_gradients.py
        return [OBJECTIVES["feature-energy"]]
    return [OBJECTIVES[name] for name in model.objectives if name in IMAGE_WISE]


def test_every_shipped_family_is_in_the_battery() -> None:
    shipped = {name: model_card(name).family for name in list_models() if not name.startswith(("tiny-", "my-"))}
    families = set(shipped.values()) - {"packages"}  # real weights: test_real_weights.py
    assert families == {model_card(name).family for name, _ in TINY.values()}


def test_layers_depths_sites(family: str, model: VisionModel) -> None:
    convolutional = {"dinov3-convnext", "convnext", "resnet", "eupe-convnext", "detr", "dino-resnet"}
    expected = 12 if family == "dino-tiny" else 5 if family in convolutional else 3
    assert [layer.name for layer in model.layers] == [f"block.{i}" for i in range(expected)]
    assert [layer.depth for layer in model.layers] == pytest.approx(np.linspace(0, 1, expected))
    for site in model.sites:
        assert len(model.site_modules(model.layer_names(), site)) == expected


def test_roles_sum_to_the_token_count(family: str, model: VisionModel, stimuli: StimulusSet) -> None:
    batch = batch_of(model, stimuli, [0, 1])
    found = FeatureExtractor(model, signals=["activation"], pooling="flatten").compute(batch)
    if model.card.patch is None:
        assert list(model.roles(batch.pixels.shape)) == ["patch"]
        return
    roles = model.roles(batch.pixels.shape)
    count = sum(role.stop - role.start for role in roles.values())
    assert roles["patch"].stop == count
    width = 96 if family == "dino-tiny" else 24
    for values in found.values():
        assert values.shape == (2, count * width)


def hidden_states(model: VisionModel, pixels: Tensor) -> dict[str, Tensor]:
    """The library's own hidden states (n, T, d) after each block, or after each stage where it exposes those."""
    network, layers = next(iter(model.branches.values())), model.layer_names()
    inputs = {"pixel_values": pixels, "output_hidden_states": True}
    if model.card.family == "vit-mae":  # masked images there; unmasked, the encoder is a ViT of the same weights
        config = transformers.ViTConfig(**TOWER, layer_norm_eps=network.config.layer_norm_eps)
        weights, network = network.state_dict(), transformers.ViTModel(config, add_pooling_layer=False).double().eval()
        network.load_state_dict(weights, strict=True)
    if model.card.family == "vjepa2":
        network, clip = model.module, pixels[:, None].expand(-1, 2, -1, -1, -1)
        inputs = {"pixel_values_videos": clip, "skip_predictor": True, "output_hidden_states": True}
    if model.card.family == "siglip2-naflex":  # how it is given patches: checkpoints/test_aimv2_radio_naflex.py
        network, inputs = model.forward, {"pixels": pixels, "output_hidden_states": True}
    with torch.no_grad():
        states = network(**inputs).hidden_states[1:]
    if model.card.family == "swin":  # the library's are after the downsampling at a stage's end
        return {layers[-1]: states[-1]}
    if states[0].ndim == 4:
        ends = np.cumsum(STAGES["depths"]) - 1
        return {layers[end]: state.flatten(2).transpose(1, 2) for end, state in zip(ends, states, strict=True)}
    return dict(zip(layers, states, strict=True))


def test_activations_are_the_library_hidden_states(model: VisionModel, stimuli: StimulusSet) -> None:
    batch = batch_of(model, stimuli, [0, 1])
    found = FeatureExtractor(model, signals=["activation"], pooling="flatten").compute(batch)
    for layer, state in hidden_states(model, batch.pixels).items():
        np.testing.assert_allclose(found["activation", layer], state.flatten(1).numpy(), rtol=1e-9, atol=1e-12)


def per_image_gradients(
    model: VisionModel, objective: Objective, batch: ImageBatch, site: str
) -> dict[str, list[Tensor]]:
    """Raw site gradients of one image by torch.autograd.grad, parameters requiring gradients, nothing shared."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in model.layer_names()}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if tensor.requires_grad:
                outputs[name].append(tensor)

        return hook

    branch = objective.branch(model)
    network = model.network(branch)
    modules = model.site_modules(model.layer_names(), site, branch)
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    network.requires_grad_(True)
    try:
        loss = objective(model, batch)[0]
        flat = [tensor for name in outputs for tensor in outputs[name]]
        found = iter(torch.autograd.grad(loss, flat, allow_unused=True))
        return {
            name: [model.as_tokens(torch.zeros_like(t) if (g := next(found)) is None else g, site) for t in tensors]
            for name, tensors in outputs.items()
        }
    finally:
        network.requires_grad_(False)
        for handle in handles:
            handle.remove()


def reduced(model: VisionModel, views: list[Tensor], pooling: str) -> np.ndarray:
    if pooling == "flatten":
        return torch.cat([view.flatten() for view in views]).numpy()
    parts = []
    for view in views:
        role = model.role_slices(view.shape[1])[ROLES[pooling]] if pooling in ROLES else slice(None)
        parts.append(view[:, role].reshape(-1, view.shape[-1]))
    return torch.cat(parts).mean(0).numpy()


def test_gradients_equal_the_per_image_oracle(model: VisionModel, stimuli: StimulusSet) -> None:
    everything = batch_of(model, stimuli, [0, 1, 2, 3])
    for objective in objectives_of(model):
        for site in model.sites:
            wanted = [per_image_gradients(model, objective, everything[i : i + 1], site) for i in range(4)]
            assert any(view.abs().max() > 0 for views in wanted[0].values() for view in views), objective.name
            poolings = [pooling for pooling, role in ROLES.items() if role in model.role_slices(99)]
            for pooling in (*poolings, "flatten"):
                extractor = FeatureExtractor(
                    model, signals=["gradient"], site=site, pooling=pooling, objective=objective
                )
                found = extractor.compute(everything)
                for layer in model.layer_names():
                    rows = np.stack([reduced(model, views[layer], pooling) for views in wanted])
                    error = np.linalg.norm(found["gradient", layer] - rows, axis=1)
                    size = np.linalg.norm(rows, axis=1)
                    assert (error <= 1e-9 * size).all(), (objective.name, site, pooling, layer, error / size)


def test_finite_differences_agree(model: VisionModel, stimuli: StimulusSet) -> None:
    batch = batch_of(model, stimuli, [1])
    for objective in objectives_of(model):
        if objective.name in ("cross-entropy", "ibot", "dino"):
            continue  # the same code paths as their siblings
        layer = model.layer_names()[1]
        extractor = FeatureExtractor(
            model, signals=["gradient"], layers=[layer], pooling="all-mean", objective=objective
        )
        gradient = extractor.compute(batch)["gradient", layer][0]
        module = model.site_modules((layer,), "block", objective.branch(model))[layer]
        for column in (0, len(gradient) // 2):
            losses, tokens = [], 0
            for sign in (1, -1):
                counted = 0

                def shift(_module: Any, _inputs: Any, output: Any, sign: int = sign, column: int = column) -> Any:
                    nonlocal counted
                    if not torch.is_grad_enabled():
                        return None  # a teacher's or target's pass through the same network
                    tensor = output[0] if isinstance(output, tuple) else output
                    moved = tensor.detach().clone()
                    axis = 1 if moved.ndim == 4 else -1
                    moved.select(axis, column).add_(sign * 1e-5)
                    counted += moved.numel() // moved.shape[axis]
                    return (moved, *output[1:]) if isinstance(output, tuple) else moved

                handle = module.register_forward_hook(shift)
                with torch.enable_grad():
                    losses.append(float(objective(model, batch)[0]))
                handle.remove()
                tokens = counted
            slope = (losses[0] - losses[1]) / 2e-5 / tokens
            if objective.name == "headless":  # its target moves along with the same network: held fixed by the gradient
                continue
            assert slope == pytest.approx(gradient[column], rel=2e-4, abs=1e-9), objective.name


def test_batch_and_order_do_not_matter(model: VisionModel, stimuli: StimulusSet) -> None:
    for objective in objectives_of(model):
        together = FeatureExtractor(model, objective=objective).extract(stimuli)
        shuffled = FeatureExtractor(model, objective=objective, batch_size=3).extract(stimuli.subset([2, 0, 3, 1]))
        for key in together:
            wanted = np.asarray(together[key])[[2, 0, 3, 1]]
            scale = np.linalg.norm(wanted, axis=1)
            assert (np.linalg.norm(shuffled[key] - wanted, axis=1) <= 1e-9 * scale).all(), (objective.name, key)


def test_weights_round_trip(family: str, tmp_path: Path, stimuli: StimulusSet) -> None:
    from safetensors.torch import save_file

    model = tiny(family, seed=5)
    tensors = {name: tensor.contiguous().clone() for name, tensor in model.module.state_dict().items()}
    save_file(tensors, tmp_path / "saved.safetensors")
    name = model.card.name
    again = load_model(name, weights=tmp_path / "saved.safetensors", seed=9) if not model.adapter.has_text else None
    if again is not None:
        assert again.digest == model.digest != tiny(family, seed=6).digest
    if hasattr(model.module, "save_pretrained"):
        model.module.save_pretrained(tmp_path / "folder")
        loaded = model.adapter.pretrained(tmp_path / "folder")
        for key, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, tensors[key]), key


def test_features_carry_their_labels(model: VisionModel, stimuli: StimulusSet) -> None:
    for objective in objectives_of(model):
        found: Features = FeatureExtractor(model, objective=objective, layers=["block.1"]).extract(stimuli)
        assert found.provenance["exactness"] in get_args(Exactness)
        assert found.losses is not None and found.losses.shape == (4,)
        assert np.isfinite(found.losses).all()
