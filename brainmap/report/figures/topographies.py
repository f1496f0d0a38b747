"""Scores over the sensors of a helmet, at chosen times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from brainmap.common.errors import InputError
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    FAINT,
    INK,
    MUTED,
    figure_title,
    new_figure,
    signal_cmap,
    styled,
)

_HEAD = 0.095  # radius of the head that mne draws, in m


def sensor_positions(names: Sequence[str]) -> np.ndarray:
    """Return flat positions of CTF-275 sensors for :func:`mne.viz.plot_topomap`.

    Parameters
    ----------
    names : sequence of str
        Sensor names such as ``MLO11`` or ``MLO11-2622``.

    Returns
    -------
    np.ndarray of shape (n_sensors, 2)
        Positions scaled to the drawn head; NaN for sensors the layout does not know.
    """
    from brainmap.data.sensor_layout import load_sensors

    layout = load_sensors("ctf-275")
    flat = layout[["u", "v"]].to_numpy()
    # The layout is schematic; stretching it to fill the round head leaves less to extrapolate.
    flat = flat / np.abs(flat).max(axis=0)
    flat *= _HEAD / np.linalg.norm(flat, axis=1).max()
    place = dict(zip(layout["sensor"], flat, strict=True))
    unknown = np.full(2, np.nan)
    return np.array([place.get(str(name).split("-")[0], unknown) for name in names])


@styled
def sensor_maps(
    scores: xr.DataArray, captions: Sequence[str], signal: str, *, title: str = "", label: str = "Encoding score r"
) -> Figure:
    """Draw scores over the sensors, one head per panel, all on one scale.

    Parameters
    ----------
    scores : xr.DataArray
        Dims ``(panel, sensor)`` with sensor names as coordinate; typically layers at their T_max.
    captions : sequence of str
        Words above each head.
    signal : str
        Decides the hue.
    title, label : str
        Title, and words on the colour bar.

    Returns
    -------
    Figure
        One column wide; the nose is up.

    Raises
    ------
    InputError
        If fewer than eight sensors are part of the CTF-275 layout.
    """
    import mne

    position = sensor_positions([str(name) for name in scores["sensor"].values])
    known = np.isfinite(position[:, 0])
    if known.sum() < 8:
        raise InputError("sensor topographies need names of the CTF-275 layout (MLO11 …); too few are known")
    values = scores.transpose("panel", "sensor").values[:, known]
    norm = Normalize(0, float(np.nanmax(values)))
    columns = min(3, len(values))
    rows = -(-len(values) // columns)
    figure = new_figure(COLUMN, 0.72 + 1.42 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(values) :]:
        ax.set_axis_off()
    for ax, panel, caption in zip(axes, values, captions, strict=False):
        image, _ = mne.viz.plot_topomap(
            panel,
            position[known],
            axes=ax,
            show=False,
            cmap=signal_cmap(signal),
            cnorm=norm,
            contours=0,
            sensors=False,
            outlines="head",
            sphere=(0, 0, 0, _HEAD),
            extrapolate="head",
            res=128,
        )
        image.set_rasterized(True)
        ax.scatter(*position[known].T, s=0.5, color=INK, alpha=0.5, lw=0, zorder=4)
        for line in ax.lines:
            line.set(color=MUTED, linewidth=0.9)
        ax.set_title(caption, fontsize=8, weight="normal", loc="center", pad=3)
    bar = figure.colorbar(
        ScalarMappable(norm, signal_cmap(signal)),
        ax=axes.tolist(),
        orientation="horizontal",
        aspect=26,
        shrink=0.5,
        pad=0.03,
    )
    bar.outline.set_edgecolor(FAINT)
    bar.ax.tick_params(length=2)
    bar.set_label(label, labelpad=1)
    figure_title(figure, title)
    return figure
