"""Latent variables that drive the simulated responses, drawn from feature arrays.

Neighbouring layers of a network are almost collinear: in a residual stream, a linear map from the last layer recovers
most of the first. Responses to "principal components of layer k" would therefore be fitted equally well by half of the
network and no best layer could be recovered, by any analysis. What makes layers distinct for a *regularised* model is
which directions have much variance. Each layer's drives are those combinations of its leading principal components
that a ridge smoother on layer k keeps and ridge smoothers on distant layers lose: eigenvectors of

    U' (S_k − Σ_j w_kj S_j) U,    S_j = X_j (X_j' X_j + α_j I)^-1 X_j',    w_kj ∝ min(|j − k|, 4),

with U the leading left singular vectors of layer k and α_j such that all smoothers have the same degrees of freedom.

The gradient's drives are the directions that smoothers on the layers' gradients, the deep ones' above all, keep best
after projecting out the leading principal components of all activations together and the gradients' norms: they are
orthogonal to the former by construction, and a norm control cannot explain them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brainmap.common.errors import InputError

MAX_FREEDOM, MAX_RANK, MAX_REMOVED = 40.0, 30, 150
FARTHEST = 4
DEPTH_WEIGHT = 3.0  # shallow layers' gradients predict less of the drives: Raugel et al. 2026, figure 2F
EARLIER_SIGNAL = "earlier gradient"
SIGNALS = ("activation", "gradient", EARLIER_SIGNAL)


@dataclass(frozen=True, eq=False)
class Smoother:
    """Ridge smoother ``U diag(shrinkage) U'`` of one feature array."""

    vectors: np.ndarray
    shrinkage: np.ndarray

    def within(self, basis: np.ndarray) -> np.ndarray:
        """``basis' S basis``."""
        projected = basis.T @ self.vectors
        return (projected * self.shrinkage) @ projected.T


