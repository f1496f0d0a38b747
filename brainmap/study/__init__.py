"""One declared analysis: validate → plan → run (resumable) → results; the sample is assembled here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
