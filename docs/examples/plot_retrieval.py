"""
Back from brain to photograph
=============================

Which of the candidates was seen?

An encoder predicts the responses to every candidate; the one under which the measured responses are most likely is
named (:func:`~brainmap.statistics.retrieval`; ``method="decoding"`` goes the other way, from responses to a layer's
features). Candidates are the photographs of a test fold, of which nothing was fitted. Chance is what exchanged
photographs give.
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
fmri = bm.simulate(features, stimuli.table, config=SimulationConfig.small())["fmri"]["S1"].average_repeats()
rows = stimuli.index_of(fmri.stimulus_ids)
groups = stimuli.table["source"].to_numpy()[rows]
X = {layer: np.asarray(features["activation", layer])[rows] for layer in features.layers}

options = RetrievalOptions(n_permutations=199)
table = retrieval(X, np.asarray(fmri.values), cv=3, groups=groups, options=options)
print(table[["layer", "top1", "chance1", "top5", "chance5", "gallery", "p_corrected"]].round(3).to_string(index=False))

# %%
figure, axis = plt.subplots(figsize=(5, 3))
for place, (name, chance) in enumerate((("top1", "chance1"), ("top5", "chance5"))):
    bars = axis.bar(np.arange(3) + 0.4 * place, table[name], 0.36, label=f"top-{name[-1]}")
    axis.axhline(table[chance].iloc[0], color=bars[0].get_facecolor(), ls=":", lw=1)
axis.set(xticks=np.arange(3) + 0.2, xticklabels=table["layer"], ylabel="Share of photographs")
axis.set_title("Photographs found from simulated fMRI (dotted: chance)", fontsize=9)
axis.legend(frameon=False)
figure.tight_layout()
