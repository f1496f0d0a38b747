"""Features: activations and gradients of a model for a set of photographs, pooled, and kept in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "POOLINGS": "brainmap.features.pooling",
    "FeatureExtractor": "brainmap.features.extractor",
    "FeatureStore": "brainmap.features.store",
    "RandomProjection": "brainmap.features.projection",
    "batch_size_for": "brainmap.features.memory",
    "Features": "brainmap.features.result",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.features.extractor import FeatureExtractor
    from brainmap.features.memory import batch_size_for
    from brainmap.features.pooling import POOLINGS
    from brainmap.features.projection import RandomProjection
    from brainmap.features.result import Features
    from brainmap.features.store import FeatureStore

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
