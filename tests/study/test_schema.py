"""Study files of earlier versions are read by name or refused; nothing changes its meaning silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study.own_files import run_brainmap

from brainmap.common.errors import InputError
from brainmap.study import GridConfig, StudyConfig
from brainmap.study.declared.schema import current
from brainmap.study.run_folder import RunFolder


def test_files_of_schema_1_are_renamed_where_that_is_the_only_reading(tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(
        "study: {permutations: 300, shuffles: 99, place: {images: photos}}\ngrid: {permutations: [100, 200]}\n"
    )
    with pytest.warns(UserWarning, match="'shuffles' → 'permutations'"):
        config = GridConfig.from_yaml(old)
    assert config.study == {"flips": 300, "permutations": 99, "place": {"stimuli": "photos"}}
    assert config.grid == {"flips": [100, 200]}
    old.write_text("shuffles: 99\n")
    with pytest.warns(UserWarning):
        assert StudyConfig.from_yaml(old).permutations == 99


@pytest.mark.parametrize(
    "text", ["permutations: 5000", "study: {permutations: 5000}", "parts: {a: {sample: {permutations: 5}}}"]
)
def test_what_may_mean_two_things_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text + "\n")
    with pytest.raises(InputError, match=r"study.yaml.*sign flips.*permutations of photographs.*schema: 2"):
        GridConfig.from_yaml(file)
    ended = run_brainmap("run", str(file), "--dry-run", cwd=tmp_path)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr and "schema: 2" in ended.stderr
    file.write_text("schema: 1\n" + text.replace("5}", "500}") + "\n")
    with pytest.warns(UserWarning, match="'permutations' → 'flips'"):
        GridConfig.from_yaml(file)


def test_today_s_names_mean_what_they_say() -> None:
    assert current({"schema": 2, "permutations": 5000, "flips": 100}) == {"permutations": 5000, "flips": 100}
    for wrong in (
        {"schema": 2, "shuffles": 9},
        {"schema": 2, "place": {"images": "x"}},
        {"schema": 3},
        {"schema": True},
    ):
        with pytest.raises(InputError, match=r"schema"):
            current(wrong)


def test_runs_made_before_the_names_moved_are_found_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim({"study_version": 4, "config": {"flips": 5000, "permutations": 1000, "cv": 5}})
    stored = folder.path / "study.json"
    stored.write_text(json.dumps({"study_version": 4, "config": {"permutations": 5000, "shuffles": 1000, "cv": 5}}))
    folder.claim({"study_version": 4, "config": {"flips": 5000, "permutations": 1000, "cv": 5}})
    with pytest.raises(InputError, match="flips"):
        folder.claim({"study_version": 4, "config": {"flips": 100, "permutations": 1000, "cv": 5}})


def test_an_old_option_names_the_new_one(tmp_path: Path) -> None:
    ended = run_brainmap("fit", "--shuffles", "99", "--dry-run", cwd=tmp_path)
    assert ended.returncode == 2 and "--permutations 99" in ended.stderr and "Traceback" not in ended.stderr
