"""
Two models compared
===================

Is a trained network better than the same network untrained, area by area?

Both are scored on the same splits, and the difference is tested on pairs of folds
(:func:`~brainmap.statistics.compare`).
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig
from brainmap.statistics import compare

stimuli = bm.sample_stimuli()
features = {
    weights: bm.FeatureExtractor(
        bm.load_model("dino-tiny", weights=weights),
        layers=["block.3", "block.11"],
        store="brainmap_runs/features",
    ).extract(stimuli)
    for weights in ("trained", "untrained")
}
fmri = bm.simulate(features["trained"], stimuli.table, config=SimulationConfig.small())["fmri"]["S1"].average_repeats()
rows = stimuli.index_of(fmri.stimulus_ids)
groups = stimuli.table["source"].to_numpy()[rows]
scores = {}
for weights, space in features.items():
    X = {layer: np.asarray(space["activation", layer])[rows] for layer in space.layers}
    scores[weights] = bm.cross_val_encode(X, fmri.values, groups=groups, cv=10).with_targets(fmri.targets).r

areas = {weights: r.groupby("roi").mean().rename(roi="target") for weights, r in scores.items()}
test = compare(areas["trained"], areas["untrained"], test="folds")
differ = test.significant.any("layer")
print(f"{int(differ.sum())} of {differ.size} areas differ at some layer. {test.method}")

figure, axis = plt.subplots(figsize=(5.5, 3))
for weights, r in areas.items():
    axis.plot(r["target"], r.mean("split").max("layer"), marker="o", ls="", label=weights)
for place in np.flatnonzero(differ):
    axis.text(place, 0.47, "*", ha="center")
axis.set(ylabel="Pearson r of the better layer", title="Simulated fMRI, driven by the trained network")
axis.tick_params(axis="x", rotation=40)
axis.legend(frameon=False)
figure.tight_layout()
