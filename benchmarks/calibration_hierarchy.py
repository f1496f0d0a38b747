"""Parts of ``benchmarks/calibration.py`` about orders in space, spins, half times, factors and clusters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from calibration_table import Row, row


def layer_curves(rng: np.random.Generator, best: np.ndarray, noise: float, subjects: int = 3) -> np.ndarray:
    """Scores (subject, 12 layers, 5 folds, target) tuned to a best depth, with noise half shared by layers."""
    depth = np.linspace(0, 1, 12)
    truth = 0.25 * np.exp(-(((depth[:, None] - best) / 0.5) ** 2))
    own = rng.standard_normal((subjects, 12, 5, len(best)))
    return truth[None, :, None] + noise * (np.sqrt(0.5) * own + np.sqrt(0.5) * own[:, :1])


def spatial(runs: int) -> Iterator[Row]:
    """Coverage of the intervals of the spatial score, over cells and subjects, and over areas."""
    import xarray as xr

    from brainmap.hierarchy import Resampling, SpatialOptions, agreement, spatial_hierarchy

    dims, coords = ("subject", "layer", "split", "target"), {"depth": ("layer", np.linspace(0, 1, 12))}
    place = np.repeat(np.append(np.arange(1, 40), 0), 5)
    targets = pd.DataFrame({"roi": np.repeat([f"A{i}" for i in range(39)] + ["V1"], 5), "hemisphere": "L"})
    targets = targets.assign(x=2.0 * place, y=0.0, z=0.0)
    none = SpatialOptions(resampling=Resampling(n=0))
    for noise, over, subjects in ((0.02, "cell", 3), (0.06, "cell", 3), (0.12, "cell", 3), (0.06, "subject", 8)):
        inside = []
        for seed in range(runs // 2):
            options = SpatialOptions(resampling=Resampling(n=300, over=over, seed=seed))
            rng = np.random.default_rng([seed, 1])
            best = np.clip(place / 40 + 0.25 * rng.standard_normal(41)[place], 0, 1)
            truth, found = (
                spatial_hierarchy(
                    xr.DataArray(layer_curves(rng, best, sd, subjects), dims=dims, coords=coords),
                    targets,
                    options=setup,
                ).attrs
                for sd, setup in ((0.0, none), (noise, options))
            )
            inside.append(found["noise_low"] <= truth["r"] <= found["noise_high"])
        unit = "subject × fold" if over == "cell" else "subjects"
        yield row(f"spatial score, interval over {unit}", f"{subjects} subjects, noise {noise} in r", inside, 0.95)
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
    """False positives of spin tests of smooth maps: by area and by vertex, of properties, and of the spatial score."""
    from scipy.stats import pearsonr

    from brainmap.data.atlas import load_atlas, load_surface
    from brainmap.hierarchy import SpinOptions, compare_properties, compare_vertices, cortex_areas, spin_test
    from brainmap.hierarchy import spins as spins_of

    cortex = cortex_areas().query("hemisphere == 'L'").reset_index(drop=True)
    sphere = _unit(cortex[["sphere_x", "sphere_y", "sphere_z"]].to_numpy())
    visual = np.argsort(cortex["distance_mm"].to_numpy())[:50]
    for name, at in {"180 areas": np.arange(180), "50 areas around V1": visual}.items():
        assignment = spins_of(sphere[at], sphere, n_spins=199)
        hits: dict[str, list[bool]] = {"spun": [], "plain": []}
        for seed in range(runs):
            first, second = smooth_maps(np.random.default_rng([seed, 3]), sphere)
            hits["spun"].append(spin_test(first[at], second, assignment, at=at).p <= 0.05)
            hits["plain"].append(pearsonr(first[at], second[at]).pvalue <= 0.05)
        yield row("spin test of smooth maps", name, hits["spun"], 0.05)
        yield row("plain correlation of smooth maps", f"{name}, for comparison", hits["plain"], None)
    found = []
    for seed in range(runs):
        first, second = smooth_maps(np.random.default_rng([seed, 14]), sphere)
        values, known = pd.Series(first[visual], index=cortex["roi"].iloc[visual]), pd.Series(second, cortex["roi"])
        options = SpinOptions(n_spins=99, seed=seed)
        found.append(compare_properties(values, {"map": known}, cortex, options=options).iloc[0])
    for name, column in {"r": "spin_p", "ρ": "spin_rho_p"}.items():
        called = [one[column] <= 0.05 for one in found]
        yield row(f"property against property by area, spin p of {name}", "50 areas around V1", called, 0.05)
    yield _spatial_spins(runs, cortex, sphere, visual)
    labels, vertices = load_atlas()["L"][::32], _unit(load_surface("L", "sphere")[0][::32])
    for name, cover in {"every 32nd vertex": labels != "", "the same, 150 around V1": None}.items():
        if cover is None:
            away = vertices @ vertices[labels == "V1"].mean(axis=0)
            cover = (labels != "") & (away >= np.sort(away[labels != ""])[-150])
        vertex = []
        for seed in range(runs):
            first, second = smooth_maps(np.random.default_rng([seed, 9]), vertices)
            maps = np.where(cover, first, np.nan), np.where(labels != "", second, np.nan)
            vertex.append(compare_vertices(*maps, vertices, options=SpinOptions(n_spins=99, seed=seed)).p <= 0.05)
        yield row("property against property by vertex, spin p of r", name, vertex, 0.05)


def _spatial_spins(runs: int, cortex: pd.DataFrame, sphere: np.ndarray, at: np.ndarray) -> Row:
    """False positives of the spatial score's spin test: best layers are a smooth map unrelated to distance."""
    import xarray as xr

    from brainmap.hierarchy import Resampling, SpatialOptions, spatial_hierarchy

    options = SpatialOptions(n_spins=99, resampling=Resampling(n=0))
    table = cortex.iloc[at].reset_index(drop=True)
    targets = table.assign(x=table["distance_mm"], y=0.0, z=0.0)
    dims, coords = ("subject", "layer", "split", "target"), {"depth": ("layer", np.linspace(0, 1, 12))}
    hits = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 10])
        best = np.clip(0.5 + 0.2 * smooth_maps(rng, sphere, 1)[0][at], 0, 1)
        scores = xr.DataArray(layer_curves(rng, best, 0.06), dims=dims, coords=coords)
        attrs = spatial_hierarchy(scores, targets, cortex=cortex, options=options, seed=seed).attrs
        hits.append(attrs["spin_p"] <= 0.05)
    return row("spatial score, spin p", "50 areas around V1, smooth map of best layers", hits, 0.05)


