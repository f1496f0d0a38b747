"""All kinds of damage and hostile input, from one seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from robustness import kills, servers
from robustness.inputs import Case, Inputs
from robustness.outcomes import Tally, judge
from robustness.public_data import PublicData
from robustness.recordings import Recordings
from robustness.runs import Runs
from robustness.stores import Stores
from robustness.study_files import StudyFiles
from robustness.weights import Weights

OF_RUNS = 8  # one case of a whole run for so many of another kind: it takes as long


def run_campaign(folder: Path, n_cases: int, n_kills: int, seed: int) -> Tally:
    """Try ``n_cases`` damaged stores, inputs, files and servers in equal shares, the fixed cases, and the kills."""
    tally = Tally()
    rng = np.random.default_rng(seed)
    inputs, weights = Inputs(folder / "inputs"), Weights(folder / "weights")
    recordings = Recordings(folder / "recordings")
    with servers.evil_server() as address:
        kinds: list[Iterator[Case]] = [
            Stores(folder / "stores").cases(rng, folder / "scratch"),
            inputs.cases(rng),
            servers.cases(rng, address, folder / "served"),
            recordings.cases(rng, folder / "recordings_damaged"),
            weights.cases(rng, folder / "weights_damaged"),
            PublicData(folder / "public_data").cases(rng, folder / "public_data_damaged"),
            StudyFiles(folder / "study_files").cases(rng, folder),
        ]
        share = n_cases // len(kinds)
        runs = Runs(folder / "runs").cases(rng, folder / "run_damaged")
        streams = [
            inputs.fixed(),
            weights.fixed(),
            recordings.fixed(),
            *(itertools.islice(kind, share) for kind in kinds),
            itertools.islice(runs, -(-share // OF_RUNS)),
            itertools.islice(kills.cases(rng, folder / "killed"), n_kills),
        ]
        for kind, name, case in itertools.chain.from_iterable(streams):
            judge(tally, kind, name, case)
    return tally
