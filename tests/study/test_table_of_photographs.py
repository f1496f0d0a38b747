"""A run belongs to its table of photographs: another one is refused, other names and places of files are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from study.own_files import write_own

from brainmap import Study
from brainmap.common.errors import InputError
from brainmap.study import StudyConfig


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    own = write_own(tmp_path / "own", modality="fmri")
    np.savez(tmp_path / "given.npz", layer=np.random.default_rng(0).standard_normal((40, 6)))
    return {
        "features": tmp_path / "given.npz", "cv": 3, "controls": "pixels", "stimuli": own.folder / "photos",
        "responses": str(own.folder / "responses.npy"), "targets": own.folder / "targets.tsv",
        "events": own.folder / "events.tsv", "table": tmp_path / "photos.tsv",
    }  # fmt: skip


def write_table(file: Path, **columns: object) -> None:
    names = [f"img_{number:02d}.png" for number in range(40)]
    pd.DataFrame({"name": names, **columns}).to_csv(file, sep="\t", index=False)


def run(settings: dict[str, object], out: Path) -> pd.DataFrame:
    return Study(StudyConfig.from_dict(settings), out).run(report=False).to_frame()


def test_another_table_of_photographs_is_another_study(settings: dict[str, object], tmp_path: Path) -> None:
    table, out, number = tmp_path / "photos.tsv", tmp_path / "run", np.arange(40)
    kinds, sources = np.where(number < 20, "face", "house"), number // 2
    write_table(table, category=kinds, source=sources, author="a")
    scores = run(settings, out)
    for column, other in {
        "category": {"category": np.roll(kinds, 1), "source": sources},
        "source": {"category": kinds, "source": number // 4},
    }.items():
        write_table(table, **other)
        with pytest.raises(InputError, match=rf"holds another study \(photographs\.{column}: there \"\d+ values"):
            run(settings, out)
    write_table(table, source=sources)
    with pytest.raises(InputError, match=r"photographs\.category"):
        run(settings, out)
    with_gap = np.where(number == 7, "", kinds)
    write_table(table, category=with_gap, source=sources)  # no category control then
    with pytest.raises(InputError, match=r"photographs\.category"):
        run(settings, out)
    write_table(table, category=kinds, source=[f"s{99 - k}" for k in sources])  # shuffling follows the labels
    with pytest.raises(InputError, match=r"photographs\.source"):
        run(settings, out)
    # nobody reads who took a photograph, nor, where folds are dealt, which ones another split would test
    write_table(table, category=kinds, source=sources, author="b", test=number < 10)
    assert run(settings, out)[list(scores)].equals(scores)


@pytest.mark.parametrize("features", [True, False])
def test_names_count_where_they_say_what_was_shown(settings: dict[str, object], tmp_path: Path, features: bool) -> None:
    photos, out = Path(str(settings["stimuli"])), tmp_path / "run"
    Image.new("RGB", (64, 64), (9, 99, 200)).save(photos / "img_40.png")  # was not shown
    np.savez(tmp_path / "given.npz", layer=np.random.default_rng(0).standard_normal((41, 6)))
    del settings["table"]
    if not features:
        settings |= {"features": None, "model": "dino-tiny", "layers": "block.0", "signals": "activation"}
    run(settings, out)
    for number in range(41):  # each takes the name of the one before: other photographs were shown, in the same order
        (photos / f"img_{number:02d}.png").rename(photos / (f"img_{number - 1:02d}.png" if number else "img_-1.png"))
    with pytest.raises(InputError, match="photographs.name" if features else "shown.fmri"):
        run(settings, out)


def test_what_cannot_run_takes_no_folder(settings: dict[str, object], tmp_path: Path) -> None:
    table, out, concepts = tmp_path / "photos.tsv", tmp_path / "run", np.array([f"c{k // 2}" for k in range(40)])
    write_table(table, concept=np.where(np.arange(40) == 3, "", concepts))
    with pytest.raises(InputError, match="fill the cell"):
        run({**settings, "groups": "concept"}, out)
    write_table(table, concept=concepts)
    run({**settings, "groups": "concept"}, out)


def test_photographs_that_were_moved_are_the_same(settings: dict[str, object], tmp_path: Path) -> None:
    table, out = tmp_path / "photos.tsv", tmp_path / "run"
    write_table(table, category=np.where(np.arange(40) < 20, "face", "house"))
    scores = run(settings, out)
    moved = shutil.move(str(settings["stimuli"]), tmp_path / "elsewhere")
    assert run({**settings, "stimuli": moved}, out)[list(scores)].equals(scores)
    packed = shutil.make_archive(str(tmp_path / "photos"), "zip", moved)
    assert run({**settings, "stimuli": Path(packed)}, out)[list(scores)].equals(scores)


def test_folders_count_where_they_group(settings: dict[str, object], tmp_path: Path) -> None:
    photos, out = Path(str(settings["stimuli"])), tmp_path / "run"
    del settings["table"]
    for number in range(40):
        folder = photos / f"day_{number // 5}"
        folder.mkdir(exist_ok=True)
        shutil.move(photos / f"img_{number:02d}.png", folder)
    run({**settings, "groups": "folder"}, out)
    shutil.move(photos / "day_0" / "img_04.png", photos / "day_1")
    with pytest.raises(InputError, match=r"photographs\.folder: there \"8 values"):
        run({**settings, "groups": "folder"}, out)
