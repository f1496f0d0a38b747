"""
On SLURM
========

How do many studies run on a cluster?

A study file declares them (``study.yaml``); any number of processes that see the same folder may work on it::

    brainmap run study.yaml --out /shared/runs --cluster slurm --jobs 32     # Dask asks the queue for workers
    brainmap submit study.yaml --out /shared/runs --jobs 64 --print | sbatch # a plain array, without Dask
    brainmap run study.yaml --out /shared/runs --list                        # what is done of each study

Each job takes a share, ``--only 17/64``; what a lost job leaves is taken by the others. More: :doc:`/cluster`.
"""

from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt

from brainmap.study import load_preset, preset_text, queue_script, share_of

# %%
# The script that ``brainmap submit --print`` writes, to be looked at before it is handed over:
file = Path("brainmap_runs/study.yaml")
file.parent.mkdir(exist_ok=True)
file.write_text(preset_text("misalignment"), encoding="utf-8")
print(queue_script(file, Path("/shared/runs"), 4))

# %%
# How many studies of the first paper's preset each of four jobs begins with:
cells = load_preset("misalignment").cells()
sizes = Counter({job: len(share_of(cells, f"{job}/4")) for job in range(1, 5)})

figure, axis = plt.subplots(figsize=(5, 2.6))
axis.bar([f"{job}/4" for job in sizes], list(sizes.values()))
axis.set(xlabel="Job of the array", ylabel="Studies", title=f"{len(cells)} studies of the preset 'misalignment'")
figure.tight_layout()
