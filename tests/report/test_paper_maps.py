"""Maps for papers: their pixels, their views, one bar, and what they refuse to draw."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from made_up_results import make_results
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from brainmap.common.errors import InputError
from brainmap.report import cortex_map
from brainmap.report.cortex import mesh_raster
from brainmap.report.cortex.flat_meshes import flat_cortex
from brainmap.report.cortex.mesh_raster import paint, rasterise
from brainmap.report.cortex.values_on_mesh import area_borders, load_cortex
from brainmap.report.figures.colors_and_type import signal_cmap
from brainmap.report.panels import study_panels
from brainmap.results import StudyResults

DPI = 60  # the rest is arithmetic


@pytest.fixture(scope="module")
def both() -> StudyResults:
    return make_results(every=6, n_subjects=2, hemispheres=("L", "R"), modalities=("fmri",))


def words(figure) -> str:
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts) + " ".join(
        text.get_text() for text in figure.texts
    )


def test_a_pdf_holds_the_surfaces_at_the_resolution_asked_for(both: StudyResults) -> None:
    figure = cortex_map(both, views="2x4+flat", dpi=DPI, width=7.0)
    file = io.BytesIO()
    figure.savefig(file, format="pdf")
    widths = [int(width) for width in re.findall(rb"/Width (\d+)", file.getvalue())]
    assert sum(abs(width - 7.0 * DPI) < 0.05 * 7.0 * DPI for width in widths) >= 2  # the views, and the flat surfaces
    said = words(figure)
    for side in ("Left", "Right"):
        for view in ("lateral", "medial", "ventral", "dorsal", "flat"):
            assert f"{side}, {view}" in said
    assert "simulated fMRI" in said
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(images) == 2 and all(isinstance(image, AxesImage) for image in images)
    for image in images:  # square pixels
        box = image.axes.get_position()
        height, width = image.get_array().shape[:2]
        drawn = (box.width * figure.get_figwidth()) / (box.height * figure.get_figheight())
        assert drawn == pytest.approx(width / height, rel=0.01)


def test_layers_share_one_bar_and_grey_is_what_is_not_above_chance(both: StudyResults) -> None:
    figure = cortex_map(both, layers=["block.0", "block.11"], views=["lateral"], dpi=DPI)
    bars = [ax for ax in figure.axes if not ax.images]
    assert len(bars) == 1 and bars[0].get_xlabel() == "Encoding score r"
    assert "Activations, block 0" in words(figure) and "Activations, block 11" in words(figure)
    few = StudyResults(both.provenance, both.scores, significance={"fmri": both.significance["fmri"].copy()})
    few.significance["fmri"].loc[{"layer": "block.11"}] = False
    blue = [
        (np.ptp(ax.images[0].get_array()[..., :3], axis=2) > 0.1).sum()
        for ax in cortex_map(few, layers=["block.0", "block.11"], views=["lateral"], dpi=DPI).axes
        if ax.images
    ]
    assert blue[0] > 1000 and blue[1] == 0


def test_outlines_are_lines_of_print() -> None:
    cortex = load_cortex()
    mesh, areas = cortex.meshes["L"], area_borders({"MT", "FFC", "V1", "V4"}, cortex)["L"]
    style = {"cmap": signal_cmap("gradient"), "norm": Normalize(0, 1), "pixels_per_mm": 2.0}
    nothing = np.full(len(mesh.coordinates), np.nan)
    dark = [
        ((image[..., :3].sum(axis=2) < 1.5) & (image[..., 3] == 1)).sum()
        for line in (1.0, 3.0)
        for image in [paint(mesh, nothing, "lateral", areas=areas, line=line, **style)]
    ]
    assert 1.8 < dark[1] / dark[0] < 4


def test_large_triangles_are_filled_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = flat_cortex(load_cortex())
    assert flat is not None
    mesh = load_cortex().meshes["R"]
    whole = rasterise(mesh, "medial", pixels_per_mm=1.5)
    monkeypatch.setattr(mesh_raster, "_SMALL", 3)
    parts = rasterise(mesh, "medial", pixels_per_mm=1.5)
    np.testing.assert_array_equal(parts.vertices, whole.vertices)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"show": "t"}, "no map 't'"), ({"views": "3x3"}, "unknown views '3x3'"),
     ({"views": ["top"]}, "unknown view 'top'"),
     ({"signal": "x"}, "no signal 'x'"), ({"layers": "block.99"}, "no layer 'block.99'"),
     ({"outlines": ["FFA"]}, "no area 'FFA'"), ({"show": "ceiling", "layers": "block.0"}, "belongs to the map 'r'")],
)  # fmt: skip
def test_what_is_not_there_is_a_sentence(both: StudyResults, asked: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        cortex_map(both, dpi=DPI, **asked)


def test_no_finding_is_no_map(both: StudyResults) -> None:
    quiet = StudyResults(both.provenance, both.scores, significance={"fmri": both.significance["fmri"] & False})
    with pytest.raises(InputError, match="nothing of activations is above chance after all corrections"):
        cortex_map(quiet)
    with pytest.raises(InputError, match="did not ask what gradients add"):
        cortex_map(quiet, "gain")


def test_no_empty_strip_stands_above_the_pictures_of_a_report(both: StudyResults) -> None:
    panel = next(panel for panel in study_panels(both) if panel.key == "map-ceiling")
    figure, titled = panel.draw_untitled(), panel.draw()
    spare = figure.get_figheight() - figure.get_tightbbox().y1
    assert 0 <= spare < 0.12 and figure.get_figheight() < titled.get_figheight() - 0.1
    before, after = titled.axes[0].get_position(), figure.axes[0].get_position()
    assert after.height * figure.get_figheight() == pytest.approx(before.height * titled.get_figheight())
