"""Model sizes and image types: from folders of checkpoints on the command line to the panels of the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file
from study.own_files import OwnFiles, run_brainmap

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models import load_model, model_card, register_model
from brainmap.papers import reproduction_grid
from brainmap.papers.factor_levels import levels_of
from brainmap.results.collection import Collection, Member
from brainmap.study import Grid, GridConfig
from brainmap.study.declared.level_checkpoints import read_levels
from brainmap.study.grid import training_step

STEPS = (0, 100, 400, 1600)


@pytest.fixture(scope="module")
def tiny() -> str:
    """A registered architecture of four small blocks."""
    card = model_card("dinov2-small")
    config = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    preprocessing = card.preprocessing.model_copy(update={"crop": 28, "resize": 32})
    changed = {"name": "tiny-dinov2", "config": card.config | config, "preprocessing": preprocessing, "aliases": ()}
    register_model(card.model_copy(update=changed | {"hub": None}))
    return "tiny-dinov2"


@pytest.fixture(scope="module")
def folders(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trainings whose weights are drawn anew at each step: as files, and as folders that say what they are."""
    root = tmp_path_factory.mktemp("checkpoints")
    for number, name in enumerate(("files", "others", "pretrained")):
        for step in STEPS if name != "others" else STEPS[::3]:
            module = load_model(tiny, weights="untrained", seed=step + number).module
            if name == "pretrained":
                module.save_pretrained(root / name / f"checkpoint-{step}")
                continue
            (root / name).mkdir(exist_ok=True)
            save_file(module.state_dict(), root / name / f"step_{step:06d}.safetensors")
    return {name: root / name for name in ("files", "others", "pretrained")}


def test_a_folder_becomes_the_studies_of_a_level(tiny: str, folders: dict[str, Path], tmp_path: Path) -> None:
    sizes = [f"S={folders['pretrained']}", f"B={tiny}:{folders['files']}"]
    grid = reproduction_grid("convergence", tmp_path, factors={"sizes": sizes})
    cells = [cell for cell in grid.cells if "sizes" in cell.parts]
    assert [cell.parts["sizes"]["level"] for cell in cells] == ["S"] * 4 + ["B"] * 4
    assert [training_step(cell.config) for cell in cells] == [*STEPS, *STEPS]
    assert cells[1].config.model == cells[1].config.weights == str(folders["pretrained"] / "checkpoint-100")
    assert {cell.config.model for cell in cells[4:]} == {tiny}
    assert cells[1].label == "checkpoint-100-pretrained_checkpoint-100"
    assert cells[4].label == "tiny-dinov2-files_step_000000"
    assert len([cell for cell in grid.cells if "training" in cell.parts]) == 5
    assert [grid.missing(cell) for cell in (cells[1], cells[4])] == [[], []]


