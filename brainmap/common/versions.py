"""The version of brainmap, and those of the packages that decide numbers."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence

__version__ = "0.2.0"

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "xarray", "mne")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of brainmap, Python and the given distributions."""
    others = {name: importlib.metadata.version(name) for name in packages}
    return {"brainmap": __version__, "python": platform.python_version(), **others}
