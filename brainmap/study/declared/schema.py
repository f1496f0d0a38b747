"""Versions of study files: settings of older files are renamed by name, or refused; never read with another meaning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from brainmap.common.errors import InputError

SCHEMA = 2
RENAMED = {"permutations": "flips", "shuffles": "permutations", "images": "stimuli"}
"""Setting of schema 1 → the same setting in schema 2 (``images`` only within ``place``)."""


def current(values: Mapping[str, Any], where: str = "the study file") -> dict[str, Any]:
    """Return the contents of a study file in today's schema, without the key ``schema``.

    In files without ``schema`` (version 1) ``permutations`` were sign flips and ``shuffles`` permutations of
    photographs. Where such a file says ``shuffles``, it is an old one, and both are renamed. ``permutations`` alone may
    have been written by either hand.

    Parameters
    ----------
    values : mapping
        As read from YAML.
    where : str
        What they were read from, for messages.

    Raises
    ------
    InputError
        If the schema is unknown, or the words can be read in two ways.
    """
    rest = {key: value for key, value in values.items() if key != "schema"}
    schema = values.get("schema")
    if schema is not None and (isinstance(schema, bool) or schema not in (1, SCHEMA)):
        raise InputError(f"{where}: schema {schema!r} is unknown; this version writes schema {SCHEMA} and reads 1.")
    used = _settings_in(rest)
    if schema == SCHEMA:
        old = [name for name in ("shuffles", "images") if name in used]
        if old:
            raise InputError(f"{where}: '{old[0]}' is called '{RENAMED[old[0]]}' since schema 2; rename it.")
        return rest
    if schema is None and "permutations" in used and not {"shuffles", "images"} & used and "flips" not in used:
        raise InputError(
            f"{where}: 'permutations' without `schema: 2` may mean sign flips (schema 1, now called 'flips') or "
            "permutations of photographs (schema 2); add `schema: 2` and write 'flips' or 'permutations'."
        )
    if schema is None and "flips" in used:
        return rest
    names = sorted(name for name in RENAMED if name in used)
    if names:
        told = ", ".join(f"'{name}' → '{RENAMED[name]}'" for name in names)
        warnings.warn(f"{where} is of schema 1; read as {told}. Write `schema: 2` and these names.", stacklevel=2)
    return _renamed(rest)


def renamed_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a stored run in today's names; those of a run made with today's names stay as they are."""
    return _renamed(config) if "shuffles" in config else dict(config)


def _settings_in(values: Any, inside: str = "") -> set[str]:
    """Names that may need renaming, wherever settings stand in a study file."""
    if isinstance(values, Mapping):
        names = {str(key) for key in values if key in ("permutations", "shuffles", "flips")}
        names |= {"images"} if inside == "place" and "images" in values else set()
        return names.union(*(_settings_in(value, str(key)) for key, value in values.items()))
    if isinstance(values, list):
        return set().union(*(_settings_in(value, inside) for value in values))
    return set()


def _renamed(values: Any, inside: str = "") -> Any:
    if isinstance(values, Mapping):
        return {
            (RENAMED[key] if key in RENAMED and (key != "images" or inside == "place") else key): _renamed(
                value, str(key)
            )
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [_renamed(value, inside) for value in values]
    return values
