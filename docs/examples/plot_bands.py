"""
Bands of features
=================

Two feature spaces side by side: which one does a voxel lean on?

:class:`~brainmap.encoding.BandedRidgeCV` gives each band a penalty of its own, chosen for each target. The share
is that of the first band: a balance of penalties, not of variance.
"""

import matplotlib.pyplot as plt
import numpy as np

from brainmap.encoding import BandedRidgeCV

# %%
# Sixty voxels, from those driven by motion alone to those driven by shape alone.
rng = np.random.default_rng(0)
shape, motion = rng.standard_normal((300, 20)), rng.standard_normal((300, 60))
planted = np.linspace(0, 1, 60)
of_shape = shape @ rng.standard_normal((20, 60)) / np.sqrt(20)
of_motion = motion @ rng.standard_normal((60, 60)) / np.sqrt(60)
Y = np.sqrt(planted) * of_shape + np.sqrt(1 - planted) * of_motion + rng.standard_normal((300, 60))

model = BandedRidgeCV((20, 60)).fit(np.hstack([shape, motion]), Y)

figure, axis = plt.subplots(figsize=(5, 3))
axis.scatter(planted, model.share_, s=14)
axis.plot([0, 1], [0, 1], color="0.7", lw=0.8)
axis.set(xlabel="Planted share of shape", ylabel="Chosen share of shape", title="Simulated voxels, one point each")
figure.tight_layout()
