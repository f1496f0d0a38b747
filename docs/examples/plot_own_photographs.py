"""
Own photographs
===============

How do photographs of my own become a set that features and responses can be matched to?

A :class:`~brainmap.StimulusSet` reads a folder or a zip, and knows each photograph by a hash of its pixels: renaming
or moving a file changes nothing, and the same picture twice is refused. A table beside it says which photographs
belong together.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image

import brainmap as bm

# %%
# A folder as one might have it, made of six pictures of the embedded sample, with a table.
sample = bm.sample_stimuli().subset([0, 1, 80, 160, 320, 480])
folder = Path("brainmap_runs/photos")
folder.mkdir(parents=True, exist_ok=True)
for number in range(len(sample)):
    Image.fromarray(sample.image(number)).save(folder / f"photo_{number}.png")
table = pd.DataFrame({"name": [f"photo_{number}.png" for number in range(6)], "source": sample.table["source"].values})

# %%
# The first two are crops of one photograph: they share a ``source``, and are never separated by a fold.
stimuli = bm.StimulusSet.from_folder(folder, table)
print(stimuli.table)

figure, axes = plt.subplots(1, 6, figsize=(9, 2))
for axis, image, row in zip(axes, stimuli, stimuli.table.itertuples(), strict=True):
    axis.imshow(image)
    axis.set_title(f"{row.stimulus[:8]}…\n{row.source[:12]}", fontsize=7)
    axis.axis("off")
