"""What a finished study holds, and several of them: scores, tables, the quality of recordings; saved and loaded."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
