"""
Brain scores while training
===========================

When does a network begin to resemble a brain, while it is being trained?

:class:`~brainmap.study.BrainScores` is called after every step of a PyTorch loop. At three steps a decade it scores the
layers against brain responses; what is trained is not touched. Here the "brain" is simulated from a teacher network,
and a student learns to imitate the teacher.

In Lightning: ``Trainer(callbacks=[scores.for_lightning(lambda module: module.backbone)])``; scores also go to the
trainer's loggers. In Hugging Face's Trainer: ``callbacks=[scores.for_trainer()]``; scores are added to
``state.log_history``, and ``log=`` takes them to TensorBoard or W&B. Tried with lightning 2.6.6, transformers 5.24.0
with accelerate 1.15.0, tensorboard 2.21.0, and wandb 0.31.0 offline, on a CPU: the weights after training are equal to
the bit with and without the callback.

On one core an evaluation of these 600 photographs with twelve blocks of ``dino-tiny`` and 1,000 targets takes 5 s of
processor time, a step of ``tools/train_dino_tiny.py`` 2 s: 13 evaluations in 8,000 steps are 0.4 % of the training.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import nn

import brainmap as bm
from brainmap.models import Preprocessing
from brainmap.study import BrainScores


def network(seed):
    """Return a small network of its own seed."""
    torch.manual_seed(seed)
    sizes = ((3, 12, 8, 4), (12, 24, 3, 2), (24, 24, 3, 1))
    return nn.Sequential(*(part for a, b, k, s in sizes for part in (nn.Conv2d(a, b, k, stride=s), nn.Tanh())))


photographs = bm.sample_stimuli()
preprocessing = Preprocessing(crop=64)
pixels = torch.cat([preprocessing([image]) for image in photographs])
with torch.no_grad():
    taught = network(1)(pixels).mean((2, 3))
taught = (taught - taught.mean(0)) / taught.std(0)
rng = np.random.default_rng(0)
values = taught.numpy() @ rng.standard_normal((24, 30)) / 5 + rng.standard_normal((600, 30))
sensors = pd.DataFrame({"sensor": [f"S{i}" for i in range(30)], "time": 0.1})
trials = pd.DataFrame({"stimulus": photographs.ids})
meg = bm.Responses(values.astype(np.float32), trials, sensors, "meg", "S1", simulated=True)

# %%
student, head = network(2), nn.Linear(24, 24)
scores = BrainScores(
    photographs, meg, "brainmap_runs/while_training", layers=["1", "3", "5"], preprocessing=preprocessing
)
optimiser = torch.optim.Adam([*student.parameters(), *head.parameters()], lr=3e-3)
for step in range(501):
    scores.after_step(step, student)
    batch = torch.randint(len(pixels), (32,))
    loss = nn.functional.mse_loss(head(student(pixels[batch]).mean((2, 3))), taught[batch])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %%
# Untrained, the student predicts most of what its layers ever will: convolutions alone do much. Training loses a little
# of that, then gains, most in the layer that is taught.
series = scores.series()["meg"].mean(("subject", "split"))
print(series.to_pandas().round(3))
figure, axis = plt.subplots(figsize=(5, 3))
for unit in series["unit"].values:
    axis.plot(series["step"], series.sel(unit=unit), marker="o", ms=3, label=f"layer {unit}")
axis.set_xscale("symlog", linthresh=1)
axis.set(xlabel="Training step", ylabel="Pearson r", title="Simulated responses")
axis.legend(frameon=False)
figure.tight_layout()
