"""YAML text of study files, read without losing anything silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from brainmap.common.errors import InputError, MissingFileError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a study file.

    Raises
    ------
    MissingFileError
        If there is none.
    InputError
        As :func:`parse_yaml`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"study file {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8; save the study file in that encoding") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read YAML text that must hold keys.

    Parameters
    ----------
    text : str
        The text.
    where : str
        What it is, for messages.

    Raises
    ------
    InputError
        If it is empty, not YAML, does not hold keys, or holds a key twice or one that is not text.
    """
    try:
        values = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        raise InputError(f"{where} is empty; it must hold 'key: value' lines")
    if not isinstance(values, dict):
        found = {"list": "a list", "str": "text"}.get(type(values).__name__, "a single value")
        raise InputError(f"{where} must hold 'key: value' lines, found {found}")
    return values


class _UniqueKeys(yaml.SafeLoader):
    """YAML itself keeps the last of two equal keys and forgets the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that occurs twice, or that YAML does not read as text (``1``, ``on``)."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise yaml.YAMLError(f"the key {key!r} in line {line} is not text; put it in quotes")
            if key in seen:
                raise yaml.YAMLError(f"the key '{key}' occurs twice, the second time in line {line}")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
