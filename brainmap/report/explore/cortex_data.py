"""The cortex of a page: mesh, flat surface, and the scores of every place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Colormap, to_hex

from brainmap.common.names import signal_name
from brainmap.report.cortex.flat_meshes import flat_cortex
from brainmap.report.cortex.mesh_raster import HemisphereMesh
from brainmap.report.cortex.values_on_mesh import HEMISPHERES, Cortex, coarse, cortex_of, nearest_targets, vertices_of
from brainmap.report.explore.packed_arrays import STEP, Payload
from brainmap.report.figures.colors_and_type import signal_color
from brainmap.report.figures.map_scales import MapScale, depth_scale, score_scale
from brainmap.report.figures.maps import LANDMARKS
from brainmap.results import lookups, nameable
from brainmap.results.score_profiles import ScoreProfiles, score_profiles
from brainmap.results.study_results import StudyResults

XYZ_STEP, FLAT_STEP = 0.01, 0.02  # mm
COLORS = 64


@dataclass(frozen=True, eq=False)
class Places:
    """What a page shows of the cortex: places, each one target or the mean of several.

    Attributes
    ----------
    cortex : Cortex
        As drawn.
    place_of_vertex : dict of str to ndarray of int
        By hemisphere, the place that each vertex shows; −1 where there is none.
    own : dict of str to ndarray of bool
        Vertices that are a place, and do not only show their neighbour's.
    place_of_target : ndarray of int, (n_targets,)
        −1 for targets that are not drawn.
    vertex, side : ndarray, (n_places,)
        Vertex of each place on the mesh that is drawn, and its hemisphere.
    whole : bool
        Whether the mesh is drawn with all its vertices.
    """

    cortex: Cortex
    place_of_vertex: dict[str, np.ndarray]
    own: dict[str, np.ndarray]
    place_of_target: np.ndarray
    vertex: np.ndarray
    side: np.ndarray
    whole: bool

    @property
    def merged(self) -> bool:
        """Whether places are means over several targets."""
        return int((self.place_of_target >= 0).sum()) > len(self.vertex)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over the targets of each place, along the last axis; those without a value do not count."""
        drawn = self.place_of_target >= 0
        index, n = self.place_of_target[drawn], len(self.vertex)
        rows = values[..., drawn].reshape(-1, int(drawn.sum())).astype(float)
        result = np.full((len(rows), n), np.nan)
        for number, row in enumerate(rows):
            known = np.isfinite(row)
            count = np.bincount(index[known], minlength=n)
            np.divide(np.bincount(index[known], row[known], n), count, out=result[number], where=count > 0)
        return result.reshape(*values.shape[:-1], n)


def places_of(targets: pd.DataFrame, most: int | None = None) -> Places | None:
    """Return the places of a study's targets, None where they are on no mesh that is at hand.

    Parameters
    ----------
    targets : pd.DataFrame
        As :func:`brainmap.report.cortex.cortex_of` takes them.
    most : int, optional
        Vertices of a hemisphere, about; near ones are merged.
    """
    cortex = cortex_of(targets)
    if cortex is None:
        return None
    drawn, cells = coarse(cortex, cortex.n_vertices if most is None else most)
    place_of_target = np.full(len(targets), -1, dtype=np.int64)
    own, place_of_vertex, vertex, side_of = {}, {}, [], []
    shown, n_places = nearest_targets(targets, cortex), 0
    for side, (rows, vertices) in vertices_of(targets, cortex).items():
        kept, place = np.unique(cells[side][vertices], return_inverse=True)
        place_of_target[rows] = n_places + place
        n_places += len(kept)
        own[side] = np.zeros(len(drawn.meshes[side].coordinates), dtype=bool)
        own[side][kept] = True
        between = (shown[side] >= 0) & ~own[side][cells[side]]  # these show a neighbour's
        full = np.full(len(own[side]), -1, dtype=np.int64)
        full[cells[side][between]] = place_of_target[shown[side][between]]
        full[cells[side][vertices]] = place_of_target[rows]
        place_of_vertex[side] = full
        vertex.append(kept)
        side_of += [side] * len(kept)
    return Places(
        drawn, place_of_vertex, own, place_of_target, np.concatenate(vertex), np.array(side_of), drawn is cortex
    )


def add_meshes(payload: Payload, places: Places, *, flat: bool) -> dict[str, Any]:
    """Add the surfaces to a payload and return their description."""
    laid = flat_cortex(places.cortex) if flat and places.whole else None
    sides = [side for side in HEMISPHERES if side in places.place_of_vertex]
    for side in sides:
        mesh = places.cortex.meshes[side]
        centre = mesh.coordinates.mean(axis=0)
        payload.planes(f"xyz-{side}", np.rint((mesh.coordinates - centre) / XYZ_STEP).astype(np.int16))
        payload.differences(f"faces-{side}", _outward(mesh))
        payload.planes(f"grey-{side}", _grey(mesh))
        payload.planes(f"area-{side}", places.cortex.areas[side].astype(np.uint16))
        payload.differences(f"place-{side}", places.place_of_vertex[side] + 1)
        payload.bits(f"own-{side}", places.own[side])
        if laid is not None:
            plane = laid.meshes[side]
            payload.planes(f"flat-{side}", np.rint(plane.coordinates[:, :2] / FLAT_STEP).astype(np.int16))
            payload.differences(f"flatfaces-{side}", plane.faces)
    names = ["", *(places.cortex.names[number] for number in sorted(places.cortex.names))]
    return {
        "mesh": places.cortex.mesh,
        "sides": sides,
        "vertices": {side: len(places.own[side]) for side in sides},
        "places": len(places.vertex),
        "merged": places.merged,
        "flat": laid is not None,
        "xyzStep": XYZ_STEP,
        "flatStep": FLAT_STEP,
        "areas": names,
        "outlined": list(LANDMARKS),
    }


