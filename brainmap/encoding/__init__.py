"""From arrays to scores: everything that is fitted (scaling, PCA, ridge), folds and cross-validation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
