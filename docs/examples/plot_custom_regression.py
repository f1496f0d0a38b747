"""
A regression of one's own
=========================

Does another regression predict better than ridge?

Any scikit-learn or himalaya regressor takes the ridge's place: it is cloned, fitted and asked to predict on the same
splits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features

features, table = toy_features(sources=60, crops=4)
brains = bm.simulate(features, table, config=SimulationConfig.small())
fmri = brains["fmri"]["S1"].average_repeats(table["stimulus"].to_numpy())  # in the order of the features
X = {layer: values for (signal, layer), values in features.items() if signal == "activation"}
groups = table["source"].to_numpy()

results = {
    "ridge": bm.cross_val_encode(X, fmri.values, groups=groups),
    "PLS, 8 components": bm.cross_val_encode(X, fmri.values, groups=groups, estimator=PLSRegression(8)),
    "least squares": bm.cross_val_encode(X, fmri.values, groups=groups, estimator=LinearRegression()),
}

figure, axis = plt.subplots(figsize=(5, 3))
for name, result in results.items():
    axis.plot(np.arange(len(X)), result.r.mean(("split", "target")), marker="o", label=name)
axis.set_xticks(range(len(X)), list(X), rotation=30)
axis.set(ylabel="Pearson r, mean of vertices", title="Simulated fMRI")
axis.legend(frameon=False)
figure.tight_layout()
