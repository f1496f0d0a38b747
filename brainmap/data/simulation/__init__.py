"""Simulated fMRI and MEG with planted structure: which layer drives what, where gradients add something, and when.

Nothing here is shipped or downloaded: responses follow from feature arrays and a seed. They are labelled as simulated
in every object, and their :class:`GroundTruth` says what an analysis should find.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
