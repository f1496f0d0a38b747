"""Parts of ``benchmarks/calibration.py`` about peak times, their order, and the hypotheses that rest on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from calibration_table import Row, row

TIMES = np.round(np.arange(-0.2, 1.4, 0.04), 3)
DEPTH = np.linspace(0, 1, 12)
FORWARD, BACKWARD = 0.12 + 0.28 * DEPTH, np.full(12, 0.4)
# A sharp rise with a decay of 0.3 s; of 0.8 s; a plateau of 0.4 s that hardly falls; a symmetric bell.
SHAPES = {
    "peak": lambda late: np.where(late < 0, np.exp(-0.5 * (late / 0.06) ** 2), np.exp(-np.maximum(late, 0) / 0.3)),
    "sustained": lambda late: np.where(late < 0, np.exp(-0.5 * (late / 0.1) ** 2), np.exp(-np.maximum(late, 0) / 0.8)),
    "plateau": lambda late: (
        np.where(late < -0.1, np.exp(-0.5 * ((late + 0.1) / 0.06) ** 2), np.exp(-np.maximum(late - 0.3, 0) / 0.2))
        * (1 - 0.1 * np.abs(late - 0.1))
    ),
    "bell": lambda late: np.exp(-0.5 * (late / 0.15) ** 2),
}
# Noise of a cell, then what differs from 3 subjects × 5 folds, sharp peaks, half of the noise shared by layers, and
# peaks scattered about a straight line (the true temporal score is about .9; .7 with twice the scatter).
SETTINGS: dict[str, dict[str, Any]] = {
    "noise 0.01 in r (peak .08)": {"noise": 0.01},
    "noise 0.02 in r (peak .08)": {"noise": 0.02},
    "noise 0.04 in r (peak .08)": {"noise": 0.04},
    "noise 0.02, sustained curves": {"noise": 0.02, "shape": "sustained"},
    # Later by .2 s, or plateaus of early layers would begin before the photograph.
    "noise 0.02, plateaus of 0.4 s": {"noise": 0.02, "shape": "plateau", "later": 0.2},
    "noise 0.03, bells, layers independent, 4 subjects × 5 folds": {
        "noise": 0.03,
        "shape": "bell",
        "shared": 0.0,
        "subjects": 4,
    },
    "noise 0.02, weak order": {"noise": 0.02, "scatter": 0.3},
    "noise 0.04, weak order": {"noise": 0.04, "scatter": 0.3},
    "noise 0.02, perfect order": {"noise": 0.02, "scatter": 0.0},
}


def courses(
    rng: np.random.Generator,
    peaks: np.ndarray,
    noise: float,
    *,
    shape: str = "peak",
    shared: float = 0.5,
    smooth: float = 0.0,
    subjects: int = 3,
    height: float = 0.08,
) -> xr.DataArray:
    """Scores (subject, layer, split, time); noise is autocorrelated by .7 in time and by ``smooth`` over layers.

    Part of it is shared by all layers.
    """
    curve = height * SHAPES[shape](TIMES - peaks[:, None])
    own = rng.standard_normal((subjects, 12, 5, len(TIMES)))
    for layer in range(1, 12) if smooth else ():
        own[:, layer] = smooth * own[:, layer - 1] + np.sqrt(1 - smooth**2) * own[:, layer]
    for step in range(1, len(TIMES)):
        own[..., step] = 0.7 * own[..., step - 1] + np.sqrt(1 - 0.49) * own[..., step]
    values = curve[None, :, None] + noise * (np.sqrt(1 - shared) * own + np.sqrt(shared) * own[:, :1])
    labels = [f"block.{k}" for k in range(12)]
    coords = {"depth": ("layer", DEPTH), "time": TIMES, "layer": labels}
    return xr.DataArray(values, dims=("subject", "layer", "split", "time"), coords=coords)


def coverage(runs: int, setting: dict[str, Any], over: str = "cell") -> dict[str, list[bool]]:
    """Whether each interval holds the truth, that of the same estimator without noise."""
    from brainmap.hierarchy import Resampling, TemporalOptions, peak_lag, temporal_hierarchy

    more = {name: value for name, value in setting.items() if name not in ("noise", "scatter", "later")}
    backward = BACKWARD + setting.get("later", 0.0)
    none = TemporalOptions(resampling=Resampling(n=0))
    inside: dict[str, list[bool]] = {}
    for seed in range(runs):
        rng = np.random.default_rng([seed, 4])
        forward = np.clip(FORWARD + setting.get("scatter", 0.15) * (rng.random(12) - 0.5), 0.08, 0.6)
        forward = forward + setting.get("later", 0.0)
        exact, exact_back = (courses(rng, peaks, 0.0, **more) for peaks in (forward, backward))
        truth, true_lag = temporal_hierarchy(exact, options=none), peak_lag(exact_back, exact, options=none).lag
        first, second = (courses(rng, peaks, setting["noise"], **more) for peaks in (forward, backward))
        # Every study has its own seed: what one seed draws makes all its intervals wide, or narrow.
        options = TemporalOptions(resampling=Resampling(n=300, over=over, seed=seed))
        found, lag = temporal_hierarchy(first, options=options), peak_lag(second, first, options=options)
        at, of, attrs = found.iloc[seed % 12], truth.iloc[seed % 12], found.attrs
        held = {
            "T_max of a layer": at["low"] - 1e-9 <= of["t_max"] <= at["high"] + 1e-9,
            "onset of a layer": at["onset_low"] - 1e-9 <= of["onset"] <= at["onset_high"] + 1e-9,
            "temporal score": attrs["low"] - 1e-9 <= truth.attrs["r"] <= attrs["high"] + 1e-9,
            "slope of T_max over depth": attrs["slope_low"] <= truth.attrs["slope"] <= attrs["slope_high"],
            "lag of gradients": lag.low <= true_lag <= lag.high,
        }
        for name, hit in held.items():
            inside.setdefault(name, []).append(bool(hit))
    return inside


def temporal(runs: int) -> Iterator[Row]:
    """Coverage of the intervals of latencies, temporal score, slope and lag."""
    for condition, setting in SETTINGS.items():
        for name, hits in coverage(runs, setting).items():
            # One limit of a score of 1 is 1 itself: only the other can miss, and may in half of the cases.
            one_sided = name == "temporal score" and "perfect" in condition
            yield row(f"{name}, interval over subject × fold", condition, hits, 0.975 if one_sided else 0.95)
    for name, hits in coverage(runs, {"noise": 0.02, "subjects": 8}, over="subject").items():
        yield row(f"{name}, interval over subjects", "8 subjects, noise 0.02 in r (peak .08)", hits, 0.95)


# Scores of neighbouring layers correlate by .8 to .99 in the sample, because their features do.
NEIGHBOURS: dict[str, Any] = {"noise": 0.02, "shape": "bell", "shared": 0.0, "smooth": 0.95}


def temporal_null(runs: int) -> Iterator[Row]:
    """False positives of slope and lag: all layers, or both signals, peak together."""
    from brainmap.hierarchy import Resampling, TemporalOptions, peak_lag, temporal_hierarchy

    for name, setting in {
        "sharp peaks, noise 0.02": {"noise": 0.02},
        "bells, layers independent, noise 0.02": {"noise": 0.02, "shape": "bell", "shared": 0.0},
        "bells, neighbouring layers' noise correlates by .95": NEIGHBOURS,
    }.items():
        flat, together = [], []
        for seed in range(runs):
            rng = np.random.default_rng([seed, 5])
            options = TemporalOptions(resampling=Resampling(n=300, seed=seed))
            attrs = temporal_hierarchy(courses(rng, np.full(12, 0.3), **setting), options=options).attrs
            flat.append(attrs["slope_p"] <= 0.05)
            lag = peak_lag(courses(rng, FORWARD, **setting), courses(rng, FORWARD, **setting), options=options)
            together.append(lag.p <= 0.05)
        yield row(
            "order of layers in time (slope, temporal score), false positives",
            f"all layers peak together, {name}",
            flat,
            0.05,
        )
        yield row("lag of gradients, false positives", f"both signals peak together, {name}", together, 0.05)


def hypotheses(runs: int) -> Iterator[Row]:
    """How often the three hypotheses are called supported or contradicted where they are neither."""
    import pandas as pd

    from brainmap.hierarchy import HypothesisOptions, Resampling, SpatialOptions, TemporalOptions, evaluate_hypotheses
    from brainmap.hierarchy.t_max_and_onset import peak_window_time

    place = np.repeat([*range(1, 24), 0], 2)
    areas = pd.DataFrame({"roi": [f"A{i}" if i else "V1" for i in place], "hemisphere": "L", "x": 5.0 * place})
    areas = areas.assign(y=0.0, z=0.0)
    reached = peak_window_time(SHAPES["peak"](TIMES - FORWARD[:, None]), TIMES)
    unordered = FORWARD[_unrelated(np.asarray(reached), DEPTH)]
    dims, coords = ("subject", "layer", "split", "target"), {"depth": ("layer", DEPTH)}

    def sensors(rng: np.random.Generator, peaks: np.ndarray, **setting: Any) -> xr.DataArray:
        scores = courses(rng, peaks, **{"noise": 0.02} | setting)
        return scores.rename(time="target").assign_coords(time=("target", TIMES)).drop_vars("target")

    def areas_scores(rng: np.random.Generator, height: float) -> xr.DataArray:
        # Two folds share one of their K − 1 pairs: scores of folds correlate by 1 / (K − 1) under the null hypothesis.
        shape = (3, 12, 5, len(areas))
        noise = np.sqrt(0.75) * rng.standard_normal(shape) + 0.5 * rng.standard_normal((3, 12, 1, len(areas)))
        # The interval of the spatial score is over areas: these are drawn anew in every study.
        curve = height * np.exp(-(((DEPTH[:, None] - rng.random(24)[place]) / 0.3) ** 2))
        return xr.DataArray(curve[None, :, None] + 0.03 * noise, dims=dims, coords=coords)

    def judged(data: dict[str, list[xr.DataArray]], seed: int) -> dict[tuple[int, str, str], bool]:
        plan = Resampling(n=100, seed=seed)
        options = HypothesisOptions(temporal=TemporalOptions(resampling=plan), spatial=SpatialOptions(resampling=plan))
        scores = {
            name: xr.concat(x, "signal").assign_coords(signal=["activation", "gradient"]) for name, x in data.items()
        }
        table = evaluate_hypotheses(scores, {"fmri": areas}, options=options)
        return {
            (r.hypothesis, r.modality, r.prediction): r.verdict in ("supported", "contradicted")
            for r in table.itertuples()
        }

    wrong: dict[tuple[int, str, str], list[bool]] = {}
    for seed in range(runs):
        rng = np.random.default_rng([seed, 8])
        nothing = judged({"fmri": [areas_scores(rng, 0.0), areas_scores(rng, 0.0)]}, seed)
        orderless = judged(
            {
                "meg": [sensors(rng, unordered), sensors(rng, unordered)],
                "fmri": [areas_scores(rng, 0.1), areas_scores(rng, 0.1)],
            },
            seed,
        )
        together = judged({"meg": [sensors(rng, np.full(12, 0.3)), sensors(rng, np.full(12, 0.3))]}, seed)
        smooth = judged({"meg": [sensors(rng, np.full(12, 0.3), **NEIGHBOURS) for _ in range(2)]}, seed)
        unheard = [sensors(rng, FORWARD, smooth=0.95), sensors(rng, FORWARD, smooth=0.95, height=0.0)]
        silent = judged({"meg": unheard}, seed)
        silent = {key: hit for key, hit in silent.items() if key[2].startswith("gradients")}
        for condition, verdicts, kept in (
            ("no effect", nothing, (1,)),
            ("gradients predict nothing, noise as smooth", silent, (2, 3)),
            ("all layers peak together, neighbouring layers' noise correlates by .95", smooth, (2, 3)),
            ("peaks and best layers without order", orderless, (2, 3)),
            ("all layers peak together", together, (3,)),
        ):
            for (number, modality, prediction), hit in verdicts.items():
                if number in kept:
                    name = f"{prediction.split('(')[0].strip()}, {modality}"
                    wrong.setdefault((number, name, condition), []).append(hit)
    for (number, name, condition), hits in wrong.items():
        yield row(f"hypothesis {number}, wrong verdicts: {name}", condition, hits, 0.05)


def _unrelated(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Of twenty thousand orders of the values that whose correlation with the reference is nearest to zero."""
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(len(values)), (20000, 1)), axis=1)
    centred = reference - reference.mean()
    return orders[np.abs(values[orders] @ centred).argmin()]
