"""What is missing is said once and whole; the literal command runs from a filled cache; plans are quick and honest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from study.own_files import OwnFiles, run_brainmap

from brainmap.models import load_model, missing_weights, model_card
from brainmap.study import Grid, GridConfig, StudyConfig
from brainmap.study.resources import lacking_room


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: True, raising=False)
    monkeypatch.delenv("BRAINMAP_DATA", raising=False)
    return tmp_path / "hub"


def fill(hub: Path, name: str) -> None:
    """Put a tiny model where the hub's client would have put a card's weights."""
    card = model_card(name)
    revision = card.revision or "0" * 40
    repository = hub / f"models--{card.hub.replace('/', '--')}"
    torch.manual_seed(0)
    config = transformers.DINOv3ViTConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_register_tokens=4,
        image_size=224, patch_size=16,
    )  # fmt: skip
    transformers.DINOv3ViTModel(config).save_pretrained(repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / (card.revision or "main")).write_text(revision)


def test_the_literal_command_runs_from_a_filled_cache(hub: Path, own: OwnFiles, tmp_path: Path) -> None:
    fill(hub, "dinov3-vits16")
    assert missing_weights("dinov3") is None
    assert len(load_model("DINOv3-S").layers) == 2
    command = ("fit", "--model", "dinov3", "--modality", "meg", *own.options, "--cv", "3", "--signals", "activation")
    done = run_brainmap(*command, "--out", str(tmp_path / "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("dinov3 → dinov3-vits16\n")
    assert (tmp_path / "run" / "report.html").is_file()


def test_all_that_is_missing_is_named_at_once(hub: Path, tmp_path: Path) -> None:
    files = [part for name in ("stimuli", "responses", "targets", "events") for part in (f"--{name}", f"no/{name}")]
    for dry in ((), ("--dry-run",)):
        done = run_brainmap("fit", "--model", "dinov3", *files, *dry, "--out", str(tmp_path / "run"), cwd=tmp_path)
        assert done.returncode == 2
        told = done.stdout + done.stderr
        for part in ("no/stimuli", "no/responses", "no/targets", "no/events", "The weights of 'dinov3-vits16'"):
            assert part in told, (dry, part)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_without_weights_ends_with_2_and_says_how_long(hub: Path, tmp_path: Path) -> None:
    done = run_brainmap("fit", "--model", "dinov3", "--modality", "meg", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert "switched off by HF_HUB_OFFLINE" in done.stdout and "accept the licence" in done.stdout
    untrained = ("fit", "--model", "dinov3", "--modality", "meg", "--weights", "untrained", "--dry-run")
    done = run_brainmap(*untrained, cwd=tmp_path)
    assert done.returncode == 0
    assert "time" in done.stdout and "features about" in done.stdout


def test_a_public_dataset_without_data_names_size_terms_and_the_command(hub: Path, tmp_path: Path) -> None:
    for dry in ((), ("--dry-run",)):
        done = run_brainmap("fit", "--dataset", "things-meg", *dry, cwd=tmp_path)
        told = done.stdout + done.stderr
        assert done.returncode == 2
        assert "brainmap data fetch things-meg" in told and "GB, licence CC0-1.0" in told


def test_a_grid_looks_at_everything_once(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("brainmap.study.plan.missing_weights", lambda *a: asked.append(a) or "no weights")
    grid = Grid(GridConfig.from_dict({"grid": {"model": ["dinov3"], "seed": list(range(8))}}), tmp_path / "grid")
    text = grid.plan()
    assert len(asked) == 1
    assert text.count("no weights") == 1 and "in 8 of 8 studies: no weights" in text
    with pytest.raises(FileNotFoundError, match="no weights"):
        grid.run()
    assert not (tmp_path / "grid").exists()  # nothing was begun


def test_disk_and_memory_are_looked_at(tmp_path: Path) -> None:
    assert lacking_room(tmp_path / "new", 1, 1) == []
    disk, memory = lacking_room(tmp_path / "new", 10**18, 10**18)
    assert "of disk" in disk and "--out" in disk
    assert "lower --memory" in memory


def test_any_name_is_kept_by_its_card(tmp_path: Path) -> None:
    assert StudyConfig(model="ResNet50").model == "resnet-50"
