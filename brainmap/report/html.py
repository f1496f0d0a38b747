"""One self-contained HTML file a study: opens offline, fits a phone, speaks to a screen reader."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from brainmap.progress import track
from brainmap.report import checks, interactive, methods, summary
from brainmap.report.citations import citations
from brainmap.report.panels import Panel, missing_panels, study_panels
from brainmap.report.results import MODALITY_NAMES, StudyResults
from brainmap.report.style import format_score, save_figure, signal_color

_RASTER_DPI = 270
_CSV_ROWS = 400
_SECTIONS = {
    "where": ("Where", "Which places of the cortex each signal predicts, and from which depth of the model."),
    "when": ("When", "At which moments after onset each layer predicts the MEG."),
    "order": (
        "In which order",
        "Whether the order of the layers is the order of the brain: in space along the distance from V1, in time along "
        "the latency.",
    ),
    "beyond": ("Gradients beyond activations", "What gradients predict that activations do not."),
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
    """
    results.check()
    path = Path(path)
    if path.is_dir() or not path.suffix:
        path = path / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = render_report(results)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def render_report(results: StudyResults) -> str:
    """Return the report as HTML text."""
    figures = [_figure(panel) for panel in track(study_panels(results), "drawing the report", unit="figures")]
    for number, figure in enumerate(figures, 1):
        figure["number"] = number
    notes = missing_panels(results)
    sections = [
        {
            "key": key,
            "title": title,
            "lead": lead,
            "figures": [figure for figure in figures if figure["section"] == key],
            "note": notes.get(key),
        }
        for key, (title, lead) in _SECTIONS.items()
    ]
    data = {"meg": interactive.meg_data(results), "cortex": interactive.cortex_data(results)}
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=methods.report_title(results),
            simulated=results.simulated,
            answer=methods.plain_answer(results),
            chips=_chips(results),
            headlines=[{**vars(item), "color": signal_color(item.signal)} for item in summary.headlines(results)],
            sections=sections,
            checks=checks.found_and_planted(results),
            hypotheses=_hypotheses(results),
            methods=methods.methods_paragraph(results),
            provenance=methods.provenance_rows(results),
            citations=citations(results),
            data=data,
            plotly=interactive.plotly_source() if any(data.values()) else "",
            css=_asset("report.css"),
            common=_asset("common.js"),
            packed_tables=[figure for figure in figures if figure["packed"]],
            script=_asset("report.js"),
        )
    )


def summary_html(results: StudyResults) -> str:
    """Return a short summary for notebooks: what it is, the headline numbers, how to see more."""
    return (
        _environment()
        .get_template("summary.html.j2")
        .render(
            title=methods.report_title(results),
            simulated=results.simulated,
            answer=methods.plain_answer(results),
            headlines=[{**vars(item), "color": signal_color(item.signal)} for item in summary.headlines(results)],
            shapes={MODALITY_NAMES[name]: dict(results.scores[name]["r"].sizes) for name in results.modalities},
        )
    )


def picture(figure: Figure, *, raster: bool) -> str:
    """Return a figure as a data URI: WebP for pictures, SVG with real text for lines."""
    buffer = io.BytesIO()
    if raster:
        save_figure(figure, buffer, format="webp", dpi=_RASTER_DPI, pil_kwargs={"quality": 88, "method": 4})
        return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    save_figure(figure, buffer, format="svg", dpi=_RASTER_DPI, metadata={"Date": None})
    svg = _slim(buffer.getvalue().decode("utf-8"))
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode('ascii')}"


def _slim(svg: str) -> str:
    """Drop what a browser does not need and let it use its own plain sans-serif typeface."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]+|(font: [^;\"']*px) [^;\"]+", _typeface, svg)
    svg = re.sub(r"<[^>]+>", _short_numbers, svg)  # inside tags only: the numbers between them are labels of ticks
    return re.sub(r">\s+<", "><", svg)


def _short_numbers(tag: re.Match[str]) -> str:
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", tag.group(0))


def _typeface(match: re.Match[str]) -> str:
    family = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
    return f"{match.group(1)} {family}" if match.group(1) else f"font-family: {family}"


def csv_link(table: pd.DataFrame | None) -> tuple[str, str]:
    """Return a table as a data URI if it is short, else packed for a button; both empty without a table."""
    if table is None:
        return "", ""
    text = table.to_csv(index=False, float_format="%.6g")
    if len(table) > _CSV_ROWS:
        return "", interactive.pack(text)
    return "data:text/csv;base64," + base64.b64encode(text.encode("utf-8")).decode("ascii"), ""


def _figure(panel: Panel) -> dict[str, Any]:
    figure = panel.draw()
    width, height = figure.get_size_inches()
    csv, packed = csv_link(panel.table)
    return {
        "key": panel.key,
        "section": panel.section,
        "title": panel.title,
        "caption": panel.caption,
        "alt": panel.alt,
        "image": picture(figure, raster=panel.raster),
        "width": round(96 * width),
        "height": round(96 * height),
        "csv": csv,
        "packed": packed,
    }


def _hypotheses(results: StudyResults) -> dict[str, Any] | None:
    """Rows of the table of hypotheses, as text, and its CSV."""
    table = checks.hypotheses(results)
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
    return {"rows": rows, "csv": csv_link(table)[0]}


def _chips(results: StudyResults) -> list[str]:
    p: Mapping[str, Any] = results.provenance
    chips = [
        f"{p[key]}" if key != "n_images" else f"{p[key]:,} photographs"
        for key in ("model", "weights", "dataset", "n_images")
        if p.get(key)
    ]
    chips += [
        f"{_count(results.scores[name].sizes['subject'], 'subject')}, {summary.modality_phrase(results, name)}"
        for name in results.modalities
    ]
    if p.get("objective") and p.get("exactness"):
        chips.append(f"gradients: {p['objective']} ({p['exactness']})")
    return chips


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("brainmap.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return resources.files("brainmap.report").joinpath("templates", name).read_text(encoding="utf-8")
