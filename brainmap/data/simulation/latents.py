"""The latent variables of a simulation: all layers' drives, the gradient's, and what no feature explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmap.data.simulation.drives import gradient_drives, layer_drives, split_features
from brainmap.data.simulation.simulation_config import SimulationConfig, Stream, stream

UNMODELLED_COUNT = 8
GRADIENT, UNMODELLED, EARLIER = -1, -2, -3


@dataclass(frozen=True, eq=False)
class Latents:
    """Latent variables of every image.

    Parameters
    ----------
    values : numpy.ndarray, (n_images, m)
        Mean 0, variance 1.
    layer : numpy.ndarray of int, (m,)
        Which layer each column belongs to; −1 for the gradient's part, −2 for what no feature explains, −3, at the
        end, for what gradients of an earlier stage of training hold.
    layers : tuple of str
        Layer names, shallow to deep.
    """

    values: np.ndarray
    layer: np.ndarray
    layers: tuple[str, ...]

    @property
    def depths(self) -> np.ndarray:
        """Depth of each layer, from 0 to 1."""
        return np.linspace(0.0, 1.0, len(self.layers)) if len(self.layers) > 1 else np.zeros(1)

    @property
    def has_gradient(self) -> bool:
        """Whether there were gradients to plant."""
        return bool((self.layer == GRADIENT).any())

    @property
    def without_earlier(self) -> int:
        """Number of columns before those of gradients of an earlier stage of training."""
        return int((self.layer != EARLIER).sum())

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the columns, (m, m)."""
        return self.values.T @ self.values / len(self.values)


def make_latents(
    features: Mapping[tuple[str, str], np.ndarray], table: pd.DataFrame, config: SimulationConfig, seed: int
) -> Latents:
    """Latent variables from features; the random part that no feature explains is half shared by a source's crops."""
    layers, activations, gradients, earlier = split_features(features)
    drives = layer_drives(activations, config.drives_per_layer)
    blocks = list(drives)
    layer = np.repeat(np.arange(len(layers)), config.drives_per_layer).tolist()
    planted = bool(gradients) and config.gradient_share > 0
    if planted:
        blocks.append(gradient_drives(gradients, activations, config.gradient_drives))
        layer += [GRADIENT] * blocks[-1].shape[1]
    rng = stream(seed, Stream.UNMODELLED)
    source = pd.factorize(table["source"])[0]
    shared = rng.standard_normal((source.max() + 1, UNMODELLED_COUNT))[source]
    random = shared + rng.standard_normal((len(source), UNMODELLED_COUNT))
    random -= random.mean(axis=0)
    blocks.append(random / random.std(axis=0))
    layer += [UNMODELLED] * UNMODELLED_COUNT
    if planted and earlier and config.earlier_share > 0:
        late = blocks[len(layers)]
        blocks.append(gradient_drives(earlier, activations, config.gradient_drives, besides=late))
        layer += [EARLIER] * blocks[-1].shape[1]
    return Latents(np.concatenate(blocks, axis=1), np.array(layer), layers)
