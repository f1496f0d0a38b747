"""Figures of representational comparisons; each function returns a matplotlib figure and shows nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainmap.report.figures.colors_and_type import CONTROL_COLOR, SIGNAL_COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from brainmap.comparison.rdm_ceiling import RDMCeiling
    from brainmap.comparison.rsa import RSAResult


COLORS = {
    **{name: SIGNAL_COLORS[name] for name in ("activation", "gradient")},
    "features": SIGNAL_COLORS["activation"],
    "baseline": CONTROL_COLOR,
}
"""Signal → colour; the report's palette, and grey for the baseline. Pass ``colors`` to use others."""

INK, MUTED, FAINT = "#1b2430", "#5b6878", "#d5dbe3"
SYMBOLS = {"spearman": "Spearman ρ", "pearson": "Pearson r", "kendall": "Kendall τₐ"}
SETTINGS: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
}


def plot_rsa(
    result: RSAResult,
    *,
    baseline: RSAResult | None = None,
    controls: RSAResult | None = None,
    names: tuple[str, str] = ("trained", "untrained"),
    title: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Similarity with each brain area against depth in the model, with intervals, ceiling and controls.

    Parameters
    ----------
    result : RSAResult
        Layers of a model; one line per signal.
    baseline : RSAResult, optional
        The same layers of another model on the same areas, such as the untrained one, drawn in grey.
    controls : RSAResult, optional
        Feature spaces without depth (pixels, Gabor energy, …), drawn as marks right of the layers.
    names : tuple of str
        What to call ``result`` and ``baseline``.
    title : str, optional
        Above the panels; the source of the brain data by default. 'simulated' is added where it applies.
    colors : mapping of str to colour, optional
        Signal → colour, ``'baseline'`` → colour of baseline and controls; :data:`COLORS` for what is missing.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per area. Bands: 95 % intervals. Filled marks: p < .05 over all layers of the area (permutation,
        maximum statistic). Dotted line: what a noise-free model would reach on average, with its interval; named in
        the corner where it lies above the panel.

    Examples
    --------
    >>> import numpy as np
    >>> import brainmap
    >>> from brainmap.report import plot_rsa
    >>> rng = np.random.default_rng(0)
    >>> layers = {f"block.{i}": rng.standard_normal((20, 10)) for i in range(4)}
    >>> distances = 1 - np.corrcoef(layers["block.3"] + rng.standard_normal((20, 10)))
    >>> np.fill_diagonal(distances, 0)
    >>> figure = plot_rsa(brainmap.rsa(layers, {"IT": np.stack([distances, distances])}, n_bootstrap=100))
    """
    import matplotlib
    from matplotlib.figure import Figure

    palette = {**COLORS, **(colors or {})}
    areas = list(result.ceilings)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(0.55 + 3.15 * len(areas), 3.35), layout="constrained")
        panels = figure.subplots(1, len(areas), sharey=True, squeeze=False)[0]
        for axes, area in zip(panels, areas, strict=True):
            if baseline is not None:
                _draw_layers(axes, _rows(baseline, area), palette, label=names[1], is_baseline=True)
            _draw_layers(axes, _rows(result, area), palette, label=names[0])
            if controls is not None:
                _draw_controls(axes, _rows(controls, area), palette["baseline"])
            axes.axhline(0, color=MUTED, lw=0.7, zorder=0)
            _depth_axis(axes, _rows(result, area))
            axes.set_title(area)
        _common_limits(panels, [other for other in (result, baseline, controls) if other is not None])
        for axes, area in zip(panels, areas, strict=True):
            _draw_ceiling(axes, result.ceilings[area])
        panels[0].set_ylabel(f"RDM correlation ({SYMBOLS[result.info['method']]})")
        _legend(figure, panels[-1])
        heading = textwrap.fill(_heading(result, title), int(15 * figure.get_figwidth()))
        figure.suptitle(heading, x=0.01, ha="left", fontsize=9.5, color=INK)
    return figure


def _rows(result: RSAResult, area: str) -> pd.DataFrame:
    return result.table[result.table["area"] == area]


def _positions(rows: pd.DataFrame) -> np.ndarray:
    """Depths; the order of the layers, spread over [0, 1], where depths are unknown."""
    depth = rows["depth"].to_numpy(dtype=float)
    return depth if np.isfinite(depth).all() else np.linspace(0, 1, len(rows)) if len(rows) > 1 else np.array([0.5])


def _draw_layers(
    axes: Axes, rows: pd.DataFrame, palette: Mapping[str, str], *, label: str, is_baseline: bool = False
) -> None:
    several = rows["signal"].nunique() > 1
    for signal, part in rows.groupby("signal", sort=False):
        color = palette["baseline"] if is_baseline else palette.get(str(signal), palette["activation"])
        x, rho = _positions(part), part["rho"].to_numpy()
        axes.fill_between(x, part["low"], part["high"], color=color, alpha=0.16, lw=0)
        name = f"{signal}, {label}" if several else label
        axes.plot(x, rho, color=color, lw=1.3 if is_baseline else 1.8, label=name, solid_capstyle="round")
        filled = np.where((part["p_fwer"] < 0.05).to_numpy(), color, "white")
        axes.scatter(x, rho, s=16 if is_baseline else 24, c=filled, edgecolors=color, linewidths=1.1, zorder=3)


def _draw_controls(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    x = 1.14 + 0.13 * np.arange(len(rows))
    errors = [rows["rho"] - rows["low"], rows["high"] - rows["rho"]]
    axes.errorbar(x, rows["rho"], yerr=errors, fmt="none", ecolor=color, elinewidth=1.2, capsize=0)
    filled = np.where((rows["p_fwer"] < 0.05).to_numpy(), color, "white")
    axes.scatter(x, rows["rho"], s=24, marker="D", c=filled, edgecolors=color, linewidths=1.1, zorder=3)
    label: dict[str, Any] = {"textcoords": "offset points", "rotation": 90, "ha": "center", "va": "bottom"}
    for position, name, top in zip(x, rows["layer"], rows["high"], strict=True):
        axes.annotate(name, (position, top), (0, 4), fontsize=7.5, **label)


def _depth_axis(axes: Axes, rows: pd.DataFrame) -> None:
    if np.isfinite(rows["depth"]).all():
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
        axes.set_xlabel("Depth in the model")
    else:
        first = rows[rows["signal"] == rows["signal"].iloc[0]]
        axes.set_xticks(_positions(first), list(first["layer"]), rotation=45, ha="right")


def _draw_ceiling(axes: Axes, ceiling: RDMCeiling) -> None:
    """A dotted line, or a note in the corner where the ceiling lies beyond the axes."""
    value = ceiling.attainable
    if not np.isfinite(value):
        return
    text = f"noise ceiling {value:.2f}".replace("0.", ".")
    if np.isfinite(ceiling.attainable_low):
        text += f" [{ceiling.attainable_low:.2f}, {ceiling.attainable_high:.2f}]".replace("0.", ".")
    high = axes.get_ylim()[1]
    outside = value > high
    if not outside:
        axes.axhline(value, color=INK, lw=1, ls=(0, (1, 2)), zorder=1)
    height = high if outside else value
    axes.annotate(
        text + (" ↑" if outside else ""), (0, height), (3, -3 if outside else 2), xycoords=("axes fraction", "data"),
        textcoords="offset points", fontsize=7.5, va="top" if outside else "bottom", color=INK,
    )  # fmt: skip


def _common_limits(panels: Any, results: list[RSAResult]) -> None:
    """From the lowest to the highest interval, so that a distant ceiling doesn't flatten the curves."""
    low = min(float(result.table["low"].min()) for result in results)
    high = max(float(result.table["high"].max()) for result in results)
    margin = 0.08 * (high - low)
    names = 0.2 * (high - low) if any(not np.isfinite(result.table["depth"]).any() for result in results[1:]) else 0
    panels[0].set_ylim(min(low, 0) - margin, high + margin + names)


def _legend(figure: Figure, axes: Axes) -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    handles, labels = handles[::-1], labels[::-1]  # the baseline is drawn first, below
    mark: dict[str, Any] = {"ls": "", "marker": "o", "ms": 4.5, "markeredgecolor": MUTED}
    handles += [Line2D([], [], markerfacecolor=MUTED, **mark), Line2D([], [], markerfacecolor="white", **mark)]
    labels += ["p < .05, corrected", "not significant"]
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels) if figure.get_figwidth() > 5 else 2,
        fontsize=7.5,
    )


def _heading(result: RSAResult, title: str | None) -> str:
    text = title or str(result.info["source"])
    return f"Simulated: {text}" if result.info["simulated"] and "simulated" not in text.lower() else text
