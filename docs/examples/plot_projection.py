"""
Random projections
==================

How many dimensions are enough?

Large models have many, their gradients above all. :class:`~brainmap.features.RandomProjection` maps them to fewer,
independently of the data, while they are extracted (``--projection``).
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig
from brainmap.features import Features, RandomProjection

stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 2))
model = bm.load_model("dino-tiny")
whole = bm.FeatureExtractor(model, layers=["block.5"], store="brainmap_runs/features").extract(stimuli)
settings = SimulationConfig.small(modalities=("fmri",))
fmri = bm.simulate(whole, stimuli.table, config=settings)["fmri"]["S1"].average_repeats(stimuli.ids)
groups = stimuli.table["source"].to_numpy()


def score(features: Features) -> float:
    """Mean r of the activations."""
    X = np.asarray(features["activation", "block.5"])
    return float(bm.cross_val_encode(X, fmri.values, groups=groups).r.mean())


dimensions = [4, 8, 16, 32, 64]
scores = [
    score(
        bm.FeatureExtractor(
            model, layers=["block.5"], projection={"activation": RandomProjection(size)}, store="brainmap_runs/features"
        ).extract(stimuli)
    )
    for size in dimensions
]

figure, axis = plt.subplots(figsize=(5, 3))
axis.plot(dimensions, scores, marker="o")
axis.axhline(score(whole), color="0.5", ls=":", label="all 96 dimensions")
axis.set(xscale="log", xlabel="Dimensions", ylabel="Pearson r, mean of vertices", title="Simulated fMRI")
axis.set_xticks(dimensions, [str(size) for size in dimensions])
axis.minorticks_off()
axis.legend(frameon=False)
figure.tight_layout()
