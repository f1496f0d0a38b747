"""What a person looks at: pages, panels, figures and words. It draws what it is handed and computes nothing."""

import lazy_loader

from brainmap.common.moved_names import answering

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__getattr__ = answering(__name__, __getattr__)
