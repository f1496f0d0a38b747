"""Scores area by area, for cortex that cannot be drawn: areas × layers."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from brainmap.report.style import COLUMN, INK, new_figure, signal_cmap, signal_name, styled


@styled
def layer_area_heatmap(scores: xr.DataArray, signal: str, *, title: str = "") -> Figure:
    """Draw scores of every layer in every area.

    Parameters
    ----------
    scores : xr.DataArray
        Dims ``(roi, layer)``; mean over targets, subjects and splits. Areas are drawn from top to bottom.
    signal : str
        Decides the hue.
    title : str
        Title, the signal's name by default.

    Returns
    -------
    Figure
        One column wide, as tall as the areas need; the best layer of each area carries a dot.
    """
    values = scores.transpose("roi", "layer").values.astype(float)
    n_areas, n_layers = values.shape
    figure = new_figure(COLUMN, 1.1 + 0.17 * max(n_areas, 6))
    ax = figure.add_subplot()
    high = max(float(np.nanmax(values)), 1e-6)
    image = ax.imshow(values, aspect="auto", cmap=signal_cmap(signal), vmin=0, vmax=high, interpolation="nearest")
    known = np.isfinite(values).any(axis=1)
    best = np.where(np.isfinite(values), values, -np.inf).argmax(axis=1)
    ax.scatter(best[known], np.flatnonzero(known), s=15, color="white", edgecolor=INK, lw=0.8, zorder=4)
    shown = np.arange(n_layers)[:: max(1, n_layers // 6)]
    names = [str(name).rsplit(".", 1)[-1] for name in scores["layer"].values]
    ax.set_xticks(shown, [names[i] for i in shown])
    ax.set_yticks(range(n_areas), [str(name) for name in scores["roi"].values])
    ax.set(xlabel="Layer", title=title or signal_name(signal))
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=ax, aspect=28, pad=0.02, extend="min")
    bar.outline.set_visible(False)
    bar.set_label("Encoding score r")
    return figure
