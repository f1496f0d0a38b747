"""YAML text of study files, read without losing anything silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from brainmap.common.errors import InputError, MissingFileError

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_DIGITS = 400  # of a number; a double has 308 before the point


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
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path} has {size:,} bytes; a file of settings has {MAX_BYTES:,} at most")
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
    values = parse_value(text, where)
    if values is None:
        raise InputError(f"{where} is empty; it must hold 'key: value' lines")
    if not isinstance(values, dict):
        kind = {"list": "a list", "str": "text"}.get(type(values).__name__, "a single value")
        raise InputError(f"{where} must hold 'key: value' lines, found {kind}")
    return values


def parse_value(text: str, where: str, loader: type[yaml.SafeLoader] | None = None) -> Any:
    """Read any YAML value: number, text, list or keys; as :func:`parse_yaml` otherwise.

    With ``yaml.SafeLoader`` as ``loader``, keys may be of any kind and occur twice, as other programs write them.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{where} has {len(text):,} characters; settings have {MAX_BYTES:,} at most")
    try:
        _refuse_explosions(text)
        return yaml.load(text, Loader=loader or _UniqueKeys)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    except (ValueError, OverflowError, RecursionError, AttributeError, IndexError) as error:
        # yaml's own constructors of dates, numbers and binary data raise what their conversions raise
        raise InputError(f"{where} holds a value that cannot be read: {' '.join(str(error).split())}") from None


def _refuse_explosions(text: str) -> None:
    """Bound depth, size of numbers, and what a few lines of aliases can stand for, before anything is built."""
    depth = values = 0
    weights: dict[str, int] = {}  # values that an anchor stands for, aliases within it included
    begun: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in begun):
                raise yaml.YAMLError(f"the alias *{event.anchor} refers to what it is part of")
            values += weights.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                weights[event.anchor] = 1
            if len(event.value) > MAX_DIGITS and event.style is None and set(event.value) <= set("+-_.,:0123456789eE"):
                raise yaml.YAMLError(f"it holds a number of {len(event.value):,} digits")
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            begun.append((event.anchor, values))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, before = begun.pop()
            if anchor:
                weights[anchor] = values - before + 1
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAX_DEPTH} levels deep")
        if values > MAX_VALUES:
            raise yaml.YAMLError(f"it stands for more than {MAX_VALUES:,} values")


class _UniqueKeys(yaml.SafeLoader):
    """YAML itself keeps the last of two equal keys and forgets the first, and takes 1:10:5 for a number to base 60."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Leave numbers with colons (ranges, times of day) as the text that they are."""
        tag = super().resolve(kind, value, implicit)
        sexagesimal = kind is yaml.ScalarNode and tag in _NUMBERS and ":" in value
        return "tag:yaml.org,2002:str" if sexagesimal else tag

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
