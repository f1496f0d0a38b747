"""
NIfTI and an atlas
==================

How do single-trial volumes get in, and which area does a model predict?

One volume a trial, a table of trials, a label image with its table: :func:`brainmap.read_responses` keeps every voxel
with its area and its place in mm. From the command line::

    brainmap fit --stimuli photos/ --responses betas.nii.gz --events trials.tsv --atlas dseg.nii.gz --out-space nifti
"""

from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd

import brainmap as bm

folder = Path("brainmap_runs/nifti")
folder.mkdir(parents=True, exist_ok=True)

# %%
# Simulated betas in a small box of voxels: area "early" follows the first block of the model, "late" its last block,
# "other" nothing.
stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 4))
features = bm.FeatureExtractor(
    bm.load_model("dino-tiny"), layers=["block.0", "block.11"], signals=["activation"], store="brainmap_runs/features"
).extract(stimuli)
rng = np.random.default_rng(0)
labels = np.zeros((6, 6, 4), np.int16)
labels[:3, :3], labels[3:, :3], labels[:3, 3:] = 1, 2, 3
betas = rng.standard_normal((6, 6, 4, len(stimuli)))
for label, layer in ((1, "block.0"), (2, "block.11")):
    X = np.asarray(features["activation", layer])
    X = (X - X.mean(0)) / X.std(0) / np.sqrt(X.shape[1])
    betas[labels == label] += (X @ rng.standard_normal((X.shape[1], (labels == label).sum()))).T
affine = np.diag([2.0, 2.0, 2.0, 1.0])
nib.save(nib.Nifti1Image(betas.astype(np.float32), affine), folder / "betas.nii.gz")
nib.save(nib.Nifti1Image(labels, affine), folder / "dseg.nii.gz")
table = pd.DataFrame({"index": [1, 2, 3], "name": ["early", "late", "other"]})
table.to_csv(folder / "dseg.tsv", sep="\t", index=False)
pd.DataFrame({"stimulus": stimuli.table["name"]}).to_csv(folder / "trials.tsv", sep="\t", index=False)

# %%
fmri = bm.read_responses(folder / "betas.nii.gz", None, folder / "trials.tsv", stimuli, atlas=folder / "dseg.nii.gz")
print(fmri.targets.head())
rows = stimuli.index_of(fmri.stimulus_ids)
X = {layer: np.asarray(features["activation", layer])[rows] for layer in features.layers}
result = bm.cross_val_encode(X, fmri.block(), groups=stimuli.table["source"].to_numpy()[rows])
mean = result.with_targets(fmri.targets).r.mean("split").groupby("roi").mean()

figure, axis = plt.subplots(figsize=(5, 3))
for offset, layer in ((-0.2, "block.0"), (0.2, "block.11")):
    axis.bar(np.arange(3) + offset, mean.sel(layer=layer), width=0.38, label=layer)
axis.set_xticks(range(3), mean["roi"].values)
axis.set(ylabel="Pearson r, mean of voxels", title="Simulated betas")
axis.legend(frameon=False)
figure.tight_layout()
