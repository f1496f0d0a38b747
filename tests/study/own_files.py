"""A small data set of a user's own: photographs on disk and responses that depend on their mean colour."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from brainmap.cli import main


@dataclass(frozen=True)
class OwnFiles:
    folder: Path

    @property
    def options(self) -> list[str]:
        names = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
        return [part for name, file in names.items() for part in (f"--{name}", str(self.folder / file))]


def write_own(folder: Path, *, modality: str = "meg", seed: int = 0) -> OwnFiles:
    rng = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True)
    small = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    for i, pixels in enumerate(small):
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(folder / "photos" / f"img_{i:02d}.png")
    order = np.concatenate([rng.permutation(40), rng.permutation(40)])
    if modality == "meg":
        targets = pd.MultiIndex.from_product([["MLO11", "MRO11", "MZO01"], np.round(np.arange(-0.1, 0.5, 0.1), 3)])
        targets = targets.to_frame(index=False, name=["sensor", "time"])
    else:
        targets = pd.DataFrame({"roi": np.repeat(["V1", "V2", "V4", "FFC"], 5)})
    colour = small.reshape(40, 16, 3).mean(1) / 64.0
    signal = colour @ rng.standard_normal((3, len(targets)))
    responses = signal[order] + rng.standard_normal((80, len(targets)))
    np.save(folder / "responses.npy", responses.astype(np.float32))
    pd.DataFrame({"stimulus": [f"img_{i:02d}.png" for i in order]}).to_csv(folder / "events.tsv", sep="\t", index=False)
    targets.to_csv(folder / "targets.tsv", sep="\t", index=False)
    return OwnFiles(folder)


def brainmap_command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from brainmap.cli import main; main()", *arguments]


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run_brainmap(*arguments: str, cwd: Path) -> Ended:
    """Run the command line in this process (a new one spends seconds on imports)."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["brainmap", *arguments]
    code: object = 0
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv = before
    return Ended(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
