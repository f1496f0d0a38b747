"""Bring a dataset onto the disk: plan, terms, download, verification, adoption of files that are there already."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
