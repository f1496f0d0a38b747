"""Study files: what they declare, that each cell is a study of its own, and the presets to the letter."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from scipy import stats
from study.own_files import OwnFiles, run_brainmap, write_own

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.yaml_text import parse_yaml
from brainmap.data import sample_stimuli
from brainmap.data.atlas import load_atlas
from brainmap.models import skeleton
from brainmap.papers import convergence_panels, reproduce, reproduction_grid
from brainmap.papers.panel_likeness import EIGHT
from brainmap.papers.property_maps import read_maps, read_properties
from brainmap.report.page.comparison_data import comparison_table
from brainmap.results import StudyResults
from brainmap.results.joined_modalities import join_modalities
from brainmap.statistics.significance import significance
from brainmap.study import Grid, GridConfig, Study, StudyConfig, load_preset, preset_names, preset_text
from brainmap.study.analysis.rows_and_spaces import feature_spaces
from brainmap.study.grid import training_step


def test_a_grid_is_the_product_of_its_axes() -> None:
    axes = {"projection": [50, 800], "pca": [25, 100, 300], "site": ["block", "mlp"]}
    cells = GridConfig.from_dict({"study": {"cv": 4}, "grid": axes}).cells()
    found = [(cell.config.projection, cell.config.pca, cell.config.site) for cell in cells]
    assert found == list(itertools.product(*axes.values()))
    assert {cell.config.cv for cell in cells} == {4}
    assert len({cell.name for cell in cells}) == 12
    assert cells[0].label == "dino-tiny-trained-projection-50-pca-25-site-block"


def test_settings_of_one_study_are_a_file_with_one_cell() -> None:
    cells = GridConfig.from_dict({"modality": ["meg"], "cv": 3}).cells()
    assert [(cell.config.modality, cell.config.cv) for cell in cells] == [(("meg",), 3)]


def test_a_study_that_two_parts_ask_for_is_computed_once() -> None:
    parts = {
        "training": {"grid": {"weights": ["untrained", "trained"]}},
        "models": {"study": {"weights": "trained"}, "grid": {"model": ["dino-tiny"]}},
    }
    cells = GridConfig.from_dict({"parts": parts}).cells()
    assert [cell.config.weights for cell in cells] == ["untrained", "trained"]
    assert cells[1].parts == {"training": {"weights": "trained"}, "models": {"model": "dino-tiny"}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"gird": {"pca": [5]}}, "unknown key 'gird' in the study file; known: title"),
        ({"study": {"modle": "x"}}, "unknown setting 'modle' = 'x'"),
        ({"grid": {"modle": ["x"]}}, "unknown setting 'modle' = 'x'"),
        ({"grid": {"pca": [10, 0]}}, "setting 'pca' = 0"),
        ({"grid": {"pca": [10, True]}}, "setting 'pca' = True: no setting is true or false; give a number or a word"),
        ({"grid": {"pca": []}}, "the axis 'pca' of the grid needs at least one value"),
        ({"parts": {"a": {"girds": {}}}}, "unknown key 'parts.a.girds'"),
        ({"sample": {"modle": "x"}, "study": {"dataset": "nsd"}}, "study file: unknown setting 'modle'"),
        ({"study": {"level": "a"}}, "unknown setting 'level' = 'a'"),
        ({"grid": {"level": ["a"]}}, "unknown setting 'level'"),
        ({"preset": "misalignement"}, "there is no preset 'misalignement'; the presets are convergence, misalignment"),
        ({"grid": {"seed": list(range(50)), "pca": list(range(1, 50))}}, "more than 2,000 studies"),
    ],
)
def test_wrong_files_are_one_sentence(values: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        GridConfig.from_dict(values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_study_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        GridConfig.from_yaml(tmp_path / "absent.yaml")
    (tmp_path / "code.yaml").write_text("study: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="is not valid YAML"):
        GridConfig.from_yaml(tmp_path / "code.yaml")
    (tmp_path / "latin.yaml").write_bytes("title: caf\u00e9".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml is not text in UTF-8"):
        GridConfig.from_yaml(tmp_path / "latin.yaml")


def test_names_of_cells_fit_into_a_file_system(tmp_path: Path) -> None:
    layers = [[f"encoder.layers.{i}" for i in range(start, 24)] for start in (0, 1)]
    names = [cell.name for cell in GridConfig.from_dict({"grid": {"layers": layers}}).cells()]
    assert len(set(names)) == 2 and max(map(len, names)) < 255
    (tmp_path / names[0]).mkdir()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; it must hold 'key: value' lines"),
        ("# study\n", "is empty; it must hold 'key: value' lines"),
        ("- a\n", "must hold 'key: value' lines, found a list"),
        ("cv\n", "must hold 'key: value' lines, found text"),
        ("1: 2\n", "is not valid YAML: the key 1 in line 1 is not text; put it in quotes"),
        ("on: 3\n", "is not valid YAML: the key True in line 1 is not text; put it in quotes"),
        ("cv: 3\ncv: 4\n", "is not valid YAML: the key 'cv' occurs twice, the second time in line 2"),
        (
            "parts:\n  a: {grid: {cv: [3]}}\n  a: {grid: {cv: [4]}}\n",
            "the key 'a' occurs twice, the second time in line 3",
        ),
    ],
)
def test_nothing_in_a_study_file_is_lost_in_silence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    for reader in (GridConfig, StudyConfig):
        with pytest.raises(InputError) as caught:
            reader.from_yaml(file)
        assert sentence in str(caught.value) and "\n" not in str(caught.value)
    file.write_text("base: &base {cv: 3}\nstudy: {<<: *base, cv: 4}\n")  # to win over what is merged is no repetition
    assert parse_yaml(file.read_text(), "a file")["study"] == {"cv": 4}


def test_the_results_need_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "study.yaml").write_text("study: {subjects: [S9], thin: 40}\n")
    for place in ("notes.txt", "notes.txt/run"):
        sentence = f"{tmp_path / 'notes.txt'} is a file; choose a folder with --out"
        for make in (
            lambda out: Grid(GridConfig.from_dict({"study": {"thin": 40}}), out),
            lambda out: Study(StudyConfig(), out),
            lambda out: reproduction_grid("misalignment", out),
        ):
            with pytest.raises(InputError) as caught:
                make(tmp_path / place)
            assert str(caught.value) == sentence
    ended = run_brainmap("run", "study.yaml", "--out", "notes.txt", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (2, "brainmap: notes.txt is a file; choose a folder with --out\n")
    plan = run_brainmap("run", "study.yaml", "--out", "grid", "--dry-run", cwd=tmp_path)
    assert "studies: there is no subject 'S9'; the subjects are S1, S2, S3" in plan.stdout


def test_recordings_of_ones_own_are_told_apart_by_their_files() -> None:
    files = {"stimuli": "photos", "targets": "targets.tsv", "events": "events.tsv"}
    recordings = [{**files, "responses": name} for name in ("sub-01/meg.npy", "sub-02/meg.npy", "fmri.npy")]
    data = [{"dataset": "own", "own": own} for own in recordings]
    cells = GridConfig.from_dict({"data": data, "grid": {"pooling": ["cls"]}}).cells()
    assert [cell.label.removeprefix("dino-tiny-trained-pooling-cls-dataset-own-") for cell in cells] == [
        "sub-01_meg",
        "sub-02_meg",
        "fmri",
    ]


def test_a_study_file_of_the_other_paper_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("preset: misalignment\n")
    with pytest.raises(InputError, match="preset 'misalignment'; say `brainmap reproduce misalignment`"):
        reproduction_grid("convergence", study=tmp_path / "study.yaml")


def test_maps_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="holds no cortical map: a file's name says its property"):
        read_properties(tmp_path)
    (tmp_path / "thickness.gii").write_text("hello")
    with pytest.raises(InputError, match=r"thickness\.gii cannot be read \(syntax error"):
        read_properties(tmp_path)


def test_misalignment_says_what_the_paper_states() -> None:
    preset = load_preset("misalignment")
    stated = {"site": "mlp", "projection": 800, "pca": 300, "cv": 5, "residual": "matched", "meg_test": "subjects"}
    stated |= {"method": "ridge-gcv", "fmri_test": "permutation", "permutations": 1000, "residual_layers": "last"}
    assert {name: preset.study[name] for name in stated} == stated
    assert preset.study["top_areas"] == pytest.approx(1 / 3, abs=1e-3)
    real = GridConfig.from_dict({**preset.model_dump(), "study": {**preset.study, "dataset": "own", "own": _nowhere()}})
    assert {cell.config.site for cell in real.cells() if "training" in cell.parts} == {"mlp"}
    sample = [cell.config for cell in preset.cells() if "training" in cell.parts]
    assert {(config.site, config.residual, config.thin) for config in sample} == {("block", "nested", 6)}
    assert {(config.method, config.fmri_test) for config in sample} == {("ridge", "folds")}
    assert {config.residual_layers for config in sample} == {"last"}


def test_the_eight_models_of_the_paper_are_the_presets(tmp_path: Path) -> None:
    data = [{"dataset": "nsd"}, {"dataset": "things-meg"}]
    grid = reproduction_grid("misalignment", tmp_path, data=data)
    cells = [cell for cell in grid.cells if "models" in cell.parts and cell.config.dataset == "nsd"]
    assert [cell.config.model for cell in cells] == list(EIGHT)
    losses = ["own", "mae-reconstruction", *["clip-bridge"] * 3, *["image-text-similarity"] * 3]
    assert [cell.config.objective or "own" for cell in cells] == losses
    assert {(cell.config.site, cell.config.layers) for cell in cells} == {("block", ("evenly:10",))}
    readings = {cell.config.dataset: cell.config.reading for cell in grid.cells}
    assert readings["nsd"] == {} and readings["things-meg"]["zscore"] == "subject"
    assert readings["things-meg"]["epochs"]["antialias"] == 15
    sizes = {(cell.config.projection, cell.config.pca) for cell in grid.cells if "robustness" in cell.parts}
    assert len(sizes) == 6 and all(pca <= projection for projection, pca in sizes)
    sample = reproduction_grid("misalignment", tmp_path).cells
    assert [cell.config.model for cell in sample if "models" in cell.parts] == ["dino-tiny", "efficientnet-lite0"]
    assert {cell.config.model for cell in sample} == {"dino-tiny", "efficientnet-lite0"}
    text = grid.plan()
    assert "nsd: fMRI of 8 subjects × 30,000 trials × 327,684 targets" in text
    assert "things-meg: MEG of 4 subjects × 27,048 trials × 28,726 targets" in text
    assert "the photographs of things-meg come apart from it: THINGS object images" in text
    assert "besides: The checkpoints of the paper's training are not public" in text
    for words in ("in the run folder:", "time: features about", "loss 'clip-bridge' needs captions", "vit-mae-base"):
        assert words in text


def test_layers_at_equal_distances() -> None:
    model = skeleton("dino-tiny")
    assert model.layer_names("evenly:12") == model.layer_names()
    assert model.layer_names(["evenly:2"]) == ("block.0", "block.11")
    numbers = [int(name.split(".")[1]) for name in model.layer_names("evenly:10")]
    assert numbers == [0, 1, 2, 4, 5, 6, 7, 9, 10, 11]
    for wrong in ("evenly:13", "evenly:1", "evenly:x"):
        with pytest.raises(InputError, match="has 12 layers; give evenly:2 to evenly:12"):
            model.layer_names(wrong)


def test_studies_of_a_part_differ_in_several_settings() -> None:
    part = {"studies": [{"model": "clip"}, {"model": "vit-mae", "pooling": "cls"}], "grid": {"cv": [3, 4]}}
    cells = GridConfig.from_dict({"parts": {"a": part}}).cells()
    assert [(cell.config.model[:4], cell.config.pooling, cell.config.cv) for cell in cells] == [
        ("clip", "patch-mean", 3), ("clip", "patch-mean", 4), ("vit-", "cls", 3), ("vit-", "cls", 4)
    ]  # fmt: skip
    part = {"studies": [{"model": "clip"}], "sample_studies": [{"pca": 5}, {"pca": 6}]}
    file = {"parts": {"a": part}, "data": [{"dataset": "sample"}, {"dataset": "nsd"}]}
    cells = GridConfig.from_dict(file | {"datasets": {"nsd": {"cv": 7}}}).cells()
    found = [(cell.config.model[:4], cell.config.dataset, cell.config.pca, cell.config.cv) for cell in cells]
    assert found == [("clip", "nsd", None, 7), ("dino", "sample", 5, 5), ("dino", "sample", 6, 5)]
    for wrong, sentence in (
        ({"sample_studies": [{"pca": 5}]}, "'sample_studies' stand in place of 'studies'"),
        ({"studies": [{"modle": "x"}]}, "unknown setting 'modle'"),
        ({"studies": [{"model": "clip"}], "levels": {"a": {"model": "clip"}}}, "exclude one another"),
    ):
        with pytest.raises(InputError) as caught:
            GridConfig.from_dict({"parts": {"a": wrong}})
        assert sentence in str(caught.value)


def test_checkpoints_of_ones_own_take_the_place_of_the_presets(tmp_path: Path) -> None:
    for step in (100, 2000):
        (tmp_path / f"step_{step:06d}.safetensors").write_bytes(b"")
    grid = reproduction_grid("convergence", tmp_path / "out", checkpoints=f"dino-tiny:{tmp_path}")
    cells = [cell for cell in grid.cells if "training" in cell.parts]
    assert [Path(cell.config.weights).stem for cell in cells] == ["untrained", "step_000100", "step_002000"]
    assert {cell.config.model for cell in cells} == {"dino-tiny"}
    with pytest.raises(InputError, match="give a folder with the checkpoints of one training"):
        reproduction_grid("convergence", tmp_path / "out", checkpoints="dino-tiny")


def test_sizes_and_types_of_the_sample_stand_at_equal_steps(tmp_path: Path) -> None:
    cells = reproduction_grid("convergence", tmp_path).cells
    found = {part: [cell for cell in cells if part in cell.parts] for part in ("training", "sizes", "types")}
    levels = {part: {cell.parts[part]["level"] for cell in found[part]} for part in ("sizes", "types")}
    assert levels == {
        "sizes": {"width 32", "width 48", "width 96"},
        "types": {"photographs", "dead leaves", "scrambled"},
    }
    for part in ("sizes", "types"):
        assert [training_step(cell.config) for cell in found[part]] == [0, 100, 400, 1600] * len(levels[part])
    assert len(cells) == 21  # width 96 shares its studies with the training, width 48 serves both
    real = reproduction_grid("convergence", tmp_path, data=[{"dataset": "nsd"}]).cells
    assert {part for cell in real for part in cell.parts} == {"training"}


def test_convergence_says_what_the_paper_states() -> None:
    preset = load_preset("convergence")
    assert (preset.study["fmri_test"], preset.study["fmri_level"]) == ("subjects", 0.01)
    assert {(cell.config.fmri_test, cell.config.fmri_level) for cell in preset.cells()} == {("folds", 0.05)}


def _nowhere() -> dict[str, str]:
    return {"stimuli": "a.zip", "responses": "r.npy", "targets": "t.tsv", "events": "e.tsv"}


def test_every_preset_lists_where_it_leaves_the_default() -> None:
    assert preset_names() == ("convergence", "misalignment")
    for name in preset_names():
        assert yaml.safe_load(preset_text(name))["title"] == load_preset(name).title
        assert len(load_preset(name).deviations) >= 5


def test_a_file_can_start_from_a_preset() -> None:
    config = GridConfig.from_dict({"preset": "convergence", "study": {"cv": 3}, "grid": {"weights": ["untrained"]}})
    (cell,) = config.cells()
    assert (cell.config.pooling, cell.config.cv, cell.config.weights) == ("all-mean", 3, "untrained")


def test_a_file_says_where_it_leaves_its_preset() -> None:
    own = {"what": "Voxels", "paper": "a", "default": "b", "here": "c"}
    changed = {"pooling": "cls", "cv": 5, "subjects": ["S1"]}  # the preset has cv 5
    config = GridConfig.from_dict({"preset": "convergence", "study": changed, "deviations": [own], "citation": "Me"})
    count = len(load_preset("convergence").deviations)
    told = [item.model_dump() for item in config.deviations[count:]]
    row = {"what": "Setting 'pooling'", "paper": "preset: all-mean", "default": "patch-mean", "here": "cls"}
    assert told == [row, own] and config.citation == "Me"


def test_settings_by_hand_win_over_the_preset() -> None:
    cells = reproduction_grid("convergence", "nowhere", thin=20, fmri_test="subjects").cells
    assert {(cell.config.thin, cell.config.fmri_test) for cell in cells} == {(20, "subjects")}
    with pytest.raises(InputError, match="no published study 'convergance'"):
        reproduce("convergance")


def test_a_grid_runs_resumes_and_compares(own: OwnFiles, tmp_path: Path) -> None:
    names = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    study = {"dataset": "own", "own": {key: str(own.folder / file) for key, file in names.items()}, "cv": 3}
    study |= {"signals": ["activation"], "layers": ["block.0", "block.4", "block.8", "block.11"]}
    file = tmp_path / "study.yaml"
    file.write_text(
        yaml.safe_dump({"title": "Two weights", "study": study, "grid": {"weights": ["untrained", "trained"]}})
    )
    plan = run_brainmap("run", str(file), "--out", "grid", "--dry-run", cwd=tmp_path)
    assert (plan.returncode, (tmp_path / "grid").exists()) == (0, False)
    assert "2 studies in grid" in plan.stdout

    grid = Grid(GridConfig.from_yaml(file), tmp_path / "grid")
    page = grid.write()
    text = page.read_text()
    assert "dino-tiny-untrained" in text and "Two weights" in text and "simulated" not in text.split("<script")[0]
    folders = [grid.study(cell).folder for cell in grid.cells]
    assert all(folder.results.is_dir() and not folder.report.exists() for folder in folders)
    assert (tmp_path / "grid" / "features").is_dir()
    written = [(folder.results / "results.json").stat().st_mtime_ns for folder in folders]
    first = [StudyResults.load(folder.results).scores["meg"]["r"].values for folder in folders]
    assert not np.array_equal(first[0], first[1])

    again = grid.run()
    assert [(folder.results / "results.json").stat().st_mtime_ns for folder in folders] == written
    assert [member.step for member in again] == [0, 6400]
    assert again.varying == ["weights"]
    assert np.array_equal(again.members[1].results.scores["meg"]["r"].values, first[1])


def test_fmri_of_one_data_set_and_meg_of_another(own: OwnFiles, tmp_path: Path) -> None:
    fmri = write_own(tmp_path / "scanner", modality="fmri")
    names = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    data = [
        {"dataset": "own", "own": {key: str(files.folder / file) for key, file in names.items()}}
        for files in (own, fmri)
    ]
    study = {"cv": 3, "signals": ["activation"], "layers": ["block.0", "block.4", "block.8", "block.11"]}
    grid = Grid(GridConfig.from_dict({"study": study, "data": data, "grid": {"weights": ["untrained", "trained"]}}))
    assert [cell.config.weights for cell in grid.cells] == ["untrained", "untrained", "trained", "trained"]
    grid = Grid(grid.config, tmp_path / "grid")
    apart = grid.run()
    assert [member.results.modalities for member in apart] == [("meg",), ("fmri",)] * 2
    table = comparison_table(apart)
    assert set(table["own"]) == {str(files.folder / "responses.npy") for files in (own, fmri)}
    assert table["study"].nunique() == 4 and not table["study"].str.contains("{").any()
    joined = join_modalities(apart)
    assert [(member.step, member.results.modalities) for member in joined] == [
        (0, ("fmri", "meg")),
        (6400, ("fmri", "meg")),
    ]
    assert {panel.number for panel in convergence_panels(joined) if not panel.missing} >= {"2B", "3B", "3D", "3F"}
    with pytest.raises(InputError, match="there is no such dataset"):
        reproduction_grid("convergence", data=[{"dataset": "nds"}])
    two = reproduction_grid("misalignment", data=[{"dataset": "nsd"}, {"dataset": "things-meg"}])
    assert {cell.config.dataset for cell in two.cells} == {"nsd", "things-meg"}
    assert {cell.config.fmri_test for cell in two.cells} == {"permutation"}  # the paper's, not the sample's


def test_subjects_of_ones_own_stay_studies_and_can_be_pooled(own: OwnFiles, tmp_path: Path) -> None:
    names = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    first = {key: str(own.folder / file) for key, file in names.items()}
    data = []
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal((80, 18))
        np.save(tmp_path / f"S{seed}.npy", (np.load(first["responses"]) + noise).astype(np.float32))
        data.append({"dataset": "own", "own": first | {"responses": str(tmp_path / f"S{seed}.npy")}})
    study = {"cv": 3, "signals": ["activation"], "layers": ["block.4", "block.11"], "weights": "trained"}
    collection = Grid(GridConfig.from_dict({"study": study, "data": data}), tmp_path / "grid").run()
    assert len(join_modalities(collection)) == 3
    assert {member.results.scores["meg"].sizes["subject"] for member in collection} == {1}
    scores = [m.results.scores["meg"]["r"].assign_coords(subject=[f"S{i}"]) for i, m in enumerate(collection, 1)]
    pooled = significance(xr.concat(scores, "subject", join="exact"), per="time", test="subjects")  # as in the docs
    curves = np.stack([one.mean(("subject", "split")).groupby("time").mean().values for one in scores])
    expected = stats.ttest_1samp(curves, 0.0, alternative="greater").pvalue
    np.testing.assert_allclose(pooled.p.transpose("signal", "layer", "time"), expected, rtol=1e-6)
    assert pooled.p.shape == (1, 2, 6)


def test_what_cannot_be_computed_is_said(own: OwnFiles, tmp_path: Path) -> None:
    grid = Grid(GridConfig.from_dict({"grid": {"model": ["dinov2-small"]}, "study": {"weights": "step_7"}}), tmp_path)
    assert len(grid.missing(grid.cells[0])) >= 1
    assert "missing:" in grid.plan()
    collection = grid.run(skip_missing=True)
    assert (len(collection), list(collection.absent)) == (0, ["dinov2-small-step_7"])
    with pytest.raises(InputError, match="no study of the file could be computed"):
        collection.check()


def test_what_a_model_lacks_is_said_before_anything_runs(tmp_path: Path) -> None:
    config = GridConfig.from_dict({"grid": {"objective": ["nope", "dino"]}, "study": {"thin": 40}})
    grid = Grid(config, tmp_path / "grid")
    wrong, right = (grid.missing(cell) for cell in grid.cells)
    assert "There is no objective 'nope'; 'dino-tiny' can use dino" in wrong[0] and right == []
    assert "studies: There is no objective 'nope'" in grid.plan()


def test_user_errors_of_the_commands(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("gird: {}\n")
    for arguments, sentence in (
        (("run", "bad.yaml"), "unknown key 'gird'"),
        (("run", "absent.yaml"), "does not exist"),
        (("reproduce", "nothing"), "no published study 'nothing'"),
        (("reproduce", "convergence", "--maps", "nowhere"), "there is no folder nowhere"),
        (("reproduce", "convergence", "--maps", "nowhere", "--dry-run"), "there is no folder nowhere"),
        (("reproduce", "misalignment", "--maps", "."), "--maps is of no use to 'misalignment', which has no panel of"),
        (("reproduce", "misalignment", "--maps", ".", "--dry-run"), "--maps is of no use to 'misalignment'"),
    ):
        ended = run_brainmap(*arguments, cwd=tmp_path)
        assert (ended.returncode, sentence in ended.stderr) == (2, True), ended
    assert run_brainmap("preset", "convergence", cwd=tmp_path).stdout == preset_text("convergence")


def test_maps_are_found_by_their_names_and_averaged_over_areas(tmp_path: Path) -> None:
    labels = load_atlas()["L"]
    values = np.where(labels == "V1", 2.5, 1.0) + np.where(labels == "V2", 1.0, 0.0)
    np.save(tmp_path / "Cortical.Thickness.npy", values)
    np.save(tmp_path / "T1T2ratio.npy", -values)
    found = read_properties(tmp_path)
    assert set(found) == {"thickness", "myelin"}
    expected = pd.Series({"V1": 2.5, "V2": 2.0, "44": 1.0})
    pd.testing.assert_series_equal(found["thickness"][expected.index], expected, check_names=False)
    assert found["myelin"]["V1"] == -2.5
    np.save(tmp_path / "T1wT2w.npy", values)
    with pytest.raises(InputError, match=r"maps of myelin, T1T2ratio\.npy and T1wT2w\.npy; give one by --maps myelin="):
        read_properties(tmp_path)
    (one,) = read_maps("convergence", f"myelin={tmp_path / 'T1wT2w.npy'}").values()
    assert one["V1"] == 2.5


def test_an_expansion_is_asked_for_by_its_kind(tmp_path: Path) -> None:
    np.save(tmp_path / "Expansion.npy", np.ones(32492))
    with pytest.raises(InputError, match=r"says expansion, but not which: give it by --maps developmental-expansion="):
        read_properties(tmp_path)
    file = (tmp_path / "Expansion.npy").rename(tmp_path / "Evolution.Expansion.npy")
    assert set(read_maps("convergence", [tmp_path])) == {"evolutionary-expansion"}
    assert set(read_maps("convergence", [f"developmental-expansion={file}"])) == {"developmental-expansion"}
    for item, sentence in (
        (f"expansion={file}", "'expansion' is no kind of map, of which kind: developmental or evolutionary"),
        (f"fish={file}", "'fish' is no kind of map; the kinds are developmental-expansion, thickness"),
        ("myelin=nowhere.npy", "there is no file nowhere.npy"),
    ):
        with pytest.raises(InputError) as caught:
            read_maps("convergence", [item])
        assert sentence in str(caught.value)
    with pytest.raises(InputError, match="--maps gives evolutionary-expansion twice"):
        read_maps("convergence", [tmp_path, f"evolutionary-expansion={file}"])


class _Gradients:
    """The little of ``Features`` that feature spaces look at."""

    layers = ("block.0", "block.1")
    gradient_norms: ClassVar[dict] = {}

    def __init__(self, n: int) -> None:
        self.rows = np.arange(2.0 * n).reshape(n, 2)

    def by_layer(self, signal: str) -> dict[str, np.ndarray]:
        return dict.fromkeys(self.layers, self.rows)

    def __getitem__(self, key: tuple[str, str]) -> np.ndarray:
        assert key == ("gradient", "block.1")
        return self.rows


def test_shuffled_gradients_are_those_of_other_photographs() -> None:
    stimuli = sample_stimuli().subset(np.arange(32))
    source = stimuli.table["source"].to_numpy()
    assert len(set(source)) == 4
    shuffled = feature_spaces(StudyConfig(), stimuli, _Gradients(32))["controls"]["shuffled gradients"]
    came_from = source[(shuffled[:, 0] / 2).astype(int)]
    assert sorted(shuffled[:, 0]) == sorted(_Gradients(32).rows[:, 0])
    assert all(len(set(came_from[source == name])) == 1 for name in set(source))  # crops of a photograph stay together
    assert (came_from != source).any()
    assert "shuffled gradients" not in feature_spaces(
        StudyConfig(signals=("activation",)), stimuli, _Gradients(32)
    ).get("controls", {})
