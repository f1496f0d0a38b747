"""AIMv2, RADIO and SigLIP 2 NaFlex in their authors' layouts: tables written here, and arithmetic written out.

That the layouts below are the authors' was checked with the authors' own code (docs/models.md has the numbers).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.models import VisionModel, load_model, model_card, register_model
from brainmap.models.tokenizers import HashedWords

SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
AIMV2 = {**SIZES, "intermediate_size": 40, "image_size": 32}
RADIO = {**SIZES, "max_img_size": 64}


def random_model(name: str, config: dict[str, Any]) -> VisionModel:
    card = model_card(name)
    preprocessing = card.preprocessing.model_copy(update={"crop": 32, "resize": None})
    changes = {"name": f"own-{name}", "config": {**card.config, **config}, "preprocessing": preprocessing, "patch": 8}
    model = load_model(register_model(card.model_copy(update=changes)).name, weights="untrained")
    generator = torch.Generator().manual_seed(3)
    for name_, tensor in model.module.state_dict().items():
        if tensor.is_floating_point() and "norm_mean" not in name_ and "norm_std" not in name_:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


def aimv2_file(model: VisionModel) -> dict[str, Tensor]:
    ours = dict(model.module.state_dict())
    named = {
        "preprocessor.patchifier.proj.weight": ours["embeddings.patch_embed.weight"],
        "preprocessor.patchifier.proj.bias": ours["embeddings.patch_embed.bias"],
        "preprocessor.patchifier.norm.weight": ours["embeddings.rms_norm.weight"],
        "trunk.post_trunk_norm.weight": ours["rms_norm.weight"],
    }
    if "embeddings.position_embedding.weight" in ours:
        named["preprocessor.pos_embed"] = ours["embeddings.position_embedding.weight"][None]
    for i in range(2):
        mine, theirs = f"encoder.layers.{i}", f"trunk.blocks.{i}"
        parts = [ours[f"{mine}.attention.{part}_proj.weight"] for part in "qkv"]
        named[f"{theirs}.attn.qkv.weight"] = torch.cat(parts)
        named[f"{theirs}.attn.proj.weight"] = ours[f"{mine}.attention.out_proj.weight"]
        for part, linear in (("gate", "fc1"), ("down", "fc2"), ("up", "fc3")):
            named[f"{theirs}.mlp.{linear}.weight"] = ours[f"{mine}.ffn.{part}_proj.weight"]
        for k in (1, 2):
            named[f"{theirs}.norm_{k}.weight"] = ours[f"{mine}.rms_norm{k}.weight"]
    return {name: tensor.clone() for name, tensor in named.items()}


@pytest.mark.parametrize("name", ["aimv2-large-patch14", "aimv2-large-patch14-native"])
def test_aimv2_loads_tensor_for_tensor(name: str, tmp_path: Path) -> None:
    model = random_model(name, AIMV2)
    file = tmp_path / "model.safetensors"
    save_file(aimv2_file(model), file)
    assert load_model(model.name, weights=file).digest == model.digest
    lit = {f"image_encoder.{key}": tensor for key, tensor in aimv2_file(model).items()}
    save_file({**lit, "log_logit_scale": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="authors' layout is not understood"):
        load_model(model.name, weights=tmp_path / "other.safetensors")


def radio_file(model: VisionModel, prefix: str = "base_model.") -> dict[str, Tensor]:
    ours = dict(model.module.state_dict())
    named = {
        f"{prefix}patch_generator.embedder.weight": ours["embeddings.patch_projection.weight"],
        f"{prefix}patch_generator.pos_embed": ours["embeddings.position_embedding"],
        f"{prefix}patch_generator.cls_token.token": ours["embeddings.cls_register_token"],
        "input_conditioner.norm_mean": ours["input_conditioner.norm_mean"],
        "input_conditioner.norm_std": ours["input_conditioner.norm_std"],
        "_heads.0.fc1.weight": torch.ones(2, 2),
    }
    for i in range(2):
        mine, theirs = f"encoder.layer.{i}", f"{prefix}blocks.{i}"
        for leaf in ("weight", "bias"):
            parts = [ours[f"{mine}.attention.{part}_proj.{leaf}"] for part in "qkv"]
            named[f"{theirs}.attn.qkv.{leaf}"] = torch.cat(parts)
            named[f"{theirs}.attn.proj.{leaf}"] = ours[f"{mine}.attention.o_proj.{leaf}"]
            for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                named[f"{theirs}.{part}.{leaf}"] = ours[f"{mine}.{part}.{leaf}"]
        ours[f"{mine}.layer_scale1.lambda1"].fill_(1.0)  # the authors' network has none
        ours[f"{mine}.layer_scale2.lambda1"].fill_(1.0)
    return {name: tensor.clone() for name, tensor in named.items()}


@pytest.mark.parametrize(("teachers", "each", "roles"), [(3, True, (3, 7)), (4, True, (4, 6)), (2, False, (1, 9))])
def test_radio_s_file_says_how_many_tokens_are_of_teachers(
    teachers: int, each: bool, roles: tuple[int, int], tmp_path: Path
) -> None:
    model = random_model("c-radiov3-b", RADIO)
    arguments = argparse.Namespace(
        teachers=[{"name": f"teacher {i}"} for i in range(teachers)], cls_token_per_teacher=each, dtype=torch.float16
    )
    torch.save({"state_dict": radio_file(model), "args": arguments, "epoch": 3}, tmp_path / "radio.pth.tar")
    loaded = load_model(model.name, weights=tmp_path / "radio.pth.tar")
    assert (loaded.card.tokens["cls"], loaded.card.tokens["register"]) == roles
    assert [s.stop - s.start for s in loaded.roles((32, 32)).values()] == [*roles, 16]
    pixels = torch.rand(2, 3, 48, 48)
    torch.testing.assert_close(loaded.tokens(pixels), model.tokens(pixels), rtol=0, atol=0)


def test_radio_takes_the_moving_average_where_the_file_has_one(tmp_path: Path) -> None:
    model = random_model("c-radiov3-b", RADIO)
    live = {name: tensor + 1 for name, tensor in radio_file(model).items()}
    torch.save({"state_dict": live, "state_dict_ema": radio_file(model)}, tmp_path / "radio.pth.tar")
    loaded = load_model(model.name, weights=tmp_path / "radio.pth.tar")
    pixels = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded.tokens(pixels), model.tokens(pixels), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["base_model.norm.weight", "base_model.blocks.0.attn.qkv.parametrizations.weight.original"]
)
def test_radio_files_with_parts_that_the_library_lacks_are_refused(name: str, tmp_path: Path) -> None:
    model = random_model("c-radiov3-b", RADIO)
    torch.save({"state_dict": {**radio_file(model), name: torch.ones(24)}}, tmp_path / "radio.pth.tar")
    with pytest.raises(InputError, match="which RADIO in transformers hasn't"):
        load_model(model.name, weights=tmp_path / "radio.pth.tar")


def test_naflex_reads_patches_as_its_authors_cut_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel of the embedding is (height × width × colour, width), positions are a grid."""
    text = {
        "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40, "vocab_size": 60,
        "max_position_embeddings": 10, "projection_size": 24, "bos_token_id": 1, "eos_token_id": 59,
    }  # fmt: skip
    words = type("Text", (), text)
    monkeypatch.setattr(
        "brainmap.models.loading.model_loading.hub_tokenizer", lambda card, source: HashedWords(words, 10)
    )
    vision = {**SIZES, "intermediate_size": 40, "num_patches": 16}
    model = random_model("siglip2-base-patch16-naflex", {"vision_config": vision, "text_config": text})
    network = model.network()
    pixels = torch.rand(2, 3, 32, 32)
    recorded: list[Tensor] = []
    handle = network.get_submodule("encoder.layers.0").register_forward_pre_hook(
        lambda _module, inputs, options: recorded.append((inputs or (options["hidden_states"],))[0]), with_kwargs=True
    )
    model.tokens(pixels)
    handle.remove()
    ours = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    kernel, bias = ours["embeddings.patch_embedding.weight"].T, ours["embeddings.patch_embedding.bias"]
    photographs = pixels.permute(0, 2, 3, 1).numpy()
    for row in range(4):
        for column in range(4):
            patch = photographs[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(2, -1)
            position = ours["embeddings.position_embedding.weight"].reshape(4, 4, -1)[row, column]
            wanted = patch @ kernel + bias + position
            np.testing.assert_allclose(recorded[0][:, 4 * row + column].numpy(), wanted, atol=2e-6)


def test_float64_is_float64_throughout(tmp_path: Path) -> None:
    """The library casts rotary angles of DINOv3 and norms of AIMv2 to float32, whatever the weights are."""
    model = random_model("aimv2-large-patch14", AIMV2)
    save_file(aimv2_file(model), tmp_path / "aimv2.safetensors")
    norm = load_model(model.name, weights=tmp_path / "aimv2.safetensors", dtype="float64").network().rms_norm
    tokens = torch.randn(2, 5, 24, dtype=torch.float64)
    wanted = torch.nn.functional.rms_norm(tokens, (24,), norm.weight, norm.variance_epsilon)
    torch.testing.assert_close(norm(tokens), wanted, rtol=1e-14, atol=1e-14)

    card = model_card("dinov3-vits16")
    config = {**card.config, **SIZES, "hidden_size": 32, "intermediate_size": 40, "image_size": 32}
    own = register_model(card.model_copy(update={"name": "own-dinov3", "config": config, "patch": 8}))
    double = load_model(own.name, weights="untrained", dtype="float64")
    cos, sin = double.network().rope_embeddings(torch.zeros(1, 3, 16, 24, dtype=torch.float64))
    rows, columns = np.meshgrid(2 * (np.arange(2) + 0.5) / 2 - 1, 2 * (np.arange(3) + 0.5) / 3 - 1, indexing="ij")
    periods = 100.0 ** (np.arange(4) / 4)  # a quarter of a head's width of 16
    angles = [2 * np.pi * at.reshape(-1, 1) / periods for at in (rows, columns)]
    wanted_angles = np.tile(np.concatenate(angles, axis=1), 2)
    np.testing.assert_allclose(cos.numpy(), np.cos(wanted_angles), atol=1e-14)
    np.testing.assert_allclose(sin.numpy(), np.sin(wanted_angles), atol=1e-14)
    single = load_model(own.name, weights="untrained")
    assert single.loaded.code != double.loaded.code
