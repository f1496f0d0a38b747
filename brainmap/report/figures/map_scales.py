"""Colours of maps of the cortex, from which value to which, and their colour bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from brainmap.report.figures.colors_and_type import FAINT, INK, depth_cmap, signal_cmap

_ROUND = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)  # their halves, the middle tick, are round as well


@dataclass(frozen=True)
class MapScale:
    """Colours of a map and the words on its colour bar.

    Attributes
    ----------
    cmap : Colormap
        Colours.
    low, high : float
        Values at the ends of the colour bar.
    label : str
        What is shown, with its unit.
    extend : str
        ``neither``, ``min``, ``max`` or ``both``, as in matplotlib.
    ends : tuple of str, optional
        Words under the ends of the colour bar, such as ``("shallow", "deep")``.
    """

    cmap: Colormap
    low: float
    high: float
    label: str
    extend: str = "neither"
    ends: tuple[str, str] | None = None


def score_scale(values: np.ndarray, signal: str, label: str = "Encoding score r") -> MapScale:
    """Return the scale of a score map: the hue of the signal, from 0 to a round number near the 99th percentile."""
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, 99)) if len(finite) else 1.0
    power = 10.0 ** np.floor(np.log10(max(top, 1e-4)))
    high = power * next(step for step in _ROUND if step >= top / power - 1e-9)
    return MapScale(signal_cmap(signal), 0.0, high, label, extend="both" if np.any(finite < 0) else "max")


def gain_scale(values: np.ndarray, label: str = "Gain in r") -> MapScale:
    """Return the scale of areas with a significant gain: over their range, since areas near zero are not among them."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2 or np.ptp(finite) <= 0:
        return score_scale(np.clip(finite, 0, None) if len(finite) else np.array([0.01]), "residual", label)
    step = 10.0 ** np.floor(np.log10(np.ptp(finite))) / 2
    low, high = np.floor(finite.min() / step + 1e-9) * step, np.ceil(finite.max() / step - 1e-9) * step
    return MapScale(signal_cmap("residual"), float(low), float(high), label)


def depth_scale(label: str = "Best layer (depth)") -> MapScale:
    """Return the scale of layer depth, 0 (input) to 1 (output)."""
    return MapScale(depth_cmap(), 0.0, 1.0, label, ends=("shallow", "deep"))


def step_scale(values: np.ndarray, label: str) -> MapScale:
    """Return a scale over the range of the values, for half times and cortical properties."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if high <= low:
        return MapScale(depth_cmap(), low, low + 1.0, label)
    step = 10.0 ** np.floor(np.log10(high - low)) / 2
    return MapScale(depth_cmap(), float(np.floor(low / step) * step), float(np.ceil(high / step) * step), label)


def difference_scale(values: np.ndarray, label: str) -> MapScale:
    """Return a scale from minus to plus a round number near the largest size: blue below zero, red above."""
    finite = np.abs(values[np.isfinite(values)])
    top = max(float(finite.max()) if len(finite) else 1.0, 1e-4)
    power = 10.0 ** np.floor(np.log10(top))
    high = power * next(step for step in _ROUND if step >= top / power - 1e-9)
    return MapScale(colormaps["RdBu_r"], -high, high, label)


def map_color_bar(figure: Figure, scale: MapScale, figure_height: float) -> None:
    """Draw the bar of a map at the bottom of a figure so many inches high."""
    bar = figure.add_axes((0.27, 0.36 / figure_height, 0.46, 0.085 / figure_height))
    mappable = ScalarMappable(Normalize(scale.low, scale.high), scale.cmap)
    colorbar = figure.colorbar(mappable, cax=bar, orientation="horizontal", extend=scale.extend, extendfrac=0.03)
    colorbar.outline.set_edgecolor(FAINT)
    colorbar.outline.set_linewidth(0.5)
    middle = (scale.low + scale.high) / 2
    colorbar.set_ticks([scale.low, middle, scale.high])
    labels = [f"{value:.3g}".replace("-", "−") for value in (scale.low, middle, scale.high)]
    if scale.ends:
        labels[0], labels[2] = f"{labels[0]} {scale.ends[0]}", f"{labels[2]} {scale.ends[1]}"
    colorbar.set_ticklabels(labels)
    bar.tick_params(length=2, pad=1.5, labelsize=7.5)
    bar.set_xlabel(scale.label, labelpad=1, color=INK, fontsize=8.5)
