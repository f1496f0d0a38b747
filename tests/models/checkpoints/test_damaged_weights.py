"""Files and folders that are no weights, or damaged ones: one sentence each, and nothing in them is run."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from brainmap.common.errors import BrainmapError
from brainmap.models import load_model, model_card, register_model

SIZES = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 32,
    "patch_size": 8, "num_labels": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    card = model_card("vit-base-patch16")
    preprocessing = card.preprocessing.model_copy(update={"crop": 32, "resize": None})
    changes = {"name": "tiny", "config": SIZES, "patch": 8, "preprocessing": preprocessing}
    register_model(card.model_copy(update=changes))
    return {
        name: tensor.clone() for name, tensor in load_model("tiny", weights="untrained").module.state_dict().items()
    }


class Command:
    """What a hostile file would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def refused(weights: Path | str) -> str:
    with pytest.raises(BrainmapError) as caught:
        load_model("tiny", weights=weights)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, -20])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_cut_files(kept: float, suffix: str, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file(tensors, file) if suffix == ".safetensors" else torch.save(tensors, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert "weights" in refused(file)


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_numbers_that_are_no_weights(kind: torch.dtype, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({name: tensor.to(kind) for name, tensor in tensors.items()}, tmp_path / "weights.pth")
    assert "holds numbers of type" in refused(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([torch.ones(2)], "a list"), (3.5, "a float"), (None, "a NoneType"), ("text", "a str"), ({}, "no tensors"),
        (torch.ones(2), "a Tensor"), ({"a": 1}, "no tensors"), ({1: torch.ones(2)}, "authors' layout"),
    ],
)  # fmt: skip
def test_other_contents(contents: Any, words: str, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(contents, tmp_path / "weights.pth")
    assert words in refused(tmp_path / "weights.pth")


def test_values_shapes_and_names(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    name = next(name for name in tensors if name.endswith("bias"))
    for value in (float("nan"), float("inf")):
        broken = {**tensors, name: torch.full_like(tensors[name], value)}
        save_file(broken, tmp_path / "weights.safetensors")
        assert "NaN or infinite" in refused(tmp_path / "weights.safetensors")
    save_file({**tensors, name: torch.ones(7)}, tmp_path / "weights.safetensors")
    assert "is (7,) in them and (24,) in the network" in refused(tmp_path / "weights.safetensors")
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, tmp_path / "weights.safetensors")
    assert "1 of its" in refused(tmp_path / "weights.safetensors")
    np.save(tmp_path / "weights.npy", np.ones(3))
    assert "its name must end in one of" in refused(tmp_path / "weights.npy")
    assert "weights is empty" in refused("")


def test_nothing_in_a_file_is_run(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    target = tmp_path / "made"
    with (tmp_path / "pickle.pth").open("wb") as file:
        pickle.dump({"a": Command(target)}, file)
    refused(tmp_path / "pickle.pth")
    torch.save({"state_dict": tensors, "extra": Command(target)}, tmp_path / "more.pth")
    load_model("tiny", weights=tmp_path / "more.pth")
    assert not target.exists()


def folder(path: Path) -> Path:
    transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES)).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{not json", "not complete, or is damaged"),
        ("config.json", "[1]", "damaged, or not written by save_pretrained"),
        ("model.safetensors", "", "damaged"),
        ("model.safetensors", "x" * 2000, "damaged"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "gone.safetensors"}, "metadata": {}}', "damaged"),
        ("model.safetensors.index.json", "{", "damaged"),
    ],
)
def test_damaged_folders(name: str, content: str, words: str, tensors: dict[str, Any], tmp_path: Path) -> None:
    path = folder(tmp_path / "net")
    if name.endswith("index.json"):
        (path / "model.safetensors").unlink()
    (path / name).write_text(content)
    assert words in refused(path)


def test_a_folder_with_one_file_is_that_file(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "some.safetensors")
    model = load_model("tiny", weights=tmp_path)
    assert all(torch.equal(model.module.state_dict()[name], tensor) for name, tensor in tensors.items())
    save_file(tensors, tmp_path / "other.safetensors")
    assert "2 files of weights (other.safetensors, some.safetensors): name one" in refused(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        "{bad", "[]", {"size": "x"}, {"size": {"height": 32, "width": 48}}, {"image_mean": ["a"]}, {"resample": "x"},
        {"resample": [1]}, {"crop_size": {"height": 32, "width": 64}}, {"size": {"longest_edge": 40}},
        {"image_mean": [0.5, 0.5]}, {"image_std": [0, 0, 0]}, {"do_resize": False}, {"do_rescale": False},
    ],
)  # fmt: skip
def test_image_processors_that_cannot_be_followed(settings: Any, tmp_path: Path) -> None:
    path = folder(tmp_path / "net")
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (path / "preprocessor_config.json").write_text(text)
    with pytest.raises(BrainmapError) as caught:
        load_model(str(path))
    assert "processor" in str(caught.value) and "\n" not in str(caught.value)
