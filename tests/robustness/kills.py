"""Processes killed at random moments while they write: afterwards there is the old, the new, or nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from robustness.outcomes import Silent

from brainmap.common.storage.digests import load_array
from brainmap.encoding import EncodingResult
from brainmap.features.store import FeatureStore

WRITER = """
import sys, itertools
from pathlib import Path
import numpy as np
from brainmap.common.storage.digests import save_array
from brainmap.encoding import EncodingResult
from brainmap.features.store import FeatureStore
folder = Path(sys.argv[1])
key = {"signal": "activation", "layer": "a", "model": {"name": "toy", "weights_digest": "0"}}
store = FeatureStore(folder / "store")
print("ready", flush=True)
for i in itertools.count():
    arrays = {name: np.full((2, 2, 50), float(i)) for name in ("r", "r2", "alpha")}
    EncodingResult.from_arrays(arrays, layers=["a", "b"], attrs={"i": i}).save(folder / "scores")
    save_array(folder / "array.npy", np.full(5000, i))
    with store.lock(key["model"]):
        store.array(key).append([f"row{i}"], np.full((1, 50), float(i)), shard_rows=4)
"""


def cases(rng: np.random.Generator, folder: Path) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Each case goes on in the folder that the kill before it left behind."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    while True:
        delay = float(rng.uniform(0, 0.3))
        yield "kill -9", f"after {delay:.3f} s", lambda delay=delay: _kill(delay, folder)


def _kill(delay: float, folder: Path) -> None:
    shutil.rmtree(folder / "store", ignore_errors=True)
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.kill()
    process.wait()
    process.stdout.close()
    if (folder / "scores").exists() or list(folder.glob(".scores~*.earlier")):
        result = EncodingResult.load(folder / "scores")
        values = np.unique([result.r, result.r2, result.alpha])
        if values.tolist() != [float(result.provenance["i"])]:
            raise Silent("old and new scores are mixed")
    if (folder / "array.npy").exists() and len(np.unique(load_array(folder / "array.npy"))) != 1:
        raise Silent("old and new numbers are mixed")
    key = {"signal": "activation", "layer": "a", "model": {"name": "toy", "weights_digest": "0"}}
    store = FeatureStore(folder / "store")
    with store.lock(key["model"]):  # the killed process's lock is taken over
        array = store.array(key)
        names = [f"row{i}" for i in range(len(array))]
        if names and not np.array_equal(np.asarray(array.rows(names))[:, 0], np.arange(len(names))):
            raise Silent("rows are not what was written")
