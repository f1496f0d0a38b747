"""
A bound on memory
=================

Does a small memory change the numbers?

Responses are read in blocks of targets, so that they may be far larger than the memory (``memory=``, ``--memory``).
Blocks decide how long it takes, not what comes out.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm

Path("brainmap_runs").mkdir(exist_ok=True)
rng = np.random.default_rng(0)
X = {f"block.{i}": rng.standard_normal((500, 40)).astype(np.float32) for i in range(4)}
Y = np.lib.format.open_memmap("brainmap_runs/large.npy", "w+", np.float32, (500, 20_000))  # could be larger than memory
for start in range(0, 20_000, 2_000):
    weights = rng.standard_normal((40, 2_000))
    Y[:, start : start + 2_000] = X["block.2"] @ weights + 12 * rng.standard_normal((500, 2_000))

large = bm.cross_val_encode(X, Y, memory="4GB").r
small = bm.cross_val_encode(X, Y, memory="400MB").r
print("largest difference:", float(abs(large - small).max()))

figure, axis = plt.subplots(figsize=(4.2, 3.6))
axis.scatter(large.values[:, 0, ::50].ravel(), small.values[:, 0, ::50].ravel(), s=4)
axis.set(xlabel="r with 4 GB", ylabel="r with 400 MB", title="20,000 simulated targets, four layers")
figure.tight_layout()
