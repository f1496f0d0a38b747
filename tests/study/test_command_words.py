"""One vocabulary: every option of ``fit`` stands in a study file, and every setting of a study on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from study.own_files import run_brainmap

from brainmap.cli import app
from brainmap.cli.fit_command import NOT_SETTINGS, _settings
from brainmap.common.errors import InputError
from brainmap.study.declared.command_words import BY_SET, WORDS, settings_of_words
from brainmap.study.declared.study_config import OwnData, Place, StudyConfig
from brainmap.study.declared.study_file import GridConfig

OWN = {"stimuli": "photos", "responses": "r.npy"}
PUBLIC = {"dataset": "things-meg"}
# Every option: a value as the command line has it, and what must stand beside it.
OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "model": ("DINOv3-S", {}), "weights": ("untrained", {}), "checkpoint": (__file__, {}), "features": ("f.npz", {}),
    "modality": ("EEG", {}), "dataset": ("nsd", {}), "subject": ("1,2", PUBLIC), "layers": ("block.0,block.3", {}),
    "signals": ("gradient", {}), "site": ("mlp", {}), "pooling": ("cls", {}), "objective": ("dino", {}),
    "wrt": ("weights", {"site": "mlp", "projection": 8}), "projection": (50, {}), "bridge": ("clip", {}),
    "groups": ("folder", {}), "gap": (1, {"groups": "blocks:10"}), "nuisance": ("run", PUBLIC), "split": ("test", {}),
    "cv": (4, {}), "pca": (20, {}), "test": ("wilcoxon", {}), "permutations": (99, {}), "seed": (3, {}),
    "controls": ("pixels,gabor", {}), "alphas": ("1e-2:1e8:15", {}),
    "stimuli": ("photos", {"responses": "r.npy"}), "responses": ("r.npy", {"stimuli": "photos"}),
    "data_root": ("d", PUBLIC), "cache": ("c", PUBLIC), "out_space": ("nifti", {}), "device": ("auto", {}),
    "memory": ("1GB", {}), "batch_size": (0, {}), "hypotheses": ("h.yaml", {}), "keep": ("encoders", {}),
    **dict.fromkeys(("targets", "events", "table", "mask", "atlas", "confounds", "surface"), ("x", OWN)),
}  # fmt: skip


def options_of_fit() -> dict[str, Any]:
    command = typer.main.get_command(app).commands["fit"]  # type: ignore[attr-defined]
    return {option.name: option for option in command.params if option.name != "help"}


def test_every_option_of_fit_is_tried_here() -> None:
    not_settings = {"checkpoints", "shuffles", "set_", "out", "jobs", "cluster", "features_root", "dry_run", "help"}
    assert set(options_of_fit()) - not_settings == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_the_command_line_takes_a_study_file_takes(name: str) -> None:
    value, beside = OPTIONS[name]
    words = {**beside, name: value}
    in_file = [cell.config for cell in GridConfig.from_dict(words).cells()]
    on_line = StudyConfig.from_dict(_settings({k: v for k, v in words.items() if k not in NOT_SETTINGS}))
    assert in_file[0].model_copy(update={"out_space": None}) == on_line.model_copy(update={"out_space": None})
    assert in_file[0] != StudyConfig() or name in ("device", "batch_size", "dataset")


@pytest.mark.parametrize("name", [*StudyConfig.model_fields, *OwnData.model_fields, *Place.model_fields])
def test_every_setting_of_a_study_has_a_word_on_the_command_line(name: str) -> None:
    by_reader = {"labels", "resample", "catch", "montage", "tmin", "tmax", "axes"}  # --set, as any reader's
    containers = {"own", "place", "reading"}  # their contents have words
    words = {"subjects": "subject"}
    assert words.get(name, name) in {*options_of_fit(), *BY_SET, *by_reader, *containers}
    assert name in {*StudyConfig.model_fields, *WORDS, *by_reader}


def test_words_go_where_they_belong() -> None:
    config = StudyConfig.from_dict({"stimuli": "p", "responses": "r.npy", "set": {"catch": "blank", "flips": 200}})
    assert config.dataset == "own" and config.own is not None
    assert (config.own.catch, config.flips) == (("blank",), 200)
    assert StudyConfig.from_dict({"own": {"stimuli": "p", "responses": "r.npy"}}).dataset == "own"
    public = StudyConfig.from_dict({**PUBLIC, "stimuli": "p", "subject": 1, "set": {"zscore": "run"}})
    assert public.place.stimuli == Path("p") and public.subjects == ("1",) and public.reading == {"zscore": "run"}
    assert StudyConfig.from_dict({"test": "subjects"}).meg_test == "subjects"
    assert StudyConfig.from_dict({"modality": "fMRI, MEG"}).modality == ("fmri", "meg")
    assert settings_of_words({"cv": 4}) == {"cv": 4}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"subject": "1", "subjects": ["1"]}, "'subject' and 'subjects' say the same"),
        ({"test": "folds", "meg_test": "folds"}, "'test' and 'meg_test' say the same"),
        ({"responses": "r", "own": {"responses": "r", "stimuli": "s"}}, "'responses' is given twice"),
        ({"set": {"flips": 200}, "flips": 300}, "'set flips' and 'flips' say the same"),
        ({"checkpoint": "/nowhere.pt"}, "there is no such file or folder"),
        ({"device": "tpu"}, "a device is cpu, cuda"),
        ({"set": {"foo": 1}}, "'reading' \\(foo\\) is for readers of public datasets; 'sample' has none"),
    ],
)
def test_two_words_for_one_thing_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        StudyConfig.from_dict(values)


def test_auto_takes_what_there_is() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert StudyConfig.from_dict({"device": "auto"}).device == expected
    assert StudyConfig.from_dict({"device": "cuda:1"}).device == "cuda:1"


def test_an_axis_of_a_grid_may_have_one_value() -> None:
    cells = GridConfig.from_dict({"grid": {"pca": 20, "subject": ["1", "2"]}, "study": PUBLIC}).cells()
    assert [(cell.config.pca, cell.config.subjects) for cell in cells] == [(20, ("1",)), (20, ("2",))]


def test_listings_fit_a_window_and_fold(tmp_path: Path) -> None:
    models = run_brainmap("models", cwd=tmp_path).stdout
    assert max(len(line.rstrip()) for line in models.splitlines()) <= 100 and "dinov3-vits16" in models
    plan = run_brainmap("data", "plan", "things-meg", cwd=tmp_path).stdout.splitlines()
    assert len(plan) < 60 and "more files" in plan[-3] and "bytes" in plan[-1]
    everything = run_brainmap("data", "plan", "things-meg", "--all", cwd=tmp_path).stdout.splitlines()
    assert len(everything) > len(plan) and everything[-1] == plan[-1]
    assert run_brainmap("--version", cwd=tmp_path).stdout.startswith("brainmap 0.")


def test_one_store_of_features_for_all_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from brainmap.study import Grid, Study

    assert Study(StudyConfig(), tmp_path / "run").folder.features == tmp_path / "run" / "features"
    monkeypatch.setenv("BRAINMAP_FEATURES", str(tmp_path / "site"))
    grid = Grid(GridConfig.from_dict({"schema": 2, "study": {}}), tmp_path / "grid")
    for study in (Study(StudyConfig(), tmp_path / "run"), grid.study(grid.cells[0])):
        assert study.folder.features == tmp_path / "site"
    assert not list(Study(StudyConfig(), tmp_path / "run").folder.damages(full=False))
