"""Settings of a simulation and the seeds of its random streams."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.data.atlas import SAMPLE_AREAS


class Stream(enum.IntEnum):
    """Purposes of random numbers: each has its own stream, so that changing one part leaves the others alone."""

    UNMODELLED = 1
    AREA_DEPTH = 2
    FMRI_WEIGHTS = 3
    FMRI_CEILING = 4
    FMRI_NOISE = 5
    MEG_SOURCES = 6
    MEG_NOISE = 7
    TRIAL_ORDER = 8
    TOY = 9
    EARLIER_WEIGHTS = 10
    EARLIER_SOURCES = 11


SIMULATION_VERSION = 2
"""Raised when the same settings give other responses: finished studies of the sample are then of another brain."""


@dataclass(frozen=True)
class SimulationConfig:
    """What is simulated and what is planted.

    Parameters
    ----------
    modalities : tuple of {'fmri', 'meg'}
        What to simulate.
    subjects : tuple of str
        Names. Subjects share 60 % of the variance of their weights.
    repeats : int
        Showings of each photograph.
    areas, hemispheres, every
        fMRI targets: HCP-MMP1 areas, sides, and every n-th vertex of each area.
    sensor_every : int
        Keep every n-th of the 272 CTF sensors.
    times : tuple of float
        First and last sample of the MEG epochs in s.
    sampling_rate : float
        MEG samples per second.
    gradient_areas : tuple of str
        Areas partly driven by what gradients hold beyond activations: ventromedial and lateral occipito-temporal ones,
        where Raugel et al. 2026 found their residual.
    gradient_window : tuple of float
        When that part drives the MEG, in s: most when the deepest layer's activations do, then less, but longer.
    gradient_share : float
        Share of the model-driven variance that it makes up in those areas.
    earlier_share : float
        Share of the variance that no feature of the model explains there, driven by the gradients of an earlier stage
        of its training, where they are given: what gradients add can then be highest before the training ends.
    fmri_ceiling : tuple of float
        Mean noise ceiling (r between mean over repeats and noiseless response) at V1 and at the farthest area.
    meg_snr : float
        Peak ratio of signal to noise variance of single trials, mean over sensors.
    unmodelled_share : float
        Share of the repeatable variance that no feature explains, half of it common to the crops of a photograph.
    drives_per_layer, gradient_drives : int
        Number of latent variables per layer and of the gradient part.
    depth_jitter : float
        Standard deviation of an area's planted depth around its place in the hierarchy, in units of depth.

    Examples
    --------
    >>> from brainmap.data import SimulationConfig
    >>> len(SimulationConfig(subjects=("S1",), every=20).areas), len(SimulationConfig.small().areas)
    (51, 10)
    """

    modalities: tuple[str, ...] = ("fmri", "meg")
    subjects: tuple[str, ...] = ("S1", "S2", "S3")
    repeats: int = 3
    areas: tuple[str, ...] = SAMPLE_AREAS
    hemispheres: tuple[str, ...] = ("L",)
    every: int = 1
    sensor_every: int = 1
    times: tuple[float, float] = (-0.2, 2.0)
    sampling_rate: float = 25.0
    gradient_areas: tuple[str, ...] = ("PHA2", "PHA3", "PH", "TPOJ2", "TE2p", "TE1p")
    gradient_window: tuple[float, float] = (0.3, 1.7)
    gradient_share: float = 0.7
    earlier_share: float = 1.0
    fmri_ceiling: tuple[float, float] = (0.7, 0.4)
    meg_snr: float = 0.04
    unmodelled_share: float = 0.4
    drives_per_layer: int = 6
    gradient_drives: int = 6
    depth_jitter: float = 0.08

    def __post_init__(self) -> None:
        for several in ("modalities", "subjects", "areas", "hemispheres", "gradient_areas"):
            object.__setattr__(self, several, as_names(getattr(self, several)))
        shares = (self.gradient_share, self.unmodelled_share, self.earlier_share)
        if any(not 0 <= share <= 1 for share in shares):
            raise InputError(f"Shares of variance lie between 0 and 1, not {shares}.")
        if any(not 0 < ceiling < 1 for ceiling in self.fmri_ceiling):
            raise InputError(f"Noise ceilings lie between 0 and 1, not {self.fmri_ceiling}.")
        if "V1" not in self.areas:
            raise InputError("The simulated areas must include V1: distances are measured from there.")
        absent = [area for area in self.gradient_areas if area not in self.areas]
        if absent:
            raise InputError(
                f"The gradient area {absent[0]!r} is not among the simulated areas; add it or leave it out."
            )
        for name in ("repeats", "every", "sensor_every", "drives_per_layer", "gradient_drives"):
            if getattr(self, name) < 1:
                raise InputError(f"The simulation's {name} must be at least 1, not {getattr(self, name)}.")
        if not self.subjects or not set(self.modalities) <= {"fmri", "meg"}:
            raise InputError("A simulation needs at least one subject and modalities among 'fmri' and 'meg'.")

    @classmethod
    def small(cls, **changes: Any) -> SimulationConfig:
        """Ten areas, about 130 vertices, 17 sensors, one subject: a simulated study in a fraction of a second."""
        settings: dict[str, Any] = {
            "subjects": ("S1",),
            "areas": ("V1", "V2", "V4", "LO2", "MT", "FFC", "TPOJ1", "TE2p", "IFJa", "44"),
            "every": 20,
            "sensor_every": 16,
            "sampling_rate": 12.5,
            "gradient_areas": ("TE2p", "TPOJ1"),
        }
        return cls(**(settings | changes))

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON-able values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def time_axis(self) -> np.ndarray:
        """MEG samples in s, (n_times,)."""
        start, stop = self.times
        count = int(np.floor((stop - start) * self.sampling_rate + 1e-6)) + 1
        return np.round(start + np.arange(count) / self.sampling_rate, 6)


def stream(seed: int, purpose: Stream, *more: int) -> np.random.Generator:
    """Random generator of one purpose (and subject, …)."""
    return np.random.default_rng([seed, int(purpose), *more])
