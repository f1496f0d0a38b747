"""Checkpoints of every kind, damaged, and objects that are none."""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from robustness.damage import damage_a_file
from robustness.outcomes import Silent
from safetensors.torch import save_file

from brainmap.common.errors import BrainmapError
from brainmap.models import load_model, model_card, register_model

SIZES = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40, "image_size": 32,
    "patch_size": 8, "num_labels": 5,
}  # fmt: skip
NAME = "robustness-tiny"


class Weights:
    """One sound file of each kind; whatever loads must be a network of finite numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        card = model_card("vit-base-patch16")
        preprocessing = card.preprocessing.model_copy(update={"crop": 32, "resize": None})
        register_model(
            card.model_copy(update={"name": NAME, "config": SIZES, "patch": 8, "preprocessing": preprocessing})
        )
        module = load_model(NAME, weights="untrained").module
        self.tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        self._write()
        self.kinds = sorted(path.name for path in folder.iterdir())

    def _write(self) -> None:
        folder, tensors = self.folder, self.tensors
        for name in ("safetensors", "pth", "with_settings", "npz", "saved_pretrained", "training"):
            (folder / name).mkdir()
        save_file(tensors, folder / "safetensors" / "w.safetensors", metadata={"recipe": "{}", "step": "3"})
        torch.save(tensors, folder / "pth" / "w.pth")
        settings = argparse.Namespace(epochs=3, out=Path("x"))
        torch.save({"state_dict": tensors, "args": settings, "epoch": 2}, folder / "with_settings" / "w.pth")
        np.savez_compressed(folder / "npz" / "w.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
        network = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES))
        network.save_pretrained(folder / "saved_pretrained")
        torch.save(tensors, folder / "training" / "w.pth")
        (folder / "training" / "config.yaml").write_text("dino: {a: 1}\nibot: {}\ncrops: {local_crops_number: 8}\n")

    def fixed(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        self_referring: dict[str, Any] = {}
        self_referring["state_dict"] = self_referring
        inside: dict[str, Any] = {"w": torch.ones(2)}
        inside["again"] = {"inside": inside}
        deep: Any = torch.ones(2)
        for _ in range(3000):
            deep = {"a": deep}
        listed: list[Any] = []
        listed.append(listed)
        for name, contents in {
            "a list": [torch.ones(2)], "empty": {}, "an int": 3, "nothing": None, "text": "x", "itself": self_referring,
            "itself inside": inside, "deep": deep, "itself in a list": {"a": listed}, "numbers as names": {1: 2},
            "no numbers": {"a": "b"}, "tensor": torch.ones(3), "names as tuples": {("a", 1): torch.ones(2)},
            "junk args": {"args": 3, "epoch": "x", "config": [1], "state_dict": {"a": torch.ones(1)}},
            "sparse": {"a": torch.eye(3).to_sparse()}, "meta": {"a": torch.ones(2, device="meta")},
            "optimizer only": {"optimizer": {"a": torch.ones(2)}},
        }.items():  # fmt: skip
            yield "weights", name, lambda contents=contents, name=name: self._refused(contents, name)
        for recipe in ("{", "[1]", "3", '"x"', "null", '{"a": NaN}', "[" * 3000, '{"schedule": {"a": [[]]}}'):
            yield "weights", f"recipe {recipe[:12]}", lambda recipe=recipe: self._recipe(recipe, "1")
        for step in ("x", "", "9" * 5000, "-1", "1e3"):
            yield "weights", f"step {step[:12]}", lambda step=step: self._recipe("{}", step)

    def cases(self, rng: np.random.Generator, scratch: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
        while True:
            kind = self.kinds[int(rng.integers(len(self.kinds)))]
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(self.folder / kind, scratch)
            done = damage_a_file(scratch, rng)
            files = sorted(path for path in self.folder.joinpath(kind).iterdir() if path.stem == "w")
            place = scratch / files[0].name if files else scratch
            yield "weights", f"{kind}: {done}", lambda place=place: self.load(place)

    def load(self, place: Path) -> None:
        module = load_model(NAME, weights=place).module
        for name, tensor in module.state_dict().items():
            if not bool(torch.isfinite(tensor).all()) or tensor.shape != self.tensors[name].shape:
                raise Silent(f"{name} of {tuple(tensor.shape)} holds what is no number")

    def _refused(self, contents: Any, name: str) -> None:
        file = self.folder.parent / "other.pth"
        try:
            torch.save(contents, file)
        except RecursionError:
            return
        self.load(file)
        raise Silent(f"{name} was taken for weights")

    def _recipe(self, recipe: str, step: str) -> None:
        file = self.folder.parent / "recipe.safetensors"
        save_file(self.tensors, file, metadata={"recipe": recipe, "step": step})
        with contextlib.suppress(BrainmapError):
            load_model("dino-tiny", weights=file)
        self.load(file)
