"""The version of brainmap, and those of the packages that decide numbers."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache

__version__ = "0.2.0"

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "xarray", "mne")


@cache
def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of brainmap, Python and the given distributions; looked up once a process: copy it before a change."""
    others = {name: importlib.metadata.version(name) for name in packages}
    return {"brainmap": __version__, "python": platform.python_version(), **others}
