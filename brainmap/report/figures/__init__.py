"""One function a figure: plain results in, a matplotlib figure out. Nothing is shown, no global state is touched."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
