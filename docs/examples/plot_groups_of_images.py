"""
Photographs that belong together
================================

What happens when crops of one photograph end up on both sides of a split?

Responses here are noise that crops of one photograph share, as they share light, place and film. Folds that split
photographs find "structure"; folds of whole photographs find nothing, which is the truth.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm

rng = np.random.default_rng(0)
source = np.repeat(np.arange(40), 8)
X = rng.standard_normal((40, 30))[source] + 0.5 * rng.standard_normal((320, 30))
Y = rng.standard_normal((40, 50))[source] + rng.standard_normal((320, 50))  # unrelated to the features

apart = bm.cross_val_encode(X, Y, groups=source).r.mean("split").values.ravel()
mixed = bm.cross_val_encode(X, Y).r.mean("split").values.ravel()

figure, axis = plt.subplots(figsize=(5, 3))
bins = np.linspace(-0.4, 0.6, 41)
axis.hist(mixed, bins, alpha=0.7, label="crops split over folds: wrong")
axis.hist(apart, bins, alpha=0.7, label="groups=source")
axis.axvline(0, color="0.3", lw=0.8)
axis.set(xlabel="Pearson r", ylabel="Targets", title="Noise that crops share")
axis.legend(frameon=False)
figure.tight_layout()
