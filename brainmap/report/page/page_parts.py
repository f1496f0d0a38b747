"""Page parts."""

from __future__ import annotations

import base64
import io
import re
from importlib import resources

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from brainmap.common.tables import spreadsheet_safe
from brainmap.report.figures.colors_and_type import save_figure
from brainmap.report.page import interactive

_RASTER_DPI = 270
_CSV_ROWS = 400


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
    text = spreadsheet_safe(table).to_csv(index=False, float_format="%.6g")
    if len(table) > _CSV_ROWS:
        return "", interactive.pack(text)
    return "data:text/csv;base64," + base64.b64encode(text.encode("utf-8")).decode("ascii"), ""


def templates(*, trim: bool = False) -> Environment:
    """Return the templates of all pages; with ``trim``, lines that hold only a block leave no white space."""
    environment = Environment(
        loader=PackageLoader("brainmap.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=trim,
        lstrip_blocks=trim,
    )
    environment.filters["tmax"] = t_max
    return environment


def t_max(text: str) -> Markup:
    """Return text for a page with T_max set as a symbol with its index; everything else is escaped."""
    return Markup(re.sub(r"\bT_?max\b", "T<sub>max</sub>", str(escape(text))))


def asset(name: str) -> str:
    """Return a style sheet or script that pages carry inside them."""
    return resources.files("brainmap.report.page").joinpath("templates", name).read_text(encoding="utf-8")
