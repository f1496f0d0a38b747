"""The panels and numbers of the two published studies, drawn from whatever studies are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "PaperPanel": "brainmap.report.reproduction.base",
    "convergence_panels": "brainmap.report.reproduction.convergence",
    "misalignment_panels": "brainmap.report.reproduction.misalignment",
    "paper_numbers": "brainmap.report.reproduction.numbers",
    "write_reproduction": "brainmap.report.reproduction.output",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.report.reproduction.base import PaperPanel
    from brainmap.report.reproduction.convergence import convergence_panels
    from brainmap.report.reproduction.misalignment import misalignment_panels
    from brainmap.report.reproduction.numbers import paper_numbers
    from brainmap.report.reproduction.output import write_reproduction

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
