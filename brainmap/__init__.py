"""brainmap: what a vision model computes, and what it would learn, mapped onto the brain.

The public names below load their module on first use: ``import brainmap`` imports neither torch nor mne nor nilearn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

__version__ = "0.1.0"

_PUBLIC = {
    "StimulusSet": "brainmap.stimuli",
    "Responses": "brainmap.data",
    "sample_stimuli": "brainmap.data",
    "simulate": "brainmap.data",
    "load_model": "brainmap.models",
    "list_models": "brainmap.models",
    "FeatureExtractor": "brainmap.features",
    "FeatureStore": "brainmap.features",
    "EncodingRidgeCV": "brainmap.encoding",
    "EncodingResult": "brainmap.encoding",
    "cross_val_encode": "brainmap.encoding",
    "rsa": "brainmap.comparison",
    "Study": "brainmap.study",
    "InputError": "brainmap.errors",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from brainmap.comparison import rsa
    from brainmap.data import Responses, sample_stimuli, simulate
    from brainmap.encoding import EncodingResult, EncodingRidgeCV, cross_val_encode
    from brainmap.errors import InputError
    from brainmap.features import FeatureExtractor, FeatureStore
    from brainmap.models import list_models, load_model
    from brainmap.stimuli import StimulusSet
    from brainmap.study import Study

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
