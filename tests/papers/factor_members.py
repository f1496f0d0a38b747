"""Made-up studies of several model sizes and image types over training, with planted scores."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import xarray as xr

from brainmap.results.collection import Collection, Member
from brainmap.results.study_results import StudyResults

STEPS = (0, 100, 400, 1600, 6400)
SIZES = {"S": 1.0, "B": 1.1, "L": 1.2}
TYPES = {"human": 1.2, "satellite": 0.9, "cellular": 1.0}
HALF = {"S": 250.0, "B": 400.0, "L": 700.0, "human": 300.0, "satellite": 500.0, "cellular": 500.0}
LATE = "FFC"
"""The area that gains twice as much from size as all others."""


def rise(step: int, half: float) -> float:
    """Sigmoid in log step; step 0 counts as 50."""
    return float(1.0 / (1.0 + np.exp(-2.0 * np.log(max(step, 50) / half))))


def scaled(
    base: StudyResults, gain: float, share: float, *, extra: float = 0.0, rng: np.random.Generator | None = None
) -> StudyResults:
    """Scores times ``gain × share``, those of ``LATE`` times ``(gain + extra) × share``; every subject a little off.

    Before half of training is over the layers stand in reverse order, which turns both hierarchies around.
    """
    results = copy.copy(base)
    results.scores = {}
    for modality, scores in base.scores.items():
        r = scores["r"] if share > 0.5 else scores["r"].copy(data=scores["r"].isel(layer=slice(None, None, -1)).values)
        factor: float | xr.DataArray = gain
        if modality == "fmri":
            factor = xr.where(scores["roi"] == LATE, gain + extra, gain)
        r = r * factor * share
        if rng is not None:
            off = 0.02 * float(r.max()) * rng.standard_normal(scores.sizes["subject"])
            r = r + xr.DataArray(off, dims="subject", coords={"subject": scores["subject"]})
        results.scores[modality] = scores.assign(r=r.transpose(*scores["r"].dims).astype("float32"))
    return results


def factor_members(
    base: StudyResults,
    part: str,
    gains: dict[str, float],
    *,
    steps: Sequence[int | None] = STEPS,
    rng: np.random.Generator | None = None,
) -> list[Member]:
    """One study per level and step: scores rise to ``gain`` times those of ``base``, half of it at ``HALF[level]``."""
    members = []
    for level, gain in gains.items():
        for step in steps:
            share = 1.0 if step is None else rise(step, HALF[level])
            extra = gain - 1.0 if part == "sizes" else 0.0
            settings = {"model": f"tiny-{level}", "weights": "trained" if step is None else f"step_{step:06d}"}
            results = scaled(base, gain, share, extra=extra, rng=rng)
            members.append(Member(f"{level}-{step}", settings, results, {part: {"level": level, **settings}}, step))
    return members


def factor_collection(base: StudyResults, rng: np.random.Generator | None = None) -> Collection:
    """Three sizes and three image types at five steps."""
    sizes = factor_members(base, "sizes", SIZES, rng=rng)
    types = factor_members(base, "types", TYPES, rng=rng)
    return Collection((*sizes, *types), title="Factors")
