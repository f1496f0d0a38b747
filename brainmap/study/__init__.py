"""One declared analysis: validate → plan → run (resumable) → results; the sample is assembled here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "Check": "brainmap.study.doctor",
    "Grid": "brainmap.study.grid",
    "GridConfig": "brainmap.study.study_file",
    "OwnData": "brainmap.study.config",
    "Plan": "brainmap.study.plan",
    "Study": "brainmap.study.run",
    "StudyConfig": "brainmap.study.config",
    "TrainingSeries": "brainmap.study.series",
    "checkpoint_grid": "brainmap.study.series",
    "describe_model": "brainmap.study.listing",
    "examine": "brainmap.study.doctor",
    "list_datasets": "brainmap.study.listing",
    "list_models": "brainmap.study.listing",
    "load_preset": "brainmap.study.presets",
    "preset_names": "brainmap.study.presets",
    "preset_text": "brainmap.study.presets",
    "reproduce": "brainmap.study.reproducing",
    "reproduction_grid": "brainmap.study.reproducing",
    "run_series": "brainmap.study.series",
    "rewrite_report": "brainmap.study.run",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.study.config import OwnData, StudyConfig
    from brainmap.study.doctor import Check, examine
    from brainmap.study.grid import Grid
    from brainmap.study.listing import describe_model, list_datasets, list_models
    from brainmap.study.plan import Plan
    from brainmap.study.presets import load_preset, preset_names, preset_text
    from brainmap.study.reproducing import reproduce, reproduction_grid
    from brainmap.study.run import Study, rewrite_report
    from brainmap.study.series import TrainingSeries, checkpoint_grid, run_series
    from brainmap.study.study_file import GridConfig

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
