"""Objectives: image to loss, one value per image. Importing this package fills :data:`OBJECTIVES`."""

from brainmap.models.batch import Batch
from brainmap.models.objectives.base import OBJECTIVES, Objective, find_objective, register_objective
from brainmap.models.objectives.distillation import DINO, IBOT, DINOiBOT, DINOiBOTKoLeo
from brainmap.models.objectives.generic import FeatureEnergy, Headless

__all__ = [
    "DINO",
    "IBOT",
    "OBJECTIVES",
    "Batch",
    "DINOiBOT",
    "DINOiBOTKoLeo",
    "FeatureEnergy",
    "Headless",
    "Objective",
    "find_objective",
    "register_objective",
]
