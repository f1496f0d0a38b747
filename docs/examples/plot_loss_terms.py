"""
Which loss does the brain follow?
=================================

``dino-tiny`` was trained with a sum of losses. Which of them would have to change the network for a response to follow?

``terms="split"`` gives the gradient of every term from one forward pass, and
:func:`~brainmap.statistics.unique_variance` what each explains beyond the other terms and the activations. Here two
made-up areas follow iBOT's gradient, two follow activations only.
"""

import numpy as np

import brainmap as bm
from brainmap.report.figures import loss_terms
from brainmap.statistics import ConditionalOptions, ResidualOptions, unique_variance

stimuli = bm.sample_stimuli().subset(range(240))
model = bm.load_model("dino-tiny")
features = bm.FeatureExtractor(model, layers=["block.3", "block.7"], terms="split").extract(stimuli)
print(features.signals)

rng = np.random.default_rng(0)
activations = features.by_layer("activation")
terms = {name: features.by_layer(f"gradient of {name}") for name in ("dino", "ibot")}


def driven(x, share, targets=4):
    """Responses to the leading components of a feature space, a share of the variance."""
    leading = np.linalg.svd((x - x.mean(0)) / x.std(0), full_matrices=False)[0][:, :10]
    response = leading @ rng.standard_normal((10, targets))
    return np.sqrt(share) * response / response.std(0)


areas = np.repeat(["A (iBOT)", "B (iBOT)", "C (activations)", "D (activations)"], 4)
responses = 0.7 * rng.standard_normal((240, 16))
responses += np.concatenate([driven(np.asarray(activations["block.7"]), 0.3) for _ in range(4)], axis=1)
responses[:, :8] += driven(np.asarray(terms["ibot"]["block.3"]), 0.8, targets=8)

found = unique_variance(
    terms,
    responses,
    units=areas,
    base=activations,
    groups=stimuli.table["source"].to_numpy(),
    options=(ResidualOptions(cv=3), ConditionalOptions(n_flips=1000)),
)
print(found.to_frame()[["space", "unit", "unique", "low", "high", "p_fwer", "significant"]].round(3))
table = found.table.assign(term=found.table["space"])
figure = loss_terms(table, title="Made-up responses; what each term explains beyond the other")
