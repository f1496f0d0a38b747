"""
From tokens to a vector
=======================

Does it matter how the tokens of a vision transformer become one vector per photograph?

Several poolings are read off the same passes (:meth:`~brainmap.FeatureExtractor.extract_poolings`; ``--pooling``).
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig

stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 3))
poolings = ["cls", "patch-mean", "all-mean"]
features = bm.FeatureExtractor(
    bm.load_model("dino-tiny"), pooling=poolings, store="brainmap_runs/features"
).extract_poolings(stimuli)
settings = SimulationConfig.small(modalities=("fmri",))
fmri = bm.simulate(features["patch-mean"], stimuli.table, config=settings)["fmri"]["S1"].average_repeats(stimuli.ids)

figure, axis = plt.subplots(figsize=(5, 3))
for pooling in poolings:
    X = {layer: np.asarray(values) for layer, values in features[pooling].by_layer("activation").items()}
    result = bm.cross_val_encode(X, fmri.values, groups=stimuli.table["source"].to_numpy())
    axis.plot(result.r.mean(("split", "target")), marker="o", ms=3, label=pooling)
axis.set(xlabel="block", ylabel="Pearson r, mean of vertices", title="Simulated fMRI, driven by patch means")
axis.legend(frameon=False)
figure.tight_layout()
