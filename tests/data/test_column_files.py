from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmap.common.blocks import read_block
from brainmap.common.errors import InputError
from brainmap.data.column_files import ColumnFile, RowStack, stack_standardised, write_columns
from brainmap.data.prepared_responses import ArrayColumns, SideBySide, by_rows

ROWS, WIDTH = (4, 7, 2), 9


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    values = [np.random.default_rng(n).standard_normal((rows, WIDTH)).astype(np.float32) for n, rows in enumerate(ROWS)]
    for number, part in enumerate(values):
        blocks = (part[:, start : start + 4] for start in range(0, WIDTH, 4))
        write_columns(folder / f"{number}.npy", part.shape, blocks)
    return folder, values


def selections(length: int):
    positions = st.lists(st.integers(-length, length - 1), max_size=2 * length)
    bounds = st.integers(-length, length)
    slices = st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2]))
    masks = st.lists(st.booleans(), min_size=length, max_size=length).map(np.array)
    return st.one_of(st.none(), slices, positions.map(lambda p: np.array(p, dtype=int)), masks)


@settings(max_examples=150, deadline=None)
@given(rows=selections(10), columns=selections(WIDTH), keep=st.permutations(range(sum(ROWS))))
def test_a_stack_of_files_reads_like_the_array(stored, rows, columns, keep):
    folder, values = stored
    kept = np.array(keep[:10])
    stack = RowStack([ColumnFile(folder / f"{n}.npy") for n in range(3)], keep=kept)
    whole = np.concatenate(values)[kept]
    expected = whole if rows is None else whole[rows]
    expected = expected if columns is None else expected[:, columns]
    assert np.array_equal(read_block(stack, rows, columns), expected)


def test_files_are_plain_npy_and_only_whole_ones_are_read(stored, tmp_path):
    folder, values = stored
    assert np.array_equal(np.load(folder / "1.npy"), values[1])
    np.save(tmp_path / "c.npy", values[0])
    with pytest.raises(InputError, match="is not a prepared array"):
        ColumnFile(tmp_path / "c.npy")
    (tmp_path / "cut.npy").write_bytes((folder / "1.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="is cut short"):
        ColumnFile(tmp_path / "cut.npy")
    with pytest.raises(InputError, match="5 columns were made"):
        write_columns(tmp_path / "short.npy", (4, 9), [values[0][:, :5]])
    assert not (tmp_path / "short.npy").exists() and not list(tmp_path.glob("*.partial"))


def test_standardising_uses_the_kept_rows_of_each_group(stored, tmp_path):
    folder, values = stored
    parts = [ColumnFile(folder / f"{n}.npy") for n in range(3)]
    keep = np.array([0, 1, 3, 5, 6, 8, 10, 12])
    stack = stack_standardised(parts, [0, 0, 1], keep=keep, store=tmp_path / "scale.npy")
    whole = np.concatenate(values)
    first, second = keep[keep < 11], keep[keep >= 11]
    expected = np.concatenate([(whole[g] - whole[g].mean(0)) / np.where(whole[g].std(0) > 0, whole[g].std(0), 1)
                               for g in (first, second)])  # fmt: skip
    assert np.abs(stack[:, :] - expected).max() < 1e-5
    again = stack_standardised(parts, [0, 0, 1], keep=keep, store=tmp_path / "scale.npy")
    assert np.array_equal(again[:, 2:5], stack[:, 2:5])


def test_pieces_of_one_file_and_files_side_by_side(tmp_path):
    values = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", values[:, :2])
    np.save(tmp_path / "b.npy", values[:, 2:])
    whole = SideBySide([ArrayColumns(tmp_path / "a.npy"), ArrayColumns(tmp_path / "b.npy")])
    assert np.array_equal(whole.columns(np.array([4, 0, 2])), values[:, [4, 0, 2]])
    pieces, groups = by_rows(whole, np.array(["x", "x", "y", "x", "x", "z"]))
    assert groups == [0, 1, 0, 2] and [piece.shape[0] for piece in pieces] == [2, 1, 2, 1]
    assert np.array_equal(np.concatenate([piece.columns(slice(1, 4)) for piece in pieces]), values[:, 1:4])
