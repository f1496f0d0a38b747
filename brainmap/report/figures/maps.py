"""Cortical surfaces. Study A: figures 2A–B, 4, 6. Study B: figures 2A, 3A, 4, 5C, 6, 7, 8 (left panels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from brainmap.common.names import as_names, signal_name
from brainmap.report.cortex.flat_meshes import flat_cortex
from brainmap.report.cortex.mesh_raster import HemisphereMesh, View, paint, smooth
from brainmap.report.cortex.values_on_mesh import (
    HEMISPHERE_NAMES,
    HEMISPHERES,
    Cortex,
    area_borders,
    cortex_of,
    load_cortex,
    on_areas,
    on_vertices,
)
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    MUTED,
    TITLE,
    TITLE_SIZE,
    new_figure,
    styled,
)
from brainmap.report.figures.map_scales import (
    MapScale,
    depth_scale,
    difference_scale,
    map_color_bar,
    score_scale,
    step_scale,
)

VIEWS: tuple[View, ...] = ("lateral", "medial", "ventral")
"""Rows of a map of both hemispheres."""
SINGLE_VIEWS: tuple[View, ...] = ("lateral", "medial", "ventral", "dorsal")
"""Views of a map of one hemisphere, two a row."""
_PIXELS_PER_MM = 2.6
LANDMARKS = ("V1", "V2", "V3", "V4", "MT", "FFC")


@styled
def vertex_map(
    values: np.ndarray,
    targets: pd.DataFrame,
    scale: MapScale,
    *,
    title: str = "",
    views: Sequence[View] | None = None,
    smoothing: int = 0,
    hemispheres: Sequence[str] = (),
    flat: bool = False,
) -> Figure:
    """Draw one value per target on the inflated cortex: the hemispheres that have targets.

    Parameters
    ----------
    values : np.ndarray of shape (n_targets,)
        Values; NaN (for instance: not significant) leaves the cortex grey.
    targets : pd.DataFrame
        Columns ``hemisphere`` and ``vertex`` (fsLR-32k; fsaverage: see :func:`brainmap.report.cortex.cortex_of`).
    scale : MapScale
        Colours and their label.
    title : str
        Title above the map.
    views : sequence of str, optional
        Lateral, medial and ventral by default, and dorsal for a single hemisphere.
    smoothing : int
        Passes of neighbour averaging with weight 0.3; Study A, figure 2, uses 3.
    hemispheres : sequence of str
        Drawn even if they have no targets, and are then grey.
    flat : bool
        Also draw the cortex laid flat, below, where the template's flat mesh is at hand.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap.report.figures import vertex_map
    >>> from brainmap.report.figures.map_scales import score_scale
    >>> targets = pd.DataFrame({"hemisphere": "L", "vertex": np.arange(0, 32492, 50)})
    >>> values = np.linspace(0, 0.3, len(targets))
    >>> figure = vertex_map(values, targets, score_scale(values, "activation"), views=["lateral"])
    """
    cortex = cortex_of(targets) or load_cortex()
    maps = on_vertices(np.asarray(values, dtype=float), targets, cortex)
    if smoothing:
        maps = {side: smooth(full, cortex.meshes[side].faces, passes=smoothing) for side, full in maps.items()}
    empty = {side: np.full(cortex.n_vertices, np.nan) for side in as_names(hemispheres)}
    return _map_figure(empty | maps, scale, cortex, title=title, views=views, flat=flat)


@styled
def area_map(
    values: Mapping[str, float],
    scale: MapScale,
    *,
    title: str = "",
    views: Sequence[View] | None = None,
    hemispheres: Sequence[str] = HEMISPHERES,
    cortex: Cortex | None = None,
) -> Figure:
    """Draw one value per area on the inflated cortex; areas without a value stay grey.

    Parameters
    ----------
    values : mapping of str to float
        Area (``V1``; ``L_V1`` for one side) to value.
    scale : MapScale
        Colours and their label.
    title : str
        Title above the map.
    views : sequence of str, optional
        Lateral, medial and ventral by default, and dorsal for a single hemisphere.
    hemispheres : sequence of str
        Sides to draw.
    cortex : Cortex, optional
        Mesh and areas; HCP-MMP1 on fsLR-32k by default.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.report.figures import area_map
    >>> from brainmap.report.figures.map_scales import score_scale
    >>> scale = score_scale(np.array([0.2, 0.3]), "activation")
    >>> figure = area_map({"V1": 0.3, "FFC": 0.2}, scale, views=["lateral"], hemispheres=["L"])
    >>> figure.savefig("areas.png")
    """
    cortex = cortex or load_cortex()
    return _map_figure(on_areas(values, cortex, hemispheres), scale, cortex, title=title, views=views)


def score_map(
    values: np.ndarray,
    targets: pd.DataFrame,
    signal: str,
    *,
    title: str = "",
    hemispheres: Sequence[str] = (),
    flat: bool = False,
) -> Figure:
    """Draw an encoding score per target in the colour of its signal. Study B 2A; Study A 4 and 6.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import score_map
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> r = run.mean_r("fmri").sel(signal="activation", layer="block.11").mean("subject")
    >>> figure = score_map(r.values, run.targets("fmri"), "activation")
    """
    scale = score_scale(values, signal)
    return vertex_map(values, targets, scale, title=title or signal_name(signal), hemispheres=hemispheres, flat=flat)


def best_layer_map(
    depths: np.ndarray,
    targets: pd.DataFrame,
    *,
    title: str = "Best layer",
    smoothing: int = 3,
    hemispheres: Sequence[str] = (),
    flat: bool = False,
) -> Figure:
    """Draw the depth of the best layer per target. Study A 2A–B (smoothed over the mesh); Study B 3A.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import best_layer
    >>> from brainmap.report.figures import best_layer_map
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> depths = best_layer(run.mean_r("fmri").sel(signal="activation")).values
    >>> figure = best_layer_map(depths, run.targets("fmri"))
    """
    shown = {"title": title, "smoothing": smoothing, "hemispheres": hemispheres, "flat": flat}
    return vertex_map(depths, targets, depth_scale(), **shown)  # type: ignore[arg-type]


def ceiling_map(values: np.ndarray, targets: pd.DataFrame, *, title: str = "Noise ceiling") -> Figure:
    """Draw the noise ceiling of r per target in grey: what a perfect model could reach.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import ceiling_map
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> figure = ceiling_map(run.ceilings["fmri"].mean("subject").values, run.targets("fmri"))
    """
    return vertex_map(values, targets, score_scale(values, "ceiling", "Noise ceiling of r"), title=title)


def residual_map(
    delta: Mapping[str, float],
    *,
    title: str = "",
    hemispheres: Sequence[str] = HEMISPHERES,
    cortex: Cortex | None = None,
) -> Figure:
    """Draw what gradients add to activations, by area. Study A 4 and 6, right panels.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import residual_map
    >>> table = brainmap.open_run("brainmap_runs/demo").residual["fmri"]
    >>> figure = residual_map(dict(zip(table["unit"], table["delta"])), hemispheres=["L"])
    """
    values = np.array([value for value in delta.values() if np.isfinite(value)])
    scale = score_scale(np.clip(values, 0, None), "residual", "Gain in r over activations")
    return area_map(delta, scale, title=title or signal_name("residual"), hemispheres=hemispheres, cortex=cortex)


def half_time_map(
    half_times: Mapping[str, float],
    *,
    title: str = "",
    label: str = "Half time (% of training)",
    hemispheres: Sequence[str] = HEMISPHERES,
    cortex: Cortex | None = None,
) -> Figure:
    """Draw the training step at which each area reaches half of its final score. Study B 5C.

    Examples
    --------
    >>> from brainmap.report.figures import half_time_map
    >>> figure = half_time_map({"V1": 5.0, "FFC": 30.0}, hemispheres=["L"])
    """
    scale = step_scale(np.array(list(half_times.values()), dtype=float), label)
    return area_map(half_times, scale, title=title, hemispheres=hemispheres, cortex=cortex)


def difference_map(
    values: Mapping[str, float],
    label: str,
    *,
    title: str = "",
    hemispheres: Sequence[str] = HEMISPHERES,
    cortex: Cortex | None = None,
) -> Figure:
    """Draw a difference of scores by area, white where there is none. Study B 6C (model size) and 7C (image type).

    Examples
    --------
    >>> from brainmap.report.figures import difference_map
    >>> figure = difference_map({"V1": -0.02, "FFC": 0.05}, "large − small, r", hemispheres=["L"])
    """
    scale = difference_scale(np.array(list(values.values()), dtype=float), label)
    return area_map(values, scale, title=title, hemispheres=hemispheres, cortex=cortex)


@styled
def area_key_map(
    colors: Mapping[str, str],
    *,
    title: str = "",
    hemispheres: Sequence[str] = HEMISPHERES,
    cortex: Cortex | None = None,
) -> Figure:
    """Draw some areas, each in its colour, with their names as a key. Study B 6C and 7C.

    Parameters
    ----------
    colors : mapping of str to str
        Area → colour, in the order of the key.
    title : str
        Title above the map.
    hemispheres : sequence of str
        Sides to draw.
    cortex : Cortex, optional
        Mesh and areas; HCP-MMP1 on fsLR-32k by default.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> from brainmap.report.figures import area_key_map
    >>> figure = area_key_map({"V1": "#1f77b4", "FFC": "#ff7f0e", "44": "#2ca02c"}, hemispheres=["L"])
    """
    cortex = cortex or load_cortex()
    numbers = {name: float(i) for i, name in enumerate(colors)}
    scale = MapScale(ListedColormap(list(colors.values())), -0.5, len(colors) - 0.5, "")
    maps = on_areas(numbers, cortex, hemispheres)
    return _map_figure(maps, scale, cortex, title=title, views=None, key=colors)


def property_map(
    values: Mapping[str, float], label: str, *, title: str = "", hemispheres: Sequence[str] = HEMISPHERES
) -> Figure:
    """Draw a cortical property (thickness, T1w/T2w, expansion, timescale) by area. Study B 8, left panels.

    Examples
    --------
    >>> from brainmap.report.figures import property_map
    >>> figure = property_map({"V1": 1.8, "FFC": 2.9}, "Thickness (mm)", hemispheres=["L"])
    """
    scale = step_scale(np.array(list(values.values()), dtype=float), label)
    return area_map(values, scale, title=title, hemispheres=hemispheres)


def _map_figure(
    maps: Mapping[str, np.ndarray],
    scale: MapScale,
    cortex: Cortex,
    *,
    title: str,
    views: Sequence[View] | None,
    key: Mapping[str, str] | None = None,
    flat: bool = False,
) -> Figure:
    norm = Normalize(scale.low, scale.high, clip=True)
    borders = area_borders(set(LANDMARKS if key is None else key), cortex)
    sides = [side for side in HEMISPHERES if side in maps]
    laid = flat_cortex(cortex) if flat else None

    def draw(side: str, view: View) -> np.ndarray:
        mesh, areas = (cortex if view != "flat" or laid is None else laid).meshes[side], borders[side]
        pixels = _PIXELS_PER_MM * (1.0 if view != "flat" else flat_share(cortex.meshes[side], mesh))
        style = {"cmap": scale.cmap, "norm": norm, "areas": areas, "pixels_per_mm": pixels}
        return paint(mesh, maps[side], view, nearest=key is not None, **style)  # type: ignore[arg-type]

    if len(sides) == 2:
        shown: list[View] = [*(views or VIEWS), *(["flat"] if laid is not None else [])]  # type: ignore[list-item]
        rows = [[draw(side, view) for side in sides] for view in shown]
        heads = [HEMISPHERE_NAMES[side] for side in sides]
        canvas, places = mosaic(rows, gap=int(6 * _PIXELS_PER_MM))
    else:
        single: list[View] = [*(views or SINGLE_VIEWS), *(["flat"] if laid is not None else [])]  # type: ignore[list-item]
        rows = [[draw(sides[0], view) for view in single[i : i + 2]] for i in range(0, len(single), 2)]
        heads = [f"{HEMISPHERE_NAMES[sides[0]]}, {single[0]}", *single[1:]]
        canvas, places = mosaic(rows, gap=int(15 * _PIXELS_PER_MM))
    height, width = canvas.shape[:2]
    figure_height = COLUMN * 0.98 * height / width + 1.02
    figure = new_figure(COLUMN, figure_height)
    figure.set_layout_engine("none")
    ax = figure.add_axes((0.01, 0.54 / figure_height, 0.98, 0.98 * COLUMN * height / width / figure_height))
    ax.imshow(canvas, interpolation="lanczos", aspect="equal")
    ax.set_axis_off()
    for head, (x, y) in zip(heads, places, strict=False):
        ax.text(x, y - 6, head, ha="center", va="bottom", color=MUTED, fontsize=8)
    if title:
        figure.text(0.02, 1 - 0.06 / figure_height, title, fontsize=TITLE_SIZE, color=TITLE, va="top")
    if key is None:
        map_color_bar(figure, scale, figure_height)
    else:
        patches = [Patch(color=color, label=name) for name, color in key.items()]
        figure.legend(handles=patches, loc="lower center", ncols=-(-len(key) // 3), fontsize=7, handlelength=0.9,
                      columnspacing=0.9, borderaxespad=0.2)  # fmt: skip
    return figure


def flat_share(inflated: HemisphereMesh, flat: HemisphereMesh) -> float:
    """How much smaller a flat mesh is drawn, so that it is as wide as the inflated one is long."""
    return float(np.ptp(inflated.coordinates[:, 1]) / np.ptp(flat.coordinates[np.unique(flat.faces), 0]))


def mosaic(rows: list[list[np.ndarray]], *, gap: int) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Put views on one transparent canvas, ``gap`` pixels apart; returns it and the middle of each upper edge."""
    columns = max(len(row) for row in rows)
    widths = [max(row[i].shape[1] for row in rows if len(row) > i) for i in range(columns)]
    heights = [max(image.shape[0] for image in row) for row in rows]
    canvas = np.zeros((sum(heights) + gap * (len(rows) - 1), sum(widths) + gap * (columns - 1), 4))
    canvas[..., :3] = 1.0
    starts = np.cumsum([0, *[width + gap for width in widths[:-1]]])
    places = []
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for image, left, width in zip(row, starts, widths, strict=False):
            y, x = top + (height - image.shape[0]) // 2, left + (width - image.shape[1]) // 2
            canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
            places.append((float(left + width / 2), float(y)))
        top += height + gap
    return canvas, places
