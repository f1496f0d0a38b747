"""
Training dynamics
=================

When in training does a layer reach half of its final score?

``dino-tiny`` comes with checkpoints along its training. From the command line, ``brainmap fit --checkpoints FOLDER``
makes a study of each checkpoint of a training of your own; :func:`~brainmap.hierarchy.half_time` fits a sigmoid in
log step.
"""

import matplotlib.pyplot as plt
import numpy as np

import brainmap as bm
from brainmap.data.simulation import SimulationConfig
from brainmap.features import Features
from brainmap.hierarchy import half_time
from brainmap.models import available_weights, checkpoint_step

stimuli = bm.sample_stimuli().subset(np.arange(0, 600, 3))
names = ["untrained", *(name for name in available_weights("dino-tiny") if checkpoint_step(name) is not None)]
layers = ["block.2", "block.11"]


def extracted(weights: str, signals: tuple[str, ...] = ("activation",)) -> Features:
    """Features of one checkpoint."""
    model = bm.load_model("dino-tiny", weights=weights)
    return bm.FeatureExtractor(model, layers=layers, signals=signals, store="brainmap_runs/features").extract(stimuli)


brains = bm.simulate(extracted(names[-1], ("activation", "gradient")), stimuli.table, config=SimulationConfig.small())
fmri = brains["fmri"]["S1"].average_repeats(stimuli.ids)
groups = stimuli.table["source"].to_numpy()
steps, scores = [checkpoint_step(name) or 0 for name in names], []
for name in names:
    X = {layer: np.asarray(values) for layer, values in extracted(name).by_layer("activation").items()}
    scores.append(bm.cross_val_encode(X, fmri.values, groups=groups).r.mean("target").values)
scores = np.array(scores)  # steps × layers × splits

figure, axis = plt.subplots(figsize=(5, 3))
for number, layer in enumerate(layers):
    line = axis.plot(np.maximum(steps, 50), scores[:, number].mean(1), marker="o", label=layer)[0]
    found = half_time(steps, scores[:, number].T, over="folds")
    print(layer, found.failure or f"half of the final score at step {found.step:.0f}")
    if not found.failure:
        axis.axvline(found.step, color=line.get_color(), ls=":")
axis.set(
    xscale="log",
    xlabel="Training step (untrained at the left edge)",
    ylabel="Pearson r, mean of vertices",
    title="Simulated fMRI",
)
axis.legend(frameon=False)
figure.tight_layout()
