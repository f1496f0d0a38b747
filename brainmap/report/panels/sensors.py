"""Panels of sensors seen from above, wherever their places are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.data.sensor_positions import flat_positions
from brainmap.report.figures import topographies
from brainmap.report.panels.panel import Panel
from brainmap.report.words import headlines
from brainmap.results import nameable
from brainmap.results.study_results import StudyResults

LEAST = topographies.LEAST_SENSORS
_NEUROMAG = re.compile(r"MEG ?\d{3}([123])")
GRADIOMETERS = "gradiometers"
_KINDS = {"mag": "magnetometers", "grad": GRADIOMETERS}


def sensors_with_places(results: StudyResults) -> pd.DataFrame:
    """Return ``sensor``, ``flat_x``, ``flat_y`` (NaN where unknown) and ``kind`` (empty where there is one) of each."""
    modality = str(results.timed)
    scores = results.scores[modality]
    names, first = np.unique(scores["sensor"].values.astype(str), return_index=True)
    order = np.argsort(first)
    names, first = names[order], first[order]
    places = None
    for axes in (("x", "y", "z"), ("u", "v")):
        if all(axis in scores.coords for axis in axes):
            places = np.stack([_of_sensors(scores[axis])[first] for axis in axes], axis=1)
    flat = np.full((len(names), 2), np.nan)
    if modality != "ieeg":  # contacts lie inside the head
        flat = flat_positions(names.tolist(), modality=modality, places=places)
    kinds = np.array([""] * len(names), dtype=object)
    if "kind" in scores.coords and scores["kind"].dims == ("target",):
        kinds = scores["kind"].values[first].astype(object)
    elif all(_NEUROMAG.fullmatch(name) for name in names):
        kinds = np.array(["mag" if name.endswith("1") else "grad" for name in names], dtype=object)
    if set(kinds) != set(_KINDS):  # axial gradiometers, or electrodes: nothing to tell apart
        kinds[:] = ""
    table = pd.DataFrame({"sensor": names, "flat_x": flat[:, 0], "flat_y": flat[:, 1], "kind": kinds})
    return table.replace({"kind": _KINDS})


def _of_sensors(places: xr.DataArray) -> np.ndarray:
    """Places by target; the mean over subjects whose heads differ."""
    others = [dim for dim in places.dims if dim != "target"]
    return np.asarray(places.mean(others, skipna=True).values, dtype=float)


def has_layout(results: StudyResults) -> bool:
    """Return whether enough sensors have a known place."""
    return int(np.isfinite(sensors_with_places(results)["flat_x"]).sum()) >= LEAST


def topography_panels(results: StudyResults, signal: str, suffix: str, peaks: np.ndarray | None) -> Iterator[Panel]:
    """Yield sensors at the peaks of a shallow, a middle and a deep layer; magnetometers and gradiometers apart.

    Parameters
    ----------
    results : StudyResults
        A study with a modality that has times.
    signal, suffix : str
        The signal, and what titles end with.
    peaks : ndarray, (n_layers,), optional
        T_max of each layer in s; None where nothing is above chance.
    """
    modality = str(results.timed)
    places = sensors_with_places(results)
    by_sensor, captions = _at_peaks(results, signal, peaks)
    for kind in places["kind"].unique():
        group = places[places["kind"] == kind]
        known = group[np.isfinite(group["flat_x"])]
        if len(known) < LEAST:
            continue
        shown = by_sensor.sel(sensor=known["sensor"].tolist())
        which = f"{kind} at the peaks" if kind else "sensors at the peaks"
        words = f"Scores of the {len(known)} {kind or 'sensors'}, the head seen from above (nose up),"
        if len(known) < len(group):
            words = words.replace(f"{len(known)} ", f"{len(known)} of {len(group)} ", 1)
            words += " as far as their places are known,"
        pairs = " The two gradiometers of a place are averaged." if kind == GRADIOMETERS else ""
        chance = ""
        if not nameable.predicts(results, modality, signal):
            chance = " Nothing is above chance: what is shown is each layer's luckiest sample."
        sample = "nearest to its own Tmax" if peaks is not None else "with its highest score"
        scale = "; one colour scale" if len(captions) > 1 else ""
        layers = {1: "the layer", 2: "each layer"}.get(len(captions), "a shallow, a middle and a deep layer, each")
        yield Panel(
            f"{modality}-sensors-{signal}" + (f"-{kind}" if kind else ""),
            "when",
            f"{signal_name(signal)}: {which}",
            f"{words} for {layers} at the sample {sample}{scale}.{pairs}{chance}",
            f"{MODALITY_NAMES[modality]} maps of the score of {signal_name(signal).lower()} at "
            f"{', '.join(text.splitlines()[1] for text in captions)}.",
            _draw(shown, known, captions, signal, f"{signal_name(signal)}{suffix}"),
            pd.DataFrame({"sensor": known["sensor"].to_numpy()}
                         | {" ".join(c.split()): v for c, v in zip(captions, shown.values, strict=True)}),
            raster=True,
            heading=f"{signal_name(signal)}{suffix}",
        )  # fmt: skip


def _draw(
    shown: xr.DataArray, known: pd.DataFrame, captions: list[str], signal: str, title: str
) -> Callable[[], Figure]:
    positions = known[["flat_x", "flat_y"]].to_numpy()
    return lambda: topographies.sensor_maps(shown, captions, signal, positions=positions, title=title)


def _at_peaks(results: StudyResults, signal: str, peaks: np.ndarray | None) -> tuple[xr.DataArray, list[str]]:
    """Scores (panel, sensor) of three layers, each at its peak, and a caption for each."""
    modality = str(results.timed)
    scores = results.scores[modality]
    sensors, times = scores["sensor"].values.astype(str), scores["time"].values
    r = results.group_r(modality, signal)
    n_layers = r.sizes["layer"]
    samples = np.unique(times)
    rows, captions = [], []
    for layer in sorted({0, n_layers // 2, n_layers - 1}):
        table = pd.DataFrame({"sensor": sensors, "time": times, "r": r.values[layer]})
        wanted = table.groupby("time")["r"].mean().idxmax()
        if peaks is not None and np.isfinite(peaks[layer]):
            wanted = peaks[layer]
        time = samples[np.argmin(np.abs(samples - wanted))]
        rows.append(table[table["time"] == time].set_index("sensor")["r"])
        captions.append(f"{headlines.layer_name(str(r['layer'].values[layer]))}\n{1000 * time:.0f} ms")
    names = rows[0].index
    values = np.stack([row.reindex(names).to_numpy() for row in rows])
    return xr.DataArray(values, dims=("panel", "sensor"), coords={"sensor": names.tolist()}), captions
