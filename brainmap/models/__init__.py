"""Vision models by name: loading, layers, token roles, preprocessing, objectives. Nothing heavy loads at import."""

import lazy_loader

from brainmap.common.moved_names import answering

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = answering(__name__, __getattr__)
