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
Y = np.hstack([drive @ rng.standard_normal((15, 20)) for drive in drives]) + 3 * rng.standard_normal((400, 80))
units = np.repeat(list(areas), 20)

parts = variance_partition(spaces, Y).parts.mean("split")
print(unique_tests(spaces, Y, units=units)[["space", "unit", "p_fwer", "significant"]])

figure, axis = plt.subplots(figsize=(5, 3))
base = np.zeros(len(areas))
for name in parts["part"].values:
    height = [float(parts.sel(part=name)[units == area].mean()) for area in areas]
    axis.bar(list(areas), height, bottom=base, label=name)
    base += np.maximum(height, 0)
axis.set(ylabel="Held-out R²", title="Simulated areas")
axis.legend(frameon=False)
figure.tight_layout()
