"""From arrays to scores: everything that is fitted (scaling, PCA, ridge), cross-validation, ceilings and inference."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "EncodingRidgeCV": "brainmap.encoding.ridge",
    "BandedRidgeCV": "brainmap.encoding.banded",
    "HimalayaRidgeCV": "brainmap.encoding.himalaya_models",
    "NumericalWarning": "brainmap.encoding.diagnostics",
    "RidgeOptions": "brainmap.encoding.options",
    "RowDesign": "brainmap.encoding.settings",
    "PreparedEncoding": "brainmap.encoding.prepared",
    "cross_val_encode": "brainmap.encoding.cross_validation",
    "EncodingResult": "brainmap.encoding.result",
    "concat": "brainmap.encoding.result",
    "group_kfold": "brainmap.encoding.folds",
    "plan_splits": "brainmap.encoding.folds",
    "split_hash": "brainmap.encoding.folds",
}

__all__ = [
    "BandedRidgeCV",
    "EncodingResult",
    "EncodingRidgeCV",
    "HimalayaRidgeCV",
    "NumericalWarning",
    "PreparedEncoding",
    "RidgeOptions",
    "RowDesign",
    "concat",
    "cross_val_encode",
    "group_kfold",
    "plan_splits",
    "split_hash",
]

if TYPE_CHECKING:
    from brainmap.encoding.banded import BandedRidgeCV
    from brainmap.encoding.cross_validation import cross_val_encode
    from brainmap.encoding.diagnostics import NumericalWarning
    from brainmap.encoding.folds import group_kfold, plan_splits, split_hash
    from brainmap.encoding.himalaya_models import HimalayaRidgeCV
    from brainmap.encoding.options import RidgeOptions
    from brainmap.encoding.prepared import PreparedEncoding
    from brainmap.encoding.result import EncodingResult, concat
    from brainmap.encoding.ridge import EncodingRidgeCV
    from brainmap.encoding.settings import RowDesign


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when it is first asked for."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'brainmap.encoding' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
