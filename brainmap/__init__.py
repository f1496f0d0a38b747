"""brainmap: what a vision model computes, and what it would learn, mapped onto the brain.

The public names below load their module on first use: ``import brainmap`` imports neither torch nor mne nor nilearn.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
