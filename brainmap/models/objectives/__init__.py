"""Objectives: image to loss, one value per image. Importing this package fills :data:`OBJECTIVES`."""

from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.clip_bridge import CLIPBridge, fit_clip_bridge
from brainmap.models.objectives.contrastive import Contrastive, KoLeo, LeJEPALoss, SIGReg
from brainmap.models.objectives.coupled import CoupledObjective, FrozenReference, freeze_reference
from brainmap.models.objectives.dinov3 import DINOSinkhorn, DINOv3Loss
from brainmap.models.objectives.distillation import DINO, IBOT, DINOiBOT, DINOiBOTKoLeo
from brainmap.models.objectives.masked import IJEPALatent, MAEReconstruction, VJEPALatent
from brainmap.models.objectives.objective import (
    OBJECTIVES,
    Objective,
    Passes,
    SummedObjective,
    find_objective,
    register_objective,
)
from brainmap.models.objectives.supervised import CrossEntropy, CrossEntropyTop1, ImageTextSimilarity
from brainmap.models.objectives.surrogates import FeatureEnergy, Headless

__all__ = [
    "DINO",
    "IBOT",
    "OBJECTIVES",
    "CLIPBridge",
    "Contrastive",
    "CoupledObjective",
    "CrossEntropy",
    "CrossEntropyTop1",
    "DINOSinkhorn",
    "DINOiBOT",
    "DINOiBOTKoLeo",
    "DINOv3Loss",
    "FeatureEnergy",
    "FrozenReference",
    "Headless",
    "IJEPALatent",
    "ImageBatch",
    "ImageTextSimilarity",
    "KoLeo",
    "LeJEPALoss",
    "MAEReconstruction",
    "Objective",
    "Passes",
    "SIGReg",
    "SummedObjective",
    "VJEPALatent",
    "find_objective",
    "fit_clip_bridge",
    "freeze_reference",
    "register_objective",
]
