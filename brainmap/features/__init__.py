"""Features: activations and gradients of a model for a set of photographs, pooled, and kept in a store."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
