"""Vision models by name: loading, layers, token roles, preprocessing, objectives. Nothing heavy loads at import."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Batch": "brainmap.models.objectives",
    "Layer": "brainmap.models.vision_model",
    "ModelCard": "brainmap.models.cards",
    "OBJECTIVES": "brainmap.models.objectives",
    "Objective": "brainmap.models.objectives",
    "Preprocessing": "brainmap.models.preprocessing",
    "VisionModel": "brainmap.models.vision_model",
    "checkpoint_series": "brainmap.models.loading",
    "available_weights": "brainmap.models.loading",
    "fit_clip_bridge": "brainmap.models.objectives",
    "from_module": "brainmap.models.loading",
    "list_models": "brainmap.models.cards",
    "load_model": "brainmap.models.loading",
    "model_card": "brainmap.models.cards",
    "register_model": "brainmap.models.cards",
    "register_objective": "brainmap.models.objectives",
    "weights_status": "brainmap.models.loading",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.models.cards import ModelCard, list_models, model_card, register_model
    from brainmap.models.loading import available_weights, checkpoint_series, from_module, load_model, weights_status
    from brainmap.models.objectives import OBJECTIVES, Batch, Objective, fit_clip_bridge, register_objective
    from brainmap.models.preprocessing import Preprocessing
    from brainmap.models.vision_model import Layer, VisionModel


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when it is first asked for."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'brainmap.models' has no attribute '{name}'")
