"""A part of ``benchmarks/calibration.py``: intervals of half times, through encoding.

At every checkpoint features hold a growing share of what drives the responses, and noise; responses of all subjects
to the same photographs are encoded by a ridge with five folds (`calibration_orders.encode`), scores averaged over six
targets. Over folds the truth is the half time of the mean curve of very many studies: other photographs. Over
subjects it is that of 200 other subjects who saw the same photographs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from calibration_orders import FOLDS, encode, noise_of
from calibration_table import Row, row

from brainmap.hierarchy import DynamicsOptions, Resampling, half_time
from brainmap.hierarchy.replication import LEAST_SUBJECTS

STEPS = np.array([100, 200, 400, 800, 1600, 3200, 6400, 12800])
SHARE = 0.1 + 0.8 / (1 + (800 / STEPS) ** 2)  # of the features' variance that drives responses, at each checkpoint
WIDTH, TARGETS, BATCH, OTHERS = 6, 6, 20, 200
# What differs from 3 subjects, 200 photographs, normal noise, half of the gain.
CELLS: dict[str, dict[str, Any]] = {
    "1 subject": {"subjects": 1},
    "3 subjects": {},
    "3 subjects, half of the final score": {"baseline": "zero"},
    "3 subjects, heavy-tailed noise (t with 3 degrees of freedom)": {"noise": "heavy"},
    "3 subjects, noise drifts through the session": {"noise": "session"},
    "3 subjects, 600 photographs": {"images": 600},
    "5 subjects": {"subjects": 5},
    "8 subjects": {"subjects": 8},
    "8 subjects, half of the final score": {"subjects": 8, "baseline": "zero"},
    "8 subjects who share responses that nothing explains": {"subjects": 8, "shared": 0.4},
}


def studies(
    rng: np.random.Generator,
    *,
    images: int = 200,
    subjects: int = 3,
    noise: str = "normal",
    shared: float = 0.0,
) -> np.ndarray:
    """Scores of a batch of studies over training, (study, subject, fold, step)."""
    driving = rng.standard_normal((BATCH, images, WIDTH))
    share = SHARE[:, None, None]
    features = np.sqrt(share) * driving[:, None]
    features += np.sqrt(1 - share) * rng.standard_normal((BATCH, len(STEPS), images, WIDTH))
    y = noise_of(rng, noise, (BATCH, images, subjects, TARGETS))
    if shared:
        y = np.sqrt(1 - shared) * y + np.sqrt(shared) * noise_of(rng, noise, (BATCH, images, 1, TARGETS))
    weights = rng.standard_normal((BATCH, WIDTH, subjects, TARGETS)) / np.sqrt(WIDTH)
    y += 0.5 * np.einsum("biw,bwst->bist", driving, weights)
    r = encode(features, y.reshape(BATCH, images, -1)).reshape(BATCH, len(STEPS), FOLDS, subjects, TARGETS)
    return r.mean(axis=-1).transpose(0, 3, 2, 1)


def half_time_intervals(runs: int) -> Iterator[Row]:
    """Coverage of the intervals of half times, and how wide they are."""
    for name, cell in CELLS.items():
        setting = {"subjects": 3, **cell}
        baseline, n = setting.pop("baseline", "first"), setting["subjects"]
        over: Any = "subjects" if n >= LEAST_SUBJECTS else "folds"
        drawn, truth = setting | {"subjects": n + OTHERS}, np.nan
        if over == "folds":
            drawn, expected = setting, np.zeros(len(STEPS))
            for batch in range(1000):
                expected += studies(np.random.default_rng([batch, 71]), **setting).mean(axis=(0, 1, 2)) / 1000
            truth = half_time(STEPS, expected, baseline=baseline).step
        inside, width = [], []
        for batch in range(-(-runs // BATCH)):
            for study in studies(np.random.default_rng([batch, 72]), **drawn):
                rows = study[:n].mean(axis=1 if over == "subjects" else 0)
                if over == "subjects":
                    truth = half_time(STEPS, study[n:].mean(axis=(0, 1)), baseline=baseline).step
                options = DynamicsOptions(resampling=Resampling(n=100, seed=batch))
                found = half_time(STEPS, rows, over=over, baseline=baseline, options=options)
                if np.isfinite(found.low):  # a half time without interval is not said
                    inside.append(found.low <= truth <= found.high)
                    width.append(found.high / found.low)
        condition = f"{name}; median width a factor of {np.median(width):.1f}, {len(inside)} of {runs} have one"
        yield row(f"half time, interval over {over}", condition, inside, 0.95)


PARTS = (half_time_intervals,)
