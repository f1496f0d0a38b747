from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from brainmap.common.blocks import Columns, SortedRows
from brainmap.common.errors import InputError
from brainmap.data import Responses


def fmri_targets(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"roi": "V1", "hemisphere": "L", "x": 0.0, "y": 0.0, "z": 0.0, "vertex": np.arange(count)},
    )


def make(values: Any, **changes: Any) -> Responses:
    settings = {
        "trials": pd.DataFrame({"stimulus": [f"s{i % 3}" for i in range(values.shape[0])]}),
        "targets": fmri_targets(values.shape[1]),
        "modality": "fmri",
        "subject": "01",
    }
    return Responses(values, **(settings | changes))


@pytest.fixture(params=["numpy", "memmap", "zarr", "hdf5", "columns"])
def stored(request: pytest.FixtureRequest, tmp_path: Path):
    """The same (7, 5) array in every container."""
    values = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    if request.param == "memmap":
        np.save(tmp_path / "v.npy", values)
        yield values, np.load(tmp_path / "v.npy", mmap_mode="r")
    elif request.param == "zarr":
        array = zarr.create_array(tmp_path / "v.zarr", shape=values.shape, chunks=(3, 2), dtype="float32")
        array[:] = values
        yield values, array
    elif request.param == "hdf5":
        with h5py.File(tmp_path / "v.h5", "w") as file:
            yield values, file.create_dataset("v", data=values)
    elif request.param == "columns":
        shuffled = np.array([3, 0, 4, 1, 2])
        wide = np.empty((7, 5), dtype=np.float32)
        wide[:, shuffled] = values
        yield values, Columns(wide, shuffled)
    else:
        yield values, values


@pytest.mark.parametrize("rows", [None, slice(1, 6, 2), np.array([5, 0, 0]), np.arange(7) % 2 == 0, np.array([-1])])
@pytest.mark.parametrize("columns", [None, slice(4, 1, -1), [4, 1], np.array([True, False, False, True, True])])
def test_blocks_are_equal_whatever_holds_the_array(stored, rows, columns):
    values, container = stored
    block = make(container).block(rows, columns)
    full_rows = np.arange(7)[slice(None) if rows is None else rows]
    full_columns = np.arange(5)[slice(None) if columns is None else columns]
    np.testing.assert_array_equal(block, values[np.ix_(full_rows, full_columns)])
    assert block.dtype == np.float32
    assert block.flags.c_contiguous


def test_select_average_and_check_work_on_every_container(stored):
    values, container = stored
    responses = make(container)
    part = responses.select(np.array([3, 1]))
    np.testing.assert_array_equal(part.block(), values[:, [3, 1]])
    assert part.targets["vertex"].tolist() == [3, 1]
    np.testing.assert_array_equal(part.select(np.array([False, True])).block(), values[:, [1]])
    means = np.stack([values[k::3].mean(0, dtype=np.float64) for k in range(3)])
    np.testing.assert_allclose(responses.average_repeats().block(), means, rtol=1e-6)
    assert len(responses.check()) == 0


def test_average_keeps_first_showing_order_and_counts():
    values = np.arange(12.0).reshape(4, 3)
    responses = make(values, trials=pd.DataFrame({"stimulus": ["b", "a", "b", "c"], "run": [1, 1, 2, 2]}))
    averaged = responses.average_repeats()
    assert averaged.trials.to_dict("list") == {"stimulus": ["b", "a", "c"], "n_repeats": [2, 1, 1]}
    np.testing.assert_array_equal(averaged.block(), [(values[0] + values[2]) / 2, values[1], values[3]])
    assert averaged.stimulus_ids.tolist() == responses.stimulus_ids.tolist() == ["b", "a", "c"]
    assert responses.n_trials == 4


