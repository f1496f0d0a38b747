"""What a process was writing when it was killed is in nobody's way afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.common.storage.files import atomic_path, is_leftover
from brainmap.features.shard_files import array_damages
from brainmap.features.store import FeatureStore
from brainmap.study.run_folder import RunFolder

KEY = {"signal": "activation", "layer": "a", "model": {"name": "toy", "weights_digest": "0"}}


def begun(path: Path) -> Path:
    """Name under which a file is written before it has its own."""
    with atomic_path(path) as partial:
        partial.write_text("half")
    path.unlink()
    partial.write_text("half")
    return partial


def test_leftovers_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("study.json", "array.npy", "digests", "a.b.json"):
        assert is_leftover(begun(tmp_path / name))
    for name in (".bashrc", "study.json", ".notes.partial", "thesis.12-34.partial.txt"):
        assert not is_leftover(tmp_path / name)


def test_a_run_killed_while_it_took_its_folder_can_begin_again(tmp_path: Path) -> None:
    partial = begun(tmp_path / "run" / "study.json")
    RunFolder(tmp_path / "run").claim({"a": 1})
    assert json.loads((tmp_path / "run" / "study.json").read_text())["a"] == 1 and not partial.exists()
    other = tmp_path / "other"
    begun(other / "study.json")
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a run of brainmap"):
        RunFolder(other).claim({"a": 1})


def test_a_store_whose_writer_was_killed_is_sound_and_loses_the_leftovers(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    array = store.array(KEY)
    array.append(["a", "b"], np.ones((2, 3)), shard_rows=2)
    left = [begun(array.folder / name) for name in ("rows/000001.json", "digests/000001.json", "key.json.new")]
    left.append(array.folder / "zarr.0123456789abcdef0123456789abcdef.partial")
    left[-1].write_text("half")
    (array.folder / "rows" / "notes.json").write_text("[]")
    assert not list(array_damages(array.folder, full=True))
    again = store.array(KEY)
    assert len(again) == 2
    again.append(["c", "d"], np.zeros((2, 3)), shard_rows=2)
    assert not any(file.exists() for file in left)
    np.testing.assert_array_equal(store.array(KEY).rows(["d", "a"]), [[0.0] * 3, [1.0] * 3])


def test_row_keys_that_are_missing_are_named(tmp_path: Path) -> None:
    array = FeatureStore(tmp_path).array(KEY)
    for i in range(4):
        array.append([f"row{i}"], np.ones((1, 3)), shard_rows=1)
    for block in (0, 2):
        (array.folder / "rows" / f"{block:06d}.json").unlink()
    (array.folder / "rows" / "999999999999.json").write_text("[]")
    named = [(file.name, problem) for file, problem in array_damages(array.folder, full=True)]
    assert {("000000.json", "is missing"), ("000002.json", "is missing")} <= set(named) and len(named) < 2000


def test_a_shard_has_the_same_bytes_whether_or_not_its_array_was_begun_by_another_process(tmp_path: Path) -> None:
    """The tail of a shard is chunks of NaN, and is written: what a killed process had begun must not change that."""
    sizes = []
    for name in ("whole", "continued"):
        array = FeatureStore(tmp_path / name).array(KEY)
        if name == "continued":
            array._open_for_writing(np.ones((3, 2), np.float32), 256)
            array = FeatureStore(tmp_path / name).array(KEY)
        for i in range(2):
            array.append([f"{i} {row}" for row in range(3)], np.ones((3, 2), np.float32))
        sizes.append([(array.folder / "c" / str(i) / "0").stat().st_size for i in range(2)])
    assert sizes[0] == sizes[1] and sizes[0][0] == sizes[0][1]
