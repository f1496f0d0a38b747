"""Maps of cortex for papers: all views, flat, at the resolution of print, several with one colour bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from brainmap.common.errors import InputError
from brainmap.common.names import as_names, signal_name
from brainmap.report.cortex.flat_meshes import flat_cortex
from brainmap.report.cortex.mesh_raster import View, paint, view_axes
from brainmap.report.cortex.values_on_mesh import (
    HEMISPHERE_NAMES,
    HEMISPHERES,
    Cortex,
    area_borders,
    cortex_of,
    on_areas,
    on_vertices,
)
from brainmap.report.figures.colors_and_type import MUTED, TITLE, TITLE_SIZE, new_figure, styled
from brainmap.report.figures.map_scales import MapScale, depth_scale, map_color_bar, score_scale
from brainmap.report.figures.maps import LANDMARKS, mosaic
from brainmap.results import lookups, nameable
from brainmap.results.study_results import StudyResults

PRINT_DPI = 300
PAPER_WIDTH = 7.2
"""Two columns of a journal, in inches."""
Layout = Literal["2x4", "flat", "2x4+flat"]
Grid = list[list[tuple[str, View]]]
Show = Literal["r", "best layer", "gain", "ceiling"]
_OUTER: tuple[View, ...] = ("lateral", "ventral")
_INNER: tuple[View, ...] = ("medial", "dorsal")
_GAP = 8.0  # mm
_HEAD, _TITLE, _BAR = 0.17, 0.24, 0.56  # inches
_LINE = 0.5 / 72  # of outlines, in inches
_SINGLE_FLAT = 0.62  # share of the width that one flat hemisphere takes


@styled
def paper_map(
    maps: Mapping[str, Mapping[str, np.ndarray]],
    cortex: Cortex,
    scale: MapScale,
    *,
    views: Layout | Sequence[View] = "2x4",
    outlines: Sequence[str] | Literal["all"] = LANDMARKS,
    width: float = PAPER_WIDTH,
    dpi: int = PRINT_DPI,
) -> Figure:
    """Draw maps below each other, all on one scale with one colour bar.

    Parameters
    ----------
    maps : mapping of str to mapping of str to ndarray, (n_vertices,)
        Title → hemisphere → value of each vertex, as :func:`brainmap.report.cortex.values_on_mesh.on_vertices` and
        ``on_areas`` give them; NaN leaves the cortex grey.
    cortex : Cortex
        The mesh.
    scale : MapScale
        Colours and the words on the bar.
    views : {"2x4", "flat", "2x4+flat"} or sequence of str
        ``2x4`` is lateral and medial above ventral and dorsal of both hemispheres; or views of one's own, a column
        for each hemisphere.
    outlines : sequence of str, or "all"
        Areas whose borders are drawn.
    width : float
        Of the figure, in inches.
    dpi : int
        Pixels per inch of the surfaces, which are pictures in a PDF; words stay text.

    Returns
    -------
    Figure
        ``savefig("map.pdf")`` keeps that resolution.

    Raises
    ------
    InputError
        If a view, an area or a flat surface does not exist.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.cortex import cortex_of
    >>> from brainmap.report.cortex.values_on_mesh import on_vertices
    >>> from brainmap.report.figures import paper_map
    >>> from brainmap.report.figures.map_scales import score_scale
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> r = run.mean_r("fmri").sel(signal="activation", layer="block.11").mean("subject").values
    >>> cortex = cortex_of(run.targets("fmri"))
    >>> maps = {"Last layer": on_vertices(r, run.targets("fmri"), cortex)}
    >>> figure = paper_map(maps, cortex, score_scale(r, "activation"), views=["lateral"], dpi=60)
    >>> figure.savefig("last-layer.pdf")
    """
    blocks = [
        (title, grid, _drawn(full, grid, cortex, scale, outlines, (width, dpi)))
        for title, full in maps.items()
        for grid in _grids(views, [side for side in HEMISPHERES if side in full])
    ]
    heights = [canvas.shape[0] / dpi for _, _, (canvas, _) in blocks]
    titled = [bool(title) and (i == 0 or blocks[i - 1][0] != title) for i, (title, _, _) in enumerate(blocks)]
    total = sum(heights) + _HEAD * len(blocks) + _TITLE * sum(titled) + _BAR
    figure = new_figure(width, total)
    figure.set_layout_engine("none")
    top = total
    for (title, grid, (canvas, places)), height, words in zip(blocks, heights, titled, strict=True):
        if words:
            figure.text(0.01, (top - 0.05) / total, title, fontsize=TITLE_SIZE, color=TITLE, va="top")
            top -= _TITLE
        top -= _HEAD
        left = (1 - canvas.shape[1] / dpi / width) / 2
        ax = figure.add_axes((left, (top - height) / total, canvas.shape[1] / dpi / width, height / total))
        ax.imshow(canvas, interpolation="none", aspect="auto")  # a PDF then holds these very pixels
        ax.set_axis_off()
        for (side, view), (x, y) in zip([cell for row in grid for cell in row], places, strict=True):
            head = f"{HEMISPHERE_NAMES[side]}, {view}"
            ax.text(x, y - 0.02 * dpi, head, ha="center", va="bottom", color=MUTED, fontsize=7)
        top -= height
    map_color_bar(figure, scale, total)
    return figure


def cortex_map(
    results: StudyResults,
    show: Show = "r",
    *,
    signal: str | None = None,
    layers: str | Sequence[str] | None = None,
    views: Layout | Sequence[View] = "2x4",
    outlines: Sequence[str] | Literal["all"] = LANDMARKS,
    width: float = PAPER_WIDTH,
    dpi: int = PRINT_DPI,
) -> Figure:
    """Draw a map of a study for a paper; only what is above chance by its own test is coloured.

    Parameters
    ----------
    results : StudyResults
        A study with fMRI on a mesh.
    show : {"r", "best layer", "gain", "ceiling"}
        Encoding score, depth of the best layer (not smoothed), what gradients add to activations by area, or the
        noise ceiling.
    signal : str, optional
        ``activation`` or ``gradient``; activations by default, where they were scored.
    layers : str or sequence of str, optional
        Of ``r``: these layers, on one scale; the best layer of each vertex by default.
    views, outlines, width, dpi
        As :func:`paper_map` takes them.

    Returns
    -------
    Figure
        Surfaces as pictures of ``dpi``, words as text. Simulated data are called so.

    Raises
    ------
    InputError
        If the study lacks what is asked for.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report import cortex_map
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> cortex_map(run, "ceiling", views=["lateral", "medial"], dpi=60).savefig("ceiling.pdf")
    >>> cortex_map(run, views="2x4+flat").savefig("map.pdf")  # doctest: +SKIP
    """
    if "fmri" not in results.modalities:
        raise InputError(f"a map of cortex needs fMRI; this study has {', '.join(results.modalities)}")
    targets = results.targets("fmri")
    cortex = cortex_of(targets)
    if cortex is None:
        raise InputError("a map of cortex needs fMRI targets on a mesh that is at hand; see docs/explore.md")
    if show not in get_args(Show):
        raise InputError(f"there is no map {show!r}; choose {', '.join(get_args(Show))}")
    if layers is not None and show != "r":
        raise InputError(f"layers= belongs to the map 'r'; the map {show!r} has no layers to choose")
    signals = [str(name) for name in results.scores["fmri"]["signal"].values]
    signal = signal or lookups.main_signal(results, "fmri") or signals[0]
    if signal not in signals:
        raise InputError(f"this study has no signal {signal!r}; it has {', '.join(signals)}")
    suffix = " (simulated fMRI)" if results.simulated else ""
    if show == "gain":
        maps, scale = _gain(results, cortex, targets, suffix)
    else:
        values, scale = _values(results, show, signal, layers, suffix)
        maps = {title: on_vertices(each, targets, cortex) for title, each in values.items()}
    return paper_map(maps, cortex, scale, views=views, outlines=outlines, width=width, dpi=dpi)


def _values(
    results: StudyResults, show: str, signal: str, layers: str | Sequence[str] | None, suffix: str
) -> tuple[dict[str, np.ndarray], MapScale]:
    """Values of targets by title, and one scale for all."""
    if show == "ceiling":
        ceiling = results.ceilings.get("fmri")
        if ceiling is None or "target" not in ceiling.dims:
            raise InputError("this study has no noise ceiling of its fMRI targets")
        values = ceiling.mean([dim for dim in ceiling.dims if dim != "target"]).values.astype(float)
        return {f"Noise ceiling{suffix}": values}, score_scale(values, "ceiling", "Noise ceiling of r")
    named = nameable.predicts(results, "fmri", signal)
    marks = lookups.significance_of(results, "fmri", signal)
    if marks is not None and "target" in marks.dims and not named:
        raise InputError(
            f"nothing of {signal_name(signal).lower()} is above chance after all corrections: there is no finding "
            "to draw"
        )
    if layers is None:
        _, depth, top = lookups.best_layers(results, signal)
        title = f"{signal_name(signal)}{suffix}"
        if show == "best layer":
            return {f"{signal_name(signal)}: best layer{suffix}": depth}, depth_scale()
        return {title: top}, score_scale(top, signal)
    known = [str(name) for name in results.scores["fmri"]["layer"].values]
    wanted = as_names(layers)
    absent = [name for name in wanted if name not in known]
    if absent:
        raise InputError(f"this study has no layer {absent[0]!r}; it has {', '.join(known)}")
    mean = results.group_r("fmri", signal)
    found = {}
    for name in wanted:
        values = mean.sel(layer=name).values.astype(float)
        if marks is not None and "target" in marks.dims:
            chosen = marks.sel(layer=name) if "layer" in marks.dims else marks
            values = np.where(chosen.values.astype(bool), values, np.nan)
        found[f"{signal_name(signal)}, {name.replace('.', ' ')}{suffix}"] = values
    return found, score_scale(np.concatenate(list(found.values())), signal)


def _gain(
    results: StudyResults, cortex: Cortex, targets: pd.DataFrame, suffix: str
) -> tuple[dict[str, dict[str, np.ndarray]], MapScale]:
    table = results.residual.get("fmri")
    if table is None:
        raise InputError("this study did not ask what gradients add to activations")
    kept = table[table["significant"].astype(bool)] if nameable.predicts(results, "fmri") else table[:0]
    if not len(kept):
        raise InputError("gradients add to activations above chance in no area: there is no finding to draw")
    delta = {str(unit): float(value) for unit, value in zip(kept["unit"], kept["delta"], strict=True)}
    sides = [side for side in HEMISPHERES if side in set(targets["hemisphere"])]
    scale = score_scale(np.clip(kept["delta"].to_numpy(float), 0, None), "residual", "Gain in r over activations")
    return {f"{signal_name('residual')}{suffix}": on_areas(delta, cortex, sides)}, scale


def _grids(views: str | Sequence[View], sides: list[str]) -> list[Grid]:
    """Blocks of rows of (hemisphere, view)."""
    flat: Grid = [[(side, "flat") for side in sides]]
    if not isinstance(views, str):
        known = [name for name in get_args(View) if name != "flat"]
        for view in views:
            if view not in (*known, "flat"):
                raise InputError(f"unknown view {view!r}; choose {', '.join((*known, 'flat'))}, or {_layouts()}")
        folded: Grid = [[(side, view) for side in sides] for view in views if view != "flat"]
        return [*([folded] if folded else []), *([flat] if "flat" in views else [])]
    if views not in get_args(Layout):
        raise InputError(
            f"unknown views {views!r}; choose {_layouts()}, or a list of views such as ['lateral', 'flat']"
        )
    blocks: list[Grid] = []
    if "2x4" in views:
        rows: Grid = []
        for outer, inner in zip(_OUTER, _INNER, strict=True):
            order = {"L": [outer, inner], "R": [inner, outer] if len(sides) > 1 else [outer, inner]}
            rows.append([(side, view) for side in sides for view in order[side]])
        blocks.append(rows)
    if "flat" in views:
        blocks.append(flat)
    return blocks


def _layouts() -> str:
    return ", ".join(get_args(Layout))


def _drawn(
    full: Mapping[str, np.ndarray],
    grid: Grid,
    cortex: Cortex,
    scale: MapScale,
    outlines: Sequence[str] | str,
    size: tuple[float, int],
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """One block as a picture of a width in inches and dots per inch; returns the places of its heads, too."""
    width, dpi = size
    if grid[0][0][1] == "flat":
        flat = flat_cortex(cortex)
        if flat is None:
            raise InputError(f"there is no flat surface of {cortex.mesh} at hand; see docs/explore.md")
        cortex = flat
    names = set(cortex.names.values()) if outlines == "all" else set(as_names(outlines))
    unknown = sorted(names - set(cortex.names.values()) - set(LANDMARKS))
    if unknown:
        raise InputError(
            f"there is no area {unknown[0]!r} on this cortex; outlines are those of its own areas, or 'all'"
        )
    borders, norm = area_borders(names, cortex), Normalize(scale.low, scale.high, clip=True)
    share = _SINGLE_FLAT if len(grid[0]) == 1 else 1.0
    per_mm = share * width * dpi / _width(grid, cortex)

    def draw(side: str, view: View) -> np.ndarray:
        mesh = cortex.meshes[side]
        areas = borders[side]
        return paint(
            mesh, full[side], view, cmap=scale.cmap, norm=norm, areas=areas, pixels_per_mm=per_mm, line=_LINE * dpi
        )

    return mosaic([[draw(*cell) for cell in row] for row in grid], gap=int(_GAP * per_mm))


def _width(grid: Grid, cortex: Cortex) -> float:
    """Of a block, in mm."""

    def wide(side: str, view: View) -> float:
        mesh = cortex.meshes[side]
        return float(np.ptp(mesh.coordinates @ view_axes(side, view)[0]))

    columns = [max(wide(*row[i]) for row in grid if len(row) > i) for i in range(max(len(row) for row in grid))]
    return sum(columns) + _GAP * (len(columns) - 1) + 3 * len(columns)
