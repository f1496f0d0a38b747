"""Layers that are learned one after the other: brains simulated from the last checkpoint give their order back."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import brainmap
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.encoding import cross_val_encode
from brainmap.papers.training_scores import training_half_times

STEPS = (0, 100, 200, 400, 800, 1600, 3200, 6400)
LAYERS = tuple(f"block.{k}" for k in range(6))


def learned(final: np.ndarray, half: float, step: int, rng: np.random.Generator) -> np.ndarray:
    """Features of a checkpoint: half of them the last one's at the half time, fewer before, the rest noise."""
    share = 1.0 / (1.0 + (half / step) ** 2.5) if step else 0.0
    return share * final + np.sqrt(1.0 - share**2) * final.std() * rng.standard_normal(final.shape)


@pytest.mark.parametrize("deep_first", [False, True])
def test_areas_have_half_times_in_the_order_of_their_layers(deep_first: bool) -> None:
    _, table = toy_features(layers=1)
    final = {
        ("activation", name): np.random.default_rng(k).standard_normal((len(table), 12))
        for k, name in enumerate(LAYERS)
    }
    simulated = brainmap.simulate(final, table, config=SimulationConfig.small(fmri_ceiling=(0.9, 0.8)))
    responses = simulated["fmri"]["S1"].average_repeats()
    images = table.set_index("stimulus").index.get_indexer(responses.trials["stimulus"])
    source = table["source"].to_numpy()[images]
    halves = dict(zip(LAYERS, np.geomspace(150, 2500, len(LAYERS))[:: -1 if deep_first else 1], strict=True))
    areas = responses.targets["roi"].to_numpy()
    parts = []
    for step in STEPS:
        rng = np.random.default_rng([7, step])
        X = {name: learned(final["activation", name], half, step, rng)[images] for name, half in halves.items()}
        r = cross_val_encode(X, np.asarray(responses.values), groups=source).r.assign_coords(target=areas)
        by_area = r.groupby("target").mean()
        parts.append(by_area.isel(layer=by_area.mean("split").argmax("layer")).drop_vars("layer"))
    cells = xr.concat(parts, "step").rename(target="unit").assign_coords(step=list(STEPS)).expand_dims("subject")
    found = training_half_times(cells, "first").set_index("unit")
    depth = simulated["truth"].areas.set_index("roi")["depth"]
    rho = stats.spearmanr(found["half_time"], depth[found.index]).statistic

    assert (found["failure"] == "").all() and abs(rho) > 0.9 and (rho < 0) == deep_first
