"""
Order in space
==============

Does the best layer follow the distance from V1?

:func:`~brainmap.hierarchy.spatial_hierarchy` takes the mean best layer of each area; areas are not independent, so p
compares with random maps that are as smooth.
"""

import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.hierarchy import SpatialOptions, cortex_areas, spatial_hierarchy
from brainmap.report.figures import distance_vs_best_layer

features, table = toy_features(sources=60, crops=4, layers=8)
settings = SimulationConfig(subjects=("S1",), modalities=("fmri",), every=12)
fmri = bm.simulate(features, table, config=settings)["fmri"]["S1"].average_repeats(table["stimulus"].to_numpy())
X = {layer: values for (signal, layer), values in features.items() if signal == "activation"}
result = bm.cross_val_encode(X, fmri.values, groups=table["source"].to_numpy()).with_targets(fmri.targets)
r = result.r.assign_coords(depth=("layer", np.linspace(0, 1, len(X))))

order = spatial_hierarchy(r, fmri.targets, cortex=cortex_areas(), options=SpatialOptions(n_surrogates=999))
figure = distance_vs_best_layer(order, "activation", title="Simulated fMRI, activations")
