"""A study whose scores are generated, larger than its memory bound: run to its report, it says how much it held.

``python large_results.py FOLDER TARGETS LAYERS SUBJECTS MEMORY`` prints the bytes of the scores, of the most that is
read of them at once, and of the peak of the process before and after the run.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from brainmap.common.storage import zarr_stores
from brainmap.common.storage.digests import sealed_folder
from brainmap.common.storage.lazy_arrays import VerifiedArray
from brainmap.common.storage.zarr_stores import TARGETS
from brainmap.encoding import EncodingRidgeCV, PreparedEncoding
from brainmap.encoding.score_files import KIND, ScoreFile
from brainmap.study import Study, StudyConfig

AREAS, SPLITS = 40, 5


def peak() -> int:
    """Most memory that this process has held so far, in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def write_inputs(folder: Path, n_targets: int, n_layers: int, subjects: list[str]) -> StudyConfig:
    """Forty photographs, features of a few columns, and responses of a number of subjects."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    for number in range(40):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number:02d}.png")
    np.savez(folder / "features.npz", **{f"layer {i:02d}": rng.standard_normal((40, 4)) for i in range(n_layers)})
    roi = np.arange(n_targets) * AREAS // n_targets
    table = {"roi": [f"A{each}" if each else "V1" for each in roi], "hemisphere": "L"}
    places = rng.standard_normal((AREAS, 3))[roi] * 30 + rng.standard_normal((n_targets, 3))
    pd.DataFrame({**table, **dict(zip("xyz", places.T, strict=True))}).to_csv(
        folder / "targets.tsv", sep="\t", index=False
    )
    for name in subjects:
        (folder / "subjects" / name).mkdir(parents=True)
        np.save(folder / "subjects" / name / "responses.npy", rng.standard_normal((40, n_targets), dtype=np.float32))
    events = pd.DataFrame({"stimulus": [f"{number:02d}.png" for number in range(40)]})
    events.to_csv(folder / "events.tsv", sep="\t", index=False)
    own = {"stimuli": "photos", "responses": "subjects", "targets": "targets.tsv", "events": "events.tsv"}
    own = {name: str(folder / file) for name, file in own.items()}
    return StudyConfig.from_dict({"dataset": "own", "own": own, "features": str(folder / "features.npz"), "cv": SPLITS})


def write_scores(study: Study, n_targets: int, n_layers: int) -> int:
    """Write scores as encoding would have, the same noise again and again; their bytes."""
    rng = np.random.default_rng(1)
    rows = {f"layer {number:02d}": rng.standard_normal((40, 4)) for number in range(n_layers)}
    small = {"controls": {"pixels": rows["layer 00"]}, "activation": rows}
    table = pd.read_csv(study.config.own.targets, sep="\t")  # type: ignore[union-attr]
    written = 0
    for modality, subject, space in study.parts():
        prepared = PreparedEncoding(small[space], cv=SPLITS, estimator=EncodingRidgeCV())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = prepared.encode(rng.standard_normal((40, 4))).provenance
        layers = list(small[space])
        coords = xr.Dataset(coords={"layer": layers, "split": range(SPLITS), "target": np.arange(n_targets)})
        coords = coords.assign_coords({name: ("target", table[name].to_numpy()) for name in table})
        with sealed_folder(study.folder.scores(modality, subject, space), KIND) as folder:
            file = ScoreFile(folder, ("r", "r2", "alpha"), coords)
            for layer in range(len(layers)):
                scores = {name: rng.normal(0.1, 0.1, (SPLITS, TARGETS)).astype(np.float32) for name in file.arrays}
                for first in range(0, n_targets, TARGETS):
                    last = min(first + TARGETS, n_targets)
                    file.write(layer, slice(first, last), {name: x[:, : last - first] for name, x in scores.items()})
            file.describe(told)
        written += len(layers) * SPLITS * n_targets * 3 * 4
    return written


if __name__ == "__main__":
    place, targets, layers, people = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    config = write_inputs(place, targets, layers, [f"{number:02d}" for number in range(1, people + 1)])
    study = Study(config.model_copy(update={"memory": sys.argv[5], "signals": ("activation",)}), place / "run")
    study._opened()  # takes the folder
    size = write_scores(study, targets, layers)
    before, reads = peak(), [0]
    read = VerifiedArray._read

    def noted(self: VerifiedArray, key: Any) -> np.ndarray:
        values = read(self, key)
        if values.nbytes > targets * SPLITS * 4 and values.nbytes > max(reads):
            traceback.print_stack()
        reads.append(values.nbytes)
        return values

    VerifiedArray._read = noted  # type: ignore[method-assign]
    zarr_stores.LARGE = 0  # smaller arrays would be written at once
    study.run()
    print(size, max(reads), before, peak())
