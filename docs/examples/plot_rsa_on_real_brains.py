"""
RSA on real brains
==================

Is a model's geometry like that of human visual cortex?

Needs the 78-image set of the Algonauts Project 2019 (fMRI of 15 people), which may not be redistributed: put it into
the folder named by ``BRAINMAP_SHARED_DATA``. Where it is absent, as on this page if the title says so, RDMs of
simulated fMRI take its place.
"""

import os
from pathlib import Path

import numpy as np

import brainmap as bm
from brainmap.data.brain_rdms import BrainRDMs, read_images78
from brainmap.data.simulation import SimulationConfig
from brainmap.report import plot_rsa

model = bm.load_model("dino-tiny")


def simulated() -> BrainRDMs:
    """RDMs of early and late areas of simulated people."""
    stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 8))
    features = bm.FeatureExtractor(model, store="brainmap_runs/features").extract(stimuli)
    settings = SimulationConfig.small(subjects=("S1", "S2", "S3"), modalities=("fmri",))
    people = bm.simulate(features, stimuli.table, config=settings)["fmri"].values()
    rdms = {}
    for area, names in (("early", ["V1", "V2"]), ("late", ["FFC", "TE2p", "LO2"])):
        averages = [person.average_repeats(stimuli.ids) for person in people]
        rdms[area] = np.stack([1 - np.corrcoef(a.values[:, a.targets["roi"].isin(names)]) for a in averages])
    rdms = {area: np.where(np.eye(len(stimuli), dtype=bool), 0, values) for area, values in rdms.items()}
    return BrainRDMs(rdms, stimuli=stimuli, source="Simulated fMRI", measure="1 − Pearson r", simulated=True)


folder = Path(os.environ.get("BRAINMAP_SHARED_DATA", "absent")) / "images78_fmri_rdm"
brain = read_images78(folder) if folder.is_dir() else simulated()
print(brain)

features = bm.FeatureExtractor(model, signals=["activation"], store="brainmap_runs/features").extract(brain.stimuli)
untrained = bm.FeatureExtractor(
    bm.load_model("dino-tiny", weights="untrained"), signals=["activation"], store="brainmap_runs/features"
).extract(brain.stimuli)
figure = plot_rsa(bm.rsa(features, brain, n_bootstrap=300), baseline=bm.rsa(untrained, brain, n_bootstrap=300))
