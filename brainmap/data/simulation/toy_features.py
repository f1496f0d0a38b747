"""Small feature arrays for simulated studies without a model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainmap.data.simulation.simulation_config import Stream, stream


def toy_features(
    *, sources: int = 40, crops: int = 8, layers: int = 6, width: int = 24, seed: int = 0
) -> tuple[dict[tuple[str, str], np.ndarray], pd.DataFrame]:
    """Activations and gradients of a random residual network on random "photographs".

    Parameters
    ----------
    sources, crops : int
        Photographs and crops of each; crops of a photograph share 60 % of their variance.
    layers, width : int
        Size of the network.
    seed : int
        Seed.

    Returns
    -------
    features : dict of (signal, layer) to numpy.ndarray, (sources * crops, width)
        For signals 'activation' and 'gradient' and layers ``block.0``, ``block.1``, …; gradients are those of a random
        per-image loss, backpropagated exactly.
    table : pandas.DataFrame
        ``stimulus``, ``name`` and ``source``, as in ``StimulusSet.table``.

    Examples
    --------
    >>> from brainmap.data.simulation import toy_features
    >>> features, table = toy_features(sources=10, crops=4, layers=3)
    >>> features["gradient", "block.2"].shape, table["source"].nunique()
    ((40, 24), 10)
    """
    rng = stream(seed, Stream.TOY)
    n = sources * crops
    source = np.repeat(np.arange(sources), crops)
    hidden = np.sqrt(0.6) * rng.standard_normal((sources, width))[source] + np.sqrt(0.4) * rng.standard_normal(
        (n, width)
    )
    weights = [rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(layers)]
    activations, slopes = [], []
    for weight in weights:
        branch = np.tanh(hidden @ weight)
        slopes.append(1.0 - branch**2)
        hidden = 0.6 * hidden + branch
        activations.append(hidden)
    error = hidden * rng.standard_normal(hidden.shape)  # of a loss with random per-image weights
    gradients = []
    for weight, slope in zip(weights[::-1], slopes[::-1], strict=True):
        gradients.append(error)
        error = 0.6 * error + (error * slope) @ weight.T
    names = [f"block.{k}" for k in range(layers)]
    features = {("activation", name): a for name, a in zip(names, activations, strict=True)}
    features |= {("gradient", name): g for name, g in zip(names, gradients[::-1], strict=True)}
    table = pd.DataFrame({"stimulus": [f"{i:016x}" for i in range(n)], "name": [f"toy-{i}" for i in range(n)]})
    return features, table.assign(source=[f"photograph-{s}" for s in source])