def _unit(places: np.ndarray) -> np.ndarray:
    return places / np.linalg.norm(places, axis=1, keepdims=True)


STEPS = np.array([0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600])


def rising(middle: np.ndarray | float) -> np.ndarray:
    """Noiseless scores over training, (..., n_steps)."""
    x = np.log(np.where(STEPS == 0, 50, STEPS))
    return 0.01 + 0.2 / (1 + np.exp(-2 * (x - np.log(np.asarray(middle))[..., None])))


def dynamics(runs: int) -> Iterator[Row]:
    """Coverage of half times' intervals; agreement of half times with distance when there is none."""
    import xarray as xr

    from brainmap.hierarchy import DynamicsOptions, Resampling, agreement, half_time, half_times

    none = DynamicsOptions(resampling=Resampling(n=0))
    for middle in (600.0, 3000.0):
        truth = half_time(STEPS, rising(middle)).step
        for noise in (0.02, 0.06):
            inside = []
            for seed in range(runs // 5):
                cells = rising(middle) + noise * np.random.default_rng([seed, 6]).standard_normal((15, len(STEPS)))
                found = half_time(STEPS, cells, options=DynamicsOptions(resampling=Resampling(n=60, seed=seed)))
                inside.append(found.low <= truth <= found.high)
            yield row(
                "half time, interval over subject × fold", f"step {truth:.0f}, noise {noise} per cell", inside, 0.95
            )
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
