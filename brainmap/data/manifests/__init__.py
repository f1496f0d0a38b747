"""Data manifests: what a public dataset consists of, under which terms, and which files an analysis needs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
