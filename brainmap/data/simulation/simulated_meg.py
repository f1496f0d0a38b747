"""Simulated MEG: dipoles at the driving areas, seen by CTF sensors, one after the other; then what gradients add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmap.data.sensor_layout import load_sensors
from brainmap.data.simulation.latents import EARLIER, GRADIENT, UNMODELLED, Latents
from brainmap.data.simulation.simulation_config import SimulationConfig, Stream, stream

ONSET, RISE, HOLD, DECAY = 0.05, 0.05, 0.42, 0.25  # s: envelope of what activations drive
FIRST_PEAK, LAST_PEAK = 0.10, 0.40  # s: when the shallowest and the deepest layer drive most
GRADIENT_POWER, GRADIENT_LASTING, GRADIENT_DECAY, GRADIENT_LOSS, GRADIENT_RAMP = 0.9, 0.7, 0.15, 0.3, 0.06
NOISE_SOURCES, NOISE_SPREAD, NOISE_TIME = 40, 0.6, 0.08  # count, share of variance, s
BRAIN_CENTRE_MM, BRAIN_SCALE = np.array([0.0, -18.0, 10.0]), 0.85e-3
BASELINE_M = 0.05  # of the axial gradiometers
BLOCK_TRIALS = 64


@dataclass(frozen=True, eq=False)
class MegPlan:
    """Everything that subjects share.

    Parameters
    ----------
    sensors : pandas.DataFrame
        Sensors, see :func:`brainmap.data.sensor_layout.load_sensors`.
    times : numpy.ndarray, (n_times,)
        Samples in s.
    layer_power : numpy.ndarray, (n_layers, n_times)
        Planted share of each layer in the signal's power, before overlap of correlated layers.
    gradient_power : numpy.ndarray, (n_times,)
        Planted power of the gradient's part; 0 outside its window.
    places : numpy.ndarray, (m, 3)
        Dipole of each latent in head coordinates (m).
    without_earlier : int
        How many of them do not belong to gradients of an earlier stage of training.
    """

    sensors: pd.DataFrame
    times: np.ndarray
    layer_power: np.ndarray
    gradient_power: np.ndarray
    places: np.ndarray
    without_earlier: int

    @property
    def targets(self) -> pd.DataFrame:
        """Sensor-major table of targets."""
        names = np.repeat(self.sensors["sensor"].to_numpy(), len(self.times))
        return pd.DataFrame({"sensor": names, "time": np.tile(self.times, len(self.sensors))})


def plan_meg(config: SimulationConfig, areas: pd.DataFrame, latents: Latents, seed: int) -> MegPlan:
    """Time courses and dipole places."""
    sensors = load_sensors("ctf-272").iloc[:: config.sensor_every].reset_index(drop=True)
    times = config.time_axis()
    power = layer_power(times, latents.depths)
    gradient = gradient_power(times, config.gradient_window) if latents.has_gradient else np.zeros(len(times))
    count = latents.without_earlier
    kinds = ((Stream.MEG_SOURCES, latents.layer[:count]), (Stream.EARLIER_SOURCES, latents.layer[count:]))
    places = [_dipole_places(areas, layer, latents.depths, stream(seed, purpose)) for purpose, layer in kinds]
    return MegPlan(sensors, times, power, gradient, np.concatenate(places), count)


def layer_power(times: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Power of each layer over time, (n_layers, n_times): a wave from shallow to deep, then a decay.

    Layer k peaks at 0.10 + 0.30 · depth s, rises over 30 to 50 ms and decays over 60 to 160 ms. At each time the
    layers' shares are scaled so that their sum follows one envelope: none before 50 ms, full from 0.10 to 0.42 s, then
    an exponential decay of 0.25 s.
    """
    lag = times[None, :] - (FIRST_PEAK + (LAST_PEAK - FIRST_PEAK) * depths)[:, None]
    rise, decay = 0.03 + 0.02 * depths[:, None], 0.06 + 0.10 * depths[:, None]
    course = np.where(lag < 0, np.exp(-0.5 * (lag / rise) ** 2), np.exp(-np.maximum(lag, 0.0) / decay))
    share = course**2 / np.maximum((course**2).sum(axis=0), 1e-300)
    start = np.clip((times - ONSET) / RISE, 0.0, 1.0)
    envelope = 0.5 * (1 - np.cos(np.pi * start)) * np.exp(-np.maximum(times - HOLD, 0.0) / DECAY)
    return share * envelope


