"""Which array of a file that holds several: the one that is named, or the only one that could be responses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brainmap.common.errors import InputError

NUMBERS = "fiu"


def choose_variable(path: Path, variable: str | None, arrays: Mapping[str, tuple[int, ...]]) -> tuple[str, list[str]]:
    """Name of the array to read among those that could be responses, and a note where it was not asked for.

    Parameters
    ----------
    arrays : mapping of str to tuple of int
        Shapes of the numeric arrays by name.
    """
    told = ", ".join(f"{name} ({' × '.join(map(str, shape))})" for name, shape in list(arrays.items())[:8])
    if variable is not None:
        wanted = dotted(variable)
        same = [name for name in arrays if dotted(name) == wanted]
        inside = [name for name in arrays if dotted(name).startswith(f"{wanted}.")]  # a struct, or a group
        if not same and len(inside) > 1:
            return choose_variable(path, None, {name: arrays[name] for name in inside})
        if not same and inside:
            return inside[0], [f"the array {inside[0].strip('/')!r} of {path.name} is read"]
        if not same:
            raise InputError(f"{path} has no array of numbers {variable!r}; it has {told or 'none'}.")
        return same[0], []
    large = [name for name, shape in arrays.items() if len(shape) >= 2 and sum(length > 1 for length in shape) >= 1]
    if len(large) != 1:
        if not large:
            raise InputError(f"{path} holds no array of trials × targets; it has {told or 'no arrays of numbers'}.")
        raise InputError(f"{path} holds several arrays: {told}; name one, as in {path.name}::{large[0].strip('/')}.")
    return large[0], [f"the array {large[0].strip('/')!r} of {path.name} is read"] if len(arrays) > 1 else []


def dotted(name: str) -> str:
    """``results/betas`` of HDF5 and ``results.betas`` of MATLAB are one."""
    return name.strip("/").replace("/", ".")
