"""
Capacity and geometry
=====================

Do categories come apart along the layers of a network?

:func:`~brainmap.comparison.manifold_capacity` asks how many categories a linear readout could sort per feature: more
where their manifolds are small and low-dimensional.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.comparison import manifold_capacity

stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 5))
layers = ["block.0", "block.3", "block.7", "block.11"]
labels = stimuli.table["category"].to_numpy()
figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.8))
for weights in ("trained", "untrained"):
    model = bm.load_model("dino-tiny", weights=weights)
    extractor = bm.FeatureExtractor(model, layers=layers, signals=["activation"], store="brainmap_runs/features")
    features = extractor.extract(stimuli)
    manifolds = [
        manifold_capacity(np.asarray(features["activation", layer]), labels, n_draws=50) for layer in features.layers
    ]
    for axis, name in zip(axes, ("capacity", "radius", "dimension"), strict=True):
        axis.plot(layers, [getattr(entry, name) for entry in manifolds], marker="o", ms=3, label=weights)
        axis.set_title(name)
        axis.tick_params(axis="x", rotation=30)
axes[0].legend(frameon=False)
figure.tight_layout()
