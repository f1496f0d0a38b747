"""One page that compares many studies: a table to sort, curves and profiles to turn to, figures, what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmap.common.names import MODALITY_NAMES
from brainmap.common.progress import track
from brainmap.common.storage.files import write_atomically
from brainmap.report.figures import controls_dots, grid_heatmap, model_bars, scores_vs_step
from brainmap.report.figures.colors_and_type import signal_color
from brainmap.report.page import interactive
from brainmap.report.page.comparison_data import comparison_data, comparison_table
from brainmap.report.page.page_parts import asset, csv_link, picture, templates
from brainmap.report.words import methods
from brainmap.report.words.citations import citations
from brainmap.report.words.p_and_numbers import STARS
from brainmap.results import collection_tables
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import controls_table

_COLUMN_NAMES = {
    "study": "Study",
    "responses": "Responses",
    "signal": "Signal",
    "layer": "Best layer",
    "depth": "Depth",
    "r": "r",
    "low": "low",
    "high": "high",
    "last_layer_r": "r, last layer",
    "where": "Best at",
    "order_r": "Order r",
    "significant": "Significant",
    "n_subjects": "Subjects",
}
MOST_BARS = 12


def write_comparison(
    collection: Collection,
    path: str | Path,
    *,
    links: Mapping[str, str] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page that compares studies.

    Parameters
    ----------
    collection : Collection
        At least one study.
    path : str or Path
        The HTML file. It loads nothing from the network.
    links : mapping of str to str, optional
        Label of a study → where its own report is, relative to the page.
    notes : mapping, optional
        ``citation`` (text) and ``deviations`` (list of dicts with ``what``, ``paper``, ``default``, ``here``).

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the collection is empty.
    """
    collection.check()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = comparison_table(collection)
    text = templates().get_template("compare.html.j2").render(
        title=collection.title or "Studies compared",
        simulated=collection.simulated,
        summary=_summary(collection),
        columns=[{"key": key, "name": _COLUMN_NAMES.get(key, key.capitalize())} for key in table.columns],
        rows=_rows(table),
        csv=csv_link(table)[0] or csv_link(table)[1],
        packed_table=len(table) > 0 and not csv_link(table)[0],
        figures=_figures(collection),
        data=comparison_data(collection),
        timed=_timed(collection),
        places=any("fmri" in member.results.modalities for member in collection),
        plotly=interactive.plotly_source(),
        studies=_studies(collection, links or {}),
        same=_same(collection),
        absent=collection.absent,
        citations=_citations(collection, (notes or {}).get("citation", "")),
        deviations=list((notes or {}).get("deviations", [])),
        css=asset("report.css"),
        common=asset("common.js"),
        script=asset("compare.js"),
    )  # fmt: skip
    write_atomically(path, text)
    return path


def _summary(collection: Collection) -> str:
    varied = ", ".join(name.replace("_", " ") for name in collection.varying)
    count = f"{len(collection)} {'study' if len(collection) == 1 else 'studies'}"
    text = f"{count} side by side" + (f"; they differ in {varied}." if varied else ".")
    if collection.absent:
        text += f" {len(collection.absent)} more could not be computed; the last section says why."
    return text


