"""
Layers over time
================

Do deeper layers predict later MEG?

:func:`~brainmap.hierarchy.temporal_hierarchy` finds the time each layer predicts best (T_max, triangles) and relates
it to depth.
"""

import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.hierarchy import temporal_hierarchy, time_courses
from brainmap.report.figures import layer_curves
from brainmap.statistics import significance

features, table = toy_features(sources=80, crops=4)
settings = SimulationConfig.small(modalities=("meg",), sampling_rate=25.0, meg_snr=0.15, times=(-0.2, 1.0))
meg = bm.simulate(features, table, config=settings)["meg"]["S1"].average_repeats(table["stimulus"].to_numpy())
X = {layer: values for (signal, layer), values in features.items() if signal == "activation"}
result = bm.cross_val_encode(X, meg.values, groups=table["source"].to_numpy()).with_targets(meg.targets)
r = result.r.assign_coords(depth=("layer", np.linspace(0, 1, len(X))))

order = temporal_hierarchy(r)
print(f"depth and T_max: r = {order.attrs['r']:.2f}, slope p = {order.attrs['slope_p']:.3f}")
figure = layer_curves(
    time_courses(r).rename(split="subject"),  # the band is over folds here
    r["depth"].values,
    significance=significance(r, per="time").significant,
    peaks=order["t_max"].to_numpy(),
    title="Simulated MEG",
)
