"""Data for the two things a reader may turn or hover: curves and the cortex. Drawn by Plotly, only when opened.

Everything is compressed, because reports are mailed: Plotly's 4.8 MB become 2 MB, unpacked by the browser on demand.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, to_hex

from brainmap.common.names import signal_name
from brainmap.report.cortex.values_on_mesh import HEMISPHERES, Cortex, coarse, cortex_of, on_areas, on_vertices
from brainmap.report.figures.colors_and_type import depth_colors
from brainmap.report.figures.curves import mean_and_sem
from brainmap.report.figures.maps import MapScale, depth_scale, score_scale
from brainmap.report.words import headlines
from brainmap.results import lookups
from brainmap.results.lookups import stimulus_span
from brainmap.results.study_results import StudyResults

_EMPTY = 255  # code of a vertex without a value


def pack(text: str) -> str:
    """Compress text for embedding; the browser's ``DecompressionStream`` unpacks it. Reproducible byte for byte."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0)).decode("ascii")


@functools.cache
def plotly_source() -> str:
    """Return Plotly's JavaScript, packed."""
    from plotly.offline import get_plotlyjs

    return pack(get_plotlyjs())


def curves_data(results: StudyResults) -> str | None:
    """Return curves over time of every signal and layer, packed, or None without a modality that has times."""
    if results.timed is None or lookups.main_signal(results, results.timed) is None:
        return None
    scores = lookups.averaged_over(results, results.timed, "time")
    mean, sem = mean_and_sem(scores)
    signals = [str(name) for name in scores["signal"].values]
    data: dict[str, Any] = {
        "time": [round(float(t), 4) for t in scores["time"].values],
        "layers": [headlines.layer_name(str(name)) for name in scores["layer"].values],
        "colors": [to_hex(color) for color in depth_colors(results.depths(results.timed))],
        "stimulus": stimulus_span(results),
        "signals": [
            {
                "name": signal_name(signal),
                "mean": _rounded(mean.sel(signal=signal).transpose("layer", "time").values),
                "sem": _rounded(sem.sel(signal=signal).transpose("layer", "time").values),
            }
            for signal in signals
        ],
    }
    return pack(json.dumps(data))


def cortex_data(results: StudyResults) -> str | None:
    """Return mesh and maps, packed, or None where the targets are not on the mesh."""
    if lookups.main_signal(results, "fmri") is None:
        return None
    targets = results.targets("fmri")
    cortex = cortex_of(targets)
    if cortex is None:
        return None
    shown, places = coarse(cortex)  # down-sampled for the screen only

    def on_screen(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {side: _mean_of(full, places[side]) for side, full in maps.items()}

    sides = [side for side in HEMISPHERES if side in set(targets["hemisphere"])]
    layers: list[dict[str, Any]] = []
    for signal in (str(name) for name in results.scores["fmri"]["signal"].values):
        _, depth, top = lookups.best_layers(results, signal)
        name = signal_name(signal)
        score, layer = (on_screen(on_vertices(values, targets, cortex)) for values in (top, depth))
        layers.append(_layer(f"{name}: encoding score r", score, score_scale(top, signal), sides))
        layers.append(_layer(f"{name}: best layer", layer, depth_scale(), sides))
    table = results.residual.get("fmri")
    if table is not None:
        kept = table[table["significant"].astype(bool)]
        delta = dict(zip(kept["unit"].astype(str), kept["delta"].astype(float), strict=True))
        scale = score_scale(np.clip(kept["delta"].to_numpy(float), 0, None), "residual", "Gain in r")
        layers.append(_layer("Gradients beyond activations: gain in r", on_areas(delta, shown, sides), scale, sides))
    names = ["", *(cortex.names[number] for number in sorted(cortex.names))]
    return pack(json.dumps({"sides": [_mesh(shown, side) for side in sides], "areas": names, "maps": layers}))


def _mean_of(full: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Mean of the values that one vertex of the screen stands for; NaN where most have none."""
    known = np.isfinite(full)
    n_known, n_all = np.bincount(place, weights=known), np.bincount(place)
    total = np.bincount(place, weights=np.where(known, full, 0.0))
    mean: np.ndarray = np.where(2 * n_known >= n_all, total / np.maximum(n_known, 1), np.nan)
    return mean


def _layer(name: str, values: dict[str, np.ndarray], scale: MapScale, sides: list[str]) -> dict[str, Any]:
    coded = {}
    for side in sides:
        full = values.get(side)
        if full is None:
            continue
        share = (np.nan_to_num(full) - scale.low) / (scale.high - scale.low)
        code = np.clip(np.round(share * (_EMPTY - 1)), 0, _EMPTY - 1)
        coded[side] = _encode(np.where(np.isfinite(full), code, _EMPTY).astype(np.uint8))
    return {
        "name": name,
        "label": scale.label,
        "low": scale.low,
        "high": scale.high,
        "colors": _lut(scale.cmap),
        "values": coded,
    }


def _mesh(cortex: Cortex, side: str) -> dict[str, Any]:
    mesh = cortex.meshes[side]
    xyz = mesh.coordinates - mesh.coordinates.mean(axis=0)
    spread = float(np.std(mesh.sulci)) or 1.0
    grey = 222 + 18 * np.tanh(2.0 * mesh.sulci / spread)
    return {
        "side": side,
        "xyz": _encode(np.round(xyz * 100).astype("<i2")),
        "faces": _encode(mesh.faces.astype("<u2")),
        "grey": _encode(np.clip(grey, 0, 255).astype(np.uint8)),
        "area": _encode(cortex.areas[side].astype("<u2")),
    }


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _lut(cmap: Colormap) -> list[str]:
    return [to_hex(color) for color in cmap(np.linspace(0, 1, _EMPTY))]


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    return [[round(float(v), 5) if np.isfinite(v) else None for v in row] for row in values]
