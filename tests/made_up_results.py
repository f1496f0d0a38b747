"""Made-up study results with the shape of a real run: the report is developed and tested on them.

The numbers are drawn around planted curves, not computed from responses: they exercise drawing, not analysis.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from brainmap.data.atlas import SAMPLE_AREAS, cortical_targets
from brainmap.data.sensor_layout import load_sensors
from brainmap.results.study_results import StudyResults

AREAS = SAMPLE_AREAS
PLANTED_AREAS = ["FFC", "PH", "TE2p", "TPOJ2", "VVC"]
PLANTED_WINDOW = (0.5, 1.2)
LAYERS = [f"block.{i}" for i in range(12)]
DEPTHS = np.linspace(0, 1, 12)
SIGNALS = ["activation", "gradient"]


def _distances(targets: pd.DataFrame) -> pd.Series:
    left = targets[targets.hemisphere == targets.hemisphere[0]].groupby("roi")[["x", "y", "z"]].mean()
    return np.sqrt(((left - left.loc["V1"]) ** 2).sum(axis=1)).rename("distance_mm")


def _scores(
    r: np.ndarray, targets: pd.DataFrame, n_subjects: int, rng: np.random.Generator, noise: float
) -> xr.Dataset:
    """Spread a (signal, layer, target) expectation over subjects and splits."""
    gain = rng.normal(1, 0.12, n_subjects)[:, None, None, None, None]
    shape = (n_subjects, len(SIGNALS), len(LAYERS), 5, r.shape[-1])
    noisy = gain * r[None, :, :, None, :] + noise * rng.standard_normal(shape, dtype=np.float32)
    coords = {"subject": [f"sim-{i + 1:02d}" for i in range(n_subjects)], "signal": SIGNALS, "layer": LAYERS}
    coords |= {"split": np.arange(5), "depth": ("layer", DEPTHS)}
    coords |= {name: ("target", targets[name].to_numpy()) for name in targets}
    dims = ("subject", "signal", "layer", "split", "target")
    alpha = np.float32(10.0) ** rng.integers(1, 5, shape).astype("float32")
    return xr.Dataset(
        {"r": (dims, noisy.astype("float32")), "r2": (dims, (noisy**2).astype("float32")), "alpha": (dims, alpha)},
        coords=coords,
        attrs={"n_trials": 720, "scoring": "pearson", "split_hash": "3f9c2a71"},
    )


def _fmri(targets: pd.DataFrame, n_subjects: int, rng: np.random.Generator) -> xr.Dataset:
    distance = targets.roi.map(_distances(targets)).to_numpy()
    place = np.clip(distance / distance.max(), 0, 1)
    preferred = np.clip(0.08 + 0.85 * place + 0.08 * rng.standard_normal(len(place)), 0, 1)
    top = 0.32 * np.exp(-1.2 * place) + 0.05
    forward = top * (0.45 + 0.55 * np.exp(-(((DEPTHS[:, None] - preferred) / 0.3) ** 2)))
    planted = targets.roi.isin(PLANTED_AREAS).to_numpy()
    backward = 0.5 * top * (0.5 + 0.5 * np.exp(-(((DEPTHS[:, None] - 0.9 + 0.4 * preferred) / 0.4) ** 2)))
    backward = backward + 0.10 * planted
    return _scores(np.stack([forward, backward]), targets, n_subjects, rng, 0.03)


EEG_SENSORS = [
    *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz"),
    *("C4", "T8", "P7", "P3", "Pz", "P4", "P8", "O1", "Oz", "O2"),
]


def _meg(
    n_sensors: int, n_subjects: int, rng: np.random.Generator, modality: str = "meg"
) -> tuple[xr.Dataset, np.ndarray]:
    sensors = load_sensors()[:: 272 // n_sensors][:n_sensors]
    if modality == "eeg":
        sensors = sensors[: len(EEG_SENSORS)].assign(sensor=EEG_SENSORS[: len(sensors)])
    names = sensors["sensor"].tolist()
    times = np.round(np.arange(-0.3, 1.9, 0.05), 3)
    gain = 0.9 - 0.8 * sensors["v"].to_numpy() + 0.3 * np.abs(sensors["u"].to_numpy())
    peak = 0.12 + 0.27 * DEPTHS
    width = 0.06 + 0.10 * DEPTHS
    t = times[None, :]
    forward = (
        0.08
        * np.exp(-np.clip(t - peak[:, None], 0, None) / 0.6)
        / (1 + np.exp(-(t - peak[:, None]) / width[:, None] * 3))
    )
    late = np.exp(-(((t - 0.8) / 0.35) ** 2))
    backward = 0.045 * (0.5 + 0.5 * DEPTHS[:, None]) * np.exp(-(((t - 0.36) / 0.12) ** 2)) + 0.03 * late
    after = (t > 0.03).astype(float)
    r = np.stack([forward, np.broadcast_to(backward, forward.shape)]) * after
    targets = pd.DataFrame({"sensor": np.repeat(names, len(times)), "time": np.tile(times, len(names))})
    full = (r[:, :, None, :] * gain[None, None, :, None]).reshape(2, len(LAYERS), -1)
    return _scores(full, targets, n_subjects, rng, 0.012), times


def _residual(units: list, planted: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    delta = 0.002 * rng.standard_normal(len(units)) + np.where(planted, rng.uniform(0.02, 0.045, len(units)), 0)
    table = pd.DataFrame({"unit": units, "delta": delta, "low": delta - 0.006, "high": delta + 0.006})
    table["statistic"] = delta / 0.003
    table["p_fwer"] = np.where(planted, 0.0008, rng.uniform(0.2, 1, len(units)))
    table["significant"] = table.p_fwer < 0.05
    return table


def _hierarchy(targets: pd.DataFrame, rng: np.random.Generator) -> dict:
    distance = _distances(targets)
    spatial, temporal = {}, {}
    for signal, slope in (("activation", 0.8), ("gradient", -0.3)):
        place = distance / distance.max()
        best = np.clip((0.1 if slope > 0 else 0.75) + slope * place + 0.14 * rng.standard_normal(len(place)), 0, 1)
        table = pd.DataFrame({"roi": distance.index, "distance_mm": distance.values, "best_layer": best.values})
        r, p = stats.pearsonr(table.distance_mm, table.best_layer)
        rho, rho_p = stats.spearmanr(table.distance_mm, table.best_layer)
        table.attrs = {"r": r, "p": p, "low": r - 0.15, "high": min(r + 0.12, 1), "rho": rho, "rho_p": rho_p}
        spatial[signal] = table
        t_max = (0.12 + 0.27 * DEPTHS if slope > 0 else 0.38 + 0.0 * DEPTHS) + 0.012 * rng.standard_normal(12)
        table = pd.DataFrame(
            {"layer": LAYERS, "depth": DEPTHS, "t_max": t_max, "low": t_max - 0.02, "high": t_max + 0.02}
        )
        r, p = stats.pearsonr(table.depth, table.t_max)
        table.attrs = {"r": r, "p": p, "low": r - 0.06, "high": min(r + 0.03, 1)}
        temporal[signal] = table
    return {"spatial": spatial, "temporal": temporal}


def _controls(scale: float) -> pd.DataFrame:
    rows = [("pixels", 0.35), ("gabor energy", 0.55), ("category", 0.30), ("gradient norm", 0.10), ("loss", 0.06)]
    rows = [("activation", 1.0), ("gradient", 0.62), *rows]
    table = pd.DataFrame([(s, v * scale) for s, v in rows], columns=["space", "r"])
    return table.assign(low=table.r - 0.12 * scale, high=table.r + 0.12 * scale)


def make_results(
    *,
    every: int = 1,
    n_sensors: int = 272,
    n_subjects: int = 3,
    hemispheres: tuple[str, ...] = ("L",),
    modalities: tuple[str, ...] = ("fmri", "meg"),
) -> StudyResults:
    """Return complete results with planted, plausible shapes."""
    rng = np.random.default_rng(0)
    targets = cortical_targets(AREAS, hemispheres=hemispheres, every=every)
    timed = "eeg" if "eeg" in modalities else "meg"
    meg, times = _meg(n_sensors, n_subjects, rng, timed)
    scores = {"fmri": _fmri(targets, n_subjects, rng), timed: meg}
    in_window = (times >= PLANTED_WINDOW[0]) & (times <= PLANTED_WINDOW[1])
    residual = {
        "fmri": _residual(list(AREAS), np.isin(AREAS, PLANTED_AREAS), rng),
        timed: _residual(list(times), in_window, rng),
    }
    r_fmri = scores["fmri"].r.mean(("subject", "split"))
    r_meg = meg.r.mean(("subject", "split")).values.reshape(2, 12, -1, len(times)).mean(axis=2)
    significance = {
        "fmri": (r_fmri > 0.05),
        timed: xr.DataArray(
            r_meg > 0.012, dims=("signal", "layer", "time"), coords={"signal": SIGNALS, "layer": LAYERS, "time": times}
        ),
    }
    ceilings = {"fmri": xr.DataArray(np.full((n_subjects, len(targets)), 0.55, "float32"), dims=("subject", "target"))}
    truth = {"residual_areas": PLANTED_AREAS, "residual_window": PLANTED_WINDOW}
    keep = set(modalities)
    return StudyResults(
        provenance=_provenance(),
        scores={k: v for k, v in scores.items() if k in keep},
        residual={k: v for k, v in residual.items() if k in keep},
        hierarchy={
            kind: tables
            for kind, tables in _hierarchy(targets, rng).items()
            if ("fmri" if kind == "spatial" else timed) in keep
        },
        significance={k: v for k, v in significance.items() if k in keep},
        controls={k: v for k, v in {"fmri": _controls(0.18), timed: _controls(0.05)}.items() if k in keep},
        ceilings={k: v for k, v in ceilings.items() if k in keep},
        truth=truth,
    )


STUDIES = {
    "MEG only": {"modalities": ("meg",)},
    "EEG only": {"modalities": ("eeg",)},
    "fMRI only": {"modalities": ("fmri",)},
    "both": {"modalities": ("fmri", "meg")},
    "nothing significant": {"modalities": ("fmri", "eeg")},
    "one layer": {"modalities": ("meg",)},
    "one subject": {"modalities": ("meg",), "n_subjects": 1},
}


def make_study(name: str) -> StudyResults:
    """Return small results of one of :data:`STUDIES`."""
    results = make_results(**({"every": 20, "n_sensors": 60, "n_subjects": 2} | STUDIES[name]))
    if "fmri" in results.scores:  # maps of cortex take seconds each: those of one signal will do
        results.scores["fmri"] = results.scores["fmri"].sel(signal=["activation"])
        results.significance["fmri"] = results.significance["fmri"].sel(signal=["activation"])
        results.ceilings = {}
    if name == "nothing significant":
        results.significance = {k: xr.zeros_like(marks, dtype=bool) for k, marks in results.significance.items()}
        results.residual = {k: t.assign(significant=False, p_fwer=0.6) for k, t in results.residual.items()}
    if name == "one layer":
        results.scores = {k: scores.isel(layer=[11]) for k, scores in results.scores.items()}
        results.significance = {k: marks.isel(layer=[11]) for k, marks in results.significance.items()}
        results.hierarchy = {}
    return results


def _provenance() -> dict:
    return {
        "simulated": True,
        "dataset": "sample",
        "model": "dino-tiny",
        "weights": "trained",
        "weights_digest": "a1b2c3d4e5f6",
        "objective": "dino",
        "exactness": "exact",
        "site": "block",
        "pooling": "patch-mean",
        "n_images": 720,
        "n_sources": 48,
        "n_trials": {"fmri": 2160, "meg": 2160},
        "cv": 5,
        "groups": "source photograph",
        "split_hash": "3f9c2a71",
        "alphas": [float(a) for a in 10.0 ** np.arange(0, 9)],
        "alpha_per_target": True,
        "standardise": "on the train split",
        "pca": None,
        "scoring": "Pearson r",
        "ceiling_normalised": False,
        "p_values": {"residual": "max-statistic over 5,000 sign flips of groups of photographs"},
        "stimulus_duration": 0.5,
        "seeds": {"folds": 0, "simulation": 0},
        "versions": {"brainmap": "0.1.0", "numpy": np.__version__, "xarray": xr.__version__},
        "created": "2026-01-01T12:00:00",
    }


@pytest.fixture(scope="session")
def results_maker() -> Callable[..., StudyResults]:
    return make_results


@pytest.fixture(scope="session")
def results() -> StudyResults:
    """Full-size results."""
    return make_results()


@pytest.fixture(scope="session")
def small_results() -> StudyResults:
    """Few vertices and sensors, for tests that do not look at the picture."""
    return make_results(every=20, n_sensors=60, n_subjects=2)