def test_a_study_file_says_the_same_by_hand(tiny: str, folders: dict[str, Path]) -> None:
    weights = [str(folders["others"] / "step_000000.safetensors"), str(folders["others"] / "step_001600.safetensors")]
    levels = {
        "human": {"model": tiny, "checkpoints": str(folders["files"])},
        "cells": {"model": tiny, "weights": weights},
    }
    parts = {
        "types": {"levels": levels},
        "sizes": {"levels": {"S": {"model": "dino-tiny"}, "B": {"model": "vit-mae-base"}}},
    }
    config = GridConfig.from_dict({"preset": "convergence", "parts": parts})
    steps = [
        (cell.parts["types"]["level"], training_step(cell.config)) for cell in config.cells() if "types" in cell.parts
    ]
    assert steps == [("human", 0), ("human", 100), ("human", 400), ("human", 1600), ("cells", 0), ("cells", 1600)]
    sizes = [cell for cell in config.cells() if "sizes" in cell.parts]
    assert [cell.config.model for cell in sizes] == ["dino-tiny", "vit-mae-base"]
    assert {cell.config.weights for cell in sizes} == {"trained"}
    assert GridConfig.from_dict(config.model_dump()).cells()[0].name == config.cells()[0].name


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ({}, "'parts.sizes.levels': a factor needs at least two levels; leave 'levels' out where nothing is compared"),
        ({"S": {"model": "dino-tiny"}}, "'sizes' needs at least two levels to compare, got only S"),
        ({"S": {"wieghts": ["trained"]}, "B": {}}, "unknown key 'parts.sizes.levels.S.wieghts'"),
        (
            {"S": {}, "B": {"model": "dino-tiny"}},
            "a level needs 'checkpoints' (a folder), 'weights' (a list) or 'model'",
        ),
        ({"S": {"checkpoints": ".", "weights": ["trained"]}, "B": {}}, "exclude one another"),
        (
            {"S": {"checkpoints": "nowhere"}, "B": {"model": "dino-tiny"}},
            "level 'S' of 'sizes': there is no folder nowhere",
        ),
        (
            {"S": {"model": "dino-tiny"}, "B": {"weights": ["trained"]}},
            "levels 'S' and 'B' of 'sizes' hold the same weights",
        ),
    ],
)
def test_wrong_levels_of_a_file_are_one_sentence(levels: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        GridConfig.from_dict({"parts": {"sizes": {"levels": levels}}})
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_every_level_is_run_at_every_combination_of_the_grid() -> None:
    both = {"levels": {"S": {"model": "dino-tiny"}, "B": {"model": "vit-mae-base"}}, "grid": {"pca": [5, 9]}}
    cells = GridConfig.from_dict({"parts": {"sizes": both}}).cells()
    assert [(cell.config.model, cell.config.pca) for cell in cells] == [
        (model, pca) for model in ("dino-tiny", "vit-mae-base") for pca in (5, 9)
    ]
    assert cells[3].parts == {"sizes": {"pca": 9, "level": "B", "model": "vit-mae-base", "weights": "trained"}}


def test_levels_of_the_sample_stand_in_place_of_others() -> None:
    two = {"S": {"model": "dino-tiny"}, "B": {"model": "vit-mae-base"}}
    data = [{"dataset": "sample"}, {"dataset": "nsd"}]
    for part, expected in (
        ({"sample_levels": two}, [("sample", "S"), ("sample", "B")]),
        ({"levels": {"X": {"model": "clip"}, **two}, "sample_levels": two},
         [("nsd", "X"), ("nsd", "S"), ("nsd", "B"), ("sample", "S"), ("sample", "B")]),
        ({"levels": two}, [("sample", "S"), ("nsd", "S"), ("sample", "B"), ("nsd", "B")]),
    ):  # fmt: skip
        config = GridConfig.from_dict({"parts": {"sizes": part}, "data": data})
        assert [(cell.config.dataset, cell.parts["sizes"]["level"]) for cell in config.cells()] == expected
        assert len(GridConfig.from_dict(config.model_dump()).cells()) == len(expected)
    with pytest.raises(InputError, match="'sizes' needs at least two levels to compare, got only S"):
        GridConfig.from_dict({"parts": {"sizes": {"sample_levels": {"S": {"model": "dino-tiny"}}}}})


def test_levels_stand_in_the_order_of_their_part_even_where_another_shares_their_studies(tmp_path: Path) -> None:
    cells = reproduction_grid("convergence", tmp_path).cells
    studies = [Member(c.label, {}, None, c.parts, training_step(c.config), c.places) for c in cells]  # type: ignore[arg-type]
    collection = Collection(tuple(studies))
    assert list(levels_of(collection, "sizes")) == ["width 32", "width 48", "width 96"]
    assert list(levels_of(collection, "types")) == ["photographs", "dead leaves", "scrambled"]
    for part in ("sizes", "types"):
        for members in levels_of(collection, part).values():
            assert [member.step for member in members] == list(STEPS)


def test_levels_of_the_command_line(folders: dict[str, Path]) -> None:
    found = read_levels([f"S={folders['files']}", "B=dino-tiny", f"L=dino-tiny:{folders['others']}"], "--sizes")
    assert [level.model for level in found.values()] == [None, "dino-tiny", "dino-tiny"]
    assert [level.checkpoints for level in found.values()] == [folders["files"], None, folders["others"]]
    with pytest.raises(MissingFileError, match="--sizes S=nowhere: there is no folder nowhere, and no model"):
        read_levels(["S=nowhere"], "--sizes")


def test_user_errors_are_one_sentence_and_exit_code_2(tiny: str, folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    good = ("--sizes", f"S={tiny}:{folders['files']}")
    for arguments, sentence in (
        (("--sizes", str(folders["files"])), "must be a name and a folder of checkpoints, such as --sizes S=runs/S"),
        (("--sizes", "=x"), "must be a name and a folder"),
        (("--sizes", "S=nowhere", *good), "--sizes S=nowhere: there is no folder nowhere"),
        ((*good, "--sizes", f"B={tiny}:nowhere"), "level 'B' of 'sizes': there is no folder nowhere with checkpoints"),
        (good, "'sizes' needs at least two levels to compare, got only S"),
        ((*good, *good), "--sizes names 'S' twice"),
        ((*good, "--sizes", "B=empty"), "level 'B' of 'sizes': empty holds no checkpoints named by their step"),
        ((*good, "--sizes", f"B={tiny}:{folders['files']}"), "levels 'S' and 'B' of 'sizes' hold the same weights"),
        ((*good, "--sizes", f"B={folders['others']}"), "(name its architecture by --sizes B=MODEL:FOLDER)"),
        (("--study", "absent.yaml"), "study file absent.yaml does not exist"),
    ):
        ended = run_brainmap("reproduce", "convergence", "--out", "run", *arguments, cwd=tmp_path)
        assert (ended.returncode, sentence in ended.stderr) == (2, True), ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
    ended = run_brainmap("reproduce", "misalignment", *good, cwd=tmp_path)
    assert ended.returncode == 2 and "--sizes is no factor of 'misalignment'" in ended.stderr


def test_from_folders_of_checkpoints_to_panels(
    own: OwnFiles, tiny: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    names = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    study = {
        "dataset": "own",
        "own": {key: str(own.folder / file) for key, file in names.items()},
        "cv": 3,
        "method": "ridge",
    }
    file = tmp_path / "study.yaml"
    training = {"study": {"model": tiny}, "grid": {"weights": ["untrained"]}}
    file.write_text(yaml.safe_dump({"preset": "convergence", "study": study, "parts": {"training": training}}))
    sizes = ("--sizes", f"S={folders['pretrained']}", "--sizes", f"B={tiny}:{folders['files']}")
    types = ("--types", f"human={tiny}:{folders['files']}", "--types", f"cells={tiny}:{folders['others']}")
    command = ("reproduce", "convergence", "--study", str(file), *sizes, *types, "--out", str(tmp_path / "run"))
    planned = run_brainmap(*command, "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0 and "11 studies in" in planned.stdout, planned.stderr  # four serve both factors
    ended = run_brainmap(*command, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    panels = {path.name for path in (tmp_path / "run" / "panels").glob("*.png")}
    assert {"6A-model-size-scores-over-training.png", "7B-image-type-final-scores.png"} <= panels
    page = (tmp_path / "run" / "index.html").read_text()
    assert "Last checkpoint of each size" in page and "here is none" not in page

    config = reproduction_grid("convergence", tmp_path / "run", study=file, factors={"sizes": sizes[1::2]})
    members = [m for m in Grid(config.config, tmp_path / "run").run() if "sizes" in m.parts]
    assert [(m.parts["sizes"]["level"], m.step) for m in members] == [(s, n) for s in "SB" for n in STEPS]
    r = members[-1].results.scores["meg"]["r"].sel(signal="activation").mean("split").groupby("time").mean()
    best = float(np.nanmax(r.values))
    row = next(line for line in ended.stdout.splitlines() if "Size G / L / B / S" in line)
    assert f"B {best:.3f}".replace("0.", ".") in row
