"""Files of weights that are not what they should be, archives that are not torch's own, and shards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

from brainmap.common.errors import InputError
from brainmap.models import load_model, model_card, register_model
from brainmap.models.checkpoints.tensor_archives import read_archive, read_shards
from brainmap.models.checkpoints.weight_files import read_tensors

SMALL = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 32,
    "patch_size": 8, "num_labels": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def name() -> str:
    card = model_card("vit-base-patch16")
    preprocessing = card.preprocessing.model_copy(update={"crop": 32})
    changes = {"name": "files-vit", "config": SMALL, "patch": 8, "preprocessing": preprocessing}
    return register_model(card.model_copy(update=changes)).name


def write(kind: str, path: Path, name: str) -> None:
    good = dict(load_model(name, weights="untrained").module.state_dict())
    if kind == "empty":
        path.write_bytes(b"")
    elif kind in ("cut", "cut in its index"):
        torch.save(good, path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if kind == "cut" else data[:-40])
    elif kind == "text":
        path.write_text("not weights")
    elif kind == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    else:
        first = next(iter(good))
        contents: dict[str, Any] = {
            "list": [1, 2, 3], "number": 3.5, "one tensor": torch.ones(3), "no tensors": {"epoch": 3},
            "list of tensors": [torch.ones(2)], "NaN": {**good, first: torch.full_like(good[first], torch.nan)},
            "infinite": {**good, first: good[first] * torch.inf},
            "other names": {f"x{i}.y": t for i, t in enumerate(good.values())},
            "half": {key: good[key] for key in list(good)[: len(good) - 3]},
            "deeper": {**good, **{key.replace("layers.1.", "layers.2."): t for key, t in good.items()}},
        }  # fmt: skip
        torch.save(contents[kind], path)


SENTENCES = {
    "empty": "is empty", "cut": "no complete checkpoint",
    "cut in its index": "no complete checkpoint", "text": "no complete checkpoint",
    "picture": "no complete checkpoint",
    "list": "holds a list", "number": "holds a float", "one tensor": "holds a Tensor",
    "no tensors": "holds no tensors",
    "list of tensors": "holds a list", "NaN": "NaN or infinite", "infinite": "NaN or infinite",
    "other names": "layout is not understood. Expected .* is one of: the names of transformers, timm's",
    "half": "do not fill 'files-vit': 3 of its", "deeper": "hold more layers than",
}  # fmt: skip


@pytest.mark.parametrize("kind", SENTENCES)
def test_every_fault_is_one_sentence(kind: str, name: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "weights.pt", name)
    with pytest.raises(InputError, match=SENTENCES[kind]) as error:
        load_model(name, weights=tmp_path / "weights.pt")
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_the_cases_of_a_killed_training(shared_data: Path) -> None:
    for file in ("cut.pt", "empty.pt"):
        with pytest.raises(InputError, match=file):
            load_model("dino-tiny", weights=shared_data / "cases" / "checkpoint-cut" / file)


def test_folders_without_weights_say_what_is_in_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is empty: weights are a model.safetensors"):
        load_model(name, weights=tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds notes.txt: weights are"):
        load_model(name, weights=tmp_path)


def test_weights_of_another_size_name_the_shapes(name: str, tmp_path: Path) -> None:
    tensors = dict(load_model(name, weights="untrained").module.state_dict())
    tensors["vit.embeddings.cls_token"] = torch.ones(1, 1, 30)
    torch.save(tensors, tmp_path / "wide.pt")
    with pytest.raises(InputError, match=r"do not fit 'files-vit': .*another size"):
        load_model(name, weights=tmp_path / "wide.pt")


# --- archives ---------------------------------------------------------------------------------------------------------


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.register_buffer("steps", torch.tensor(5))
        self.mask = torch.full((2, 2), -torch.inf)  # no part of the state: an attribute of the archive

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_torchscript_archives_are_read_through_their_tensors(tmp_path: Path) -> None:
    module = Scripted()
    torch.jit.script(module).save(str(tmp_path / "model.pt"))
    tensors, _ = read_tensors(tmp_path / "model.pt")
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensors[key], tensor) and tensors[key].dtype == tensor.dtype


class Trap:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_objects_beside_the_tensors_are_not_built(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    saved = {
        "state_dict": {
            "transposed": base.T, "row": base[1], "half": base.half(), "brain": base.bfloat16(), "flag": base > 3,
            "parameter": nn.Parameter(base), "whole": torch.tensor(7), "none": torch.empty(0, 4),
        },
        "hyper_parameters": Trap(str(tmp_path / "executed")),
    }  # fmt: skip
    torch.save(saved, tmp_path / "last.ckpt")
    found, _ = read_tensors(tmp_path / "last.ckpt")
    for key, tensor in saved["state_dict"].items():
        assert torch.equal(found[key], tensor) and found[key].dtype == tensor.dtype
    assert not (tmp_path / "executed").exists()


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    """A pickle may say anything about the bytes; what it says is checked before they are read."""
    import zipfile

    torch.save({"a": torch.ones(2, 2), "b": Trap("x")}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad:
        for entry in good.namelist():
            data = good.read(entry)
            bad.writestr(entry, data[:4] if entry.endswith("data/0") else data)
    with pytest.raises(InputError, match="beyond its storage"):
        read_archive(tmp_path / "bad.pt")


def test_shards_are_put_together_without_unpickling(name: str, tmp_path: Path) -> None:
    model = load_model(name, weights="untrained", seed=3)
    dcp.save({"model": dict(model.module.state_dict()), "step": 12}, checkpoint_id=tmp_path / "12")
    tensors = read_shards(tmp_path / "12")
    assert set(tensors) == {f"model.{key}" for key in model.module.state_dict()}
    assert load_model(name, weights=tmp_path / "12").digest == model.digest
    next((tmp_path / "12").glob("*.distcp")).unlink()
    (tmp_path / "12" / "__1_0.distcp").write_bytes(b"")
    with pytest.raises(InputError, match="12 is not a readable sharded checkpoint"):
        load_model(name, weights=tmp_path / "12")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        read_tensors(tmp_path / "objects.npz")
