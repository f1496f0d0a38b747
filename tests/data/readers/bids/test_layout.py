"""Names taken apart, and what is inherited from where."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmap.common.errors import InputError
from brainmap.data.readers.bids.layout import BIDSFolder, parse, read_json


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}" if name.endswith(".json") else "")


@pytest.mark.parametrize(
    ("name", "entities", "suffix", "extension"),
    [
        ("sub-01_task-x_run-010_bold.nii.gz", {"sub": "01", "task": "x", "run": "10"}, "bold", ".nii.gz"),
        ("run-1_sub-01_task-x_bold.nii", {"sub": "01", "task": "x", "run": "1"}, "bold", ".nii"),
        ("sub-01_hemi-L_space-fsaverage_bold.func.gii", {"sub": "01", "hemi": "L", "space": "fsaverage"}, "bold",
         ".func.gii"),
        ("sub-01_task-x_bold_space-T1w_preproc.nii.gz", {"sub": "01", "task": "x", "space": "T1w", "desc": "preproc"},
         "bold", ".nii.gz"),
        ("task-x_bold.json", {"task": "x"}, "bold", ".json"),
    ],
)  # fmt: skip
def test_a_name_is_taken_apart_whole(name, entities, suffix, extension):
    file = parse(Path(name))
    assert file is not None and (dict(file.entities), file.suffix, file.extension) == (entities, suffix, extension)


@pytest.mark.parametrize("name", ["._sub-01_task-x_bold.nii.gz", "notes_of_run.txt", "sub-01_sub-02_bold.nii"])
def test_other_names_are_none(name):
    assert parse(Path(name)) is None


def test_the_nearest_sidecar_with_no_foreign_entity_counts(tmp_path):
    folder = tmp_path / "sub-01/func"
    touch(
        tmp_path, "sub-01/func/sub-01_task-x_run-1_bold.nii.gz", "task-x_bold.json", "task-xLoc_bold.json",
        "sub-01/sub-01_task-x_bold.json", "sub-01/func/sub-01_task-x_run-01_bold.json",
        "sub-01/func/sub-01_task-x_run-10_bold.json", "derivatives/a/sub-01/func/sub-01_task-x_run-1_bold.json",
    )  # fmt: skip
    layout = BIDSFolder(tmp_path)
    run = layout.select("bold", (".nii.gz",))[0]
    found = [file.path.name for file in layout.inherited(run, "bold", ".json", "func")]
    assert found == ["task-x_bold.json", "sub-01_task-x_bold.json", "sub-01_task-x_run-01_bold.json"]
    touch(tmp_path, "sub-01/func/sub-01_task-x_run-1_bold.json")
    with pytest.raises(InputError, match=r"run-01_bold.json .* apply equally|run-1_bold.json .* apply equally"):
        BIDSFolder(tmp_path).inherited(run, "bold", ".json", "func")
    (folder / "x.json").write_text("[1]")
    with pytest.raises(InputError, match="holds no JSON object"):
        read_json(folder / "x.json")
