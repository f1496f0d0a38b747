"""Scores written as they come: the same numbers whatever the blocks, and little in memory."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainmap.common.storage import zarr_stores
from brainmap.encoding import EncodingResult, EncodingRidgeCV, PreparedEncoding, RidgeOptions, score_files


@pytest.fixture
def prepared(monkeypatch):
    monkeypatch.setattr(score_files, "TARGETS", 100)
    rng = np.random.default_rng(0)
    layers = {name: rng.standard_normal((60, width)) for name, width in (("a", 5), ("b", 80))}
    responses = (layers["a"] @ rng.standard_normal((5, 730)) + rng.standard_normal((60, 730))).astype(np.float32)
    responses[:, 7] = 1.0  # has no score
    responses[:, 400] += 1e7
    estimator = EncodingRidgeCV(options=RidgeOptions(batch=64, threads=2))
    return PreparedEncoding(layers, cv=3, estimator=estimator), responses


@pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
def test_scores_on_disk_are_those_in_memory_rounded(prepared, tmp_path):
    encoding, responses = prepared
    table = pd.DataFrame({"roi": [f"area {number % 7}" for number in range(730)]})
    memory, stored = encoding.encode(responses), encoding.encode_to(responses, tmp_path / "whole", targets=table)
    for name in ("r", "r2", "alpha"):
        assert stored.dataset[name].dtype == np.float32
        np.testing.assert_array_equal(stored.dataset[name].values, memory.dataset[name].values.astype(np.float32))
    assert stored.provenance == {**memory.provenance} and stored.provenance["warnings"]
    assert stored.dataset["roi"].values.tolist() == table["roi"].tolist()
    assert EncodingResult.load(tmp_path / "whole").dataset.equals(stored.dataset)


@pytest.mark.filterwarnings("ignore::brainmap.encoding.NumericalWarning")
@pytest.mark.parametrize("of", [2, 5, 20])  # of twenty some are without targets: there are twelve batches
def test_shares_are_the_whole_bit_for_bit(prepared, tmp_path, of):
    encoding, responses = prepared
    table = pd.DataFrame({"roi": [f"area {number % 7}" for number in range(730)]})
    encoding.encode_to(responses, tmp_path / "whole", targets=table)
    files = [tmp_path / f"{number}" for number in range(1, of + 1)]
    for number, file in enumerate(files, 1):
        encoding.encode_to(responses, file, share=(number, of))
    joined = encoding.join(files, responses, tmp_path / "joined", targets=table)
    for file in sorted((tmp_path / "whole").rglob("*")):
        if file.is_file():
            assert (tmp_path / "joined" / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes(), file
    assert joined.dataset.sizes["target"] == 730


def test_large_arrays_are_written_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_stores, "LARGE", 1000)
    monkeypatch.setattr(zarr_stores, "TARGETS", 16)
    values = np.random.default_rng(0).standard_normal((2, 3, 4, 1000)).astype(np.float32)
    dataset = xr.Dataset({"r": (("signal", "layer", "split", "target"), values), "n": ("signal", [1, 2])})
    zarr_stores.write_checked(dataset, tmp_path / "blocks")
    with xr.open_zarr(tmp_path / "blocks", consolidated=False, chunks=None) as stored:
        assert stored.load().equals(dataset)
    assert len(list((tmp_path / "blocks" / "r" / "c").rglob("*"))) > 2 * 3 * 63
