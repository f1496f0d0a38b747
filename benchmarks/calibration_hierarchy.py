"""Parts of ``benchmarks/calibration.py`` about orders, latencies, half times and clusters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from calibration_table import Row, row


def layer_curves(rng: np.random.Generator, best: np.ndarray, noise: float) -> np.ndarray:
    """Scores (3 subjects, 12 layers, 5 folds, target) tuned to a best depth, with noise half shared by layers."""
    depth = np.linspace(0, 1, 12)
    truth = 0.25 * np.exp(-(((depth[:, None] - best) / 0.5) ** 2))
    own = rng.standard_normal((3, 12, 5, len(best)))
    return truth[None, :, None] + noise * (np.sqrt(0.5) * own + np.sqrt(0.5) * own[:, :1])


def spatial(runs: int) -> Iterator[Row]:
    """Coverage of the spatial score's intervals, and false positives of its tests."""
    import pandas as pd
    import xarray as xr
    from scipy.stats import pearsonr

    from brainmap.hierarchy import (
        Resampling,
        SpatialOptions,
        agreement,
        cortex_areas,
        spatial_hierarchy,
        spin_test,
        spins,
    )

    depth = np.linspace(0, 1, 12)
    coords = {"depth": ("layer", depth)}
    dims = ("subject", "layer", "split", "target")
    targets = pd.DataFrame({"roi": np.repeat([f"A{i}" for i in range(39)] + ["V1"], 5), "hemisphere": "L"})
    place = np.repeat(np.append(np.arange(1, 40), 0), 5)
    targets = targets.assign(x=2.0 * place, y=0.0, z=0.0)
    options = SpatialOptions(resampling=Resampling(n=200))
    for noise in (0.02, 0.06):
        inside = []
        for seed in range(runs):
            rng = np.random.default_rng([seed, 1])
            best = np.clip(place / 40 + 0.25 * rng.standard_normal(41)[place], 0, 1)
            truth_curves, curves = layer_curves(rng, best, 0.0), layer_curves(rng, best, noise)
            truth, found = (
                spatial_hierarchy(xr.DataArray(c, dims=dims, coords=coords), targets, options=options).attrs
                for c in (truth_curves, curves)
            )
            inside.append(found["noise_low"] <= truth["r"] <= found["noise_high"])
        yield row("spatial score, interval over subject × fold", f"noise {noise} in r", inside, 0.95)
    for n in (15, 50):
        for rho in (0.0, 0.5):
            inside = {"Pearson": [], "Spearman": []}
            rank = 6 / np.pi * np.arcsin(rho / 2)
            for seed in range(runs):
                rng = np.random.default_rng([seed, 2])
                x = rng.standard_normal(n)
                y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)
                found = agreement(x, y, n_bootstrap=1000, seed=seed)
                inside["Pearson"].append(found.low <= rho <= found.high)
                inside["Spearman"].append(found.rho_low <= rank <= found.rho_high)
            for name, hits in inside.items():
                yield row(f"agreement, interval over areas, {name}", f"{n} areas, true r {rho}", hits, 0.95)
    cortex = cortex_areas().query("hemisphere == 'L'").reset_index(drop=True)
    sphere = cortex[["sphere_x", "sphere_y", "sphere_z"]].to_numpy()
    sphere = sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    visual = np.argsort(cortex["distance_mm"].to_numpy())[:50]
    turned = {"180 areas": spins(sphere, n_spins=499), "50 areas around V1": spins(sphere[visual], sphere, n_spins=499)}
    for name, assignment in turned.items():
        at = np.arange(180) if name == "180 areas" else visual
        spun, plain = [], []
        for seed in range(runs):
            rng = np.random.default_rng([seed, 3])
            centres = rng.standard_normal((2, 30, 3))
            centres /= np.linalg.norm(centres, axis=2, keepdims=True)
            maps = [rng.standard_normal(30) @ np.exp(6 * (c @ sphere.T - 1)) for c in centres]
            spun.append(spin_test(maps[0][at], maps[1], assignment, at=at).p <= 0.05)
            plain.append(pearsonr(maps[0][at], maps[1][at]).pvalue <= 0.05)
        yield row("spin test of smooth maps", name, spun, 0.05)
        yield row("plain correlation of smooth maps", f"{name}, for comparison", plain, None)


