"""
Open a finished run
===================

What can be asked of a run that is finished?

The study below takes a minute the first time; what is finished is not computed again. ``brainmap fit`` makes the same
folder.
"""

import brainmap as bm
from brainmap.study import StudyConfig

settings = StudyConfig(thin=24, layers=("block.0", "block.5", "block.11"), cv=3, flips=100, controls=("pixels",))
bm.Study(settings, out="brainmap_runs/gallery").run(report=False)

# %%
run = bm.open_run("brainmap_runs/gallery")
print(run)
table = run.roi_table()
best = table[table["signal"] == "activation"].groupby("roi")["r"].max().sort_values(ascending=False)
print(best.head())

# %%
# Every figure of the report has a name, and is drawn when it is asked for.
print(list(run.figures()))
figure = run.figures()["meg-curves-activation"]
