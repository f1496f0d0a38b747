"""The two studies: their panels, their numbers and `reproduce`. Only the command line imports this package."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
