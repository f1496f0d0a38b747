"""Study results survive the disk exactly, without pickle, and say what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainmap.common.errors import InputError, MissingFileError
from brainmap.report import summary_html
from brainmap.results import StudyResults
from brainmap.results.result_files import load_tree, save_tree


def test_round_trip_is_exact(small_results, tmp_path):
    folder = small_results.save(tmp_path / "run")
    loaded = StudyResults.load(folder)
    assert loaded.provenance == small_results.provenance
    for modality in small_results.modalities:
        xr.testing.assert_identical(loaded.scores[modality], small_results.scores[modality])
        xr.testing.assert_identical(loaded.significance[modality], small_results.significance[modality])
        pd.testing.assert_frame_equal(loaded.residual[modality], small_results.residual[modality])
        pd.testing.assert_frame_equal(loaded.controls[modality], small_results.controls[modality])
    for kind in ("spatial", "temporal"):
        for signal, table in small_results.hierarchy[kind].items():
            pd.testing.assert_frame_equal(loaded.hierarchy[kind][signal], table)
            assert loaded.hierarchy[kind][signal].attrs == pytest.approx(table.attrs)
    assert loaded.truth == small_results.truth


def test_tables_have_one_order_of_rows_however_the_scores_lie(small_results):
    modality = small_results.modalities[0]
    wanted = small_results.to_frame(modality)
    turned = replace(small_results, scores=dict(small_results.scores))
    turned.scores[modality] = turned.scores[modality].transpose("target", ..., "subject")
    turned = turned.to_frame(modality)
    pd.testing.assert_frame_equal(turned[list(wanted)], wanted)


def test_only_open_formats_on_disk(small_results, tmp_path):
    folder = small_results.save(tmp_path / "run")
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file() and ".zarr" not in str(path)}
    assert suffixes == {".json", ".csv"}


def test_area_names_that_look_like_numbers_stay_text(tmp_path):
    table = pd.DataFrame({"unit": ["44", "45", "NA", ""], "delta": [0.1, np.nan, 1 / 3, -0.0], "n": [1, 2, 3, 4]})
    table.attrs = {"r": np.float64(0.25), "interval": (0.1, 0.4)}
    save_tree({"residual": table}, tmp_path)
    loaded = load_tree(tmp_path)["residual"]
    assert loaded["unit"].tolist() == ["44", "45", "NA", ""]
    np.testing.assert_array_equal(loaded["delta"].to_numpy(), table["delta"].to_numpy())
    assert loaded["n"].dtype == np.int64
    assert loaded.attrs == {"r": 0.25, "interval": (0.1, 0.4)}


def test_trees_keep_types_and_odd_keys(tmp_path):
    tree = {
        "pairs": {("activation", "block.0"): 1.5, ("gradient", "block.1"): [1, None, True]},
        "small": np.arange(6, dtype=np.int16).reshape(2, 3),
        "large": np.linspace(0, 1, 500, dtype=np.float32).reshape(50, 10),
        "names": xr.DataArray([[1.0]], dims=("a", "b"), coords={"a": ["V1"], "b": ["é"]}, name="x"),
        "nested": {"with space/slash": {"dollar": "$x"}},
    }
    save_tree(tree, tmp_path)
    loaded = load_tree(tmp_path)
    assert loaded["pairs"] == tree["pairs"]
    for name in ("small", "large"):
        np.testing.assert_array_equal(loaded[name], tree[name])
        assert loaded[name].dtype == tree[name].dtype
    xr.testing.assert_identical(loaded["names"], tree["names"])
    assert loaded["nested"] == tree["nested"]


def test_values_that_cannot_be_saved_are_named(tmp_path):
    with pytest.raises(InputError, match=r"provenance\.when.*complex"):
        save_tree({"provenance": {"when": 1j}}, tmp_path)


def test_a_failed_save_keeps_the_earlier_results(small_results, tmp_path):
    folder = small_results.save(tmp_path / "run")
    before = json.loads((folder / "results.json").read_text())
    broken = StudyResults({"simulated": True, "bad": object()}, small_results.scores)
    with pytest.raises(InputError):
        broken.save(folder)
    assert json.loads((folder / "results.json").read_text()) == before
    assert StudyResults.load(folder).simulated


def test_foreign_folders_are_left_alone(small_results, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="other files"):
        small_results.save(tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(MissingFileError, match="run the study first"):
        StudyResults.load(tmp_path)


def test_check_names_what_is_missing(small_results):
    scores = small_results.scores
    with pytest.raises(InputError, match="simulated"):
        StudyResults({}, scores).check()
    with pytest.raises(InputError, match="fmri"):
        StudyResults({"simulated": False}, {}).check()
    with pytest.raises(InputError, match="dims"):
        StudyResults({"simulated": False}, {"meg": scores["meg"].isel(split=0)}).check()
    with pytest.raises(InputError, match="sensor"):
        StudyResults({"simulated": False}, {"meg": scores["meg"].drop_vars("sensor")}).check()


def test_notebook_summary(small_results):
    text = small_results._repr_html_()
    assert "SIMULATED DATA" in text
    assert "activation 0." in text
    assert "Best-predicted area" in summary_html(small_results)
    measured = StudyResults({**small_results.provenance, "simulated": False}, small_results.scores)
    assert "SIMULATED" not in measured._repr_html_()
