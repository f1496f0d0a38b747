"""Vision models by name: loading, layers, token roles, preprocessing, objectives. Nothing heavy loads at import."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
