"""The figure of ``brainmap data check``: one page, one panel for each thing to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainmap.common.names import TIMED
from brainmap.report.figures.colors_and_type import INK, MUTED, SIGNAL_COLORS, styled

if TYPE_CHECKING:
    from brainmap.results.recording_quality import Quality


BAR = SIGNAL_COLORS["activation"]
MARK = SIGNAL_COLORS["gradient"]


@styled
def draw_quality(quality: Quality, *, title: str = "") -> Figure:
    """Draw trial counts, repeats, ceilings and session fits; MEG: evoked response and lags; fMRI: areas.

    Parameters
    ----------
    quality : Quality
        Numbers of one subject.
    title : str
        Shown above; says *simulated* where the data are.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    simulated = "simulated data, " if quality.responses.simulated else ""
    figure.suptitle(f"{simulated}{title}", x=0.01, ha="left", color=INK)
    _trial_counts(axes[0], quality)
    _repeats(axes[1], quality)
    if quality.responses.modality in TIMED:
        _evoked(axes[2], quality)
        _lags(axes[3], quality)
    else:
        _areas(axes[2], quality)
        _ceiling_by_area(axes[3], quality)
    _ceiling(axes[4], quality)
    _sessions(axes[5], quality)
    return figure


def _trial_counts(ax: Axes, quality: Quality) -> None:
    ax.set_title("Trials in each run, in order")
    if quality.trials.empty:
        _nothing(ax, "no sessions or runs")
        return
    ax.bar(np.arange(len(quality.trials)), quality.trials["trials"], width=0.9, color=BAR)
    ax.set(xlabel="run" if "run" in quality.trials else "session", ylabel="trials")


def _repeats(ax: Axes, quality: Quality) -> None:
    ax.set_title("How often photographs were shown")
    labels = [str(times) for times in quality.repeats.index]
    bars = ax.bar(labels, quality.repeats.to_numpy(), color=BAR)
    ax.bar_label(bars, [f"{count:,}" for count in quality.repeats], fontsize=8, color=MUTED)
    ax.set(xlabel="showings", ylabel="photographs", yscale="log", ylim=(0.5, 3 * quality.repeats.max()))


def _evoked(ax: Axes, quality: Quality) -> None:
    ax.set_title("Evoked responses and global field power")
    sensors = quality.responses.targets["sensor"].nunique()
    power = quality.field_power()
    times = 1000 * power.index.to_numpy()
    ax.plot(times, quality.mean.reshape(sensors, -1).T, color=MUTED, lw=0.3, alpha=0.5)
    ax.plot(times, power, color=MARK, lw=2)
    ax.axvline(0, color=INK, lw=0.7)
    onset = quality.onset()
    if onset is not None:
        ax.axvline(1000 * onset, color=MARK, lw=0.8, ls="--")
        ax.annotate(
            f"{1000 * onset:.0f} ms", (1000 * onset, 1), xycoords=("data", "axes fraction"), color=MARK, va="top"
        )
    ax.set(xlabel="time from onset (ms)", ylabel="response")


def _lags(ax: Axes, quality: Quality) -> None:
    ax.set_title("Events table later than trigger")
    lag = quality.responses.trials.get("lag")
    if lag is None or lag.isna().all():
        _nothing(ax, "no triggers")
        return
    ax.hist(1000 * lag.dropna(), bins=40, color=BAR)
    ax.set(xlabel="lag (ms)", ylabel="trials")


def _areas(ax: Axes, quality: Quality) -> None:
    ax.set_title("Targets in each area (largest 15)")
    areas = quality.responses.targets["roi"].replace("", "(none)").value_counts().head(15)[::-1]
    bars = ax.barh(areas.index, areas.to_numpy(), color=BAR)
    ax.bar_label(bars, [f"{count:,}" for count in areas], fontsize=7, color=MUTED)
    ax.tick_params(axis="y", labelsize=7)
    ax.set(xlabel="targets")


def _ceiling_by_area(ax: Axes, quality: Quality) -> None:
    ax.set_title("Noise ceiling of r by area (best 15, median)")
    if quality.ceiling is None:
        _nothing(ax, "no photograph was repeated")
        return
    targets = quality.responses.targets.iloc[quality.ceiling_targets].assign(ceiling=quality.ceiling)
    named = targets[targets["roi"] != ""]
    grouped = (named if len(named) else targets.assign(roi="(none)")).groupby("roi")["ceiling"]
    middle = grouped.median().sort_values().tail(15)
    spread = np.stack([middle - grouped.quantile(0.25)[middle.index], grouped.quantile(0.75)[middle.index] - middle])
    ax.barh(middle.index, middle, xerr=np.maximum(spread, 0), color=BAR, ecolor=MUTED, error_kw={"lw": 0.8})
    ax.tick_params(axis="y", labelsize=7)
    ax.set(xlabel="ceiling (bars: quartiles over targets)")


def _ceiling(ax: Axes, quality: Quality) -> None:
    ax.set_title("Noise ceiling of r")
    if quality.ceiling is None:
        _nothing(ax, "no photograph was repeated")
        return
    if quality.responses.modality in TIMED:
        targets = quality.responses.targets.iloc[quality.ceiling_targets].assign(ceiling=quality.ceiling)
        grouped = targets.groupby("time")["ceiling"]
        times = 1000 * grouped.mean().index.to_numpy()
        ax.fill_between(times, grouped.quantile(0.1), grouped.quantile(0.9), color=BAR, alpha=0.2, lw=0)
        ax.plot(times, grouped.mean(), color=BAR)
        ax.axvline(0, color=INK, lw=0.7)
        ax.set(xlabel="time from onset (ms)", ylabel="ceiling (mean, 10–90 % of sensors)")
    else:
        ax.hist(quality.ceiling, bins=50, color=BAR)
        ax.set(xlabel=f"ceiling ({quality.ceiling_source})", ylabel="targets")


def _sessions(ax: Axes, quality: Quality) -> None:
    ax.set_title("Repeated photographs: fit to other sessions")
    if quality.consistency is None:
        _nothing(ax, "nothing was repeated across sessions")
        return
    table = quality.consistency.table
    suspicious = table["session"].isin(quality.consistency.suspicious["session"])
    ax.bar(table["session"].astype(str), table["r"], color=np.where(suspicious, MARK, BAR))
    for place, verdict in enumerate(table["verdict"]):
        if suspicious.iloc[place]:
            ax.annotate(verdict, (place, 0), rotation=90, ha="center", va="bottom", fontsize=7, color=INK)
    ax.tick_params(axis="x", labelsize=6, rotation=90)
    ax.set(xlabel="session", ylabel="correlation")


def _nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, ha="center", va="center", color=MUTED, transform=ax.transAxes)
    ax.set_axis_off()
