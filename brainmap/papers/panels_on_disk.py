"""All panels of a study on disk: PDF and PNG each, the table of numbers, one page that shows both, a contact sheet."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from brainmap.common.errors import InputError
from brainmap.common.progress import track
from brainmap.common.tables import spreadsheet_safe
from brainmap.papers.paper_panel import PaperPanel, absent_panel
from brainmap.report.figures.colors_and_type import save_figure
from brainmap.report.figures.contact_sheet import contact_sheet
from brainmap.report.page.comparison_page import write_comparison
from brainmap.report.page.page_parts import asset, templates
from brainmap.results.collection import Collection

PANELS, SHEET, PAGE, TABLE = "panels", "contact_sheet.png", "index.html", "numbers"
COMPARISON = "comparison.html"
MADE_BY = '<p class="eyebrow">brainmap reproduce</p>'  # in the page's template
PNG_DPI, SHEET_DPI, SHEET_BYTES = 200, 150, 2_000_000
SMALLEST_SHARE = 0.25  # of the sheet as drawn


@dataclass(frozen=True)
class Reproduction:
    """What was written.

    Attributes
    ----------
    folder, page, sheet : Path
        Where; the page shows everything.
    drawn, missing : tuple of str
        Panels with data, and panels that say which data are absent.
    numbers : pandas.DataFrame
        The table of published and measured numbers.
    likeness : pandas.DataFrame
        Of every panel, what it has in common with the paper's.
    """

    folder: Path
    page: Path
    sheet: Path
    drawn: tuple[str, ...]
    missing: tuple[str, ...]
    numbers: pd.DataFrame
    likeness: pd.DataFrame


def write_reproduction(
    panels: Sequence[PaperPanel],
    numbers: pd.DataFrame,
    collection: Collection,
    folder: str | Path,
    *,
    likeness: pd.DataFrame | None = None,
    deviations: Sequence[Mapping[str, str]] = (),
    citation: str = "",
) -> Reproduction:
    """Write every panel as PDF and PNG, the numbers as CSV, Markdown and HTML, two pages and a contact sheet.

    ``index.html`` shows panels and numbers; ``comparison.html``, to which it links, holds every study's scores, methods
    and data of figures.

    Parameters
    ----------
    panels : sequence of PaperPanel
        In the order of the paper; missing ones are written too, and say what is missing.
    numbers : pandas.DataFrame
        From :func:`brainmap.papers.paper_numbers`.
    collection : Collection
        The studies, for what is said about the data.
    folder : str or Path
        Created if needed; files of the same names are replaced. Panels that the page of an earlier run shows and this
        one does not write are removed, and no other file.
    likeness : pandas.DataFrame, optional
        From :func:`brainmap.papers.panel_likeness.panel_likeness`; ends ``numbers.md`` and stands on the page.
    deviations : sequence of mapping
        ``what``, ``paper``, ``default``, ``here``: shown on the page.
    citation : str
        Of the paper.

    Returns
    -------
    Reproduction

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from brainmap.papers import PaperPanel, paper_numbers, write_reproduction
    >>> from brainmap.results.collection import Collection
    >>> panels = [PaperPanel("2A", "Best layer", "Depth of the layer that predicts a vertex best.", Figure)]
    >>> numbers = paper_numbers("misalignment", Collection([]))
    >>> reproduction = write_reproduction(panels, numbers, Collection([]), "brainmap_runs/pages")
    """
    folder = Path(folder)
    (folder / PANELS).mkdir(parents=True, exist_ok=True)
    shown: list[dict[str, Any]] = []
    figures: dict[str, Figure] = {}
    pictures: dict[str, np.ndarray] = {}
    for name, panel in zip(_names(panels), track(panels, "drawing panels", unit="panels"), strict=True):
        try:
            figure = panel.draw()
        except InputError as error:  # such as targets without a place on a mesh: draw the other panels
            panel = absent_panel(panel.number, panel.title, f"Cannot be drawn: {error}.")
            figure = panel.draw()
        save_figure(figure, folder / PANELS / f"{name}.png", dpi=PNG_DPI)
        figure.set_layout_engine("none")  # is laid out now; again for each format would take half of the time
        save_figure(figure, folder / PANELS / f"{name}.pdf", dpi=PNG_DPI)
        width, height = (round(96 * size) for size in figure.get_size_inches())
        shown.append({"name": name, "panel": panel, "width": width, "height": height})
        label = f"{panel.number}{' ' * len(figures)}"  # names must differ; spaces are not seen
        figures[label], pictures[label] = figure, _pixels(folder / PANELS / f"{name}.png")
    likeness = pd.DataFrame() if likeness is None else likeness
    _write_numbers(numbers, folder, likeness)
    sheet = folder / SHEET
    simulated = " (simulated responses)" if collection.simulated else ""
    save_sheet(figures, sheet, title=f"{collection.title}{simulated}", pictures=pictures)
    page = folder / PAGE
    _remove_earlier(page, {item["name"] for item in shown})
    notes = {"citation": citation, "deviations": list(deviations)}
    compared = write_comparison(collection, folder / COMPARISON, notes=notes).name if len(collection) else ""
    context: dict[str, Any] = {**notes, "absent": collection.absent, "comparison": compared}
    context |= {"likeness": likeness.to_dict("records"), "likeness_columns": list(likeness.columns)}
    page.write_text(_page(shown, numbers, collection, context), encoding="utf-8")
    drawn = tuple(item["name"] for item in shown if not item["panel"].missing)
    missing = tuple(item["name"] for item in shown if item["panel"].missing)
    return Reproduction(folder, page, sheet, drawn, missing, numbers, likeness)


def _remove_earlier(page: Path, names: set[str]) -> None:
    """Remove panels of an earlier run that have no successor: those, and only those, that its page shows."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    if MADE_BY not in text:
        return
    kept = {name.casefold() for name in names}  # a file system may take 2A.png and 2a.png for one
    for name, suffix in re.findall(rf'="{PANELS}/([^"/\\]+)\.(png|pdf)"', text):
        if html.unescape(name).casefold() not in kept:
            (page.parent / PANELS / f"{html.unescape(name)}.{suffix}").unlink(missing_ok=True)


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def save_sheet(
    figures: Mapping[str, Figure], path: Path, *, title: str, pictures: Mapping[str, np.ndarray] | None = None
) -> None:
    """Save a contact sheet as PNG in full colour, under two megabytes: a palette would band the maps' colours."""
    buffer = io.BytesIO()
    sheet = contact_sheet(figures, columns=6, title=title, pictures=pictures)
    save_figure(sheet, buffer, format="png", dpi=SHEET_DPI, pil_kwargs={"compress_level": 1})
    drawn = Image.open(buffer).convert("RGB")
    share = 1.0
    while True:  # drawing takes most of the time: it is drawn once, and made smaller
        size = (round(drawn.width * share), round(drawn.height * share))
        packed = io.BytesIO()
        (drawn if share == 1.0 else drawn.resize(size, Image.Resampling.LANCZOS)).save(packed, format="PNG")
        if packed.tell() < SHEET_BYTES or share < SMALLEST_SHARE:
            path.write_bytes(packed.getvalue())
            return
        share *= min(0.95, 0.97 * float(np.sqrt(SHEET_BYTES / packed.tell())))


