"""
Back from brain to photograph
=============================

Which of the candidates was seen?

An encoder predicts the responses to every candidate; the one under which the measured responses are most likely is
named (:func:`~brainmap.statistics.retrieval`). Candidates are the photographs of a test fold, of which nothing was
fitted. Chance is what exchanged photographs give.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig
from brainmap.statistics import RetrievalOptions, retrieval

stimuli = bm.sample_stimuli()
features = bm.FeatureExtractor(
    bm.load_model("dino-tiny"), layers=["block.0", "block.5", "block.11"], store="brainmap_runs/features"
).extract(stimuli)
meg = bm.simulate(features, stimuli.table, config=SimulationConfig.small())["meg"]["S1"].average_repeats()
rows = stimuli.index_of(meg.stimulus_ids)
groups = stimuli.table["source"].to_numpy()[rows]
X = {layer: np.asarray(features["activation", layer])[rows] for layer in features.layers}

times = meg.targets["time"].to_numpy()
moments = np.unique(times)[::4]
use = np.isin(times, moments)
table = retrieval(
    X, np.asarray(meg.values)[:, use], times=times[use], groups=groups, options=RetrievalOptions(n_permutations=199)
)
best = table.loc[table["top1"].idxmax()]
print(
    f"Highest: {best['layer']} at {1000 * best['time']:.0f} ms, top-1 {best['top1']:.2f} of a gallery of "
    f"{best['gallery']:.0f} (chance {best['chance1']:.2f}), p = {best['p_corrected']:.3f} over all layers and moments"
)

# %%
figure, axis = plt.subplots(figsize=(5.5, 3))
for layer, part in table.groupby("layer", sort=False):
    axis.plot(part["time"], part["top1"], label=layer)
    found = part[part["p_corrected"] <= 0.05]
    axis.plot(found["time"], found["top1"], "o", ms=4, color=axis.lines[-1].get_color())
axis.axhline(table["chance1"].iloc[0], color="0.5", ls=":", lw=1)
axis.set(xlabel="Time after onset (s)", ylabel="Top-1", title="Photographs found from simulated MEG")
axis.legend(frameon=False)
figure.tight_layout()