def temporal(runs: int) -> Iterator[Row]:
    """Coverage of latencies, temporal score, slope and lag; the truth is the same estimator without noise."""
    import xarray as xr

    from brainmap.hierarchy import Resampling, TemporalOptions, peak_lag, temporal_hierarchy

    times = np.round(np.arange(-0.2, 1.4, 0.04), 3)
    depth = np.linspace(0, 1, 12)
    options = TemporalOptions(resampling=Resampling(n=200))

    def courses(peaks: np.ndarray, noise: float, rng: np.random.Generator) -> xr.DataArray:
        late = times - peaks[:, None]
        curve = 0.08 * np.where(late < 0, np.exp(-0.5 * (late / 0.06) ** 2), np.exp(-np.maximum(late, 0) / 0.3))
        own = rng.standard_normal((3, 12, 5, len(times)))
        for step in range(1, len(times)):
            own[..., step] = 0.7 * own[..., step - 1] + np.sqrt(1 - 0.49) * own[..., step]
        values = curve[None, :, None] + noise * (np.sqrt(0.5) * own + np.sqrt(0.5) * own[:, :1])
        dims = ("subject", "layer", "split", "time")
        labels = [f"block.{k}" for k in range(12)]
        return xr.DataArray(values, dims=dims, coords={"depth": ("layer", depth), "time": times, "layer": labels})

    for noise in (0.01, 0.02, 0.04):
        inside: dict[str, list[bool]] = {}
        for seed in range(runs):
            rng = np.random.default_rng([seed, 4])
            forward, backward = 0.12 + 0.28 * depth, np.full(12, 0.4)
            exact = temporal_hierarchy(courses(forward, 0.0, rng), options=options)
            exact_lag = peak_lag(courses(backward, 0.0, rng), courses(forward, 0.0, rng), options=options).lag
            first, second = courses(forward, noise, rng), courses(backward, noise, rng)
            found, lag = temporal_hierarchy(first, options=options), peak_lag(second, first, options=options)
            layer = seed % 12
            at, of = found.iloc[layer], exact.iloc[layer]
            inside.setdefault("T_max of a layer", []).append(at["low"] - 1e-9 <= of["t_max"] <= at["high"] + 1e-9)
            inside.setdefault("onset of a layer", []).append(at["onset_low"] <= of["onset"] <= at["onset_high"])
            attrs = found.attrs
            inside.setdefault("temporal score", []).append(attrs["low"] <= exact.attrs["r"] <= attrs["high"])
            sloped = attrs["slope_low"] <= exact.attrs["slope"] <= attrs["slope_high"]
            inside.setdefault("slope of T_max over depth", []).append(sloped)
            inside.setdefault("lag of gradients", []).append(lag.low <= exact_lag <= lag.high)
        for name, hits in inside.items():
            yield row(f"{name}, interval over subject × fold", f"noise {noise} in r (peak .08)", hits, 0.95)
    flat = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 5])
        attrs = temporal_hierarchy(courses(np.full(12, 0.3), 0.02, rng), options=options).attrs
        flat.append(not attrs["slope_low"] <= 0 <= attrs["slope_high"])
    yield row("slope of T_max, false positives", "all layers peak together", flat, 0.05)


def dynamics(runs: int) -> Iterator[Row]:
    """Coverage of half times' intervals; the truth is the noiseless sigmoid's."""
    from brainmap.hierarchy import DynamicsOptions, Resampling, half_time

    steps = np.array([0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600])
    x = np.log(np.where(steps == 0, 50, steps))
    options = DynamicsOptions(resampling=Resampling(n=60))
    for middle in (600.0, 3000.0):
        curve = 0.01 + 0.2 / (1 + np.exp(-2 * (x - np.log(middle))))
        truth = half_time(steps, curve).step
        for noise in (0.02, 0.06):
            inside = []
            for seed in range(runs // 4):
                cells = curve + noise * np.random.default_rng([seed, 6]).standard_normal((15, len(steps)))
                found = half_time(steps, cells, options=options)
                inside.append(found.low <= truth <= found.high)
            yield row(
                "half time, interval over subject × fold", f"step {truth:.0f}, noise {noise} per cell", inside, 0.95
            )


def clusters(runs: int) -> Iterator[Row]:
    """Family-wise false positives of cluster tests in time."""
    from brainmap.encoding.clusters import cluster_null, cluster_subjects

    def smooth(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.apply_along_axis(np.convolve, 1, rng.standard_normal((n, 44)), np.ones(5), "valid")

    over_subjects, over_images = [], []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 7])
        over_subjects.append(cluster_subjects(smooth(rng, 8), n_permutations=256).significant.any())
        over_images.append(cluster_null(smooth(rng, 1)[0], smooth(rng, 99)).significant.any())
    yield row("cluster test over 8 subjects, family-wise", "40 times, smooth noise", over_subjects, 0.05)
    yield row("cluster test against permutations, family-wise", "40 times, smooth noise", over_images, 0.05)