def markdown_table(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    cells = table.astype(str).map(lambda text: text.replace("|", "\\|"))
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells.to_numpy()]) + "\n"


def _write_numbers(numbers: pd.DataFrame, folder: Path, likeness: pd.DataFrame) -> None:
    spreadsheet_safe(numbers).to_csv(folder / f"{TABLE}.csv", index=False)
    text = markdown_table(numbers)
    if len(likeness):
        text += f"\n## What each panel has in common with the paper's\n\n{markdown_table(likeness)}"
    (folder / f"{TABLE}.md").write_text(text, encoding="utf-8")
    body = numbers.to_html(index=False, border=0, escape=True)
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Numbers</title>{body}</html>\n'
    (folder / f"{TABLE}.html").write_text(text, encoding="utf-8")


def _names(panels: Sequence[PaperPanel]) -> list[str]:
    """Return a file name for each panel; equal ones are numbered."""
    keys = [panel.key.replace(",", "_") for panel in panels]
    seen: dict[str, int] = {}
    names = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        names.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return names


def _page(
    shown: Sequence[Mapping[str, Any]], numbers: pd.DataFrame, collection: Collection, context: Mapping[str, Any]
) -> str:
    return (
        templates()
        .get_template("reproduction.html.j2")
        .render(
            title=collection.title,
            simulated=collection.simulated,
            panels=shown,
            n_missing=int(np.sum([bool(item["panel"].missing) for item in shown])),
            numbers=numbers.to_dict("records"),
            columns=list(numbers.columns),
            css=asset("report.css"),
            folder=PANELS,
            table=TABLE,
            **context,
        )
    )
