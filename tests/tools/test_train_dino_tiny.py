from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import brainmap
from brainmap.models.checkpoints.weight_files import read_tensors

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_dino_tiny", REPOSITORY / "tools" / "train_dino_tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of tiny photographs in three classes; two of them hold the same photographs."""
    path = tmp_path_factory.mktemp("zip") / "photographs.zip"
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as file:
        for name in ("Faces", "Faces_easy", "chair"):
            for i in range(12):
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(buffer, "JPEG")
                file.writestr(f"{name}/image_{i:04d}.jpg", buffer.getvalue())
    return path


def test_split_keeps_versions_of_a_photograph_together(tool: ModuleType, archive: Path) -> None:
    photographs = tool.read_photographs(archive, tool.Recipe(held_out=0.5))
    assert photographs.classes == ["Faces", "chair"]
    held = photographs.held_out
    assert 0 < held.sum() < len(held)
    np.testing.assert_array_equal(held[:12], held[12:24])


def test_an_interrupted_training_ends_with_the_same_weights(
    tool: ModuleType, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tool.Recipe(batch=4, steps=6, local_crops=1, warmup_steps=2, held_out=0.3)
    monkeypatch.setattr(tool, "STATE_EVERY", 2)
    tool.run(archive, tmp_path / "whole", recipe, "cpu")
    train_step, calls = tool.train_step, []

    def interrupted(*arguments: object) -> dict[str, float]:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return train_step(*arguments)

    monkeypatch.setattr(tool, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool.run(archive, tmp_path / "parts", recipe, "cpu")
    monkeypatch.setattr(tool, "train_step", train_step)
    tool.run(archive, tmp_path / "parts", recipe, "cpu")
    whole, parts = (tmp_path / name / "step_000006.safetensors" for name in ("whole", "parts"))
    wanted, found = load_file(whole), load_file(parts)
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []
    assert whole.read_bytes() == parts.read_bytes()
    assert read_tensors(whole)[1] == {**json.loads(json.dumps(dataclasses.asdict(recipe))), "step": 6}


def test_trained_weights_know_more_than_initial_ones(tool: ModuleType, shared_data: Path) -> None:
    """The bar for shipping them: balanced k-NN accuracy on held-out photographs at least 1.5 times the initial one."""
    photographs = tool.read_photographs(shared_data / "caltech101_128px.zip", tool.Recipe())
    keep = np.sort(np.random.default_rng(0).permutation(len(photographs.images))[:3000])
    photographs = dataclasses.replace(
        photographs,
        images=[photographs.images[i] for i in keep],
        labels=photographs.labels[keep],
        held_out=photographs.held_out[keep],
    )
    accuracy = {}
    for weights in ("untrained", "trained"):
        network = brainmap.load_model("dino-tiny", weights=weights).module
        with torch.inference_mode():
            accuracy[weights] = tool.balanced_knn(tool.embed(network, photographs), photographs)
    print(f"balanced k-NN accuracy on 3,000 photographs: {accuracy}")
    assert accuracy["trained"] >= 1.5 * accuracy["untrained"]