def _rows(table: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Cells of the table: what is shown, what is sorted by, whether it is a number."""
    rows = []
    for record in table.to_dict("records"):
        cells = []
        for key, value in record.items():
            number = isinstance(value, (float, int)) and not isinstance(value, bool)
            shown = _shown(str(key), value) if number else str(value)
            cells.append({"text": shown, "sort": value if number and np.isfinite(value) else shown, "number": number})
        rows.append(cells)
    return rows


def _shown(key: str, value: float) -> str:
    if not np.isfinite(value):
        return "–"
    if key == "significant":
        return f"{100 * value:.0f} %"
    return f"{value:.0f}" if key == "n_subjects" else f"{value:.2f}" if key == "depth" else f"{value:.3f}"


def _figures(collection: Collection) -> list[dict[str, Any]]:
    figures: list[tuple[str, str, Callable[[], Figure], pd.DataFrame]] = []
    for modality, name in MODALITY_NAMES.items():
        members = [member for member in collection if modality in member.results.modalities]
        if not members:
            continue
        word = f"{name} (simulated)" if any(m.results.simulated for m in members) else name
        steps = _one_training(members)
        if len(steps) > 2:
            table = collection_tables.scores_over_training(steps, modality)
            figures.append((f"training-{modality}", f"Over training: {word}", _steps(table, word), table))
        robust = collection_tables.robustness(Collection(tuple(members)), modality)
        if robust is not None:
            frame = robust.to_series().rename("r").reset_index()
            figures.append((f"grid-{modality}", f"Projection and PCA: {word}", _heat(robust, word), frame))
        if 2 <= len(members) <= MOST_BARS:
            table = _bars_table(Collection(tuple(members), absent=collection.absent), modality)
            figures.append((f"studies-{modality}", f"Last layer: {word}", _bars(table, word), table))
        spaces = controls_table(collection, modality)
        if spaces is not None:
            figures.append((f"controls-{modality}", f"Simple feature spaces: {word}", _controls(spaces, word), spaces))
    return [_figure(number, *item) for number, item in enumerate(track(figures, "drawing", unit="figures"), 1)]


def _one_training(members: Sequence[Member]) -> list[Member]:
    """Return the longest series of checkpoints that differ in nothing but their weights."""
    series: dict[str, dict[int, Member]] = {}
    for member in members:
        if member.step is not None:
            rest = {name: value for name, value in member.settings.items() if name != "weights"}
            series.setdefault(repr(rest), {})[member.step] = member
    longest = max(series.values(), key=len, default={})
    return [longest[step] for step in sorted(longest)]


def _controls(table: pd.DataFrame, word: str) -> Callable[[], Figure]:
    return lambda: controls_dots(table, title=word)


def _bars_table(collection: Collection, modality: str) -> pd.DataFrame:
    table = collection_tables.models_table(list(collection), modality)
    counts = [len(collection_tables.score_table(m.results, modality)) for m in collection]
    names = [name for name, count in zip(collection.names(), counts, strict=True) for _ in range(count)]
    return table.assign(model=names)


def _bars(table: pd.DataFrame, word: str) -> Callable[[], Figure]:
    return lambda: model_bars(table, title=f"Last layer: {word}")


def _steps(table: pd.DataFrame, word: str) -> Callable[[], Figure]:
    return lambda: scores_vs_step(table, title=f"Last layer over training: {word}")


def _heat(grid: Any, word: str) -> Callable[[], Figure]:
    labels = ("PCA dimension", "Projection dimension")
    return lambda: grid_heatmap(grid, labels=labels, title=f"Gradients: {word}", signal="gradient")


def _timed(collection: Collection) -> str:
    """Names of the modalities with times, such as ``MEG`` or ``MEG and EEG``; empty where no study has one."""
    names = {MODALITY_NAMES[member.results.timed] for member in collection if member.results.timed}
    return " and ".join(name for name in MODALITY_NAMES.values() if name in names)


_OVER_SUBJECTS = (
    "Mean over subjects ± SEM (one subject: none); residual: gain of gradients over activations, ± SEM or, in runs "
    "that kept no gains of subjects, its 95 % interval. "
)
_PLACES = (
    "Mean over the vertices that are significant with any of the studies (over training: with the last checkpoint), or "
    "all where none is."
)
_MOMENTS = "At the time with the highest score, which is above 0 by this choice alone."


def _caption(key: str) -> str:
    """Return what stands below a figure, by its kind and modality (``training-eeg``)."""
    kind, _, modality = key.partition("-")
    where = _PLACES if modality == "fmri" else _MOMENTS
    return {
        "controls": "Mean over all targets of each study's best layers, of spaces made of its own gradients (norm, "
        "loss, gradients of other photographs), and of spaces that know no model, with 95 % intervals. The last stand "
        "below for all studies that share them; studies with other data or another reduction of dimensions keep their "
        "own.",
        "grid": "Gradients, last layer: score over the dimensions of random projection and PCA; outlined: the highest. "
        + ("Mean over the significant vertices of each study." if modality == "fmri" else "At the best time."),
        "training": _OVER_SUBJECTS + where,
        "studies": f"{_OVER_SUBJECTS}{where} {STARS}",
    }[kind]


def _figure(number: int, key: str, title: str, draw: Callable[[], Figure], table: pd.DataFrame) -> dict[str, Any]:
    figure = draw()
    width, height = figure.get_size_inches()
    csv, packed = csv_link(table)
    return {
        "key": key, "title": title, "number": number, "image": picture(figure, raster=False), "csv": csv,
        "packed": packed, "width": round(96 * width), "height": round(96 * height),
        "caption": _caption(key),
        "alt": f"{title}: scores between {table['r'].min():.3f} and {table['r'].max():.3f}; the table holds them.",
    }  # fmt: skip


def _studies(collection: Collection, links: Mapping[str, str]) -> list[dict[str, str]]:
    rows = []
    for member, name in zip(collection, collection.names(), strict=True):
        color = signal_color("activation")
        text = methods.methods_paragraph(member.results)
        rows.append({"name": name, "link": links.get(member.label, ""), "methods": text, "color": color})
    return rows


def _same(collection: Collection) -> list[tuple[str, str]]:
    """Provenance that all studies share."""
    rows = [dict(methods.provenance_rows(member.results)) for member in collection]
    return [(key, text) for key, text in rows[0].items() if all(other.get(key) == text for other in rows[1:])]


def _citations(collection: Collection, own: str) -> list[str]:
    cited = [own] if own else []
    cited += [text for member in collection for text in citations(member.results)]
    return list(dict.fromkeys(cited))
