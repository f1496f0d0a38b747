"""Own recordings of photographs shown in sequence: features and noise that resemble their neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.signal import lfilter

N = 120


def sequence(rng: np.random.Generator, columns: int, correlation: float, n: int = N) -> np.ndarray:
    noise = rng.standard_normal((n + 100, columns))
    values: np.ndarray = lfilter([1.0], [1.0, -correlation], noise, axis=0)[100:]
    return values


@dataclass
class Film:
    """Files of one subject; rows are in the order of presentation, photographs' names in another."""

    folder: Path
    features: np.ndarray
    responses: np.ndarray
    events: pd.DataFrame
    more: dict[str, Any] = field(default_factory=dict)

    def write(self) -> list[str]:
        """Write all files; return the options that name them."""
        photos = self.folder / "photos"
        photos.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        names = list(dict.fromkeys(self.events["stimulus"].dropna()))
        for name in names:
            (photos / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(photos / name)
        np.savez(self.folder / "features.npz", names=np.array(names), block=self.features.astype(np.float32))
        np.save(self.folder / "responses.npy", self.responses.astype(np.float32))
        self.events.to_csv(self.folder / "events.tsv", sep="\t", index=False, na_rep="n/a")
        targets = pd.DataFrame({"roi": [f"A{i // 5}" for i in range(self.responses.shape[1])]})
        targets.to_csv(self.folder / "targets.tsv", sep="\t", index=False)
        files = {"stimuli": "photos", "responses": "responses.npy", "events": "events.tsv", "targets": "targets.tsv"}
        files |= {"features": "features.npz"}
        return [part for name, file in files.items() for part in (f"--{name}", str(self.folder / file))]


def film(folder: Path, *, of_features: float = 0.9, of_noise: float = 0.5, seed: int = 0, targets: int = 10) -> Film:
    rng = np.random.default_rng(seed)
    shown = [f"frame_{i:03d}.png" for i in rng.permutation(N)]
    events = pd.DataFrame({"stimulus": shown})
    return Film(folder, sequence(rng, 12, of_features), sequence(rng, targets, of_noise), events)
