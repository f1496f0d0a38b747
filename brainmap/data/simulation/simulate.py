"""Responses of several simulated subjects from feature arrays and a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import Modality
from brainmap.data.atlas import MESH_NAME
from brainmap.data.responses import Responses
from brainmap.data.simulation import simulated_fmri, simulated_meg
from brainmap.data.simulation.drives import SIGNALS
from brainmap.data.simulation.ground_truth import GroundTruth
from brainmap.data.simulation.latents import Latents, make_latents
from brainmap.data.simulation.simulation_config import SIMULATION_VERSION, SimulationConfig, Stream, stream

IMAGES_PER_RUN = 100
STIMULUS_DURATION = 0.5  # s, as in THINGS-MEG


def simulate(
    features: Mapping[tuple[str, str], np.ndarray],
    stimuli_table: pd.DataFrame,
    *,
    seed: int = 0,
    config: SimulationConfig | None = None,
) -> dict[str, Any]:
    """Simulate fMRI and MEG of several subjects.

    Planted: shallow layers drive V1 and early latencies, deep layers drive areas far from V1 and late latencies; what
    the gradients hold beyond all activations drives ``config.gradient_areas`` and ``config.gradient_window``. Features
    are taken as they are (pooled, one row per image); nothing is known about the model they come from.

    Parameters
    ----------
    features : mapping of (signal, layer) to array-like, (n_images, d)
        Signal 'activation' or 'gradient'; layers in order from shallow to deep. Without gradients no gradient part is
        planted. 'earlier gradient': those of an earlier stage of the model's training, which drive part of what the
        model leaves unexplained where its gradients are planted.
    stimuli_table : pandas.DataFrame
        ``StimulusSet.table``: columns ``stimulus`` (id) and ``source``, one row per row of the features.
    seed : int
        Seed of everything random; the same seed gives the same bits.
    config : SimulationConfig, optional
        Settings.

    Returns
    -------
    dict
        ``fmri`` and ``meg``: subject name → Responses (one row per trial, float32, in memory); ``truth``: GroundTruth.

    Raises
    ------
    InputError
        If features and table do not fit together.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.data.simulation import SimulationConfig, toy_features
    >>> features, table = toy_features()
    >>> brains = brainmap.simulate(features, table, config=SimulationConfig.small())
    >>> brains["fmri"]["S1"]
    Responses(simulated fMRI, subject S1, 960 trials × 135 targets)
    >>> brains["truth"].gradient_areas
    ('TE2p', 'TPOJ1')
    """
    config = config or SimulationConfig()
    job = _Job.prepare(features, stimuli_table, seed, config)
    responses: dict[str, Any] = {
        modality: {subject: job.responses(modality, i) for i, subject in enumerate(config.subjects)}
        for modality in ("fmri", "meg")
        if modality in config.modalities
    }
    return {**responses, "truth": job.truth()}


@dataclass(eq=False)
class _Job:
    """One simulation; ``kept`` collects what the ground truth needs."""

    config: SimulationConfig
    seed: int
    stimuli: np.ndarray
    latents: Latents
    areas: pd.DataFrame
    fmri_plan: simulated_fmri.FmriPlan
    meg_plan: simulated_meg.MegPlan
    kept: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept |= {"stimulus": self.stimuli, "latents": self.latents.values, "latent_layer": self.latents.layer}

    @classmethod
    def prepare(
        cls, features: Mapping[tuple[str, str], np.ndarray], table: pd.DataFrame, seed: int, config: SimulationConfig
    ) -> _Job:
        """Everything that subjects share."""
        arrays = {key: np.asarray(features[key]) for key in features if key[0] in SIGNALS}
        _check_table(table, arrays)
        latents = make_latents(arrays, table, config, seed)
        areas = simulated_fmri.planted_areas(config, seed, gradient=latents.has_gradient)
        return cls(
            config=config,
            seed=seed,
            stimuli=table["stimulus"].to_numpy(dtype=str),
            latents=latents,
            areas=areas,
            fmri_plan=simulated_fmri.plan_fmri(config, areas, len(latents.layers)),
            meg_plan=simulated_meg.plan_meg(config, areas, latents, seed),
        )

    def truth(self) -> GroundTruth:
        """What was planted, with the weights of all subjects simulated so far."""
        planted = self.latents.has_gradient
        return GroundTruth(
            seed=self.seed,
            config={**self.config.to_dict(), "version": SIMULATION_VERSION},
            layers=self.latents.layers,
            gradient_areas=self.config.gradient_areas if planted else (),
            gradient_window=self.config.gradient_window if planted else None,
            areas=self.areas,
            vertices=_vertex_truth(self.fmri_plan, self.latents.layers),
            times=_time_truth(self.meg_plan, self.latents),
            arrays=self.kept,
        )

    def responses(self, modality: Modality, number: int) -> Responses:
        """All trials of one subject."""
        trials, images = self._trials(number)
        subject = self.config.subjects[number]
        info: dict[str, Any] = {"dataset": "simulation", "seed": self.seed, "repeats": self.config.repeats}
        info["stimulus_duration"] = STIMULUS_DURATION
        if modality == "fmri":
            values, targets = self._fmri(number, images), self.fmri_plan.targets
            info |= {"mesh": MESH_NAME, "unit": "standard deviations of the noiseless response"}
        else:
            values, targets = self._meg(number, images), self.meg_plan.targets
            info |= {"sfreq": self.config.sampling_rate, "unit": "standard deviations of single-trial noise"}
        return Responses(values, trials, targets, modality, subject, simulated=True, info=info)

    def _trials(self, number: int) -> tuple[pd.DataFrame, np.ndarray]:
        """Every image once per session, in random order; runs of 100 images."""
        rng = stream(self.seed, Stream.TRIAL_ORDER, number)
        count, repeats = len(self.stimuli), self.config.repeats
        images = np.concatenate([rng.permutation(count) for _ in range(repeats)])
        repeat = np.repeat(np.arange(repeats), count)
        run = 1 + np.tile(np.arange(count) // IMAGES_PER_RUN, repeats)
        columns = {"stimulus": self.stimuli[images], "session": repeat + 1, "run": run, "repeat": repeat}
        return pd.DataFrame(columns), images

    def _fmri(self, number: int, images: np.ndarray) -> np.ndarray:
        weights = simulated_fmri.fmri_weights(self.fmri_plan, self.latents, self.config, self.seed, number)
        ceiling = simulated_fmri.fmri_ceiling(self.fmri_plan, self.config, self.seed, number)
        prefix = f"fmri/{self.config.subjects[number]}"
        self.kept |= {f"{prefix}/weights": weights, f"{prefix}/ceiling": ceiling}
        noiseless = (self.latents.values @ weights).astype(np.float32)
        rng = stream(self.seed, Stream.FMRI_NOISE, number)
        return simulated_fmri.fmri_responses(noiseless, images, ceiling, self.fmri_plan, rng)

    def _meg(self, number: int, images: np.ndarray) -> np.ndarray:
        patterns = simulated_meg.meg_patterns(self.meg_plan, self.seed, number)
        courses = simulated_meg.meg_courses(self.meg_plan, self.latents, patterns, self.config)
        mixing = (patterns[:, :, None] * courses[:, None, :]).reshape(len(patterns), -1)
        noiseless = (self.latents.values @ mixing).astype(np.float32)
        ceiling = simulated_meg.meg_ceiling(noiseless.var(axis=0, dtype=np.float64), self.config.repeats)
        prefix = f"meg/{self.config.subjects[number]}"
        self.kept |= {f"{prefix}/patterns": patterns, f"{prefix}/courses": courses, f"{prefix}/ceiling": ceiling}
        rng = stream(self.seed, Stream.MEG_NOISE, number)
        return simulated_meg.meg_responses(noiseless, images, self.meg_plan, self.config, rng)


def _check_table(table: pd.DataFrame, features: Mapping[tuple[str, str], np.ndarray]) -> None:
    missing = [column for column in ("stimulus", "source") if column not in table]
    if missing:
        raise InputError(f"The stimulus table has no column {missing[0]!r}; pass StimulusSet.table.")
    for (signal, layer), array in features.items():
        if array.ndim != 2 or len(array) != len(table):
            raise InputError(
                f"The {signal} of layer {layer!r} has shape {array.shape} for {len(table)} images; "
                "give pooled features, one row per image."
            )


def _vertex_truth(plan: simulated_fmri.FmriPlan, layers: tuple[str, ...]) -> pd.DataFrame:
    nearest = np.rint(plan.depth * (len(layers) - 1)).astype(int)
    columns = {"depth": plan.depth, "layer": np.array(layers)[nearest], "gradient_share": plan.gradient_share}
    return plan.targets[["roi", "hemisphere", "vertex"]].assign(**columns)


def _time_truth(plan: simulated_meg.MegPlan, latents: Latents) -> pd.DataFrame:
    total = plan.layer_power.sum(axis=0)
    driven = total > 1e-3
    depth = np.where(driven, latents.depths @ plan.layer_power / np.maximum(total, 1e-12), np.nan)
    layer = np.where(driven, np.array(latents.layers)[plan.layer_power.argmax(axis=0)], "")
    columns = {"time": plan.times, "depth": depth, "layer": layer, "activation_power": total}
    return pd.DataFrame(columns | {"gradient_power": plan.gradient_power})
