"""Simulated fMRI: smooth weights on the cortical mesh, depth that grows with the distance from V1, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from brainmap.data.atlas import area_table, cortical_targets, neighbour_average
from brainmap.data.simulation.latents import EARLIER, GRADIENT, UNMODELLED, Latents
from brainmap.data.simulation.simulation_config import SimulationConfig, Stream, stream

DEPTH_EXPONENT = 0.7  # concave: most areas lie within 60 mm of V1, and the hierarchy must not stall there
LAYER_WIDTH = 0.7  # standard deviation, in layers, of how a vertex mixes neighbouring layers
SHARED_WEIGHTS = 0.6
SMOOTH_NOISE = 0.5
WEIGHT_PASSES, DEPTH_PASSES, CEILING_PASSES, NOISE_PASSES = 8, 3, 12, 3
BLOCK_TRIALS = 128


def planted_areas(config: SimulationConfig, seed: int, *, gradient: bool) -> pd.DataFrame:
    """Areas with their distance from V1, planted depth and share of the gradient's part.

    Depth is ``(distance / largest distance) ** 0.7`` plus the area's own jitter; V1 is 0.
    """
    table = area_table(config.areas, hemispheres=config.hemispheres)
    mean_distance = table.groupby("roi")["distance_mm"].transform("mean").to_numpy()
    rng = stream(seed, Stream.AREA_DEPTH)
    jitter = dict(zip(config.areas, config.depth_jitter * rng.standard_normal(len(config.areas)), strict=True))
    depth = (mean_distance / max(mean_distance.max(), 1e-9)) ** DEPTH_EXPONENT + table["roi"].map(jitter).to_numpy()
    table["depth"] = np.where(table["roi"] == "V1", 0.0, np.clip(depth, 0.0, 1.0))
    planted = table["roi"].isin(config.gradient_areas).to_numpy() & gradient
    table["gradient_share"] = np.where(planted, config.gradient_share, 0.0)
    return table


@dataclass(frozen=True, eq=False)
class FmriPlan:
    """Everything that subjects share.

    Parameters
    ----------
    targets : pandas.DataFrame
        Vertices.
    depth, gradient_share, distance : numpy.ndarray, (n_vertices,)
        Planted depth, share of the gradient's part, distance of the area from V1 in mm.
    layer_weights : numpy.ndarray, (n_vertices, n_layers)
        Amplitude of each layer at each vertex; squares sum to one.
    smoother : scipy.sparse.csr_array, (n_vertices, n_vertices)
        Mean over mesh neighbours.
    """

    targets: pd.DataFrame
    depth: np.ndarray
    gradient_share: np.ndarray
    distance: np.ndarray
    layer_weights: np.ndarray
    smoother: sparse.csr_array


def plan_fmri(config: SimulationConfig, areas: pd.DataFrame, n_layers: int) -> FmriPlan:
    """Lay areas out on the mesh; depth is blurred over the borders between areas."""
    targets = cortical_targets(config.areas, hemispheres=config.hemispheres, every=config.every)
    key = ["hemisphere", "roi"]
    merged = targets[key].merge(areas, on=key, how="left", validate="many_to_one")
    smoother = neighbour_average(targets)
    depth = _smooth(smoother, merged["depth"].to_numpy()[:, None], DEPTH_PASSES)[:, 0]
    offsets = depth[:, None] * (n_layers - 1) - np.arange(n_layers)
    weights = np.exp(-0.5 * (offsets / LAYER_WIDTH) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    share, distance = merged["gradient_share"].to_numpy(), merged["distance_mm"].to_numpy()
    return FmriPlan(targets, depth, share, distance, weights, smoother)


def fmri_weights(plan: FmriPlan, latents: Latents, config: SimulationConfig, seed: int, subject: int) -> np.ndarray:
    """Weights of one subject, (m, n_vertices): ``latents.values @ weights`` has variance 1 at every vertex.

    Weights vary smoothly over the mesh. 60 % of their variance is common to all subjects.
    """
    vertices, own = len(plan.targets), 1 + subject
    mixed = _weights((vertices, latents.without_earlier), seed, own, Stream.FMRI_WEIGHTS)
    if has_earlier := latents.without_earlier < len(latents.layer):
        more = _weights((vertices, len(latents.layer) - latents.without_earlier), seed, own, Stream.EARLIER_WEIGHTS)
        mixed = np.concatenate([mixed, more], axis=1)
    weights = _smooth(plan.smoother, mixed, WEIGHT_PASSES)
    model = (1.0 - config.unmodelled_share) if (latents.layer == UNMODELLED).any() else 1.0
    earlier = (1.0 - model) * config.earlier_share * has_earlier * (plan.gradient_share > 0)
    shares = {
        "activation": model * (1.0 - plan.gradient_share),
        "gradient": model * plan.gradient_share,
        "earlier gradient": earlier,
        "unmodelled": 1.0 - model - earlier,
    }
    columns = {
        "activation": latents.layer >= 0,
        "gradient": latents.layer == GRADIENT,
        "earlier gradient": latents.layer == EARLIER,
        "unmodelled": latents.layer == UNMODELLED,
    }
    weights[:, columns["activation"]] *= plan.layer_weights[:, latents.layer[columns["activation"]]]
    covariance = latents.covariance
    for part, chosen in columns.items():
        if chosen.any():
            block = weights[:, chosen]
            variance = np.einsum("vi,ij,vj->v", block, covariance[np.ix_(chosen, chosen)], block, optimize=True)
            weights[:, chosen] = block * np.sqrt(shares[part] / variance)[:, None]
    # Parts may be correlated by chance; the sum is brought to variance 1 so that ceilings mean what they say.
    variance = np.einsum("vi,ij,vj->v", weights, covariance, weights, optimize=True)
    return np.ascontiguousarray((weights / np.sqrt(variance)[:, None]).T)


def fmri_ceiling(plan: FmriPlan, config: SimulationConfig, seed: int, subject: int) -> np.ndarray:
    """Noise ceiling of each vertex (r of the mean over repeats with the noiseless response), (n_vertices,)."""
    rng = stream(seed, Stream.FMRI_CEILING, subject)
    near, far = config.fmri_ceiling
    base = near + (far - near) * plan.distance / max(plan.distance.max(), 1e-9)
    field = _smooth(plan.smoother, rng.standard_normal((len(base), 1)), CEILING_PASSES)[:, 0]
    field *= 0.1 / max(field.std(), 1e-12)
    return np.clip(base + field + 0.03 * rng.standard_normal(), 0.1, 0.95)


def fmri_responses(
    noiseless: np.ndarray, images: np.ndarray, ceiling: np.ndarray, plan: FmriPlan, rng: np.random.Generator
) -> np.ndarray:
    """Add noise, block of trials by block of trials.

    Parameters
    ----------
    noiseless : numpy.ndarray, (n_images, n_vertices)
        Variance 1 per vertex.
    images : numpy.ndarray of int, (n_trials,)
        Image of each trial.
    ceiling : numpy.ndarray, (n_vertices,)
        Noise ceiling of the mean over repeats.
    plan : FmriPlan
        Vertices.
    rng : numpy.random.Generator
        Source of the noise; half of its variance is smooth over the mesh.

    Returns
    -------
    numpy.ndarray of float32, (n_trials, n_vertices)
        Per cent signal change, so to speak: the noiseless part has standard deviation 1.
    """
    repeats = len(images) / len(noiseless)
    deviation = np.sqrt(repeats * (1.0 / ceiling**2 - 1.0))
    operator = plan.smoother
    for _ in range(NOISE_PASSES - 1):
        operator = operator @ plan.smoother
    gain = np.sqrt(SMOOTH_NOISE / np.asarray(operator.multiply(operator).sum(axis=1)).ravel())
    values = np.empty((len(images), noiseless.shape[1]), dtype=np.float32)
    for start in range(0, len(images), BLOCK_TRIALS):
        rows = slice(start, min(start + BLOCK_TRIALS, len(images)))
        white = rng.standard_normal((2, rows.stop - rows.start, noiseless.shape[1]), dtype=np.float32)
        smooth = (operator @ white[0].T).T * gain
        noise = smooth + np.sqrt(1.0 - SMOOTH_NOISE) * white[1]
        values[rows] = noiseless[images[rows]] + deviation * noise
    return values


def _weights(shape: tuple[int, int], seed: int, own: int, purpose: Stream) -> np.ndarray:
    common, apart = (stream(seed, purpose, *whose).standard_normal(shape) for whose in ((), (own,)))
    return np.sqrt(SHARED_WEIGHTS) * common + np.sqrt(1 - SHARED_WEIGHTS) * apart


def _smooth(operator: sparse.csr_array, values: np.ndarray, passes: int) -> np.ndarray:
    for _ in range(passes):
        values = operator @ values
    return values
