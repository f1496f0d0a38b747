"""What a person looks at: study results, one function a figure, one HTML file a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainmap.report.results import StudyResults

if TYPE_CHECKING:
    from brainmap.report.html import write_report

__all__ = ["StudyResults", "write_report"]


def __getattr__(name: str) -> Any:
    # Results are read and written without matplotlib; only the report itself draws.
    if name == "write_report":
        from brainmap.report.html import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