def _outward(mesh: HemisphereMesh) -> np.ndarray:
    """Triangles, counter-clockwise seen from outside."""
    corners = mesh.coordinates[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = (normal * (corners.mean(axis=1) - mesh.coordinates.mean(axis=0))).sum()
    faces: np.ndarray = mesh.faces if outward >= 0 else mesh.faces[:, ::-1]
    return faces


def _grey(mesh: HemisphereMesh) -> np.ndarray:
    spread = float(np.std(mesh.sulci)) or 1.0
    return np.clip(np.rint(216 + 19 * np.tanh(2.0 * mesh.sulci / spread)), 0, 255).astype(np.uint8)


def add_scores(
    payload: Payload, places: Places, studies: Sequence[StudyResults], levels: Sequence[float | None], *, errors: bool
) -> dict[str, Any]:
    """Add r of every place, layer, signal and step, and what is above chance; returns their description."""
    profiles = [score_profiles(results, "fmri") for results in studies]
    first, signals = profiles[0], []
    coloured: dict[str, list[dict[str, Any]]] = {}
    tops: dict[str, list[np.ndarray]] = {signal: [] for signal in first.signals}
    for step, (results, profile, level) in enumerate(zip(studies, profiles, levels, strict=True)):
        _, kept = above_chance(results, "fmri", profile, level)
        for number, signal in enumerate(profile.signals):
            name = f"{signal}-{step}"
            best = lookups.best_layers(results, signal)[0]
            mean, top = profile.mean[number], _at(profile.mean[number], best)
            mark = None if kept is None else kept[number]
            payload.numbers(f"r-{name}", places.mean(mean))
            if errors and profile.error is not None:
                payload.numbers(f"error-{name}", places.mean(profile.error[number]))
            if mark is not None:
                payload.bits(f"above-{name}", places.mean(mark.astype(float)) >= 0.5)
            payload.planes(f"best-{name}", _best_of_places(places, mean, best))
            tops[signal].append(top if mark is None else top[_at(mark, best)])
            drawn = places.place_of_target >= 0
            coloured.setdefault(signal, []).append(_counts(mark, best, drawn))
    for signal in first.signals:
        scale = score_scale(np.concatenate(tops[signal]) if tops[signal] else np.array([]), signal)
        words = {"key": signal, "name": signal_name(signal), "coloured": coloured[signal]}
        signals.append({**words, "color": signal_color(signal), "scale": scale_data(scale)})
    return {
        "signals": signals,
        "layers": first.layers,
        "depths": [round(float(depth), 4) for depth in studies[0].depths("fmri")],
        "errorOver": first.error_over if errors else "",
        "step": STEP,
        "depthScale": scale_data(depth_scale()),
    }


def above_chance(
    results: StudyResults, modality: str, profile: ScoreProfiles, level: float | None
) -> tuple[list[bool], np.ndarray | None]:
    """Return what a page may colour: marks of the study's test, of signals of which anything may be named.

    Returns
    -------
    named : list of bool
        For each signal, whether anything may be named.
    marks : ndarray of bool or None
        As ``profile.above``; None where the study made no test.
    """
    named = [nameable.predicts(results, modality, signal, level) for signal in profile.signals]
    if profile.above is None:
        return named, None
    return named, profile.above & np.array(named)[:, None, None]


def _at(rows: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Value of each column at its layer."""
    return np.asarray(np.take_along_axis(rows, np.maximum(layer, 0)[None], axis=0)[0])


def _best_of_places(places: Places, mean: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Number of the best layer plus one, 0 where there is no score."""
    if not places.merged:
        drawn = places.place_of_target >= 0
        found = np.zeros(len(places.vertex), dtype=np.uint8)
        found[places.place_of_target[drawn]] = best[drawn] + 1
        return found
    merged = places.mean(mean)
    known = np.isfinite(merged).any(axis=0)
    return np.where(known, np.argmax(np.where(np.isfinite(merged), merged, -np.inf), axis=0) + 1, 0).astype(np.uint8)


def _counts(mark: np.ndarray | None, best: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """How many of the targets that are drawn are above chance: at their best layer, and at each."""
    of = int(drawn.sum())
    if mark is None:
        return {"best": None, "layers": None, "of": of}
    shown = mark[:, drawn]
    return {"best": int(_at(shown, best[drawn]).sum()), "layers": shown.sum(axis=1).tolist(), "of": of}


def scale_data(scale: MapScale) -> dict[str, Any]:
    """Return colours and ends of a map for the script."""
    return {
        "low": scale.low,
        "high": scale.high,
        "label": scale.label,
        "ends": list(scale.ends or ()),
        "colors": lut(scale.cmap),
    }


def lut(cmap: Colormap) -> list[str]:
    """Return evenly spaced colours of a map."""
    return [to_hex(color) for color in cmap(np.linspace(0, 1, COLORS))]
