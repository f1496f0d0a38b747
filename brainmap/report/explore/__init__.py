"""One offline page per run that a reader can turn and click: the cortex, profiles over layers, sensors over time."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
