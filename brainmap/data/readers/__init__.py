"""Readers of public datasets and of anyone's BIDS folders: from files as they are on disk to :class:`Responses`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
