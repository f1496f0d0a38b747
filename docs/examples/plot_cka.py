"""
Layers compared with layers
===========================

Do gradients have a geometry of their own?

Linear CKA (:func:`~brainmap.comparison.cka_matrix`) compares two representations of the same photographs, whatever
their dimensions.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.comparison import cka_matrix

stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 4))
features = bm.FeatureExtractor(bm.load_model("dino-tiny"), store="brainmap_runs/features").extract(stimuli)
table = cka_matrix(features, debiased=True)
spaces = [(signal, layer) for signal in features.signals for layer in features.layers]  # activations, then gradients
table = table.loc[spaces, spaces]

figure, axis = plt.subplots(figsize=(4.6, 4))
shown = axis.imshow(table, vmin=0, vmax=1, cmap="magma")
axis.set_xticks([5.5, 17.5], ["activations", "gradients"])
axis.set_yticks([5.5, 17.5], ["activations", "gradients"], rotation=90, va="center")
axis.axhline(11.5, color="w")
axis.axvline(11.5, color="w")
axis.set_title("dino-tiny, blocks 0 to 11, 150 photographs")
figure.colorbar(shown, label="CKA (debiased)", shrink=0.8)
