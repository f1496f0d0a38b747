"""
Confounds
=========

How is what gaze or drift explains kept out of a score?

Nuisance regressors are projected out of features *and* responses, inside each split
(:class:`~brainmap.encoding.RowDesign`). From the command line: ``--confounds confounds.tsv``, one row a trial.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.encoding import RowDesign

# %%
# Brightness moves the pupil; the pupil moves the response of half of the channels. The other half follows the features.
rng = np.random.default_rng(0)
X = rng.standard_normal((300, 20))
pupil = X[:, :1] + 0.3 * rng.standard_normal((300, 1))
Y = rng.standard_normal((300, 40))
Y[:, :20] += 2 * pupil
Y[:, 20:] += X[:, 1:] @ rng.standard_normal((19, 20)) / 4

before = bm.cross_val_encode(X, Y).r.mean("split").values.ravel()
after = bm.cross_val_encode(X, Y, rows=RowDesign(nuisance=pupil)).r.mean("split").values.ravel()

figure, axis = plt.subplots(figsize=(4.2, 3.6))
axis.scatter(before[:20], after[:20], s=14, label="follow the pupil")
axis.scatter(before[20:], after[20:], s=14, label="follow the features")
axis.plot([-0.2, 1], [-0.2, 1], color="0.7", lw=0.8)
axis.set(xlabel="r", ylabel="r with the pupil projected out", title="Simulated channels")
axis.legend(frameon=False)
figure.tight_layout()