def test_means_left_on_disk_equal_means_in_memory() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((9, 5)).astype(np.float32)
    names = np.array(list("cabbacaab"))
    targets = pd.DataFrame({"sensor": [f"S{i}" for i in range(5)], "time": 0.0})
    responses = Responses(values, pd.DataFrame({"stimulus": names}), targets, "meg", "S1")
    ids = np.array(["b", "c", "a"])
    explicit = np.stack([values[names == name].mean(0, dtype=np.float64) for name in ids]).astype(np.float32)
    lazy = responses.average_repeats(ids, memory=10)
    assert not isinstance(lazy.values, np.ndarray)
    np.testing.assert_array_equal(responses.average_repeats(ids).values, explicit)
    np.testing.assert_array_equal(lazy.block(), explicit)
    np.testing.assert_array_equal(lazy.block([2, 0], slice(1, 4)), explicit[[2, 0], 1:4])
    np.testing.assert_array_equal(lazy.values[1:, [4, 0]], explicit[1:][:, [4, 0]])
    assert lazy.trials["n_repeats"].tolist() == [3, 2, 4]
    with pytest.raises(InputError, match="no other"):
        responses.average_repeats(np.array(["a", "b"]))


def test_averaging_by_blocks_equals_averaging_at_once(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(1).standard_normal((9, 11)).astype(np.float32)
    whole = make(values).average_repeats().block()
    monkeypatch.setattr("brainmap.data.responses.BLOCK_BYTES", 8 * 9 * 4)
    np.testing.assert_array_equal(make(values).average_repeats().block(), whole)


def test_check_names_row_column_and_target_of_what_is_not_finite():
    values = np.ones((4, 3))
    values[2, 1] = np.nan
    with pytest.raises(InputError, match=r"subject 01 are NaN at row 2, column 1 \(area V1, vertex 1\)"):
        make(values).check()
    values[2, 1] = np.inf
    with pytest.raises(InputError, match="infinite at row 2, column 1"):
        make(values).check()


def test_check_lists_constant_targets():
    values = np.random.default_rng(0).standard_normal((4, 5))
    values[:, [1, 4]] = 3.0
    assert make(values).check().tolist() == [1, 4]


def test_meg_errors_name_sensor_and_time():
    values = np.zeros((3, 4))
    values[0, 3] = np.nan
    targets = pd.DataFrame({"sensor": ["A", "A", "B", "B"], "time": [0.0, 0.1, 0.0, 0.1]})
    with pytest.raises(InputError, match=r"column 3 \(sensor B at 0\.100 s\)"):
        make(values, targets=targets, modality="meg").check()


def test_simulated_responses_say_so():
    assert repr(make(np.zeros((3, 2)), simulated=True)).startswith("Responses(simulated fMRI, subject 01, 3 trials × 2")
    assert "simulated" not in repr(make(np.zeros((3, 2))))


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (np.zeros((3, 2, 1)), {"targets": fmri_targets(2)}, r"shape \(3, 2, 1\); they need two axes"),
        (np.zeros((3, 2), dtype=complex), {}, "type complex128; save them as real numbers"),
        (np.zeros((3, 2)), {"trials": pd.DataFrame({"stimulus": ["a"]})}, "3 rows for 1 trials"),
        (np.zeros((3, 2)), {"targets": fmri_targets(5)}, "2 columns for 5 targets"),
        (np.zeros((3, 2)), {"trials": pd.DataFrame({"image": list("abc")})}, "no column 'stimulus'"),
        (np.zeros((3, 2)), {"modality": "pet"}, "modality 'pet' is unknown"),
        (np.zeros((3, 2)), {"modality": "meg"}, "meg targets lack the column 'sensor'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(values, changes, message):
    with pytest.raises(InputError, match=message):
        make(values, **changes)


def test_sorted_rows_read_what_indexing_reads() -> None:
    values = np.arange(30.0).reshape(10, 3)
    rows = np.array([1, 2, 5, 9])
    kept = SortedRows(values, rows)
    assert kept.shape == (4, 3)
    np.testing.assert_array_equal(kept[:], values[rows])
    np.testing.assert_array_equal(kept[1:3, [2, 0]], values[rows][1:3][:, [2, 0]])
    np.testing.assert_array_equal(kept[np.array([3, 0])], values[rows][[3, 0]])
    assert kept[4:].shape == (0, 3)
