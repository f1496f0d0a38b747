"""Sensors and times of a page: curves of every layer, topographies, what is above chance when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.report.explore.cortex_data import above_chance, scale_data
from brainmap.report.explore.packed_arrays import STEP, Payload
from brainmap.report.figures.colors_and_type import signal_color
from brainmap.report.figures.map_scales import depth_scale, score_scale
from brainmap.report.panels.sensors import LEAST, sensors_with_places
from brainmap.results.lookups import stimulus_span
from brainmap.results.score_profiles import score_profiles
from brainmap.results.study_results import StudyResults

CURVE_STEP = 0.0001
"""Size of the steps of curves: means over sensors are smaller than r at one of them."""


def add_times(payload: Payload, studies: Sequence[StudyResults], levels: Sequence[float | None]) -> dict[str, Any]:
    """Add curves over time and, where sensors have places, their scores; returns their description."""
    first = studies[0]
    modality = str(first.timed)
    groups = _groups(first)
    data: dict[str, Any] = {
        "modality": MODALITY_NAMES[modality],
        "stimulus": stimulus_span(first),
        "curveStep": CURVE_STEP,
        "step": STEP,
        "depthScale": scale_data(depth_scale()),
        "sensors": sum(len(group["members"]) for group in groups),
    }
    tops: dict[str, list[float]] = {}
    for step, (results, level) in enumerate(zip(studies, levels, strict=True)):
        profile = score_profiles(results, modality, "time")
        named, marks = above_chance(results, modality, profile, level)
        for number, signal in enumerate(profile.signals):
            payload.numbers(f"curve-{signal}-{step}", profile.mean[number], CURVE_STEP)
            if profile.error is not None:
                payload.numbers(f"curve-error-{signal}-{step}", profile.error[number], CURVE_STEP)
            if marks is not None:
                payload.bits(f"curve-above-{signal}-{step}", marks[number])
            values = _by_sensor(results, modality, signal)
            for kind, group in enumerate(groups):
                merged = np.stack([values[:, members].mean(axis=1) for members in group["members"]], axis=1)
                payload.numbers(f"sensors-{kind}-{signal}-{step}", merged)
                tops.setdefault(f"{kind}-{signal}", []).append(float(np.nanmax(merged, initial=0.0)))
        if step == 0:
            data["times"] = [round(float(time), 5) for time in profile.places]
            data["layers"], data["errorOver"] = profile.layers, profile.error_over
            data["depths"] = [round(float(depth), 4) for depth in results.depths(modality)]
            data["signals"] = [
                {"key": name, "name": signal_name(name), "color": signal_color(name), "named": []}
                for name in profile.signals
            ]
        for signal, anything in zip(data["signals"], named, strict=True):
            signal["named"].append(anything)
    data["groups"] = [
        {"kind": group["kind"], "x": group["x"], "y": group["y"], "names": group["names"],
         "scales": {s["key"]: scale_data(score_scale(np.array(tops[f"{kind}-{s['key']}"]), s["key"]))
                    for s in data["signals"]}}
        for kind, group in enumerate(groups)
    ]  # fmt: skip
    return data


def _groups(results: StudyResults) -> list[dict[str, Any]]:
    """Places on the head by kind of sensor; sensors at one place (two gradiometers) are one, their mean."""
    table = sensors_with_places(results)
    groups = []
    for kind in table["kind"].unique():
        known = table[(table["kind"] == kind) & np.isfinite(table["flat_x"])]
        xy = np.round(known[["flat_x", "flat_y"]].to_numpy(dtype=float), 4)
        places, index = np.unique(xy, axis=0, return_inverse=True)
        if len(places) < LEAST:
            continue
        index, rows, names = index.reshape(-1), known.index.to_numpy(), known["sensor"].astype(str).to_numpy()
        groups.append({
            "kind": str(kind), "x": places[:, 0].tolist(), "y": places[:, 1].tolist(),
            "members": [rows[index == place] for place in range(len(places))],
            "names": [" + ".join(names[index == place]) for place in range(len(places))],
        })  # fmt: skip
    return groups


def _by_sensor(results: StudyResults, modality: str, signal: str) -> np.ndarray:
    """Mean r ``(layer, sensor, time)``, sensors in the order of their table, times ascending."""
    scores = results.scores[modality]
    r = results.group_r(modality, signal).values
    times, when = np.unique(scores["time"].values, return_inverse=True)
    which, sensors = pd.factorize(scores["sensor"].values.astype(str))
    full = np.full((len(r), len(sensors), len(times)), np.nan, dtype=np.float32)
    full[:, which, when] = r
    return full
