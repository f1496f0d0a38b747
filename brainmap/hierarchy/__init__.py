"""What the scores say: order of layers in space and in time, over training, and against properties of the cortex."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
