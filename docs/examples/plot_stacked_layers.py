"""
A layer profile that is no argmax
=================================

Which layers does a vertex weigh, when all of them may predict it together?

The best layer of a vertex is a maximum over noisy scores. Stacked regression (Lin et al. 2023) gives each vertex
weights over the layers (:func:`~brainmap.encoding.stacked_encode`; ``method: stacked`` in a study file). Here half of
the vertices follow one layer, half two of them.
"""

import matplotlib.pyplot as plt
import numpy as np

from brainmap.encoding import stacked_encode

rng = np.random.default_rng(0)
layers = {f"block.{i}": rng.standard_normal((300, 10)) for i in range(4)}
signal = {name: x @ rng.standard_normal((10, 30)) / np.sqrt(10) for name, x in layers.items()}
Y = np.concatenate([signal["block.1"], (signal["block.0"] + signal["block.3"]) / np.sqrt(2)], axis=1)
stack = stacked_encode(layers, Y + 0.8 * rng.standard_normal(Y.shape))

weights = stack.weights.mean(axis=0)
best = stack.single.r.mean("split").max("layer").values
for name, part in (("one layer", slice(0, 30)), ("two layers", slice(30, 60))):
    print(f"{name}: r of the stack {stack.r[:, part].mean():.2f}, of each vertex's best layer {best[part].mean():.2f}")

figure, axis = plt.subplots(figsize=(5, 2.8))
image = axis.imshow(weights, aspect="auto", cmap="Greys", vmin=0, vmax=1)
axis.set(
    xlabel="Simulated vertex", yticks=range(4), yticklabels=stack.layers, title="Block 1 | blocks 0 and 3 together"
)
figure.colorbar(image, label="Weight")
figure.tight_layout()
