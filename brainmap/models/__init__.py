"""Vision models by name: loading, layers, token roles, preprocessing, objectives. Nothing heavy loads at import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "Batch": "brainmap.models.objectives",
    "FrozenReference": "brainmap.models.objectives",
    "Layer": "brainmap.models.vision_model",
    "ModelCard": "brainmap.models.cards",
    "OBJECTIVES": "brainmap.models.objectives",
    "Objective": "brainmap.models.objectives",
    "Preprocessing": "brainmap.models.preprocessing",
    "VisionModel": "brainmap.models.vision_model",
    "available_weights": "brainmap.models.loading",
    "checkpoint_series": "brainmap.models.series",
    "checkpoint_step": "brainmap.models.series",
    "fit_clip_bridge": "brainmap.models.objectives",
    "freeze_reference": "brainmap.models.objectives",
    "from_module": "brainmap.models.loading",
    "list_models": "brainmap.models.cards",
    "load_model": "brainmap.models.loading",
    "model_card": "brainmap.models.cards",
    "register_model": "brainmap.models.cards",
    "register_objective": "brainmap.models.objectives",
    "skeleton": "brainmap.models.loading",
    "weights_status": "brainmap.models.loading",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.models.cards import ModelCard, list_models, model_card, register_model
    from brainmap.models.loading import available_weights, from_module, load_model, skeleton, weights_status
    from brainmap.models.objectives import (
        OBJECTIVES,
        Batch,
        FrozenReference,
        Objective,
        fit_clip_bridge,
        freeze_reference,
        register_objective,
    )
    from brainmap.models.preprocessing import Preprocessing
    from brainmap.models.series import checkpoint_series, checkpoint_step
    from brainmap.models.vision_model import Layer, VisionModel

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
