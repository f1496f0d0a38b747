"""One self-contained HTML file a study: opens offline, fits a phone, speaks to a screen reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from brainmap.common.names import MODALITY_NAMES
from brainmap.common.progress import track
from brainmap.common.storage.files import write_atomically
from brainmap.report.explore.payload import IN_REPORT, Step, explorer_payload
from brainmap.report.figures.colors_and_type import signal_color
from brainmap.report.figures.contact_sheet import contact_sheet
from brainmap.report.page.explorer_page import embedded
from brainmap.report.page.page_parts import asset, csv_link, picture, templates
from brainmap.report.panels import Panel, missing_panels, study_panels
from brainmap.report.words import headlines, methods, planted_and_found, registered
from brainmap.report.words.answer import plain_answer
from brainmap.report.words.citations import citations
from brainmap.report.words.p_and_numbers import format_score
from brainmap.results.study_results import StudyResults

if TYPE_CHECKING:
    from brainmap.results.study_results import StudyResults

_SECTIONS = {
    "where": ("Where", "Which places of the cortex each signal predicts, and from which depth of the model."),
    "when": ("When", "At which moments after onset each layer predicts the {timed}."),
    "order": ("In which order", "Whether the order of the layers is the order of the brain: {orders}."),
    "beyond": ("Gradients beyond activations", "What gradients predict that activations do not."),
    "together": (
        "Several feature spaces together",
        "What they explain alone and what they share, or how layers are weighed.",
    ),
    "controls": ("Controls", "The same regression on feature spaces that know little about the model."),
}


def write_report(results: StudyResults, path: str | Path) -> Path:
    """Write the report of a study.

    Parameters
    ----------
    results : StudyResults
        What to show; parts that are missing are named in the report.
    path : str or Path
        The HTML file, or a folder that gets ``report.html``.

    Returns
    -------
    Path
        The file. It loads nothing from the network.

    Raises
    ------
    InputError
        If the results lack scores or do not say whether they are simulated.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report import write_report
    >>> write_report(brainmap.open_run("brainmap_runs/meg"), "report.html").name
    'report.html'
    """
    results.check()
    path = Path(path)
    if path.is_dir() or not path.suffix:
        path = path / "report.html"
    text = render_report(results)
    write_atomically(path, text)
    return path


def render_report(results: StudyResults) -> str:
    """Return the report as HTML text."""
    figures = [_figure(panel) for panel in track(study_panels(results), "drawing the report", unit="figures")]
    for number, figure in enumerate(figures, 1):
        figure["number"] = number
    notes = missing_panels(results)
    hypotheses = _hypotheses(results)
    sections = [
        {
            "key": key,
            "title": title,
            "lead": lead.format(timed=MODALITY_NAMES.get(results.timed or "", ""), orders=_orders(results)),
            "figures": [figure for figure in figures if figure["section"] == key],
        }
        for key, (title, lead) in _SECTIONS.items()
    ]
    sections = [part for part in sections if part["figures"] or (part["key"] == "order" and hypotheses)]
    payload, _ = explorer_payload([Step(results)], IN_REPORT)
    return (
        templates(trim=True)
        .get_template("report.html.j2")
        .render(
            title=methods.report_title(results),
            simulated=results.simulated,
            answer=plain_answer(results),
            chips=_chips(results),
            headlines=[{**vars(item), "color": signal_color(item.signal)} for item in headlines.headlines(results)],
            sections=sections,
            checks=planted_and_found.found_and_planted(results),
            hypotheses=hypotheses,
            absent=list(notes.values()),
            methods=methods.methods_paragraph(results),
            provenance=methods.provenance_rows(results),
            citations=citations(results),
            css=asset("report.css") + asset("explore.css"),
            common=asset("common.js"),
            packed_tables=[figure for figure in figures if figure["packed"]],
            own_page=False,
            **embedded(payload),
        )
    )


def _orders(results: StudyResults) -> str:
    words = {"spatial": "in space along the distance from V1", "temporal": "in time along the latency"}
    there = [text for kind, text in words.items() if results.hierarchy.get(kind)]
    return ", ".join(there or words.values())


def summary_html(results: StudyResults) -> str:
    """Return a short summary for notebooks: what it is, the headline numbers, how to see more.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report import summary_html
    >>> "SIMULATED" in summary_html(brainmap.open_run("brainmap_runs/demo"))
    True
    """
    return (
        templates(trim=True)
        .get_template("summary.html.j2")
        .render(
            title=methods.report_title(results),
            simulated=results.simulated,
            answer=plain_answer(results),
            headlines=[{**vars(item), "color": signal_color(item.signal)} for item in headlines.headlines(results)],
            shapes={MODALITY_NAMES[name]: dict(results.scores[name]["r"].sizes) for name in results.modalities},
        )
    )


def _figure(panel: Panel) -> dict[str, Any]:
    figure = panel.draw_untitled()
    width, height = figure.get_size_inches()
    csv, packed = csv_link(panel.table)
    return {
        "key": panel.key,
        "section": panel.section,
        "title": panel.title,
        "measured": panel.measured,
        "caption": panel.caption,
        "how": panel.how,
        "alt": panel.alt,
        "image": picture(figure, raster=panel.raster),
        "width": round(96 * width),
        "height": round(96 * height),
        "csv": csv,
        "packed": packed,
    }


def _hypotheses(results: StudyResults) -> dict[str, Any] | None:
    """Rows of the table of hypotheses, as text, and its CSV."""
    table = results.hypotheses
    if table is None:
        return None
    rows = []
    for row in table.to_dict("records"):
        digits = 3 if row["unit"] == "s" else 2
        effect, low, high = (format_score(float(row[name]), digits) for name in ("effect", "low", "high"))
        name = MODALITY_NAMES.get(str(row["modality"]), str(row["modality"]))
        rows.append(
            {
                "number": row["hypothesis"], "prediction": row["prediction"], "modality": name,
                "effect": f"{effect} [{low}, {high}] {row['unit']}", "verdict": row["verdict"], "note": row["note"],
            }
        )  # fmt: skip
    title, lead = registered.words(results)
    return {
        "rows": rows,
        "csv": csv_link(table)[0],
        "title": title,
        "lead": lead,
        "registered": "registered" in results.provenance,
    }


def _chips(results: StudyResults) -> list[str]:
    p: Mapping[str, Any] = results.provenance
    chips = [
        f"{p[key]}" if key != "n_images" else f"{p[key]:,} photographs"
        for key in ("model", "weights", "dataset", "n_images")
        if p.get(key)
    ]
    chips += [
        f"{_count(results.scores[name].sizes['subject'], 'subject')}, {headlines.modality_phrase(results, name)}"
        for name in results.modalities
    ]
    if p.get("objective") and p.get("exactness"):
        chips.append(f"gradients: {p['objective']} ({p['exactness']})")
    return chips


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def study_contact_sheet(results: StudyResults, *, columns: int = 4) -> Figure:
    """Draw every figure that the report of a study shows on one sheet.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report import study_contact_sheet
    >>> study_contact_sheet(brainmap.open_run("brainmap_runs/meg")).savefig("everything.png")
    """
    from brainmap.report.panels import study_panels
    from brainmap.report.words.methods import report_title

    title = report_title(results) + (" (simulated data)" if results.simulated else "")
    return contact_sheet({panel.title: panel.draw() for panel in study_panels(results)}, columns=columns, title=title)


def study_overview(results: StudyResults) -> Figure:
    """Draw the three figures that say most about a study side by side, for a README or a slide.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.page import study_overview
    >>> study_overview(brainmap.open_run("brainmap_runs/meg")).savefig("overview.png")
    """
    from brainmap.report.panels import study_panels

    panels = {panel.key: panel for panel in study_panels(results)}
    wanted = (
        "map-layer-activation",
        f"{results.timed}-curves-activation",
        "order-spatial-activation",
        "residual-times",
    )
    chosen = [panels[key] for key in wanted if key in panels][:3] or list(panels.values())[:3]
    return contact_sheet({panel.title: panel.draw() for panel in chosen}, columns=3)
