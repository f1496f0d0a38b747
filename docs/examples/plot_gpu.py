"""
On a GPU
========

What changes with ``--device cuda`` or ``mps``?

Feature extraction, and where asked for the regression, run on the GPU::

    brainmap fit --model dinov3-vitb16 --device cuda --batch-size 0     # the largest batch that --memory holds
    brainmap fit --device mps                                           # Apple silicon
    brainmap fit --device auto                                          # the fastest there is

    bm.load_model("dinov3-vitb16", device="cuda", dtype="bfloat16")     # autocast: float32 weights and features
    bm.cross_val_encode(X, Y, device="cuda")

Nothing else. On a CPU numbers are bit-identical from run to run; between devices they agree within rounding. This
page was made without a GPU, so the figure shows the same kind of difference between the two implementations of the
regression, numpy and torch.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm

rng = np.random.default_rng(0)
X = rng.standard_normal((300, 50))
Y = X @ rng.standard_normal((50, 500)) + 10 * rng.standard_normal((300, 500))
numpy = bm.cross_val_encode(X, Y).r.mean("split").values.ravel()
torch = bm.cross_val_encode(X, Y, device="torch").r.mean("split").values.ravel()

figure, axis = plt.subplots(figsize=(5, 3))
axis.hist(1e9 * (numpy - torch), 40)
axis.set(xlabel="Difference in r (× 10⁻⁹)", ylabel="Targets", title="numpy and torch, 500 simulated targets")
figure.tight_layout()
