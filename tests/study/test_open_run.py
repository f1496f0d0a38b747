"""A finished run is found again from Python: readable, and no more of it in memory than is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import brainmap
from brainmap.common.errors import DamagedError, InputError, MissingFileError
from brainmap.common.storage.digests import LIST, seal
from brainmap.results import StudyResults
from brainmap.results.lookups import averaged_over
from brainmap.results.result_files import KIND
from brainmap.study.run_folder import RunFolder

LOOK = """
import brainmap, pathlib, sys
run = brainmap.open_run(sys.argv[1])
text = repr(run) + run._repr_html_()
cell = run.scores["fmri"]["r"].isel(subject=0, signal=0, layer=3).values
assert cell.shape == (5, 350_000), cell.shape
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(len(text), status["VmHWM"].split()[0], "torch" in sys.modules)
"""


def finished(results: StudyResults, folder: Path) -> Path:
    """A folder as a run leaves it."""
    run = RunFolder(folder)
    run.claim({"config": {}})
    results.save(run.results)
    return folder


@pytest.fixture(scope="module")
def folder(small_results: StudyResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(small_results, tmp_path_factory.mktemp("runs") / "1")


def test_a_run_opens_with_what_it_found(folder: Path, small_results: StudyResults) -> None:
    run = brainmap.open_run(str(folder))
    assert isinstance(run, StudyResults) and run.modalities == ("fmri", "meg")
    xr.testing.assert_equal(run.scores["meg"], small_results.scores["meg"])
    np.testing.assert_array_equal(run.mean_r("fmri").values, small_results.mean_r("fmri").values)
    assert run.provenance == small_results.provenance
    assert len(repr(run)) < 250 and "SIMULATED" in repr(run) and "fMRI" in repr(run) and str(folder) in repr(run)
    html = run._repr_html_()
    assert "60 sensors" in html and "-300 to 1850 ms" in html and "mean Pearson r" in html


def test_tables_are_those_of_the_arrays(folder: Path, small_results: StudyResults) -> None:
    run = brainmap.open_run(folder)
    table = run.roi_table()
    assert list(table.columns) == ["subject", "signal", "layer", "depth", "roi", "r", "n_targets"]
    expected = averaged_over(small_results, "fmri", "roi").to_dataframe("r").reset_index()
    both = table.merge(expected, on=["subject", "signal", "layer", "roi"], suffixes=("", "_expected"))
    assert len(both) == len(table) == len(expected)
    np.testing.assert_allclose(both["r"], both["r_expected"], atol=1e-6)
    cells = run.to_frame("fmri", layer="block.11", signal="gradient", roi=["V1", "FFC"])
    assert set(cells["roi"]) == {"V1", "FFC"} and set(cells["layer"]) == {"block.11"}
    part = small_results.scores["fmri"]["r"].sel(layer="block.11", signal="gradient")
    np.testing.assert_allclose(cells["r"].mean(), part[..., np.isin(part["roi"], ["V1", "FFC"])].mean(), rtol=1e-5)
    both_kinds = run.to_frame(layer="block.0", split=0)
    assert set(both_kinds["modality"]) == {"fmri", "meg"} and {"roi", "time", "r2", "alpha"} <= set(both_kinds)


def test_wrong_choices_are_answered_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    run = brainmap.open_run(folder)
    with pytest.raises(InputError, match=r"no layer .block\.99.; they have block\.0"):
        run.to_frame("fmri", layer="block.99")
    with pytest.raises(InputError, match="no 'area' to choose by"):
        run.to_frame("fmri", area="V1")
    with pytest.raises(InputError, match="no scores of 'eeg' here; there are fmri, meg"):
        run.to_frame("eeg")
    with pytest.raises(InputError, match="more than memory='1MB'; choose some"):
        run.to_frame(memory="1MB")
    with pytest.raises(InputError, match="no figure 'map' of this study; there are map-score"):
        run.figures()["map"]
    with pytest.raises(MissingFileError, match="is not a run of brainmap"):
        brainmap.open_run(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=r"give .*1, in which it lies"):
        brainmap.open_run(folder / "results")
    with pytest.raises(MissingFileError, match=r"one of its 1 runs, such as .*1$"):
        brainmap.open_run(folder.parent)


def test_figures_are_drawn_when_asked_for_and_the_report_is_written_once(results_maker: Any, tmp_path: Path) -> None:
    results = results_maker(every=60, n_sensors=12, n_subjects=1, modalities=("meg",))
    folder = finished(results, tmp_path / "meg")
    run = brainmap.open_run(folder)
    with pytest.raises(InputError, match="no scores of 'fmri' here; there are meg"):
        run.roi_table()
    figures = run.figures()
    assert "meg-curves-activation" in figures and len(figures) == len(list(figures))
    assert figures["meg-curves-activation"].axes and "when each layer predicts" in figures._repr_html_()
    report = run.report()
    assert report == folder / "report.html" and report.stat().st_size > 100_000
    report.write_text("kept")
    assert run.report().read_text() == "kept"


def test_damage_is_named(small_results: StudyResults, tmp_path: Path) -> None:
    folder = finished(small_results, tmp_path / "run")
    next((folder / "results" / "scores" / "fmri.zarr" / "r").rglob("zarr.json")).unlink()
    with pytest.raises(InputError, match=r"zarr\.json is missing"):
        brainmap.open_run(folder)


def test_damage_that_is_met_later_is_named(small_results: StudyResults, tmp_path: Path) -> None:
    run = brainmap.open_run(finished(small_results, tmp_path / "2"))
    chunk = next(file for file in (tmp_path / "2/results/scores/fmri.zarr/r/c").rglob("*") if file.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(bytes(content))
    for read in (lambda: run.scores["fmri"]["r"].values, run.to_frame, lambda: run.mean_r("fmri")):
        with pytest.raises(DamagedError, match=chunk.relative_to(tmp_path).as_posix()):
            read()


def test_a_run_of_twenty_gigabytes_opens_in_little_memory(small_results: StudyResults, tmp_path: Path) -> None:
    folder = finished(small_results, tmp_path / "large")
    store = folder / "results" / "scores" / "fmri.zarr"
    group = zarr.open_group(str(store), mode="a")
    shape, dims = (20, 2, 24, 5, 350_000), ("subject", "signal", "layer", "split", "target")
    for name, array in list(group.arrays()):
        if set(array.metadata.dimension_names) == set(dims):
            chunks = (1, 1, 1, 5, 50_000)
            new = {"shape": shape, "chunks": chunks, "dtype": "float32", "fill_value": np.nan}
            group.create_array(name, **new, dimension_names=dims, overwrite=True)  # without a single chunk
        else:
            size = shape[dims.index(array.metadata.dimension_names[0])]
            values = np.resize(array[:], size)
            group.create_array(name, data=values, dimension_names=array.metadata.dimension_names, overwrite=True)
    (folder / "results" / LIST).unlink()
    seal(folder / "results", KIND)
    assert 3 * 4 * np.prod(shape) > 20e9
    done = subprocess.run([sys.executable, "-c", LOOK, str(folder)], capture_output=True, text=True, check=True)
    length, peak, torch = done.stdout.split()
    assert int(length) < 3000 and int(peak) < 500_000 and torch == "False"


def test_objects_show_themselves_in_a_line_and_a_table(small_results: StudyResults) -> None:
    stimuli = brainmap.sample_stimuli().subset(range(12))
    model = brainmap.load_model("dino-tiny")
    features = brainmap.FeatureExtractor(model, layers="block.3", signals="activation").extract(stimuli)
    result = brainmap.cross_val_encode(
        {"block.3": features["activation", "block.3"]}, np.random.default_rng(0).normal(size=(12, 3)), cv=3
    )
    for thing, words in [
        (stimuli, ("12 images",)),
        (model, ("dino-tiny", "block.0", "64 × 64")),
        (features, ("activation", "12 images", "block.3")),
        (result, ("3 splits", "3 targets", "Pearson r")),
        (small_results, ("2 subjects", "12 layers", "SIMULATED")),
    ]:
        text, html = repr(thing), thing._repr_html_()
        assert len(text) < 400 and "\n" not in text, text
        assert html.startswith("<table>") and len(html) < 2500
        for word in words:
            assert word in text + html, (word, text, html)
    table = features.to_frame()
    assert table.shape == (12, features["activation", "block.3"].shape[1]) and table.index.tolist() == list(stimuli.ids)
    np.testing.assert_array_equal(
        table["activation", "block.3"].to_numpy(), np.asarray(features["activation", "block.3"])
    )
    with pytest.raises(InputError, match="no features"):
        features.to_frame("gradient")
    with pytest.raises(InputError, match="more than memory='1kB'"):
        features.to_frame(memory="1kB")
