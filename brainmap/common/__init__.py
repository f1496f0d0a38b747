"""The ground floor, each thing once: errors, progress, memory sizes, files, names, versions, arrays, decompositions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