def gradient_power(times: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Power of the gradient's part, (n_times,): exactly 0 outside the window.

    As Raugel et al. 2026 found (figures 2F and 4), it is highest when the deepest layer's activations drive most, falls
    to two thirds within 0.3 s, then declines slowly: what gradients add lasts when activations are over.
    """
    start, stop = window
    peak = min(max(LAST_PEAK, start + GRADIENT_RAMP), stop)
    rise = np.clip((times - start) / (peak - start), 0.0, 1.0)
    left = stop - times
    fall = np.where(left >= -1e-9, np.clip(0.5 + 0.5 * left / GRADIENT_RAMP, 0.0, 1.0), 0.0)
    since = np.clip(times - peak, 0.0, None)
    course = GRADIENT_LASTING + (1.0 - GRADIENT_LASTING) * np.exp(-since / GRADIENT_DECAY)
    return GRADIENT_POWER * rise * fall * course * (1.0 - GRADIENT_LOSS * np.clip(since / (stop - peak), 0.0, 1.0))


def meg_patterns(plan: MegPlan, seed: int, subject: int) -> np.ndarray:
    """Sensor pattern of each latent's dipole in one subject, (m, n_sensors), mean square 1.

    Places move by 5 mm and directions turn a little from subject to subject.
    """
    parts = (
        (plan.places[: plan.without_earlier], Stream.MEG_SOURCES),
        (plan.places[plan.without_earlier :], Stream.EARLIER_SOURCES),
    )
    return np.concatenate([_patterns(plan.sensors, places, seed, subject, purpose) for places, purpose in parts])


def _patterns(sensors: pd.DataFrame, places: np.ndarray, seed: int, subject: int, purpose: Stream) -> np.ndarray:
    common = stream(seed, purpose, 0).standard_normal(places.shape)
    rng = stream(seed, purpose, 1 + subject)
    own = places + 0.005 * rng.standard_normal(places.shape) / np.sqrt(3.0)
    patterns = dipole_field(sensors, own, common + 0.4 * rng.standard_normal(places.shape))
    return patterns / np.sqrt((patterns**2).mean(axis=1, keepdims=True))


def meg_courses(plan: MegPlan, latents: Latents, patterns: np.ndarray, config: SimulationConfig) -> np.ndarray:
    """Time course of each latent, (m, n_times), such that the sensors' mean variance is the planned power.

    Powers are in units of single-trial noise variance. The part that no feature explains keeps its share at all times.
    """
    groups = {"activation": latents.layer >= 0, "gradient": latents.layer == GRADIENT}
    groups |= {"unmodelled": latents.layer == UNMODELLED, "earlier gradient": latents.layer == EARLIER}
    activation = plan.layer_power.sum(axis=0)
    model = 1.0 - config.unmodelled_share
    earlier = config.unmodelled_share * config.earlier_share * groups["earlier gradient"].any() * plan.gradient_power
    power = {
        "activation": model * activation,
        "gradient": model * plan.gradient_power,
        "earlier gradient": earlier,
        "unmodelled": config.unmodelled_share * (activation + plan.gradient_power) - earlier,
    }
    courses = np.ones((len(patterns), len(plan.times)))
    courses[groups["activation"]] = np.sqrt(plan.layer_power[latents.layer[groups["activation"]]])
    overlap = latents.covariance * (patterns @ patterns.T) / patterns.shape[1]
    for part, chosen in groups.items():
        if chosen.any():
            block = courses[chosen]
            variance = np.einsum("it,ij,jt->t", block, overlap[np.ix_(chosen, chosen)], block, optimize=True)
            scale = np.where(variance > 1e-12, config.meg_snr * power[part] / np.maximum(variance, 1e-12), 0.0)
            courses[chosen] = block * np.sqrt(scale)
    return courses


def meg_ceiling(signal_variance: np.ndarray, repeats: int) -> np.ndarray:
    """Noise ceiling of each target (r of the mean over repeats with the noiseless response); noise has variance 1."""
    return np.sqrt(signal_variance / (signal_variance + 1.0 / repeats))


def meg_responses(
    noiseless: np.ndarray, images: np.ndarray, plan: MegPlan, config: SimulationConfig, rng: np.random.Generator
) -> np.ndarray:
    """Add noise, block of trials by block of trials.

    Parameters
    ----------
    noiseless : numpy.ndarray, (n_images, n_sensors * n_times)
        In units of the noise's standard deviation.
    images : numpy.ndarray of int, (n_trials,)
        Image of each trial.
    plan : MegPlan
        Sensors and times.
    config : SimulationConfig
        Sampling rate.
    rng : numpy.random.Generator
        Source of the noise: 60 % from random dipoles, 40 % from the sensors; both first-order autoregressive in time.

    Returns
    -------
    numpy.ndarray of float32, (n_trials, n_sensors * n_times)
    """
    n_sensors, n_times = len(plan.sensors), len(plan.times)
    directions = rng.standard_normal((NOISE_SOURCES, 3))
    places = (
        directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.03, 0.07, (NOISE_SOURCES, 1))
    )
    mixing = dipole_field(plan.sensors, places + head_centre(plan.sensors), rng.standard_normal((NOISE_SOURCES, 3)))
    mixing *= np.sqrt(NOISE_SPREAD) / np.linalg.norm(mixing, axis=0, keepdims=True)
    mixing = mixing.astype(np.float32)
    correlation = float(np.exp(-1.0 / (config.sampling_rate * NOISE_TIME)))
    values = np.empty((len(images), n_sensors * n_times), dtype=np.float32)
    for start in range(0, len(images), BLOCK_TRIALS):
        rows = slice(start, min(start + BLOCK_TRIALS, len(images)))
        count = rows.stop - rows.start
        sources = rng.standard_normal((count, n_times, NOISE_SOURCES), dtype=np.float32)
        noise = rng.standard_normal((count, n_times, n_sensors), dtype=np.float32) * np.float32(
            np.sqrt(1 - NOISE_SPREAD)
        )
        noise += sources @ mixing
        for step in range(1, n_times):
            noise[:, step] *= np.float32(np.sqrt(1.0 - correlation**2))
            noise[:, step] += np.float32(correlation) * noise[:, step - 1]
        values[rows] = noiseless[images[rows]] + noise.transpose(0, 2, 1).reshape(count, -1)
    return values


def dipole_field(sensors: pd.DataFrame, places: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Field of current dipoles in a conducting sphere at radial gradiometers, (k, n_sensors), arbitrary unit.

    Only primary currents contribute to the radial field (Sarvas 1987): ``B·r̂ ∝ −(Q × r0)·r̂ / |r − r0|³`` with r
    measured from the sphere's centre; a gradiometer sees the difference over its 5 cm baseline. Directions are made
    tangential.
    """
    centre = head_centre(sensors)
    position = sensors[["x", "y", "z"]].to_numpy() - centre
    outward = position / np.linalg.norm(position, axis=1, keepdims=True)
    origin = places - centre
    moment = np.cross(directions, origin)
    moment /= np.maximum(np.linalg.norm(moment, axis=1, keepdims=True), 1e-12)
    field = np.zeros((len(places), len(sensors)))
    for coil, sign in ((position, -1.0), (position + BASELINE_M * outward, 1.0)):
        distance = np.linalg.norm(coil[None] - origin[:, None], axis=2)
        field += sign * (moment @ outward.T) / distance**3
    return field


def head_centre(sensors: pd.DataFrame) -> np.ndarray:
    """Centre of the sphere that fits the sensors best (least squares), (3,) in m."""
    position = sensors[["x", "y", "z"]].to_numpy()
    design = np.column_stack([2.0 * position, np.ones(len(position))])
    return np.linalg.lstsq(design, (position**2).sum(axis=1), rcond=None)[0][:3]


def _dipole_places(
    areas: pd.DataFrame, latent_layer: np.ndarray, depths: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One dipole per latent, in an area that its layer drives (or where gradients are planted), on a random side."""
    centre = head_centre(load_sensors("ctf-272"))
    depth = areas["depth"].to_numpy()
    planted = np.flatnonzero(areas["gradient_share"] > 0)
    rows: list[int] = []
    for layer in latent_layer:
        if layer >= 0:
            nearest = np.argsort(np.abs(depth - depths[layer]), kind="stable")[:4]
            rows.append(int(rng.choice(nearest)))
        else:
            rows.append(int(rng.choice(planted if layer != UNMODELLED and len(planted) else np.arange(len(areas)))))
    place = areas[["x", "y", "z"]].to_numpy()[rows]
    place[:, 0] = np.abs(place[:, 0]) * rng.choice([-1.0, 1.0], size=len(place))
    return centre + (place - BRAIN_CENTRE_MM) * BRAIN_SCALE
