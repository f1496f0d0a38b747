"""Public data sets as their authors lay them out, derivatives among them, with one file damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data.nsd_files import write_nsd
from data.public_files import write_algonauts, write_nod, write_things_eeg2
from data.readers.nod_bold_laion_files import write_bold5000, write_laion
from robustness.damage import damage_a_file

from brainmap.data.readers import open_dataset

WRITERS: dict[str, Callable[[Path], Any]] = {
    "nsd": write_nsd, "nod-fmri": write_nod, "algonauts2023": write_algonauts, "bold5000": write_bold5000,
    "laion-fmri": write_laion, "things-eeg2": write_things_eeg2,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {"nsd": {"sessions": (1, 2)}}


class PublicData:
    """A small one of each; whatever is damaged, numbers of a sound shape come out, or one sentence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, write in WRITERS.items():
            (folder / name).mkdir(parents=True)
            write(folder / name)

    def cases(self, rng: np.random.Generator, scratch: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
        while True:
            name = list(WRITERS)[int(rng.integers(len(WRITERS)))]
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(self.folder / name, scratch / name)
            done = damage_a_file(scratch / name, rng)
            yield "public data", f"{name}, {done}", lambda name=name: self.read(name, scratch)

    def read(self, name: str, scratch: Path) -> None:
        reader = open_dataset(name, scratch / name, cache=scratch / "cache", options=OPTIONS.get(name, {}))
        for subject in reader.subjects()[:1]:
            stimuli = reader.stimuli([subject])
            for image in stimuli:
                assert image.ndim == 3
            responses = reader.responses(subject, stimuli)
            responses.block()
            assert len(responses.targets) == responses.block().shape[1]
