"""Scores against time after image onset. Study A: figures 2E–F, 4, 7. Study B: figures 2B, 3B, 4, 5D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from brainmap.common.names import signal_name
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    FAINT,
    INK,
    MUTED,
    STIMULUS,
    depth_cmap,
    depth_colors,
    figure_title,
    new_figure,
    round_ticks,
    signal_color,
    styled,
    value_bar,
)

TIME_LABEL = "Time after image onset (s)"
MARKS_LABEL = "p < .05, corrected over time"


def mark_stimulus(ax: Axes, stimulus: tuple[float, float] | None, *, label: bool = True) -> None:
    """Shade while the photograph was shown and draw onset (0 s) and the zero of the score."""
    ax.axhline(0, color=MUTED, lw=0.7, zorder=1)
    ax.axvline(0, color=MUTED, lw=0.7, ls=(0, (3, 2)), zorder=1)
    if stimulus is not None:
        ax.axvspan(*stimulus, color=STIMULUS, lw=0, zorder=0)
        if label:
            ax.annotate(
                "image on",
                (np.mean(stimulus), 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7,
                color=MUTED,
            )


def mean_and_sem(values: xr.DataArray, over: str = "subject") -> tuple[xr.DataArray, xr.DataArray]:
    """Return mean and standard error of the mean over a dimension (zero width for a single member)."""
    n = values.sizes[over]
    sem = values.std(over, ddof=1) / np.sqrt(n) if n > 1 else xr.zeros_like(values.isel({over: 0}, drop=True))
    return values.mean(over), sem


@styled
def layer_curves(
    scores: xr.DataArray,
    depths: np.ndarray,
    *,
    significance: xr.DataArray | None = None,
    peaks: Sequence[float] | np.ndarray | None = None,
    stimulus: tuple[float, float] | None = None,
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw one curve per layer, coloured by depth. Study A 2E–F; Study B 3B (normalised scores).

    Parameters
    ----------
    scores : xr.DataArray
        Dims ``(subject, layer, time)``; mean over sensors.
    depths : np.ndarray of shape (n_layers,)
        Depth of each layer in [0, 1].
    significance : xr.DataArray, optional
        Bool, dims ``(layer, time)``: drawn as rows of marks below the curves, shallow layers on top.
    peaks : sequence of float, optional
        T_max of each layer in s, drawn as triangles above the curves.
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        Bands are ± SEM over subjects.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import time_courses
    >>> from brainmap.report.figures import layer_curves
    >>> r = brainmap.open_run("brainmap_runs/demo").mean_r("meg").sel(signal="activation")
    >>> layer_curves(time_courses(r), r["depth"].values, stimulus=(0, 0.5)).savefig("curves.png")
    """
    figure = new_figure(COLUMN, 3.05 if significance is not None else 2.7)
    if significance is not None:
        grid = figure.add_gridspec(2, 1, height_ratios=[4.6, 1], hspace=0.02)
        ax = figure.add_subplot(grid[0])
        strip = figure.add_subplot(grid[1], sharex=ax)
    else:
        ax, strip = figure.add_subplot(), None
    time, colors = scores["time"].values, depth_colors(depths)
    _layers(ax, scores, colors)
    mark_stimulus(ax, stimulus)
    ax.set(xlim=(time[0], time[-1]), ylabel=ylabel, title=title)
    ax.set_ylim(top=ax.get_ylim()[1] * 1.16)
    round_ticks(ax)
    if peaks is not None:
        ax.scatter(
            peaks, np.full(len(peaks), 0.885), transform=ax.get_xaxis_transform(), c=colors, marker="v", s=16, lw=0
        )
    if strip is not None and significance is not None:
        _significance_rows(strip, significance, colors)
        ax.tick_params(labelbottom=False)
    (strip or ax).set_xlabel(TIME_LABEL)
    _depth_bar(figure, [ax] if strip is None else [ax, strip])
    return figure


