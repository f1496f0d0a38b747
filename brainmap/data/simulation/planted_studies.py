"""Small simulated studies, arrays only, whose truth is known: to measure whether tests and intervals keep their word.

A random ``tanh`` network is run on grouped latent "photographs" (crops of one source resemble one another); its layers
are the activations, the gradients of a random per-image loss are the gradients. They correlate with the activations, as
real ones do. Units respond to the activations of one layer, planted units also to what the gradients hold beyond them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import PLANTED_NOISE, PLANTED_STUDY

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PlantedOptions:
    """Settings of :func:`planted_study`; shares are fractions of a response's variance.

    Parameters
    ----------
    n_groups, per_group : int
        Source photographs and crops of each.
    n_layers, width : int
        Layers of the network and features per layer.
    within : float
        Standard deviation of the latents within a group; that between groups makes up the rest of 1.
    n_units, targets_per_unit, n_subjects : int
        Units, targets of each per subject, subjects.
    signal : float
        Share of a response driven by the activations of the unit's layer.
    planted : tuple of int
        Units that also respond to the gradients beyond the activations.
    gradient : float
        Share of a planted response driven by that part.
    group_noise : float
        Share of a response common to the crops of a group and unrelated to any feature.
    unmodelled : float
        Share driven by a few latent variables that no feature explains, half of their variance common to the crops of a
        group; the same latents for all units and subjects, and 60 % of the weights common to subjects.
    """

    n_groups: int = 45
    per_group: int = 12
    n_layers: int = 6
    width: int = 40
    within: float = 0.5
    n_units: int = 16
    targets_per_unit: int = 6
    n_subjects: int = 2
    signal: float = 0.35
    planted: tuple[int, ...] = ()
    gradient: float = 0.1
    group_noise: float = 0.1
    unmodelled: float = 0.1

    def __post_init__(self) -> None:
        if self.signal + self.gradient + self.group_noise + self.unmodelled > 1:
            raise InputError(
                "The shares of signal, gradient, unmodelled part and group noise exceed the variance of a response."
            )
        if any(not 0 <= unit < self.n_units for unit in self.planted):
            raise InputError(f"Planted units {self.planted} must lie between 0 and {self.n_units - 1}.")


@dataclass(frozen=True, eq=False)
class PlantedStudy:
    """A simulated study.

    Parameters
    ----------
    activations, gradients : dict of str to ndarray
        Layer to (n_images, width).
    responses : list of ndarray
        One (n_images, n_targets) array per subject.
    noiseless : list of ndarray
        The same without noise.
    units, preferred : ndarray of int
        Unit of each target and index of the layer that drives each unit.
    groups : ndarray of int
        Source photograph of each image.
    options : PlantedOptions
        Settings.
    """

    activations: dict[str, FloatArray]
    gradients: dict[str, FloatArray]
    responses: list[FloatArray] = field(repr=False)
    noiseless: list[FloatArray] = field(repr=False)
    units: NDArray[np.intp]
    preferred: NDArray[np.intp]
    groups: NDArray[np.intp]
    options: PlantedOptions


def planted_study(seed: int, options: PlantedOptions | None = None, *, noise_seed: int | None = None) -> PlantedStudy:
    """Simulate one small study.

    Parameters
    ----------
    seed : int
        Seed of everything.
    options : PlantedOptions, optional
        Settings.
    noise_seed : int, optional
        Draw the noise and the part that no feature explains from another seed, on the same photographs and weights.

    Returns
    -------
    PlantedStudy
        Simulated data and their truth.
    """
    options = options or PlantedOptions()
    rng = np.random.default_rng([seed, PLANTED_STUDY])
    noise_rng = np.random.default_rng(
        [seed, PLANTED_NOISE] if noise_seed is None else [seed, PLANTED_NOISE, noise_seed]
    )
    groups = np.repeat(np.arange(options.n_groups), options.per_group)
    activations, gradients = _network(rng, groups, options)
    units = np.repeat(np.arange(options.n_units), options.targets_per_unit)
    preferred = np.arange(options.n_units) * options.n_layers // options.n_units
    beyond = _beyond(activations, gradients)
    latent = _latents(noise_rng, groups, options)
    common = rng.standard_normal((latent.shape[1], len(units)))
    responses, noiseless = [], []
    for _ in range(options.n_subjects):
        parts = [
            _unit_signal(rng, list(activations.values())[preferred[u]], beyond, u in options.planted, options)
            for u in range(options.n_units)
        ]
        truth = np.concatenate(parts, axis=1)
        mixing = np.sqrt(0.6) * common + np.sqrt(0.4) * rng.standard_normal(common.shape)
        truth += np.sqrt(options.unmodelled) * _scale(latent @ mixing)
        responses.append(truth + _noise(noise_rng, groups, np.maximum(1.0 - truth.var(axis=0), 0.0), options))
        noiseless.append(truth)
    return PlantedStudy(activations, gradients, responses, noiseless, units, preferred, groups, options)


def _scale(x: FloatArray) -> FloatArray:
    centred = x - x.mean(axis=0)
    scaled: FloatArray = centred / centred.std(axis=0)
    return scaled


def _network(
    rng: np.random.Generator, groups: NDArray[np.intp], options: PlantedOptions
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Forward through tanh layers, backward from a random quadratic-plus-sine loss of the last one."""
    size = 20
    between = rng.standard_normal((options.n_groups, size))[groups]
    state = np.sqrt(1.0 - options.within**2) * between + options.within * rng.standard_normal((len(groups), size))
    weights, layers = [], []
    for _ in range(options.n_layers):
        weights.append(rng.standard_normal((state.shape[1], options.width)) * 1.5 / np.sqrt(state.shape[1]))
        state = np.tanh(state @ weights[-1])
        layers.append(state)
    readout = rng.standard_normal((options.width, 8)) / np.sqrt(options.width)
    code = state @ readout
    gradient = (code + np.sin(3.0 * code)) @ readout.T
    gradients = [gradient]
    for layer in range(options.n_layers - 1, 0, -1):
        gradient = (gradient * (1.0 - layers[layer] ** 2)) @ weights[layer].T
        gradients.append(gradient)
    names = [f"block.{k}" for k in range(options.n_layers)]
    return dict(zip(names, layers, strict=True)), dict(zip(names, gradients[::-1], strict=True))