def left_singular_of_features(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors and singular values of standardised features, (n, d) with any d."""
    x = np.asarray(features, dtype=np.float64)
    x = x - x.mean(axis=0)
    scale = x.std(axis=0)
    x = x[:, scale > 1e-12 * max(scale.max(initial=0.0), 1e-300)]
    if not x.shape[1]:
        raise InputError("A feature array is constant over the images; it cannot drive simulated responses.")
    x /= x.std(axis=0)
    if x.shape[1] > len(x):
        values, vectors = np.linalg.eigh(x @ x.T)
        u, s = vectors[:, ::-1], np.sqrt(np.maximum(values[::-1], 0.0))
    else:
        u, s, _ = np.linalg.svd(x, full_matrices=False)
    keep = s > 1e-6 * s[0]
    return _fix_signs(u[:, keep]), s[keep]


def ridge_smoother(u: np.ndarray, s: np.ndarray, freedom: float) -> Smoother:
    """Smoother with the given effective degrees of freedom (bisection on log α)."""
    freedom = min(freedom, 0.9 * len(s))
    low, high = np.log(s[-1] ** 2) - 20.0, np.log(s[0] ** 2) + 20.0
    for _ in range(100):
        middle = (low + high) / 2
        if (s**2 / (s**2 + np.exp(middle))).sum() > freedom:
            low = middle
        else:
            high = middle
    return Smoother(u, s**2 / (s**2 + np.exp(high)))


def layer_drives(activations: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Drives of each layer.

    Parameters
    ----------
    activations : sequence of (n, d) arrays
        Layers, shallow to deep.
    count : int
        Drives per layer; fewer where a layer has a lower rank.

    Returns
    -------
    numpy.ndarray, (n_layers, n, count)
        Mean 0, variance 1, uncorrelated within a layer.
    """
    decompositions = [left_singular_of_features(features) for features in activations]
    n = len(decompositions[0][0])
    freedom = min(MAX_FREEDOM, n / 8)
    smoothers = [ridge_smoother(u, s, freedom) for u, s in decompositions]
    drives = np.zeros((len(smoothers), n, count))
    for k, own in enumerate(smoothers):
        rank = min(MAX_RANK, max(count, n // 10), own.vectors.shape[1])
        basis = own.vectors[:, :rank]
        contrast = own.within(basis)
        weights = np.array([min(abs(j - k), FARTHEST) for j in range(len(smoothers))], dtype=np.float64)
        for weight, other in zip(weights / max(weights.sum(), 1.0), smoothers, strict=True):
            if weight:
                contrast -= weight * other.within(basis)
        vectors = np.linalg.eigh(contrast)[1][:, ::-1][:, :count]
        drives[k, :, : vectors.shape[1]] = _fix_signs(basis @ vectors) * np.sqrt(n)
    return drives


def gradient_drives(
    gradients: Sequence[np.ndarray],
    activations: Sequence[np.ndarray],
    count: int,
    *,
    besides: np.ndarray | None = None,
) -> np.ndarray:
    """Drives that gradients hold beyond activations, deep layers' gradients more than shallow ones'.

    Parameters
    ----------
    gradients, activations : sequences of (n, d) arrays
        Layers.
    count : int
        Number of drives.
    besides : numpy.ndarray, (n, k), optional
        Other drives, to which these are orthogonal.

    Returns
    -------
    numpy.ndarray, (n, count)
        Mean 0, variance 1, orthogonal to the leading components of the activations and to the gradients' norms.
    """
    removed = nuisance_basis(activations, gradients)
    if besides is not None:
        removed = np.linalg.qr(np.concatenate([removed, besides], axis=1))[0]
    n = len(removed)
    freedom = min(MAX_FREEDOM, n / 8)
    average = np.zeros((n, n))
    weights = np.linspace(0.0, 1.0, len(gradients) + 1)[1:] ** DEPTH_WEIGHT
    for weight, features in zip(weights / weights.sum(), gradients, strict=True):
        smoother = ridge_smoother(*left_singular_of_features(features), freedom)
        vectors = smoother.vectors - removed @ (removed.T @ smoother.vectors)
        average += weight * (vectors * smoother.shrinkage) @ vectors.T
    vectors = np.linalg.eigh(average)[1][:, ::-1][:, :count]
    vectors -= removed @ (removed.T @ vectors)
    return _fix_signs(np.linalg.qr(vectors)[0]) * np.sqrt(n)


def nuisance_basis(activations: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Orthonormal basis of what the gradient's drives must not contain, (n, k).

    The constant, the leading principal components of all layers' activations together (every layer with the same
    weight, at most a quarter of the images) and the norms of the gradients and their logarithms.
    """
    parts = []
    for features in activations:
        u, s = left_singular_of_features(features)
        parts.append(u * (s / np.linalg.norm(s)))
    u, _ = left_singular_of_scores(np.concatenate(parts, axis=1))
    n = len(u)
    norms = np.stack([np.linalg.norm(np.asarray(g, dtype=np.float64), axis=1) for g in gradients], axis=1)
    scalars = np.concatenate([norms, np.log(norms + 1e-12 * norms.max(initial=1e-300))], axis=1)
    scalars = left_singular_of_features(scalars)[0][:, : n // 8] if np.ptp(norms) > 0 else np.zeros((n, 0))
    leading = u[:, : min(MAX_REMOVED, n // 4)]
    return np.linalg.qr(np.concatenate([np.ones((n, 1)), leading, scalars], axis=1))[0]


def left_singular_of_scores(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors of an array whose columns keep their scale."""
    values, vectors = np.linalg.eigh(scores @ scores.T)
    keep = values[::-1] > 1e-12 * values[-1]
    return _fix_signs(vectors[:, ::-1][:, keep]), np.sqrt(values[::-1][keep])


def _fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Make the largest entry of each column positive: signs of eigenvectors are arbitrary otherwise."""
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return vectors * np.where(signs == 0, 1.0, signs)


def split_features(
    features: Mapping[tuple[str, str], np.ndarray],
) -> tuple[tuple[str, ...], list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Layer names in order, activations, gradients, earlier gradients (none if absent), of as many images each."""
    layers = tuple(layer for signal, layer in features if signal == "activation")
    if not layers:
        raise InputError("A simulation needs activations: keys ('activation', layer) of arrays (n_images, d).")
    activations = [np.asarray(features["activation", layer]) for layer in layers]
    gradients = [np.asarray(features[key]) for key in features if key[0] == "gradient"]
    earlier = [np.asarray(features[key]) for key in features if key[0] == EARLIER_SIGNAL]
    counts = {len(array) for array in (*activations, *gradients, *earlier)}
    if len(counts) != 1:
        raise InputError(f"Feature arrays have different numbers of images, {sorted(counts)}; extract them together.")
    for key in features:
        if key[0] in SIGNALS and not np.isfinite(np.asarray(features[key])).all():
            raise InputError(f"The {key[0]} of layer {key[1]!r} has NaN or infinite values; it cannot drive responses.")
    return layers, activations, gradients, earlier
