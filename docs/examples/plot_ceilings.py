"""
Noise ceilings
==============

How well could any model do, and do two ways of estimating that agree?

Repeats of photographs say how much of a response is signal: :func:`~brainmap.statistics.explainable_variance`
compares variances, :func:`~brainmap.statistics.split_half` correlates halves. The simulation knows the true ceiling.
"""

import matplotlib.pyplot as plt

import brainmap as bm
from brainmap.data.simulation import SimulationConfig, toy_features
from brainmap.statistics import explainable_variance, split_half

features, table = toy_features(sources=60, crops=4)
brains = bm.simulate(features, table, config=SimulationConfig.small(repeats=4))
fmri, truth = brains["fmri"]["S1"], brains["truth"].ceiling("fmri", "S1")

estimates = {
    "explainable variance": explainable_variance(fmri.values, fmri.trials["stimulus"]).r,
    "split half": split_half(fmri.values, fmri.trials["stimulus"]).r,
}

figure, axis = plt.subplots(figsize=(4.2, 3.6))
for name, ceiling in estimates.items():
    axis.scatter(truth, ceiling, s=10, alpha=0.6, label=name)
axis.plot([0, 1], [0, 1], color="0.7", lw=0.8)
axis.set(xlabel="True ceiling of r", ylabel="Estimated from 4 repeats", title="Simulated fMRI, one point a vertex")
axis.legend(frameon=False)
figure.tight_layout()
