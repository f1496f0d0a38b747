"""
Pixels and Gabor energy
=======================

Does a network predict more than simple image statistics?

The control spaces go through the same cross-validation. ``brainmap fit`` compares them by default (``--controls``).
"""

import numpy as np
import pandas as pd

import brainmap as bm
from brainmap.data.simulation import SimulationConfig
from brainmap.features.control_spaces import control_spaces
from brainmap.report.figures import controls_dots
from brainmap.statistics import folds_interval

stimuli = bm.sample_stimuli()
features = bm.FeatureExtractor(bm.load_model("dino-tiny"), layers=["block.5"], store="brainmap_runs/features").extract(
    stimuli
)
brains = bm.simulate(features, stimuli.table, config=SimulationConfig.small())
fmri = brains["fmri"]["S1"].average_repeats(stimuli.ids)
spaces = {"activation": features["activation", "block.5"], "gradient": features["gradient", "block.5"]}
spaces |= control_spaces(stimuli, names=["pixels", "gabor", "category"])

# Gradients at the input of a layer norm sum to nothing, and one-hot categories to one: the ridge says that it noticed.
rows = []
for name, values in spaces.items():
    r = bm.cross_val_encode(np.asarray(values), fmri.values, groups=stimuli.table["source"].to_numpy()).r
    folds = r.mean("target").values.ravel()
    low, high = folds_interval(folds)
    rows.append({"space": name, "r": folds.mean(), "low": low, "high": high})
figure = controls_dots(pd.DataFrame(rows), title="Simulated fMRI")
