"""Narrower dino-tiny models ship as the teacher's backbone; a checkpoint of one's own training holds the rest."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

import brainmap
from brainmap.common.errors import InputError
from brainmap.models import OBJECTIVES, available_weights, load_model, model_card, register_model, skeleton
from brainmap.models.adapters.dino_tiny import build_self_distillation

TOOL = Path(__file__).resolve().parents[2] / "tools" / "keep_teacher.py"
WIDTHS = {"dino-tiny-32": 32, "dino-tiny-48": 48, "dino-tiny-48-leaves": 48, "dino-tiny-48-scrambled": 48}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("keep_teacher", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as ``tools/train_dino_tiny.py`` writes it, of width 48, its teacher unlike its student."""
    pair = build_self_distillation(0, 48)
    with torch.no_grad():
        for parameter in pair.teacher.parameters():
            parameter.mul_(1.5)
    tensors = {name: tensor.half().contiguous() for name, tensor in pair.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "step_000400.safetensors"
    recipe = {"width": 48, "steps": 6400, "ibot_mean": "crops", "step": 400}
    save_file(tensors, path, metadata={"recipe": json.dumps(recipe)})
    return path


@pytest.mark.parametrize("name", WIDTHS)
def test_initial_weights_are_those_the_training_starts_from(name: str) -> None:
    wanted = build_self_distillation(0, WIDTHS[name]).teacher.backbone
    found = load_model(name, weights="untrained").module
    assert found.config.to_diff_dict() == wanted.config.to_diff_dict()
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_kept_teacher_computes_what_the_checkpoint_does(tool: ModuleType, training: Path, tmp_path: Path) -> None:
    kept = tool.keep_teacher(training, tmp_path)
    assert kept.stat().st_size < training.stat().st_size / 2
    whole, teacher = (load_model("dino-tiny-48", weights=path) for path in (training, kept))
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole.embedding(pixels), teacher.embedding(pixels))
    student = whole.embedding(pixels, branch="student")
    assert not torch.equal(whole.embedding(pixels), student)
    assert teacher.recipe["step"] == 400


def test_the_own_loss_needs_student_and_heads(tool: ModuleType, training: Path, tmp_path: Path) -> None:
    whole = load_model("dino-tiny-48", weights=training)
    assert whole.card.objective == "dino-ibot" and OBJECTIVES["dino-ibot"].label(whole) == "exact"
    teacher = load_model("dino-tiny-48", weights=tool.keep_teacher(training, tmp_path))
    sentence = r"Model 'dino-tiny-48' lacks the parts of objective 'dino-ibot'; it can use .*headless"
    with pytest.raises(InputError, match=sentence):
        brainmap.FeatureExtractor(teacher, objective="dino-ibot")
    assert OBJECTIVES[teacher.card.objective].label(teacher) == "surrogate"
    assert set(teacher.objectives) == set(skeleton("dino-tiny-48").objectives)


def test_another_width_does_not_fit(tool: ModuleType, training: Path, tmp_path: Path) -> None:
    narrow = model_card("dino-tiny-48")
    changes = {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2}
    own_width = register_model(narrow.model_copy(update={"name": "own-32", "config": narrow.config | changes})).name
    with pytest.raises(InputError, match="another size of it"):
        load_model(own_width, weights=tool.keep_teacher(training, tmp_path))
    with pytest.raises(SystemExit, match=r"holds no teacher\.backbone"):
        tool.keep_teacher(tmp_path / training.name, tmp_path / "again")


def test_names_of_widths() -> None:
    assert model_card("dino-tiny-96").name == "dino-tiny" and model_card("DINO Tiny 48").name == "dino-tiny-48"
    assert all(available_weights(name) == ["step_000100", "step_000400", "step_001600"] for name in WIDTHS)
