"""One look for every figure: colours that mean the same everywhere, type sizes, and the small marks shared by panels.

Nothing here changes matplotlib's global state: :func:`styled` applies the settings for the length of one call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.interpolate import PchipInterpolator

P = ParamSpec("P")
T = TypeVar("T")

COLUMN = 4.0
"""Width of a one-column figure in inches; every figure is readable at this width."""

INK = "#1b2430"
TITLE = "#3c4757"
MUTED = "#5b6878"
TITLE_SIZE = 9.5
FAINT = "#d5dbe3"
STIMULUS = "#e9edf2"

SIGNAL_COLORS = {"activation": "#00589c", "gradient": "#d55e00", "residual": "#009e73", "ceiling": "#8b95a3"}
"""One colour a signal: the Okabe–Ito palette with a darker blue, apart for every colour vision."""

CONTROL_COLOR = "#8b95a3"
_FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")
_SETTINGS: dict[str, Any] = {
    "font.size": 8.5,
    "axes.titlesize": TITLE_SIZE,
    "axes.titleweight": "normal",
    "axes.titlecolor": TITLE,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "brainmap",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "mathtext.fontset": "custom",
}


@functools.cache
def font_family() -> str:
    """Return the first installed of a short list of plain sans-serif typefaces."""
    installed = set(font_manager.get_font_names())
    return next((name for name in _FONTS if name in installed), "DejaVu Sans")


def figure_settings() -> Any:  # matplotlib types the keys as a list of literals
    """Return the matplotlib settings of every figure, for ``matplotlib.rc_context``."""
    family = font_family()
    faces = {
        "mathtext.rm": family,
        "mathtext.it": f"{family}:italic",
        "mathtext.bf": f"{family}:bold",
        "mathtext.cal": family,
    }
    return {**_SETTINGS, **faces, "font.family": family}


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a figure function so that it draws in the house style and leaves matplotlib as it found it."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(figure_settings()):
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float = COLUMN, height: float = 2.9) -> Figure:
    """Return an empty figure of ``width`` × ``height`` inches that no window manager knows about."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    return figure


def save_figure(figure: Figure, target: str | Path | BinaryIO, **options: Any) -> None:
    """Write a figure with the settings it was drawn with; text in SVG and PDF stays text.

    Parameters
    ----------
    figure : Figure
        What to write.
    target : str, Path or binary file
        Where to; the suffix decides the format.
    **options
        Passed to ``Figure.savefig`` (``format``, ``dpi`` …).
    """
    with matplotlib.rc_context(figure_settings()):
        figure.savefig(target, **options)


def round_ticks(ax: Axes) -> None:
    """Put the ticks of the y axis at steps of 1, 2 or 5 times a power of ten, never at 0.025."""
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def corner_note(ax: Axes, text: str) -> None:
    """Write what a panel leaves out into its lower right corner."""
    ax.annotate(
        text, (1, 0), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points", ha="right", va="bottom",
        fontsize=7, color=MUTED,
    )  # fmt: skip


def figure_title(figure: Figure, title: str) -> None:
    """Write a title over several axes, in the manner of the title of one."""
    if title:
        figure.suptitle(title, x=0.02, ha="left", fontsize=TITLE_SIZE, color=TITLE)


def value_bar(
    figure: Figure, values: ScalarMappable, axes: Axes | Sequence[Axes], label: str, **options: Any
) -> Colorbar:
    """Draw the bar that says which colour is which value, beside the axes."""
    bar = figure.colorbar(values, ax=axes, aspect=28, pad=0.02, **options)
    bar.outline.set_visible(False)
    bar.set_label(label)
    return bar


def signal_color(signal: str) -> str:
    """Return the colour of a signal; controls and anything unknown are grey."""
    return SIGNAL_COLORS.get(signal, CONTROL_COLOR)


@functools.cache
def signal_cmap(signal: str) -> Colormap:
    """Return a sequential map in the hue of a signal: light is low, dark is high, lightness falls steadily.

    Interpolated in OKLab, where equal steps look equal (Ottosson 2020).
    """
    anchor = _to_oklab(np.array(to_rgb(signal_color(signal))))
    chroma = anchor[1:]
    lightness = np.linspace(0.955, 0.34, 64)
    # Chroma rises fast, so that low values are already recognisably the signal's colour, and falls a little at the end.
    strength = PchipInterpolator([0.34, anchor[0], 0.86, 0.955], [0.62, 1.0, 0.5, 0.14])(lightness)
    lab = np.column_stack([lightness, strength[:, None] * chroma])
    return LinearSegmentedColormap.from_list(f"brainmap_{signal}", np.clip(_from_oklab(lab), 0, 1))


@functools.cache
def depth_cmap() -> Colormap:
    """Return the map of layer depth: dark is shallow, bright is deep; perceptually uniform, readable on white."""
    plasma = matplotlib.colormaps["plasma"]
    return LinearSegmentedColormap.from_list("brainmap_depth", plasma(np.linspace(0.03, 0.9, 128)))


def depth_colors(depths: np.ndarray) -> np.ndarray:
    """Return one RGBA colour per layer for depths in [0, 1]; shape ``(n, 4)``."""
    return np.atleast_2d(depth_cmap()(np.asarray(depths, dtype=float)))


_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _to_oklab(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LMS.T) @ _LAB.T


def _from_oklab(lab: np.ndarray) -> np.ndarray:
    linear = (lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_LMS).T
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
