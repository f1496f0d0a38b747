"""Which modules of a network are its layers: by pattern, by place in a block, at equal distances."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from brainmap.common.errors import InputError

EVENLY = "evenly:"


def layer_paths(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Paths of modules that match the patterns, numbers in natural order.

    Raises
    ------
    InputError
        If nothing matches; a few existing paths are named.
    """
    names = [name for name, _ in network.named_modules() if name]
    paths: list[str] = []
    for pattern in patterns:
        matches: list[tuple[re.Match[str], str]] = []
        for alternative in pattern.split("|"):
            expression = re.compile(re.escape(alternative).replace(r"\*", r"(\d+)"))
            matches = matches or [(match, name) for name in names if (match := expression.fullmatch(name))]
        ordered = sorted(matches, key=lambda pair: [int(number) for number in pair[0].groups()])
        paths.extend(name for _, name in ordered)
    if not paths:
        some = ", ".join(names[:8])
        raise InputError(f"No module of {type(network).__name__} matches {', '.join(patterns)}; it has {some} …")
    return paths


def first_submodule(block: nn.Module, paths: Sequence[str]) -> nn.Module:
    """The first of the paths that a block has."""
    for path in paths:
        try:
            return block.get_submodule(path)
        except AttributeError:
            continue
    raise InputError(f"{type(block).__name__} has none of the submodules {', '.join(paths)}; check the card's sites.")


def evenly_spaced(known: tuple[str, ...], wanted: str, model: str) -> tuple[str, ...]:
    """Layers of a model at equal distances in depth, such as ``evenly:10``."""
    count = wanted.removeprefix(EVENLY)
    if not count.isdigit() or not 2 <= int(count) <= len(known):
        raise InputError(
            f"Layers '{wanted}': model '{model}' has {len(known)} layers; give evenly:2 to evenly:{len(known)}."
        )
    last = len(known) - 1  # halves are rounded up, so that equal steps stay equal
    return tuple(known[(2 * i * last + int(count) - 1) // (2 * (int(count) - 1))] for i in range(int(count)))
