"""Scores over sensors, the head seen from above, at chosen times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from brainmap.common.errors import InputError
from brainmap.data.sensor_positions import flat_positions
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
LEAST_SENSORS = 4  # of a map


@styled
def sensor_maps(
    scores: xr.DataArray,
    captions: Sequence[str],
    signal: str,
    *,
    positions: np.ndarray | None = None,
    title: str = "",
    label: str = "Encoding score r",
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
    positions : ndarray, (n_sensors, 2), optional
        Places on a head of radius 1 seen from above, as :func:`brainmap.data.sensor_positions.flat_positions` gives
        them; by default those that the names mean. Sensors at one place are averaged.
    title, label : str
        Title, and words on the colour bar.

    Returns
    -------
    Figure
        One column wide; the nose is up.

    Raises
    ------
    InputError
        If fewer than four sensors have a known place.

    Examples
    --------
    >>> import xarray as xr
    >>> from brainmap.report.figures import sensor_maps
    >>> names = ["Fz", "Cz", "Pz", "O1", "O2"]
    >>> scores = xr.DataArray([[0.1, 0.1, 0.2, 0.3, 0.4]], dims=("panel", "sensor"), coords={"sensor": names})
    >>> figure = sensor_maps(scores, ["block.11 at 180 ms"], "activation")
    """
    import mne

    names = [str(name) for name in scores["sensor"].values]
    flat = flat_positions(names) if positions is None else np.asarray(positions, dtype=float)
    known = np.isfinite(flat).all(axis=1)
    position, place = np.unique(np.round(_HEAD * flat[known], 6), axis=0, return_inverse=True)
    if len(position) < LEAST_SENSORS:
        raise InputError(
            f"A map needs {LEAST_SENSORS} sensors with a known place, and {len(position)} have one; give positions, or "
            "names of CTF, Neuromag, the 10–20 system, EGI or BioSemi nets."
        )
    every = scores.transpose("panel", "sensor").values[:, known]
    values = np.stack([np.bincount(place, row) / np.bincount(place) for row in every])
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
            position,
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
        ax.scatter(*position.T, s=0.5, color=INK, alpha=0.5, lw=0, zorder=4)
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
