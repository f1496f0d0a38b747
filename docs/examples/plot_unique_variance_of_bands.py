"""
Unique variance of bands
========================

How much does each feature space explain that the other does not?

:func:`~brainmap.statistics.banded_partition` fits every set of bands, each band with a penalty of its own, and takes
differences of held-out R²; intervals are over groups of photographs. In a study: ``method: banded`` with
``bands: [activation, activation of dino-tiny@untrained, pixels]``.
"""

import numpy as np

from brainmap.report.figures import band_dots
from brainmap.statistics import banded_partition

# %%
# Sixty voxels of three areas, from those driven by motion alone to those driven by shape alone.
rng = np.random.default_rng(0)
shape, motion = rng.standard_normal((300, 20)), rng.standard_normal((300, 60))
planted = np.linspace(0, 1, 60)
of_shape = shape @ rng.standard_normal((20, 60)) / np.sqrt(20)
of_motion = motion @ rng.standard_normal((60, 60)) / np.sqrt(60)
Y = np.sqrt(planted) * of_shape + np.sqrt(1 - planted) * of_motion + rng.standard_normal((300, 60))
areas = np.repeat(["motion area", "mixed area", "shape area"], 20)

partition = banded_partition({"shape": shape, "motion": motion}, Y, units=areas)
table = partition.to_frame()
table["kind"] = table["part"].replace("shape&motion", "shared")
figure = band_dots(table, title="Unique and shared variance (simulated voxels)")
