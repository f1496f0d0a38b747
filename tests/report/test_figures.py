"""Every figure shows the numbers it was given, inside its frame, without touching matplotlib's global state."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from brainmap.common.errors import InputError
from brainmap.data.sensor_positions import flat_positions
from brainmap.papers.paper_panel import PAPER_PANELS
from brainmap.report import figures
from brainmap.report.figures import colors_and_type
from brainmap.report.panels import SECTIONS, missing_panels, study_panels
from brainmap.report.words import p_and_numbers
from brainmap.results import lookups
from brainmap.results.study_results import StudyResults

TIME = np.round(np.arange(-0.2, 1.0, 0.05), 3)


def _curves(n_layers: int = 4) -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.random((3, n_layers, len(TIME))) * np.exp(-(((TIME - 0.3) / 0.2) ** 2))
    return xr.DataArray(
        values,
        dims=("subject", "layer", "time"),
        coords={"time": TIME, "layer": [f"block.{i}" for i in range(n_layers)]},
    )


NAMES = sorted(
    set(figures.__all__)
    - {"PAPER_PANELS", "contact_sheet", "study_contact_sheet", "study_overview", "vertex_map", "area_map"}
)


@pytest.fixture(scope="module")
def gallery() -> dict[str, Callable[[], Figure]]:
    """The examples of docs/figures."""
    script = Path(__file__).parents[2] / "docs" / "figures" / "gallery.py"
    spec = importlib.util.spec_from_file_location("figure_gallery", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.examples()


@pytest.mark.parametrize("name", NAMES)
def test_text_stays_inside_and_apart_and_nothing_global_changes(gallery, name):
    before = dict(matplotlib.rcParams)
    figure = gallery[name]()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    with matplotlib.rc_context(colors_and_type.figure_settings()):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    assert dict(matplotlib.rcParams) == before
    frame = figure.bbox
    spare = _spare_tick_labels(figure)
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in spare]
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts]
    assert boxes
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= frame.width + 1 and box.y1 <= frame.height + 1
        assert inside, f"{text!r} leaves the figure"
    for i, (first, a) in enumerate(boxes):
        for second, b in boxes[i + 1 :]:
            apart = a.x1 - 1 <= b.x0 or b.x1 - 1 <= a.x0 or a.y1 - 1 <= b.y0 or b.y1 - 1 <= a.y0
            assert apart, f"{first!r} and {second!r} overlap"


def _spare_tick_labels(figure: Figure) -> set[int]:
    """Labels that matplotlib keeps but does not draw: of ticks outside the axes and of axes that are switched off."""
    spare: set[int] = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not (ax.axison and low - 1e-9 <= tick.get_loc() <= high + 1e-9):
                    spare |= {id(tick.label1), id(tick.label2)}
    return spare


def test_curves_are_the_means_over_subjects():
    curves = _curves()
    lines = figures.layer_curves(curves, np.linspace(0, 1, 4)).axes[0].lines
    drawn = [line.get_ydata() for line in lines if len(line.get_xdata()) == len(TIME)]
    np.testing.assert_allclose(drawn, curves.mean("subject").values)
    _, sem = figures.curves.mean_and_sem(curves)
    np.testing.assert_allclose(sem, np.std(curves.values, axis=0, ddof=1) / np.sqrt(3))


def test_scatter_shows_each_area_where_it_is(small_results):
    table = small_results.hierarchy["spatial"]["gradient"]
    ax = figures.distance_vs_best_layer(table, "gradient").axes[0]
    points = next(c for c in ax.collections if isinstance(c, PathCollection)).get_offsets()
    np.testing.assert_allclose(points, table[["distance_mm", "best_layer"]].to_numpy())
    said = " ".join(t.get_text() for t in ax.texts)
    assert p_and_numbers.format_score(table.attrs["r"]) in said
    assert "n = 51 areas" in said
    assert "(mm)" in ax.get_xlabel()


def test_onset_is_at_zero_and_peaks_are_in_milliseconds(small_results):
    table = small_results.hierarchy["temporal"]["activation"]
    ax = figures.depth_vs_peak_time(table, "activation").axes[0]
    points = [c for c in ax.collections if isinstance(c, PathCollection)][-1].get_offsets()
    np.testing.assert_allclose(points[:, 1], 1000 * table["t_max"])
    assert "(ms)" in ax.get_ylabel()
    curve = figures.residual_curve(small_results.residual["meg"]).axes[0]
    assert any(np.allclose(line.get_xdata(), 0) for line in curve.lines)


def test_bars_tell_significant_areas_and_hide_none(small_results):
    table = small_results.residual["fmri"].copy()
    table["significant"] = True
    ax = figures.residual_bars(table, most=5).axes[0]
    assert len(ax.patches) == len(table)  # significant areas are always shown
    table["significant"] = table["unit"] == "V1"
    ax = figures.residual_bars(table, most=5).axes[0]
    green = [bar for bar in ax.patches if np.allclose(bar.get_facecolor()[:3], matplotlib.colors.to_rgb("#009e73"))]
    assert len(ax.patches) == 5
    assert len(green) == 1
    assert "46 areas" in " ".join(text.get_text() for text in ax.texts)


def test_sensors_lie_in_the_head_nose_up():
    place = flat_positions(["MLF11", "MRO11-2622", "nonsense", "MZC01"])
    assert np.isnan(place[2]).all()
    known = place[[0, 1, 3]]
    assert (np.linalg.norm(known, axis=1) <= 1.001).all()
    assert place[0, 1] > 0 > place[1, 1]  # frontal above, occipital below
    assert place[0, 0] < 0 < place[1, 0]  # left on the left
    values = xr.DataArray(np.ones((1, 2)), dims=("panel", "sensor"), coords={"sensor": ["A1", "A2"]})
    with pytest.raises(InputError, match="4 sensors with a known place, and 0 have"):
        figures.sensor_maps(values, ["x"], "activation")


def test_every_paper_panel_names_an_existing_function():
    for panels in PAPER_PANELS.values():
        for functions in panels.values():
            assert all(callable(getattr(figures, name)) for name in functions)


def test_panels_follow_the_results(small_results):
    panels = study_panels(small_results)
    keys = [panel.key for panel in panels]
    assert len(keys) == len(set(keys)) == 20
    assert [panel.section for panel in panels] == sorted((p.section for p in panels), key=SECTIONS.index)
    assert all(panel.alt and panel.caption for panel in panels)
    assert missing_panels(small_results) == {}
    table = next(panel.table for panel in panels if panel.key == "meg-curves-gradient")
    assert list(table) == ["subject", "layer", "depth", "time", "r"]
    assert table.groupby("layer")["depth"].unique().loc["block.3"] == pytest.approx([3 / 11])
    scores = lookups.averaged_over(small_results, "meg", "time").sel(signal="gradient")
    for name, rows in table.groupby(["subject", "layer"]):
        np.testing.assert_array_equal(rows["r"], scores.sel(dict(zip(("subject", "layer"), name, strict=True))))
    bare = StudyResults(small_results.provenance, {"meg": small_results.scores["meg"]})
    assert {panel.section for panel in study_panels(bare)} == {"when"}
    assert set(missing_panels(bare)) == {"where", "order", "beyond", "controls"}


def test_contact_sheet_holds_every_figure(gallery):
    chosen = {name: gallery[name]() for name in ("controls_dots", "grid_heatmap", "residual_curve")}
    sheet = figures.contact_sheet(chosen, columns=2, title="Three")
    assert len([ax for ax in sheet.axes if ax.images]) == 3
    assert {"Three", *chosen} == {text.get_text() for text in sheet.texts}


def test_a_contact_sheet_fills_the_place_under_a_low_figure():
    sheet = figures.contact_sheet(
        {"tall": Figure((3.4, 4)), "low": Figure((3.4, 1)), "next": Figure((3.4, 1))}, columns=2
    )
    tall, low, after = (ax.get_position() for ax in sheet.axes)
    assert after.x0 == pytest.approx(low.x0) and tall.y0 < after.y1 < low.y0
