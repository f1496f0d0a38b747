"""What may be said of scores: significance, permutations, added value of gradients, ceilings, clusters, variance."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
