"""The panels of a study in reading order, and what cannot be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from brainmap.common.errors import InputError
from brainmap.common.readable import html_table
from brainmap.data.meshes import MESH_VERTICES
from brainmap.report.cortex import cortex_of
from brainmap.report.cortex.template_meshes import where_to_put
from brainmap.report.panels.loss_terms import term_panels
from brainmap.report.panels.order_gain_controls import control_panels, order_panels, residual_panels
from brainmap.report.panels.panel import SECTIONS, Panel
from brainmap.report.panels.sensors import LEAST, has_layout
from brainmap.report.panels.share_of_ceiling import share_panels
from brainmap.report.panels.together import together_panels
from brainmap.report.panels.when import time_panels
from brainmap.report.panels.where import cortex_panels
from brainmap.results.lookups import main_signal
from brainmap.results.study_results import StudyResults


def study_panels(results: StudyResults) -> list[Panel]:
    """Return the panels that the results have data for, in reading order.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.panels import study_panels
    >>> len(study_panels(brainmap.open_run("brainmap_runs/demo"))) > 5
    True
    """
    panels: list[Panel] = []
    if main_signal(results, "fmri") is not None:
        panels += cortex_panels(results)
    if main_signal(results, results.timed) is not None:
        panels += time_panels(results)
    panels += share_panels(results)
    panels += order_panels(results)
    panels += residual_panels(results)
    panels += term_panels(results)
    panels += together_panels(results)
    panels += control_panels(results)
    return sorted(panels, key=lambda panel: SECTIONS.index(panel.section))


def missing_panels(results: StudyResults) -> dict[str, str]:
    """Return, by section, what cannot be shown and why; nothing is left out silently.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.panels import missing_panels
    >>> "where" in missing_panels(brainmap.open_run("brainmap_runs/demo"))
    False
    """
    notes: dict[str, str] = {}
    timed = results.timed
    if main_signal(results, "fmri") is None:
        notes["where"] = "no fMRI scores, so no maps of cortex"
    elif cortex_of(results.targets("fmri")) is None:
        notes["where"] = _not_drawn(results)
    if timed is None or main_signal(results, timed) is None:
        notes["when"] = "no MEG or EEG scores, so no time courses"
    elif timed == "ieeg":
        notes["when"] = "no maps of sensors: contacts of iEEG lie inside the head"
    elif not has_layout(results):
        notes["when"] = (
            f"no maps of sensors: fewer than {LEAST} have a known place. Columns x, y, z of the targets table, a "
            "montage (--set montage=biosemi64) or names of a known system give one"
        )
    if not any(True for _ in order_panels(results)):
        notes["order"] = "no order of the layers: it was not computed in this study"
    if not results.residual:
        notes["beyond"] = "no gain of gradients over activations: it was not computed in this study"
    if not results.controls:
        notes["controls"] = "no control feature spaces: none were computed in this study"
    return notes


class StudyFigures(Mapping[str, Figure]):
    """Figures of a study by name, each drawn when it is asked for.

    Parameters
    ----------
    results : StudyResults
        What to draw.

    Examples
    --------
    >>> import brainmap
    >>> figures = brainmap.open_run("brainmap_runs/demo").figures()
    >>> len(figures) > 5
    True
    >>> figures["meg-curves-activation"].savefig("curves.pdf")
    """

    def __init__(self, results: StudyResults) -> None:
        self._panels = {panel.key: panel for panel in study_panels(results)}

    @property
    def titles(self) -> dict[str, str]:
        """Title of each figure."""
        return {key: panel.title for key, panel in self._panels.items()}

    def __getitem__(self, key: str) -> Figure:
        if key not in self._panels:
            raise InputError(f"There is no figure {key!r} of this study; there are {', '.join(self._panels)}.")
        return self._panels[key].draw()

    def __contains__(self, key: object) -> bool:
        return key in self._panels

    def __iter__(self) -> Iterator[str]:
        return iter(self._panels)

    def __len__(self) -> int:
        return len(self._panels)

    def __repr__(self) -> str:
        return f"<StudyFigures {', '.join(self._panels)}>"

    def _repr_html_(self) -> str:
        return html_table("Figures of the study", self.titles)


def _not_drawn(results: StudyResults) -> str:
    """Why there is no map of cortex, and what would make one."""
    targets = results.targets("fmri")
    meshes = set(targets["mesh"].astype(str)) if "mesh" in targets else set()
    absent = [mesh for mesh in sorted(meshes) if mesh in MESH_VERTICES]
    if not absent:
        return "no map of cortex: the fMRI targets carry no vertices of a known mesh"
    return f"no map of cortex: the mesh {absent[0]} was not found; {where_to_put(absent[0])}"
