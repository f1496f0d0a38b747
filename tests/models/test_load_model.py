"""Loading by name, identity of weights, and errors that help."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models import from_module, list_models, load_model, model_card, register_model
from brainmap.models.adapters.dino_tiny import build_self_distillation
from brainmap.models.loading.model_loading import UNTRAINED_DINO_TINY


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tensors = {
        name: value.half().contiguous().clone() for name, value in build_self_distillation(3).state_dict().items()
    }
    file = tmp_path_factory.mktemp("weights") / "step_000100.safetensors"
    save_file(tensors, file, metadata={"step": "100", "recipe": '{"steps": 200, "ibot_weight": 1.0}'})
    return file


def test_untrained_weights_are_those_recorded() -> None:
    assert load_model("dino-tiny", weights="untrained").digest == UNTRAINED_DINO_TINY
    assert load_model("dino-tiny", weights="untrained", seed=1).digest != UNTRAINED_DINO_TINY


def test_checkpoint_file_round_trips(checkpoint: Path) -> None:
    model = load_model("dino-tiny", weights=checkpoint)
    for name, tensor in load_file(checkpoint).items():
        assert torch.equal(model.module.state_dict()[name], tensor.float()), name
    assert model.recipe == {"steps": 200, "ibot_weight": 1.0, "step": 100}
    assert model.digest == load_model("dino-tiny", weights=str(checkpoint)).digest


def test_one_changed_weight_changes_the_digest(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint)
    tensors["dino_loss.center"][0, 7] += 1e-3
    save_file(tensors, tmp_path / "changed.safetensors")
    assert (
        load_model("dino-tiny", weights=tmp_path / "changed.safetensors").digest
        != load_model("dino-tiny", weights=checkpoint).digest
    )


def test_layers_have_names_and_depths() -> None:
    model = load_model("dino-tiny", weights="untrained")
    assert [layer.name for layer in model.layers] == [f"block.{i}" for i in range(12)]
    np.testing.assert_allclose([layer.depth for layer in model.layers], np.arange(12) / 11)
    assert model.sites == ("block", "mlp", "attn")
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert not model.module.training


def test_roles_cover_all_tokens() -> None:
    model = load_model("dino-tiny", weights="untrained")
    assert model.roles((2, 3, 64, 96)) == {"cls": slice(0, 1), "register": slice(1, 5), "patch": slice(5, 29)}
    pixels = torch.zeros(2, 3, 64, 96)
    assert model.tokens(pixels).shape == (2, 29, 96)


def test_half_precision_stays_close_and_keeps_float32_weights() -> None:
    full = load_model("dino-tiny", weights="untrained")
    half = load_model("dino-tiny", weights="untrained", dtype="bfloat16")
    assert half.dtype == torch.float32
    image = [np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)]
    with half.autocast():
        found = half.tokens(half.preprocess(image)).float()
    wanted = full.tokens(full.preprocess(image))
    assert torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.999


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "dino-tinny"}, "did you mean dino-tiny"),
        ({"dtype": "int8"}, "dtype 'int8' is not one of"),
        ({"device": "cuda:99"}, "cannot be used"),
        ({"input_size": 70}, "not a multiple of the patch size, 16 px"),
        ({"weights": "step_999999"}, "no weights 'step_999999' for 'dino-tiny'"),
        ({"weights": "nowhere/file.safetensors"}, "no checkpoint file"),
    ],
)
def test_errors_say_what_to_do(options: dict[str, object], sentence: str) -> None:
    arguments = {"name": "dino-tiny", "weights": "untrained", **options}
    with pytest.raises((InputError, MissingFileError), match=sentence):
        load_model(**arguments)  # type: ignore[arg-type]


def test_weights_that_do_not_fit_name_the_tensor(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint)
    removed = tensors.pop("teacher.backbone.embeddings.cls_token")
    save_file(tensors, tmp_path / "lacking.safetensors")
    with pytest.raises(InputError, match=r"lacks teacher.backbone.embeddings.cls_token \(in all 1 missing"):
        load_model("dino-tiny", weights=tmp_path / "lacking.safetensors")
    tensors["teacher.backbone.embeddings.cls_token"] = removed[..., :5].contiguous()
    save_file(tensors, tmp_path / "misshapen.safetensors")
    with pytest.raises(InputError, match=r"cls_token is \(1, 1, 5\), not \(1, 1, 96\)"):
        load_model("dino-tiny", weights=tmp_path / "misshapen.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_model("dino-tiny", weights=tmp_path / "broken.safetensors")


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path, checkpoint: Path) -> None:
    """Only its tensors are read; a file of the old format, which cannot be read that way, is refused."""
    trap = Trap(str(tmp_path / "executed"))
    torch.save({"hyper_parameters": trap}, tmp_path / "code.pt")
    with pytest.raises(InputError, match="holds no tensors"):
        load_model("dino-tiny", weights=tmp_path / "code.pt")
    torch.save({"hyper_parameters": trap, "state_dict": load_file(checkpoint)}, tmp_path / "both.pt")
    wanted = load_model("dino-tiny", weights=checkpoint).digest
    assert load_model("dino-tiny", weights=tmp_path / "both.pt").digest == wanted
    torch.save({"weights": trap}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="holds more than tensors"):
        load_model("dino-tiny", weights=tmp_path / "old.pt")
    assert not (tmp_path / "executed").exists()


class Trap:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_registered_cards_and_aliases_are_found() -> None:
    card = model_card("dino-tiny").model_copy(update={"name": "my-dino", "aliases": ("mine",)})
    register_model(card)
    assert "my-dino" in list_models()
    assert load_model("mine", weights="untrained").digest == UNTRAINED_DINO_TINY


def test_own_module_gets_layers_from_patterns() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), torch.nn.Conv2d(4, 5, 3))
    model = from_module(network, name="own", layers=["*"])
    assert [layer.depth for layer in model.layers] == [0.0, 0.5, 1.0]
    assert not network[1].inplace
    with pytest.raises(InputError, match="No module of Sequential matches blocks"):
        from_module(network, name="own", layers=["blocks.*"])
    with pytest.raises(InputError, match=r"no layer 'block\.7'"):
        model.layer_names(["block.7"])


def test_the_margin_around_the_centre_can_be_kept() -> None:
    card = model_card("dino-tiny")
    register_model(
        card.model_copy(
            update={"name": "margined", "preprocessing": card.preprocessing.model_copy(update={"resize": 80})}
        )
    )
    cut, whole = (load_model("margined", weights="untrained", margin=margin) for margin in (True, False))
    image = np.zeros((160, 160, 3), np.uint8)
    image[:10] = 255  # within the margin of 8 of 80 pixels
    low = cut.preprocess([np.zeros_like(image)])
    assert torch.equal(cut.preprocess([image])[:, :, 4:], low[:, :, 4:])
    assert not torch.equal(whole.preprocess([image])[:, :, :2], low[:, :, :2])
    assert cut.identity() != whole.identity()
