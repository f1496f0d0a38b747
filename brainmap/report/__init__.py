"""What a person looks at: pages, panels, figures and words. It draws what it is handed and computes nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
