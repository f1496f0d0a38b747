"""The panels of a study in reading order, and what cannot be shown."""

from __future__ import annotations

from brainmap.report.cortex import cortex_of
from brainmap.report.panels.order_gain_controls import control_panels, order_panels, residual_panels
from brainmap.report.panels.panel import SECTIONS, Panel
from brainmap.report.panels.when import has_layout, meg_panels
from brainmap.report.panels.where import cortex_panels
from brainmap.results.lookups import main_signal
from brainmap.results.study_results import StudyResults


def study_panels(results: StudyResults) -> list[Panel]:
    """Return the panels that the results have data for, in reading order."""
    panels: list[Panel] = []
    if main_signal(results, "fmri") is not None:
        panels += cortex_panels(results)
    if main_signal(results, "meg") is not None:
        panels += meg_panels(results)
    panels += order_panels(results)
    panels += residual_panels(results)
    panels += control_panels(results)
    return sorted(panels, key=lambda panel: SECTIONS.index(panel.section))


def missing_panels(results: StudyResults) -> dict[str, str]:
    """Return, by section, what cannot be shown and why; nothing is left out silently."""
    notes: dict[str, str] = {}
    if main_signal(results, "fmri") is None:
        notes["where"] = "This study has no fMRI scores, so there are no maps of cortex."
    elif cortex_of(results.targets("fmri")) is None:
        notes["where"] = (
            "The fMRI targets carry no vertices of the fsLR-32k mesh, so they cannot be drawn on a surface."
        )
    if main_signal(results, "meg") is None:
        notes["when"] = "This study has no MEG scores, so there are no time courses."
    elif not has_layout(results):
        notes["when"] = "The sensors are not those of the CTF-275 layout, so there are no sensor maps."
    if not any(True for _ in order_panels(results)):
        notes["order"] = "The hierarchy was not computed in this study."
    if not results.residual:
        notes["beyond"] = "The gain of gradients over activations was not computed in this study."
    if not results.controls:
        notes["controls"] = "No control feature spaces were computed in this study."
    return notes
