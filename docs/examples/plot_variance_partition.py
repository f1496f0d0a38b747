"""
Shared and unique variance
==========================

How much do two feature spaces explain together, and how much each alone?
"""

import matplotlib.pyplot as plt
import numpy as np

from brainmap.statistics import unique_tests, variance_partition

rng = np.random.default_rng(0)
common, shape, colour = (rng.standard_normal((400, 5)) for _ in range(3))
spaces = {"shape": np.hstack([common, shape]), "colour": np.hstack([common, colour])}
areas = {"V1": (1, 0.2, 0.2), "V4": (0.5, 0.3, 1), "LO2": (0.3, 1, 0.1), "44": (0, 0, 0)}
drives = [np.hstack([a * common, b * shape, c * colour]) for a, b, c in areas.values()]
Y = np.hstack([drive @ rng.standard_normal((15, 20)) for drive in drives]) + 2 * rng.standard_normal((400, 80))
units = np.repeat(list(areas), 20)
# Together the spaces hold what they have in common twice: the ridge says that it noticed.

parts = variance_partition(spaces, Y).parts.mean("split")
print(unique_tests(spaces, Y, units=units)[["space", "unit", "p_fwer", "significant"]])

figure, axis = plt.subplots(figsize=(5, 3))
for number, name in enumerate(parts["part"].values):
    height = [float(parts.sel(part=name)[units == area].mean()) for area in areas]
    axis.bar(np.arange(len(areas)) + 0.27 * (number - 1), height, width=0.25, label=name)
axis.axhline(0, color="0.3", lw=0.8)
axis.set_xticks(range(len(areas)), list(areas))
axis.set(ylabel="Held-out R²", title="Simulated areas")
axis.legend(frameon=False)
figure.tight_layout()