def _beyond(activations: dict[str, FloatArray], gradients: dict[str, FloatArray]) -> FloatArray:
    """Leading principal components (unit variance) of the gradients after regressing out all activations."""
    base = np.concatenate([_scale(x) for x in activations.values()], axis=1)
    left, singular, _ = np.linalg.svd(base, full_matrices=False)
    left = left[:, singular > 0.03 * singular[0]]
    rest = np.concatenate([_scale(x) for x in gradients.values()], axis=1)
    rest = rest - left @ (left.T @ rest)
    return _scale(np.linalg.svd(rest, full_matrices=False)[0][:, :10])


def _unit_signal(
    rng: np.random.Generator, layer: FloatArray, beyond: FloatArray, planted: bool, options: PlantedOptions
) -> FloatArray:
    """Responses of one unit's targets: a shared direction of weights plus individual ones."""
    n = options.targets_per_unit
    features = _scale(layer)
    weights = rng.standard_normal((features.shape[1], 1)) + rng.standard_normal((features.shape[1], n))
    signal: FloatArray = np.sqrt(options.signal) * _scale(features @ weights)
    if planted:
        mixing = rng.standard_normal((beyond.shape[1], 1)) + 0.5 * rng.standard_normal((beyond.shape[1], n))
        signal = signal + np.sqrt(options.gradient) * _scale(beyond @ mixing)
    return signal


def _latents(rng: np.random.Generator, groups: NDArray[np.intp], options: PlantedOptions) -> FloatArray:
    by_group = rng.standard_normal((options.n_groups, 6))[groups]
    return by_group + rng.standard_normal((len(groups), 6))


def _noise(
    rng: np.random.Generator, groups: NDArray[np.intp], variance: FloatArray, options: PlantedOptions
) -> FloatArray:
    """Noise of given variance per target, ``group_noise`` of it common to the crops of a group."""
    common = np.minimum(options.group_noise, variance)
    by_group = rng.standard_normal((options.n_groups, len(variance)))[groups]
    return np.sqrt(common) * by_group + np.sqrt(variance - common) * rng.standard_normal((len(groups), len(variance)))