@styled
def stage_layer_curves(
    panels: Mapping[str, xr.DataArray],
    depths: np.ndarray,
    *,
    stimulus: tuple[float, float] | None = None,
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw one curve per layer, coloured by depth, one panel per stage of training. Study B 4B and 4D.

    Parameters
    ----------
    panels : mapping of str to xr.DataArray
        Stage → scores with dims ``(subject, layer, time)``; layers without a score (NaN) are not drawn.
    depths : np.ndarray of shape (n_layers,)
        Depth of each layer in [0, 1].
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        1.75 columns wide; one scale for all. Bands are ± SEM over subjects.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from brainmap.report.figures import stage_layer_curves
    >>> values, times = np.random.default_rng(0).random((2, 3, 10)), np.linspace(-0.2, 1, 10)
    >>> scores = xr.DataArray(values, dims=("subject", "layer", "time"), coords={"time": times})
    >>> figure = stage_layer_curves({"0 %": scores, "68 % of training": scores}, np.array([0, 0.5, 1]))
    """
    figure = new_figure(1.75 * COLUMN, 2.7)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (stage, scores) in zip(axes, panels.items(), strict=True):
        _layers(ax, scores, depth_colors(depths))
        mark_stimulus(ax, stimulus, label=ax is axes[0])
        ax.set_title(stage, fontsize=8.5)
        ax.set_xlabel(TIME_LABEL)
    axes[0].set_xlim(scores["time"].values[[0, -1]])
    axes[0].set_ylabel(ylabel)
    round_ticks(axes[0])
    figure_title(figure, title)
    _depth_bar(figure, list(axes))
    return figure


def _layers(ax: Axes, scores: xr.DataArray, colors: np.ndarray) -> None:
    """Mean ± SEM over subjects of every layer."""
    mean, sem = mean_and_sem(scores)
    time = mean["time"].values
    for i, color in enumerate(colors):
        center, spread = mean.isel(layer=i).values, sem.isel(layer=i).values
        ax.fill_between(time, center - spread, center + spread, color=color, alpha=0.10, lw=0, zorder=2)
        ax.plot(time, center, color=color, lw=1.3, zorder=3)


@styled
def signal_curves(
    scores: Mapping[str, xr.DataArray],
    *,
    significance: Mapping[str, np.ndarray] | None = None,
    stimulus: tuple[float, float] | None = None,
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw one curve per signal with its standard error. Study A 4 and 7 (MEG); Study B 2B with a single signal.

    Parameters
    ----------
    scores : mapping of str to xr.DataArray
        Signal to scores with dims ``(subject, time)``.
    significance : mapping of str to np.ndarray, optional
        Signal to bool over time, drawn as bars below the curves.
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        Bands are ± SEM over subjects.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import time_courses
    >>> from brainmap.report.figures import signal_curves
    >>> r = time_courses(brainmap.open_run("brainmap_runs/demo").mean_r("meg")).mean("layer")
    >>> figure = signal_curves({name: r.sel(signal=name) for name in ("activation", "gradient")})
    """
    figure = new_figure(COLUMN, 2.8)
    ax = figure.add_subplot()
    lowest = 0.0
    for signal, values in scores.items():
        mean, sem = mean_and_sem(values)
        time, color = mean["time"].values, signal_color(signal)
        ax.fill_between(time, mean - sem, mean + sem, color=color, alpha=0.18, lw=0)
        ax.plot(time, mean, color=color, lw=1.7, label=signal_name(signal))
        ax.set_xlim(time[0], time[-1])
        lowest = min(lowest, float((mean - sem).min()))
    mark_stimulus(ax, stimulus)
    low, high = lowest * 1.1, ax.get_ylim()[1] * 1.08
    marked = list(significance or {})
    step = 0.045 * (high - low)
    for row, signal in enumerate(marked):
        mark_runs(ax, time, np.asarray(significance[signal]), low - (row + 1) * step, signal_color(signal))  # type: ignore[index]
    ax.set_ylim(low - (len(marked) + 0.7) * step, high)
    ax.set(xlabel=TIME_LABEL, ylabel=ylabel, title=title)
    round_ticks(ax)
    handles, labels = ax.get_legend_handles_labels()
    if marked:
        handles.append(ax.plot([], [], color=MUTED, lw=2.6, solid_capstyle="butt")[0])
        labels.append(MARKS_LABEL)
    if len(handles) > 1:
        columns = len(handles) if len(scores) < 3 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return figure


@styled
def residual_curve(
    table: pd.DataFrame,
    *,
    window: tuple[float, float] | None = None,
    stimulus: tuple[float, float] | None = None,
    title: str = "Gradients beyond activations, over time",
) -> Figure:
    """Draw what gradients add to activations over time, with interval and significance. Study A 4 and 7, residual.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``unit`` (time in s), ``delta``, ``low``, ``high``, ``significant``.
    window : tuple of float, optional
        A planted (or hypothesised) window in s, drawn as a bracket.
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import residual_curve
    >>> residual_curve(brainmap.open_run("brainmap_runs/demo").residual["meg"], stimulus=(0, 0.5)).savefig("gain.png")
    """
    figure = new_figure(COLUMN, 3.3)
    ax = figure.add_subplot()
    time = table["unit"].to_numpy(dtype=float)
    color = signal_color("residual")
    ax.fill_between(time, table["low"], table["high"], color=color, alpha=0.2, lw=0)
    ax.plot(time, table["delta"], color=color, lw=1.7)
    mark_stimulus(ax, stimulus)
    low, high = min(0.0, float(table["low"].min())), float(table["high"].max())
    step = 0.06 * (high - low)
    mark_runs(ax, time, table["significant"].to_numpy(dtype=bool), low - step, color)
    top = high + 1.5 * step
    if window is not None:
        ax.plot(window, [high + step] * 2, color=INK, lw=1.1, solid_capstyle="butt")
        for edge in window:
            ax.plot([edge] * 2, [high + 0.55 * step, high + step], color=INK, lw=1.1, solid_capstyle="butt")
        ax.text(sum(window) / 2, high + 1.3 * step, "planted", ha="center", va="bottom", fontsize=7.5)
        top = high + 3.6 * step
    ax.set_ylim(low - 2.2 * step, top)
    round_ticks(ax)
    ax.set(xlabel=TIME_LABEL, ylabel="Gain in r over activations", title=title, xlim=(time[0], time[-1]))
    return figure


@styled
def window_curves(
    curve: xr.DataArray,
    values: np.ndarray,
    *,
    cmap: Colormap | None = None,
    label: str = "Half time (% of training)",
    stimulus: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Draw one curve whose colour changes with a value per time sample. Study B 5D (half time along the MEG response).

    Parameters
    ----------
    curve : xr.DataArray
        Dim ``time``.
    values : np.ndarray of shape (n_times,)
        Value of each sample; NaN is grey.
    cmap : Colormap, optional
        Colours; depth map by default.
    label, title : str
        Text.
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from brainmap.report.figures import window_curves
    >>> times = np.linspace(-0.1, 0.5, 13)
    >>> curve = xr.DataArray(np.clip(times, 0, 0.2), dims="time", coords={"time": times})
    >>> figure = window_curves(curve, np.linspace(5, 60, 13))
    """
    from matplotlib.collections import LineCollection

    figure = new_figure(COLUMN, 2.7)
    ax = figure.add_subplot()
    time, y = curve["time"].values, curve.values
    points = np.column_stack([time, y])
    pairs = np.column_stack([values[:-1], values[1:]])
    pairs = np.where(np.isfinite(pairs), pairs, pairs[:, ::-1])  # where one end is unknown, the other counts
    middle = pairs.mean(axis=1)
    lines = LineCollection(
        [points[i : i + 2] for i in range(len(points) - 1)],
        array=np.ma.masked_invalid(middle),
        cmap=(cmap or depth_cmap()).with_extremes(bad=FAINT),
        linewidths=2.4,
        capstyle="round",
    )
    ax.add_collection(lines)
    mark_stimulus(ax, stimulus)
    ax.set(xlim=(time[0], time[-1]), ylim=(min(0, y.min()) * 1.1, y.max() * 1.15))
    ax.set(xlabel=TIME_LABEL, ylabel="Encoding score r", title=title)
    round_ticks(ax)
    value_bar(figure, lines, ax, label)
    return figure


def _significance_rows(ax: Axes, significance: xr.DataArray, colors: np.ndarray) -> None:
    marks = significance.transpose("layer", "time")
    time = marks["time"].values
    for i, color in enumerate(colors):
        mark_runs(ax, time, marks.values[i], -i, color, width=1.6)
    ax.set_ylim(-len(colors), 1)
    ax.set_yticks([])
    ax.set_ylabel("p < .05,\ncorrected", fontsize=6.5, color=MUTED, rotation=0, ha="right", va="center", labelpad=3)
    ax.spines["left"].set_visible(False)
    ax.axvline(0, color=MUTED, lw=0.7, ls=(0, (3, 2)), zorder=0)


def mark_runs(ax: Axes, time: np.ndarray, marked: np.ndarray, y: float, color: object, *, width: float = 2.6) -> None:
    """Draw a bar over each run of marked samples; a single sample is as wide as the sampling step."""
    if not np.any(marked):
        return
    half = float(np.median(np.diff(time))) / 2
    edges = np.flatnonzero(np.diff(np.r_[False, marked, False].astype(int)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        span = [time[start] - half, time[stop - 1] + half]
        ax.plot(span, [y, y], color=color, lw=width, solid_capstyle="butt", zorder=4)


def _depth_bar(figure: Figure, axes: list[Axes]) -> None:
    bar = value_bar(figure, ScalarMappable(Normalize(0, 1), depth_cmap()), axes, "Layer depth")
    bar.set_ticks([0, 0.5, 1])
    bar.set_ticklabels(["0", ".5", "1"])
    bar.ax.tick_params(length=2)
