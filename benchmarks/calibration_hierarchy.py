"""Parts of ``benchmarks/calibration.py`` about correlations, spins, half times, factors and clusters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from calibration_table import Row, row


def agreements(runs: int) -> Iterator[Row]:
    """Coverage of the intervals of correlations over independent units."""
    from brainmap.hierarchy import agreement

    for n in (15, 50):
        for rho in (0.0, 0.5):
            held: dict[str, list[bool]] = {"Pearson": [], "Spearman": []}
            rank = 6 / np.pi * np.arcsin(rho / 2)
            for seed in range(runs):
                rng = np.random.default_rng([seed, 2])
                x = rng.standard_normal(n)
                y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)
                found = agreement(x, y, n_bootstrap=1000, seed=seed)
                held["Pearson"].append(found.low <= rho <= found.high)
                held["Spearman"].append(found.rho_low <= rank <= found.rho_high)
            for name, hits in held.items():
                yield row(f"agreement, interval over areas, {name}", f"{n} areas, true r {rho}", hits, 0.95)


def smooth_maps(rng: np.random.Generator, sphere: np.ndarray, n: int = 2) -> np.ndarray:
    """Random smooth maps of a sphere (n, n_places): thirty broad bumps of random height."""
    centres = rng.standard_normal((n, 30, 3))
    centres /= np.linalg.norm(centres, axis=2, keepdims=True)
    return np.einsum("mk,mkp->mp", rng.standard_normal((n, 30)), np.exp(6 * (centres @ sphere.T - 1)))


def spins(runs: int) -> Iterator[Row]:
    """False positives of spin tests of smooth maps of a hemisphere, by area and by vertex."""
    from scipy.stats import pearsonr

    from brainmap.data.atlas import load_atlas, load_surface
    from brainmap.hierarchy import SpinOptions, compare_vertices, cortex_areas, spin_test
    from brainmap.hierarchy import spins as spins_of

    cortex = cortex_areas().query("hemisphere == 'L'").reset_index(drop=True)
    sphere = _unit(cortex[["sphere_x", "sphere_y", "sphere_z"]].to_numpy())
    assignment = spins_of(sphere, sphere, n_spins=199)
    hits: dict[str, list[bool]] = {"spun": [], "plain": []}
    for seed in range(runs):
        first, second = smooth_maps(np.random.default_rng([seed, 3]), sphere)
        hits["spun"].append(spin_test(first, second, assignment).p <= 0.05)
        hits["plain"].append(pearsonr(first, second).pvalue <= 0.05)
    yield row("spin test of smooth maps", "180 areas", hits["spun"], 0.05)
    yield row("plain correlation of smooth maps", "180 areas, for comparison", hits["plain"], None)
    labels, vertices = load_atlas()["L"][::32], _unit(load_surface("L", "sphere")[0][::32])
    vertex = []
    for seed in range(runs):
        first, second = smooth_maps(np.random.default_rng([seed, 9]), vertices)
        maps = np.where(labels != "", first, np.nan), np.where(labels != "", second, np.nan)
        vertex.append(compare_vertices(*maps, vertices, options=SpinOptions(n_spins=99, seed=seed)).p <= 0.05)
    yield row("property against property by vertex, spin p of r", "every 32nd vertex", vertex, 0.05)


def _unit(places: np.ndarray) -> np.ndarray:
    return places / np.linalg.norm(places, axis=1, keepdims=True)


STEPS = np.array([0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600])


def rising(middle: np.ndarray | float) -> np.ndarray:
    """Noiseless scores over training, (..., n_steps)."""
    x = np.log(np.where(STEPS == 0, 50, STEPS))
    return 0.01 + 0.2 / (1 + np.exp(-2 * (x - np.log(np.asarray(middle))[..., None])))


def dynamics(runs: int) -> Iterator[Row]:
    """Agreement of half times with distance when there is none."""
    import xarray as xr

    from brainmap.hierarchy import DynamicsOptions, Resampling, agreement, half_times

    none = DynamicsOptions(resampling=Resampling(n=0))
    called, inside = [], []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 12])
        curves = rising(np.exp(rng.normal(np.log(1500), 0.5, 10))) + 0.01 * rng.standard_normal((10, len(STEPS)))
        scores = xr.DataArray(curves, dims=("target", "step"), coords={"step": STEPS})
        table = half_times(scores, options=none)
        found = agreement(rng.standard_normal(10), np.log(table["half_time"]), n_bootstrap=1000, seed=seed)
        called.append(found.p <= 0.05)
        inside.append(found.low <= 0 <= found.high)
    yield row("half time against distance, p of r", "10 independent units, no relation", called, 0.05)
    yield row("half time against distance, interval of r", "10 independent units, no relation", inside, 0.95)


def factors(runs: int) -> Iterator[Row]:
    """False positives of factors and their interaction over random subjects; Wald tests for comparison."""
    import statsmodels.formula.api as smf

    from brainmap.hierarchy import factor_model

    names = pd.MultiIndex.from_product([["S", "L"], ["cells", "land", "human"]], names=["size", "images"])
    what = {"size": "factor of 2 levels", "images": "factor of 3 levels", "size:images": "interaction"}
    shapes = {"size": (2, 1), "images": (1, 3), "size:images": (2, 3)}
    for subjects, differ, missing in (
        (4, list(what), 0),
        (8, list(what), 0),
        (8, [], 0),
        (8, ["size"], 0),
        (8, list(what), 4),
    ):
        hits: dict[str, list[bool]] = {name: [] for name in [*what, *(f"Wald {name}" for name in what)]}
        for seed in range(runs):
            rng = np.random.default_rng([seed, 13])
            values = 0.1 + 0.02 * rng.standard_normal((subjects, 1, 1)) + 0.004 * rng.standard_normal((subjects, 2, 3))
            for name in differ:
                values = values + 0.008 * rng.standard_normal((subjects, *shapes[name]))
            frame = names.to_frame(index=False)
            frame = pd.concat([frame.assign(subject=k, r=v.ravel()) for k, v in enumerate(values)], ignore_index=True)
            frame = frame.drop(index=rng.permutation(len(frame))[:missing]).reset_index(drop=True)
            for test in factor_model(frame, "r ~ size * images").tests.itertuples():
                hits[test.term].append(test.p <= 0.05)
            if differ == ["size"]:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a variance of zero is no reason not to count the test
                    wald = smf.mixedlm("r ~ size * images", frame, groups=frame["subject"]).fit(reml=True)
                for name, p in wald.wald_test_terms(scalar=True).table["pvalue"].items():
                    if name in what:
                        hits[f"Wald {name}"].append(p <= 0.05)
        kind = {0: "mean only", 1: "mean and effect of 2 levels"}.get(len(differ), "mean and all effects")
        condition = f"{subjects} subjects, differ in {kind}" + (f", {missing} of 48 scores missing" if missing else "")
        for name in what:
            yield row(f"mixed model, {what[name]}", condition, hits[name], 0.05)
        if hits["Wald size"]:
            for name in what:
                yield row(f"mixed model, Wald test, {what[name]}", f"{condition}, not used", hits[f"Wald {name}"], None)


def clusters(runs: int) -> Iterator[Row]:
    """Family-wise false positives of cluster tests in time."""
    from brainmap.statistics.cluster_tests import cluster_null, cluster_subjects

    def smooth(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.apply_along_axis(np.convolve, 1, rng.standard_normal((n, 44)), np.ones(5), "valid")

    over_subjects, over_images = [], []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 7])
        over_subjects.append(cluster_subjects(smooth(rng, 8), n_permutations=256).significant.any())
        over_images.append(cluster_null(smooth(rng, 1)[0], smooth(rng, 99)).significant.any())
    yield row("cluster test over 8 subjects, family-wise", "40 times, smooth noise", over_subjects, 0.05)
    yield row("cluster test against permutations, family-wise", "40 times, smooth noise", over_images, 0.05)
