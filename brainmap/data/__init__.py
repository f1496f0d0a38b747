"""From a disk, a URL or a seed to responses: readers, the embedded sample and the simulation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
