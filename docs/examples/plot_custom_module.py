"""
A module of one's own
=====================

How do the layers of any torch module become layers of an analysis?

:func:`brainmap.from_module` takes the paths of the modules that are layers, or names for them. Gradients need a loss:
without one of its own, a module gets the energy of its features, labelled ``surrogate``.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import brainmap as bm
from brainmap.comparison import geometry
from brainmap.models import Preprocessing

torch.manual_seed(0)
network = nn.Sequential(
    nn.Sequential(nn.Conv2d(3, 16, 7, stride=4), nn.ReLU()),
    nn.Sequential(nn.Conv2d(16, 32, 5, stride=2), nn.ReLU()),
    nn.Sequential(nn.Conv2d(32, 64, 3, stride=2), nn.ReLU()),
)
model = bm.from_module(
    network,
    name="three-layers",
    layers={"first": "0", "second": "1", "third": "2"},
    preprocessing=Preprocessing(crop=64),
    code_version="1",  # raise it when the code changes: features are kept under it
)
print(model)

# %%
# One forward and one backward pass give activations and gradients of all layers. How many dimensions do they use?
features = bm.FeatureExtractor(model, pooling="all-mean", store="brainmap_runs/features").extract(
    bm.sample_stimuli().subset(np.arange(0, 600, 4))
)
table = geometry(features)

figure, axis = plt.subplots(figsize=(5, 3))
for signal, part in table.groupby("signal"):
    axis.plot(part["layer"], part["effective_dimension"], marker="o", label=signal)
axis.set(ylabel="Effective dimension", title="An untrained network of three layers, 150 photographs")
axis.legend(frameon=False)
figure.tight_layout()
