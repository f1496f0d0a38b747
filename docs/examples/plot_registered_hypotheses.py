"""
Registered hypotheses
=====================

Can others see that a prediction was made before the scores were there?

``brainmap fit … --hypotheses hypotheses.yaml`` locks the file, hashed, in the run's folder before anything is encoded.
Each hypothesis is then confirmed, refuted, equivalent to nothing that matters, or inconclusive
(:func:`~brainmap.hierarchy.evaluate_registered`); one correction goes over all. Here scores of simulated MEG are
judged: gradients predict it, and peak 90 ms later than activations.
"""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from brainmap.hierarchy import RegisteredHypotheses, evaluate_registered

registered = RegisteredHypotheses.from_text("""
title: Gradients in MEG
level: 0.05
correction: bonferroni
hypotheses:
  - {id: H1, statement: Gradients predict MEG, effect: score, modality: meg, of: {signal: gradient},
     direction: positive, smallest: 0.005}
  - {id: H2, statement: Gradients peak later, effect: lag, modality: meg, of: {signal: gradient},
     minus: {signal: activation}, direction: positive, smallest: 0.02}
  - {id: H3, statement: Deeper gradients peak earlier, effect: order in time, modality: meg, of: {signal: gradient},
     direction: negative, smallest: 0.05}
  - {id: H4, statement: Gradients predict MEG before the photograph, effect: score, modality: meg,
     of: {signal: gradient, time: [-0.1, 0]}, direction: positive, smallest: 0.005}
""")
print("SHA-256 of the file:", registered.sha256)

# %%
rng, depth = np.random.default_rng(0), np.linspace(0, 1, 8)
times = np.round(np.arange(-0.1, 0.8, 0.02), 3)
peaks = {"activation": 0.12 + 0.25 * depth, "gradient": 0.21 + 0.25 * depth}
curves = np.stack([0.1 * np.exp(-(((times - at[:, None]) / 0.08) ** 2)) for at in peaks.values()])
r = curves[:, None, :, None] + 0.012 * rng.standard_normal((2, 4, 8, 5, len(times)))
coords = {
    "signal": list(peaks),
    "depth": ("layer", depth),
    "time": ("target", times),
    "sensor": ("target", ["all"] * 45),
}
scores = xr.DataArray(r, dims=("signal", "subject", "layer", "split", "target"), coords=coords)

table = evaluate_registered(registered, {"meg": scores})
print(table[["hypothesis", "effect", "p_corrected", "p_equivalent_corrected", "verdict"]].round(3).to_string())

# %%
figure, axes = plt.subplots(1, 4, figsize=(8, 2.4))
for axis, row in zip(axes, table.itertuples(), strict=True):
    axis.axvspan(-row.smallest, row.smallest, color="0.9")
    axis.plot([row.low, row.high], [0, 0], color="0.2")
    axis.plot(row.effect, 0, "o", color="0.2")
    axis.axvline(0, color="0.5", lw=0.8)
    axis.set(title=f"{row.hypothesis}: {row.verdict}", xlabel=f"Effect ({row.unit})", yticks=[])
figure.suptitle("Simulated scores; grey: smaller than what would matter", fontsize=9)
figure.tight_layout()
