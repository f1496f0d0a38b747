"""
Responses to new photographs
============================

What would a brain do with photographs that nobody showed to it?

A study that is told ``keep="encoders"`` (``brainmap fit --keep encoders``) keeps its fits, refit on all photographs;
its scores are those of the folds' fits, which are kept beside. Here the photographs are the sample's own; any folder
will do (``brainmap predict RUN photos/ --sheets sheets/``).
"""

import brainmap as bm
from brainmap.report.figures import driver_sheet
from brainmap.study import StudyConfig

settings = StudyConfig(
    thin=24, layers=("block.0", "block.5", "block.11"), cv=3, flips=100, controls=("pixels",), keep="encoders"
)
bm.Study(settings, out="brainmap_runs/gallery").run(report=False)

# %%
encoder = bm.open_run("brainmap_runs/gallery").encoder("fmri")
print(encoder.describe())

# %%
# An in-silico localiser: the photographs that drive an area most.
photographs = bm.sample_stimuli()
predicted = encoder.predict(photographs)
table = encoder.drivers(predicted, n=6)
table = table[table["area"].isin(["V1", "FFC", "PHA3"])]
figure = driver_sheet(
    table, [photographs.image(row) for row in table["row"]], title="Largest predicted responses (simulated brains)"
)
