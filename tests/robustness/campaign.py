"""All kinds of damage and hostile input, from one seed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from robustness import kills, servers
from robustness.inputs import Inputs
from robustness.outcomes import Tally, judge
from robustness.stores import Stores


def run_campaign(folder: Path, n_cases: int, n_kills: int, seed: int) -> Tally:
    """Try ``n_cases`` damaged stores, inputs and servers (a third each), the fixed cases, and ``n_kills`` kills."""
    tally = Tally()
    rng = np.random.default_rng(seed)
    inputs = Inputs(folder / "inputs")
    share = n_cases // 3
    with servers.evil_server() as address:
        streams = [
            inputs.fixed(),
            itertools.islice(Stores(folder / "stores").cases(rng, folder / "scratch"), share),
            itertools.islice(inputs.cases(rng), share),
            itertools.islice(servers.cases(rng, address, folder / "served"), share),
            itertools.islice(kills.cases(rng, folder / "killed"), n_kills),
        ]
        for kind, name, case in itertools.chain.from_iterable(streams):
            judge(tally, kind, name, case)
    return tally
