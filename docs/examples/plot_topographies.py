"""
Topographies
============

Which sensors does a layer predict, at the time it predicts best?
"""

import numpy as np
import xarray as xr

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.hierarchy import temporal_hierarchy
from brainmap.report.figures import sensor_maps

features, table = toy_features(sources=60, crops=4)
settings = SimulationConfig.small(modalities=("meg",), sensor_every=4, meg_snr=0.2, times=(-0.2, 1.0))
meg = bm.simulate(features, table, config=settings)["meg"]["S1"].average_repeats(table["stimulus"].to_numpy())
X = {layer: values for (signal, layer), values in features.items() if signal == "activation"}
result = bm.cross_val_encode(X, meg.values, groups=table["source"].to_numpy()).with_targets(meg.targets)
r = result.r.assign_coords(depth=("layer", np.linspace(0, 1, len(X))))
order = temporal_hierarchy(r).set_index("layer")

layers = ["block.0", "block.5"]
mean = r.mean("split").set_index(target=["sensor", "time"]).unstack("target")
panels = [mean.sel(layer=layer).sel(time=order.loc[layer, "t_max"], method="nearest") for layer in layers]
captions = [f"{layer}, {1000 * order.loc[layer, 't_max']:.0f} ms" for layer in layers]
scores = xr.concat(panels, "panel", coords="minimal", compat="override")
figure = sensor_maps(scores, captions, "activation", title="Simulated MEG")
