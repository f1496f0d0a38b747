"""Stored numbers: whatever happens to a file of theirs, they are what was written, or a sentence names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from robustness.damage import damage_a_file
from robustness.outcomes import Silent

from brainmap.common.storage.digests import load_array, save_array
from brainmap.data.column_files import ColumnFile, write_columns
from brainmap.encoding import EncodingResult, EncodingRidgeCV
from brainmap.features.store import FeatureStore
from brainmap.results import StudyResults
from brainmap.statistics.permutation.block_store import FIELDS, BlockStore

ROWS = [f"image{i}" for i in range(40)]
KEY = {"signal": "activation", "layer": "block.0", "model": {"name": "toy", "weights_digest": "0" * 16}}


def same(found: Any, wanted: Any, what: str) -> None:
    if not np.array_equal(np.asarray(found), np.asarray(wanted), equal_nan=np.asarray(wanted).dtype.kind == "f"):
        raise Silent(f"{what} differs")


class Stores:
    """One sound store of each kind, and a reader that compares what it gives with what was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        self.values = rng.standard_normal((40, 6)).astype(np.float32)
        self.X, self.Y = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
        self.readers: dict[str, Callable[[Path], None]] = {}
        for name in ("scores", "encoder", "results", "features", "prepared", "array", "permutations"):
            write: Callable[[Path], None] = getattr(self, f"_write_{name}")
            write(folder / name)
            self.readers[name] = getattr(self, f"_read_{name}")

    def cases(self, rng: np.random.Generator, scratch: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
        names = list(self.readers)
        while True:
            name = names[int(rng.integers(len(names)))]
            copy = scratch / name
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.folder / name, copy)
            done = damage_a_file(copy, rng)
            yield name, done, lambda read=self.readers[name], copy=copy: read(copy)

    def _write_scores(self, folder: Path) -> None:
        rng = np.random.default_rng(1)
        arrays = {name: rng.standard_normal((2, 3, 6)) for name in ("r", "r2", "alpha")}
        arrays["r"][:] = np.nan  # a chunk of fill values is the one that is easily lost
        result = EncodingResult.from_arrays(arrays, layers=["a", "b"], attrs={"n_trials": 40})
        self.result = result.with_targets(pd.DataFrame({"roi": list("abcdef")}))
        self.result.save(folder)

    def _read_scores(self, folder: Path) -> None:
        found = EncodingResult.load(folder).dataset
        for name in self.result.dataset.variables:
            same(found[name].values, self.result.dataset[name].values, str(name))
        if found.attrs != self.result.dataset.attrs:
            raise Silent("provenance differs")

    def _write_encoder(self, folder: Path) -> None:
        self.encoder = EncodingRidgeCV(alphas=[1.0, 10.0], cv=3).fit(self.X, self.Y)
        self.encoder.save(folder)

    def _read_encoder(self, folder: Path) -> None:
        same(EncodingRidgeCV.load(folder).predict(self.X), self.encoder.predict(self.X), "prediction")

    def _write_results(self, folder: Path) -> None:
        r = np.random.default_rng(2).standard_normal((1, 1, 2, 2, 6))
        dims = ("subject", "signal", "layer", "split", "target")
        coords = {
            "subject": ["1"], "signal": ["activation"], "layer": ["a", "b"], "depth": ("layer", [0.0, 1.0]),
            "roi": ("target", list("aabbcc")), "hemisphere": ("target", list("LRLRLR")),
        }  # fmt: skip
        scores = xr.Dataset({"r": (dims, r)}, coords=coords)
        table = pd.DataFrame({"unit": list("abc"), "delta": [0.1, 0.2, np.nan], "significant": [True, False, False]})
        self.results = StudyResults({"simulated": True, "seed": 3}, {"fmri": scores}, residual={"fmri": table})
        self.results.save(folder)

    def _read_results(self, folder: Path) -> None:
        found = StudyResults.load(folder)
        same(found.scores["fmri"]["r"].values, self.results.scores["fmri"]["r"].values, "r")
        same(found.scores["fmri"]["roi"].values.astype(str), list("aabbcc"), "roi")
        if found.provenance != self.results.provenance or not found.residual["fmri"].equals(
            self.results.residual["fmri"]
        ):
            raise Silent("a table or the provenance differs")

    def _write_features(self, folder: Path) -> None:
        array = FeatureStore(folder).array(KEY)
        array.append(ROWS[:20], self.values[:20], shard_rows=16)
        array.append(ROWS[20:], self.values[20:])

    def _read_features(self, folder: Path) -> None:
        array = FeatureStore(folder).array(KEY)
        gone = sorted(array.missing(ROWS))
        if gone:  # what extraction does: rows that do not count are computed again
            array.append(gone, np.stack([self.values[ROWS.index(name)] for name in gone]))
        same(np.asarray(array.rows(ROWS)), self.values, "features")

    def _write_prepared(self, folder: Path) -> None:
        write_columns(folder / "run.npy", self.values.shape, [self.values[:, :4], self.values[:, 4:]])

    def _read_prepared(self, folder: Path) -> None:
        if not (folder / "run.npy").is_file():
            return  # made anew
        file = ColumnFile(folder / "run.npy")
        same(file.columns(slice(0, 6)), self.values, "prepared responses")

    def _write_array(self, folder: Path) -> None:
        save_array(folder / "ids.npy", np.array(ROWS))

    def _read_array(self, folder: Path) -> None:
        if (folder / "ids.npy").is_file():
            same(load_array(folder / "ids.npy"), ROWS, "array")

    def _blocks(self, folder: Path) -> tuple[BlockStore, str]:
        store = BlockStore(folder / "blocks.npz", [self.X], "settings")
        return store, store.key(0, [self.Y])

    def _write_permutations(self, folder: Path) -> None:
        store, key = self._blocks(folder)
        store.save(key, {name: self.values[:, i] for i, name in enumerate(FIELDS)})

    def _read_permutations(self, folder: Path) -> None:
        store, key = self._blocks(folder)
        found = store.load(key)
        for i, name in enumerate(FIELDS if found is not None else ()):
            same(found[name], self.values[:, i], name)  # type: ignore[index]
