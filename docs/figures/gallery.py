"""Draw every figure function once, with made-up numbers: ``python docs/figures/gallery.py`` writes ``gallery.png``.

The tests check the same figures for text that leaves the frame or overlaps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.data.atlas import SAMPLE_AREAS, area_table, cortical_targets
from brainmap.data.sensor_layout import load_sensors
from brainmap.report import figures
from brainmap.report.cortex.values_on_mesh import load_cortex, on_vertices
from brainmap.report.figures import colors_and_type
from brainmap.report.figures.map_scales import depth_scale, score_scale

TIME = np.round(np.arange(-0.2, 1.6, 0.04), 3)
DEPTH = np.linspace(0, 1, 12)
LAYERS = [f"block.{i}" for i in range(12)]
STEPS = np.array([0, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000])
SIGNALS = ("activation", "gradient", "residual")
MODELS = ("DINOv3-S", "ViT-MAE", "ViT-L/16", "ConvNeXt-L", "ResNet-50", "OWL-ViT", "CLIP", "SigLIP 2")
STAGES = ((0, 0.1), (1000, 0.5), (30_000, 1.0))
SCORES = ("Encoding, fMRI", "Encoding, MEG", "Spatial score", "Temporal score")
FIVE = ("V1", "V4", "MT", "FFC", "44")


def main() -> None:
    """Write the contact sheet."""
    sheet = figures.contact_sheet(
        {name: draw() for name, draw in examples().items()},
        columns=5,
        title="Every figure once. The numbers are made up",
    )
    colors_and_type.save_figure(sheet, Path(__file__).with_name("gallery.png"), dpi=80)


def examples() -> dict[str, Callable[[], Figure]]:
    """Return a function for each figure, by the name of the figure function."""
    rng = np.random.default_rng(7)
    drawn = {**_time_figures(rng), **_order_figures(rng), **_bar_figures(rng), **_training_figures(rng), **_maps(rng)}
    return {**drawn, **_together(rng)}


def _together(rng: np.random.Generator) -> dict[str, Callable[[], Figure]]:
    kinds = {"activation": 0.06, "activation:block.3 of clip-vit-base-patch32": 0.025, "pixels": 0.002, "shared": 0.04}
    tables = {}
    for name, units, scale in (("areas", FIVE, 1.0), ("times", TIME, np.exp(-(((TIME - 0.4) / 0.3) ** 2)))):
        rows = [
            pd.DataFrame({"kind": kind, "unit": units, "r2": scale * size + 0.003 * rng.standard_normal(len(units))})
            for kind, size in kinds.items()
        ]
        total = pd.DataFrame({"kind": "total", "unit": units, "r2": sum(row["r2"] for row in rows)})
        table = pd.concat([*rows, total], ignore_index=True)
        tables[name] = table.assign(low=table.r2 - 0.01, high=table.r2 + 0.01)
    near = np.exp(-(((DEPTH[:, None] - np.linspace(0.1, 0.8, len(FIVE))) / 0.3) ** 2))
    coords = {"layer": LAYERS, "unit": list(FIVE)}
    weights = xr.DataArray(near / near.sum(axis=0), dims=("layer", "unit"), coords=coords)
    return {
        "band_dots": lambda: figures.band_dots(tables["areas"], title="Unique and shared variance"),
        "band_curves": lambda: figures.band_curves(tables["times"], stimulus=(0, 0.5), title="Over time"),
        "stack_weights": lambda: figures.stack_weights(
            weights, DEPTH, best=DEPTH[near.argmax(axis=0)], title="Weights of layers"
        ),
    }


def _courses(rng: np.random.Generator) -> xr.DataArray:
    peak, after = 0.12 + 0.27 * DEPTH[:, None], TIME - 0.12 - 0.27 * DEPTH[:, None]
    shape = 0.08 * np.exp(-np.clip(after, 0, None) / 0.45) / (1 + np.exp(-after / (0.02 + 0.05 * peak)))
    noisy = shape * rng.normal(1, 0.08, (4, 1, 1)) + 0.0025 * rng.standard_normal((4, *shape.shape))
    return xr.DataArray(noisy, dims=("subject", "layer", "time"), coords={"time": TIME, "layer": LAYERS})


def _time_figures(rng: np.random.Generator) -> dict[str, Callable[[], Figure]]:
    courses = _courses(rng)
    mean = courses.mean("subject")
    peaks = 0.15 + 0.27 * DEPTH
    late = np.exp(-(((TIME - 1.0) / 0.3) ** 2))
    signals = {
        "activation": courses.isel(layer=-1),
        "gradient": 0.6 * courses.isel(layer=-1) + 0.02 * late,
        "residual": 0.1 * courses.isel(layer=-1) + 0.018 * late,
    }
    residual = pd.DataFrame({"unit": TIME, "delta": 0.018 * late + 0.001 * rng.standard_normal(len(TIME))})
    residual = residual.assign(low=residual.delta - 0.003, high=residual.delta + 0.003, significant=late > 0.3)
    grid = xr.DataArray(
        0.07 - 0.02 * np.exp(-np.add.outer(np.arange(4), np.arange(5)) / 3),
        dims=("pca", "projection"),
        coords={"pca": [50, 100, 150, 300], "projection": [200, 400, 800, 1600, 3200]},
    )
    sensors = load_sensors()
    heads = np.stack([np.exp(-3 * (sensors["v"] + 1 - k) ** 2 - k * sensors["u"] ** 2) for k in (0.2, 0.6, 1.0)])
    maps = xr.DataArray(0.05 * heads, dims=("panel", "sensor"), coords={"sensor": sensors["sensor"].tolist()})
    captions = ["block 0\n150 ms", "block 6\n300 ms", "block 11\n420 ms"]
    return {
        "layer_curves": lambda: figures.layer_curves(
            courses, DEPTH, significance=mean > 0.012, peaks=peaks, stimulus=(0, 0.5), title="Activations"
        ),
        "stage_layer_curves": lambda: figures.stage_layer_curves(
            {"0 %": courses / courses.max("time"), "68 % of training": courses / courses.max()},
            DEPTH,
            stimulus=(0, 0.5),
            title="Before and after training",
            ylabel="R / max R",
        ),
        "signal_curves": lambda: figures.signal_curves(
            signals,
            significance={name: value.mean("subject").values > 0.01 for name, value in signals.items()},
            stimulus=(0, 0.5),
        ),
        "stage_curves": lambda: figures.stage_curves(
            {
                f"step {step:,}": {name: _course(value, share) for name, value in signals.items()}
                for step, share in STAGES
            },
            stimulus=(0, 0.5),
            title="Three stages",
        ),
        "residual_curve": lambda: figures.residual_curve(residual, window=(0.6, 1.4), stimulus=(0, 0.5)),
        "layer_time_heatmap": lambda: figures.layer_time_heatmap(
            mean, "activation", significance=mean > 0.012, peaks=peaks, stimulus=(0, 0.5)
        ),
        "sensor_maps": lambda: figures.sensor_maps(maps, captions, "activation", title="Activations"),
        "window_curves": lambda: figures.window_curves(mean.mean("layer"), 1 + 2 * np.clip(TIME, 0, None)),
        "grid_heatmap": lambda: figures.grid_heatmap(grid, labels=("PCA dimension", "Projection dimension")),
    }


def _course(values: xr.DataArray, share: float) -> pd.DataFrame:
    mean, sem = share * values.mean("subject").values, 0.5 * values.std("subject").values
    return pd.DataFrame({"time": TIME, "r": mean, "low": mean - sem, "high": mean + sem, "significant": mean > 0.012})


def _order_figures(rng: np.random.Generator) -> dict[str, Callable[[], Figure]]:
    areas = area_table(SAMPLE_AREAS, hemispheres=("L",))[["roi", "distance_mm"]]
    areas["best_layer"] = np.clip(areas["distance_mm"] / 130 + 0.1 * rng.standard_normal(len(areas)) + 0.05, 0, 1)
    areas.attrs = {"r": 0.86, "p": 1e-9, "low": 0.77, "high": 0.92, "rho": 0.74, "rho_p": 1e-6}
    layers = pd.DataFrame({"layer": LAYERS, "depth": DEPTH, "t_max": 0.12 + 0.27 * DEPTH})
    layers["t_max"] += 0.01 * rng.standard_normal(12)
    layers = layers.assign(low=layers.t_max - 0.02, high=layers.t_max + 0.02)
    layers.attrs = {"r": 0.98, "p": 1e-8, "low": 0.94, "high": 0.99}
    thickness = rng.uniform(1.8, 3.2, 15)
    half = 0.5 + 2 * (thickness - 1.8) + 0.4 * rng.standard_normal(15)
    return {
        "distance_vs_best_layer": lambda: figures.distance_vs_best_layer(areas, "activation"),
        "depth_vs_peak_time": lambda: figures.depth_vs_peak_time(layers, "activation"),
        "scatter_with_fit": lambda: figures.scatter_with_fit(
            thickness,
            half,
            labels=("Cortical thickness (mm)", "Half time (% of training)"),
            names=SAMPLE_AREAS[:15],
            statistics={"r": 0.77, "p": 0.001, "low": 0.42, "high": 0.92},
        ),
    }


def _with_interval(table: pd.DataFrame, half_width: float) -> pd.DataFrame:
    return table.assign(low=table["r"] - half_width, high=table["r"] + half_width)


def _bar_figures(rng: np.random.Generator) -> dict[str, Callable[[], Figure]]:
    delta = np.where(np.arange(40) < 5, rng.uniform(0.02, 0.04, 40), 0.003 * rng.standard_normal(40))
    residual = pd.DataFrame({"unit": SAMPLE_AREAS[:40], "delta": delta, "significant": np.arange(40) < 5})
    residual = residual.assign(low=residual.delta - 0.006, high=residual.delta + 0.006)
    unique = [residual.delta, residual.delta[::-1].to_numpy()]
    terms = pd.concat([residual.assign(term=t, unique=u) for t, u in zip(("DINO", "iBOT"), unique, strict=True)])
    terms = terms.assign(low=terms.unique - 0.006, high=terms.unique + 0.006, significant=terms.unique > 0.007)
    spaces = ["activation", "gradient", "pixels", "gabor", "category", "gradient norm", "loss"]
    controls = _with_interval(pd.DataFrame({"space": spaces, "r": [0.18, 0.11, 0.06, 0.1, 0.05, 0.02, 0.01]}), 0.02)
    rows = [
        (model, name, top * rng.uniform(0.8, 1.1))
        for model in MODELS
        for name, top in zip(SIGNALS, (0.08, 0.05, 0.02), strict=True)
    ]
    models = _with_interval(pd.DataFrame(rows, columns=["model", "signal", "r"]), 0.006).assign(significant=True)
    layers = {
        name: _with_interval(pd.DataFrame({"depth": DEPTH, "r": np.exp(-(((DEPTH - best) / 0.5) ** 2))}), 0.04)
        for name, best in (("V1", 0.1), ("FFC", 0.5), ("44", 0.9))
    }
    sizes = [
        (size, area, 0.08 + 0.01 * i + 0.02 * j) for j, area in enumerate(FIVE[:4]) for i, size in enumerate("SBLG")
    ]
    factor = _with_interval(pd.DataFrame(sizes, columns=["size", "roi", "r"]), 0.008)
    ends = [
        (score, size, (0.2 + 0.03 * i) * (1 + j)) for j, score in enumerate(SCORES) for i, size in enumerate("SBLG")
    ]
    final = _with_interval(pd.DataFrame(ends, columns=["score", "level", "r"]), 0.02)
    return {
        "loss_terms": lambda: figures.loss_terms(terms, most=9),
        "residual_bars": lambda: figures.residual_bars(residual, planted=SAMPLE_AREAS[:5]),
        "controls_dots": lambda: figures.controls_dots(controls),
        "model_bars": lambda: figures.model_bars(models, title="Last layer, MEG"),
        "layer_bars": lambda: figures.layer_bars(layers, title="Score by layer"),
        "factor_bars": lambda: figures.factor_bars(factor, "size", by="roi", title="Model size"),
        "factor_scores": lambda: figures.factor_scores(final, {SCORES[0]: "p = .02"}, title="Model size: final scores"),
    }


def _training_figures(rng: np.random.Generator) -> dict[str, Callable[[], Figure]]:
    def sigmoid(half: float) -> np.ndarray:
        return np.where(STEPS > 0, 1 / (1 + np.exp(-3 * np.log10(np.maximum(STEPS, 1) / half))), 0.0)

    tops = {"activation": 0.08, "gradient": 0.05, "residual": 0.015}
    scores = pd.concat(
        [pd.DataFrame({"step": STEPS, "signal": name, "r": top * sigmoid(500)}) for name, top in tops.items()]
    )
    half_steps = {"encoding": 600.0, "spatial": 1500.0, "temporal": 200.0}
    shares = pd.concat(
        [
            pd.DataFrame(
                {"step": STEPS, "score": name, "value": sigmoid(half) + 0.02 * rng.standard_normal(len(STEPS))}
            )
            for name, half in half_steps.items()
        ]
    )
    fine = np.geomspace(STEPS[STEPS > 0].min(), STEPS.max(), 200)

    def fit(half: float, top: float = 1.0) -> dict[str, object]:
        return {
            "half_time": half,
            "level": top / 2,
            "steps": fine,
            "values": top / (1 + np.exp(-3 * np.log10(fine / half))),
        }

    fits = {name: fit(half) for name, half in half_steps.items()}
    levels = {"S": 300.0, "B": 600.0, "L": 1200.0}
    over = [
        pd.DataFrame({"score": score, "level": level, "step": STEPS, "r": (j + 1) * 0.2 * sigmoid(half)})
        for j, score in enumerate(SCORES)
        for level, half in levels.items()
    ]
    curved = {
        (score, level): fit(half, (j + 1) * 0.2) for j, score in enumerate(SCORES[:3]) for level, half in levels.items()
    }
    distance = {name: 25.0 * i for i, name in enumerate(FIVE)}
    curves = pd.concat(
        [pd.DataFrame({"step": STEPS, "roi": name, "value": sigmoid(100 + 12 * d)}) for name, d in distance.items()]
    )
    return {
        "scores_vs_step": lambda: figures.scores_vs_step(_with_interval(scores, 0.003), title="MEG"),
        "score_sigmoids": lambda: figures.score_sigmoids(shares, fits),
        "factor_curves": lambda: figures.factor_curves(
            _with_interval(pd.concat(over), 0.01), curved, title="Model size: scores over training"
        ),
        "normalised_curves": lambda: figures.normalised_curves(curves, distance),
    }


def _maps(rng: np.random.Generator) -> dict[str, Callable[[], Figure]]:
    targets = cortical_targets(hemispheres=("L", "R"))
    distance = area_table(SAMPLE_AREAS).groupby("roi")["distance_mm"].mean()
    place = targets["roi"].map(distance).to_numpy() / 130
    noise = 0.05 * rng.standard_normal(len(place))
    score, depth = 0.34 * np.exp(-1.3 * place) + 0.3 * noise, np.clip(place + 0.05 + noise, 0, 1)
    gain = {"PHA2": 0.02, "PHA3": 0.03, "PH": 0.04, "TPOJ2": 0.025, "TE2p": 0.035, "TE1p": 0.03}
    by_area = {str(name): 0.5 + value / 40 for name, value in distance.items()}
    return {
        "score_map": lambda: figures.score_map(score, targets, "activation"),
        "paper_map": lambda: figures.paper_map(
            {"Activations": on_vertices(score, targets, load_cortex())},
            load_cortex(),
            score_scale(score, "activation"),
            views="2x4+flat",
            dpi=100,
        ),
        "best_layer_map": lambda: figures.best_layer_map(depth, targets, title="Activations: best layer"),
        "driver_sheet": lambda: figures.driver_sheet(
            pd.DataFrame({"area": np.repeat(["V1", "FFC"], 4), "rank": [1, 2, 3, 4] * 2, "name": "", "z": 2.0}),
            list(rng.integers(0, 256, (8, 24, 24, 3), np.uint8)),
            title="What drives an area most",
        ),
        "residual_map": lambda: figures.residual_map(gain),
        "difference_map": lambda: figures.difference_map(
            {name: (value - 1.2) / 20 for name, value in by_area.items()}, "Difference in r, L − S", title="Model size"
        ),
        "half_time_map": lambda: figures.half_time_map(by_area, title="Half time"),
        "area_key_map": lambda: figures.area_key_map(
            {"V1": "#1f77b4", "V2": "#ff7f0e", "FFC": "#2ca02c", "44": "#d62728", "45": "#9467bd"}, title="Areas"
        ),
        "property_map": lambda: figures.property_map(by_area, "Cortical thickness (mm)", title="Thickness"),
        "map_grid": lambda: figures.map_grid(_map_rows(score, depth, targets), title="Before and after training"),
        "ceiling_map": lambda: figures.ceiling_map(0.75 - 0.3 * place + noise, targets),
    }


def _map_rows(score: np.ndarray, depth: np.ndarray, targets: pd.DataFrame) -> dict:
    cortex = load_cortex()
    scores = {name: on_vertices(share * score, targets, cortex) for name, share in (("0 %", 0.2), ("100 %", 1.0))}
    depths = {name: on_vertices(depth, targets, cortex) for name in scores}
    return {"Score": (score_scale(score, "activation"), scores), "Best layer": (depth_scale(), depths)}


if __name__ == "__main__":
    main()
