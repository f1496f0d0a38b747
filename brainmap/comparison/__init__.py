"""Without regression: similarity of representations (RSA, CKA), their geometry, alignment and capacity."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
