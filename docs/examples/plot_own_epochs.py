"""
Own epochs
==========

How do my MNE epochs get in, and when do they carry what a model's layer carries?

:func:`brainmap.read_responses` takes ``-epo.fif`` files, EEGLAB ``.set`` files, and ``mne.Epochs`` in memory. Each
epoch has to say which photograph was shown: in the metadata (a column ``stimulus``), in the events, or in a table.
From the command line::

    brainmap fit --stimuli photos/ --responses sub-01-epo.fif
"""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd

import brainmap as bm
from brainmap.hierarchy import time_courses

# %%
# Simulated EEG: 200 photographs shown twice to eight sensors, which follow a layer of the model from 100 ms on.
stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 3))
features = bm.FeatureExtractor(
    bm.load_model("dino-tiny"), layers=["block.5"], signals=["activation"], store="brainmap_runs/features"
).extract(stimuli)
X = np.asarray(features["activation", "block.5"])
rng = np.random.default_rng(0)
times = np.arange(-0.1, 0.5, 0.02)
course = np.exp(-(((times - 0.18) / 0.06) ** 2))
drive = (X - X.mean(0)) / X.std(0) @ rng.standard_normal((X.shape[1], 8)) / np.sqrt(X.shape[1])
shown = np.concatenate([rng.permutation(200), rng.permutation(200)])
signal = 2e-6 * drive[shown][:, :, None] * course
data = signal + 2e-6 * rng.standard_normal(signal.shape)

info = mne.create_info(["Fz", "Cz", "Pz", "P3", "P4", "O1", "Oz", "O2"], sfreq=50, ch_types="eeg")
metadata = pd.DataFrame({"stimulus": stimuli.table["name"].to_numpy()[shown]})
epochs = mne.EpochsArray(data, info, tmin=-0.1, metadata=metadata, verbose="error")

# %%
# One line reads them; repeats of a photograph are averaged; folds never split a source photograph.
responses = bm.read_responses(epochs, stimuli=stimuli, modality="eeg")
print(responses)
eeg = responses.average_repeats()
rows = stimuli.index_of(eeg.stimulus_ids)
result = bm.cross_val_encode({"block.5": X[rows]}, eeg.values, groups=stimuli.table["source"].to_numpy()[rows])
curve = time_courses(result.with_targets(eeg.targets).r).mean("split").squeeze()

figure, axis = plt.subplots(figsize=(5, 3))
axis.plot(curve["time"] * 1000, curve, color="C0")
axis.axhline(0, color="0.7", lw=0.8)
axis.set(xlabel="Time (ms)", ylabel="Pearson r, mean of 8 sensors", title="Simulated EEG, block.5 of dino-tiny")
figure.tight_layout()
