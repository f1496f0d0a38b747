"""What a person looks at: study results, one function a figure, one HTML file a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "StudyResults": "brainmap.report.results",
    "study_contact_sheet": "brainmap.report.figures.sheet",
    "write_report": "brainmap.report.html",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.report.figures.sheet import study_contact_sheet
    from brainmap.report.html import write_report
    from brainmap.report.results import StudyResults

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
