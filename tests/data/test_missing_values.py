"""Values that are NaN or infinite are missing: kept out of means and z-scores, reported, never turned into numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainmap.common.blocks import RowMeans
from brainmap.data.column_files import ColumnFile, RowStack, zscore_columns
from brainmap.data.missing_values import FilledFromRepeats, usable_targets, usable_trials, without_unusable_targets
from brainmap.data.prepared_responses import missing_cells, prepared
from brainmap.data.responses import Responses


def test_scores_of_a_column_are_those_of_its_known_values():
    values = np.random.default_rng(0).standard_normal((7, 3))
    values[2, 1], values[4, 1], values[:, 2] = np.inf, np.nan, np.nan
    scaled = zscore_columns(values)
    known = np.delete(values[:, 1], [2, 4])
    assert np.allclose(np.delete(scaled[:, 1], [2, 4]), (known - known.mean()) / known.std(), atol=1e-6)
    assert np.isnan(scaled[[2, 4], 1]).all() and np.isnan(scaled[:, 2]).all() and np.isfinite(scaled[:, 0]).all()


def test_prepared_parts_remember_what_is_missing(tmp_path):
    first, second = np.arange(6.0).reshape(2, 3), np.arange(9.0).reshape(3, 3)
    second[1, 2], second[2, 0] = np.inf, np.nan
    parts = [
        prepared(tmp_path, name, [], {}, lambda v=values: (v.shape, [v[:, :2], v[:, 2:]]))
        for name, values in (("a", first), ("b", second))
    ]
    assert missing_cells(parts, np.arange(5)).tolist() == [[4, 0], [3, 2]]
    assert missing_cells(parts, np.array([0, 3])).tolist() == [[1, 2]]
    stored = RowStack([ColumnFile(part) for part in parts])[:]
    assert np.isnan(stored[[3, 4], [2, 0]]).all() and np.isfinite(stored).sum() == 13


def test_means_over_repeats_leave_missing_values_out():
    values = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    codes = np.array([0, 1, 0, 1, 0, 1])
    values[2, 3], values[1, 0] = np.nan, np.nan
    expected = np.stack([np.nanmean(values[codes == k], axis=0) for k in range(2)])
    assert np.allclose(RowMeans(values, codes)[:, :], expected, atol=1e-6)
    assert np.allclose(RowMeans(values, codes)[1:2, :], expected[1:], atol=1e-6)
    filled = FilledFromRepeats(values, np.array(["a", "b"])[codes])
    assert np.allclose(filled[:, :][2, 3], expected[0, 3]) and np.isfinite(filled[:, 1:]).all()


def test_trials_and_targets_that_cannot_be_used_are_left_out():
    cells = np.array([[0, 0], [0, 1], [0, 2], [1, 3], [3, 3]])
    assert usable_trials(cells, 4, 4).tolist() == [False, True, True, True]
    stimulus = np.array(["a", "b", "a", "b"])
    assert usable_targets(cells[3:], stimulus, 4).tolist() == [True, True, True, False]
    trials = pd.DataFrame({"stimulus": stimulus})
    targets = pd.DataFrame({"roi": "V1", "hemisphere": "L", "x": 0.0, "y": 0.0, "z": 0.0, "vertex": range(4)})
    responses = Responses(np.zeros((4, 4), np.float32), trials, targets, "fmri", "1")
    kept, lost = without_unusable_targets(responses, cells[3:])
    assert lost == 1 and kept.targets["vertex"].tolist() == [0, 1, 2]
    everything = np.array([[0, column] for column in range(4)] + [[2, column] for column in range(4)])
    with pytest.raises(ValueError, match="Every target of subject 1 is NaN"):
        without_unusable_targets(responses, everything)
