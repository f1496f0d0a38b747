"""Blocks, token roles and axis orders of a network nobody described, found by looking at it and running it once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError

MLP_NAMES = (
    "mlp.fc2", "mlp.down_proj", "ffn.down_proj", "output.dense", "mlp.weights_out", "pwconv2", "mlp.2", "mlp.3",
    "mlp.c_proj",
)  # fmt: skip
ATTENTION_NAMES = (
    "attention.o_proj", "attention.out_proj", "attention.output.dense", "self_attn.out_proj", "attention.proj",
    "attn.proj", "attn.out_proj",
)  # fmt: skip
BATCH = 2  # images in a probing pass: an axis of another length is not the images'
_SHARE = 0.75  # of the parameters that a finer level of blocks must hold
_LEADING = re.compile(r"(^|[._])(cls_?token|class_?token|class_embedding|dist\w*_token)s?$")
_REGISTERS = re.compile(r"(^|[._])(reg\w*_tokens?|storage_tokens|reg_token)$")
Call = Callable[[Tensor], Any]


@dataclass(frozen=True)
class ProbedNetwork:
    """What one pass over two grey images showed.

    Attributes
    ----------
    patterns : tuple of str
        Of the blocks' paths, in order.
    sites : dict of str to dict
        Path and layout of each site.
    tokens : dict of str to int
        Leading tokens by role; empty for grids.
    patch : int or None
        Side of a patch, where the blocks' tokens are a square grid of them after the leading ones.
    """

    patterns: tuple[str, ...]
    sites: dict[str, dict[str, str]]
    tokens: dict[str, int]
    patch: int | None


def probe(network: nn.Module, call: Call, size: int, name: str, *, leading: int | None = None) -> ProbedNetwork:
    """Find blocks, sites, token roles and axis orders.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; on torch's ``meta`` device or not.
    call : callable
        Runs it on pixels (n, 3, size, size).
    size : int
        Side of the images.
    name : str
        Of the model, for messages.
    leading : int, optional
        Number of leading tokens, where it is known.

    Raises
    ------
    InputError
        If nothing is repeated, it does not run, or what it does can be read in two ways.
    """
    reasons = []
    for pattern, blocks in reversed(block_levels(network).items()):  # the finest level whose outputs are one an image
        first = network.get_submodule(blocks[0])
        inside = {site: path for site, paths in _usual(first).items() for path in paths[:1]}
        watched = {path: network.get_submodule(path) for path in blocks}
        watched |= {f"{blocks[0]}.{path}": first.get_submodule(path) for path in inside.values()}
        shapes = output_shapes(watched, call, next(network.parameters()), size, name)
        if not all(_per_image(shapes.get(path)) for path in blocks):
            reasons.append(f"{pattern} gives {shapes.get(blocks[0])} for {BATCH} images")
            continue
        ends = {blocks[0], blocks[-1]}
        layouts = {_layout(shapes[path], pattern, name) for path in ends}
        if len(layouts) > 1:
            reasons.append(f"{pattern} changes the order of its axes")
            continue
        sites = {"block": {"path": "", "layout": layouts.pop()}}
        for site, path in inside.items():
            shape = shapes.get(f"{blocks[0]}.{path}")
            if shape and _per_image(shape) and (len(shape) == 4 or shape[1] == shapes[blocks[0]][1]):
                sites[site] = {"path": path, "layout": _layout(shape, f"{pattern}.{path}", name)}
        counts = {shapes[path][1] for path in blocks}
        plain = len(shapes[blocks[0]]) == 3 and len(counts) == 1  # no grid, no stages of fewer and fewer tokens
        tokens, patch = _roles(network, counts.pop(), size, name, leading) if plain else ({}, None)
        return ProbedNetwork(_patterns(network, pattern, blocks), sites, tokens, patch)
    why = f" ({'; '.join(reasons)})" if reasons else ""
    raise InputError(
        f"No level of repeated blocks of '{name}' gives one output an image{why}; wrap the network with from_module "
        "and name its layers."
    )


def block_levels(network: nn.Module) -> dict[str, list[str]]:
    """Levels of repeated modules from coarse (stages) to fine (blocks).

    A level is repeated modules of two weights or more; the coarsest holds most parameters, and each finer one most of
    the one above.

    Returns
    -------
    dict of str to list of str
        Pattern, ``*`` for numbers, and the paths of its blocks in order.

    Raises
    ------
    InputError
        If nothing is repeated.
    """
    members: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for path, module in network.named_modules():
        if re.search(r"(^|\.)[^.]*\d+$", path):
            weights = sum(1 for name, p in module.named_parameters() if p.ndim > 1 and "bias" not in name)
            size = sum(parameter.numel() for parameter in module.parameters())
            members[re.sub(r"\d+", "*", path)][path] = (weights, size)
    for least in (2, 1):  # plain chains of convolutions have no blocks of several weights
        levels = {p: [path for path, (count, _) in blocks.items() if count >= least] for p, blocks in members.items()}
        levels = {pattern: sorted(paths, key=_natural) for pattern, paths in levels.items() if len(paths) > 1}
        if levels:
            break
    else:
        raise InputError(
            f"{type(network).__name__} has no repeated blocks; wrap it with from_module and name its layers."
        )
    sizes = {pattern: sum(members[pattern][path][1] for path in paths) for pattern, paths in levels.items()}
    chain = [max(levels, key=lambda p: (sizes[p], -p.count("."), p.endswith(".*")))]
    while finer := [p for p in levels if p.startswith(f"{chain[-1]}.") and sizes[p] >= _SHARE * sizes[chain[-1]]]:
        chain.append(min(finer, key=lambda p: (p.count("*"), -sizes[p])))
    return {pattern: levels[pattern] for pattern in chain}


def _natural(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def _patterns(network: nn.Module, pattern: str, blocks: list[str]) -> tuple[str, ...]:
    """Patterns that match these blocks and nothing else, in their order."""
    names = [name for name, _ in network.named_modules()]
    wanted = set(blocks)

    def only_these(candidate: str) -> bool:
        expression = re.compile(re.escape(candidate).replace(r"\*", r"\d+"))
        return {name for name in names if expression.fullmatch(name)} <= wanted

    if only_these(pattern):
        return (pattern,)
    last = [re.sub(r"\d+$", "*", path) for path in blocks]
    return tuple(dict.fromkeys(p if only_these(p) else path for p, path in zip(last, blocks, strict=True)))


def output_shapes(
    modules: Mapping[str, nn.Module], call: Call, like: Tensor, size: int, name: str
) -> dict[str, tuple[int, ...]]:
    """Shape of each module's first output tensor, in one pass over ``BATCH`` grey images.

    Raises
    ------
    InputError
        If the network does not run on images alone.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with _recorded(modules, shapes), torch.no_grad():
        try:
            call(torch.zeros(BATCH, 3, size, size, device=like.device, dtype=like.dtype))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"'{name}' does not run on images of {size} px alone ({reason[:200]}); wrap it with from_module, in a "
                "module that takes pixels and gives it what else it needs."
            ) from None
    return shapes


@contextmanager
def _recorded(modules: Mapping[str, nn.Module], shapes: dict[str, tuple[int, ...]]) -> Iterator[None]:
    def keep(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor):
                shapes[path] = tuple(first.shape)

        return hook

    handles = [module.register_forward_hook(keep(path)) for path, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _usual(block: nn.Module) -> dict[str, list[str]]:
    names = {path for path, _ in block.named_modules()}
    return {
        site: [path for path in usual if path in names]
        for site, usual in (("mlp", MLP_NAMES), ("attn", ATTENTION_NAMES))
    }


def _per_image(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and shape[0] == BATCH and len(shape) in (3, 4)


def _layout(shape: tuple[int, ...], where: str, name: str) -> str:
    if len(shape) == 3:
        return "tokens"
    order = grid_order(shape)
    if order is None:
        raise InputError(f"'{name}': {two_readings(shape, where)}")
    return order


def grid_order(shape: tuple[int, ...] | torch.Size) -> str | None:
    """Axis order of a grid (n, ·, ·, ·) made of square images; None where the shape does not tell."""
    _, first, second, third = shape
    if second == third and first != second:
        return "channels-first"
    return "channels-last" if first == second and second != third else None


def two_readings(shape: tuple[int, ...] | torch.Size, where: str) -> str:
    """The message about a grid whose axes can be read in two ways."""
    _, first, second, third = shape
    return (
        f"the output {tuple(shape)} of {where} can be {first} channels on a grid of {second} × {third} "
        f"(channels-first) or {third} channels on a grid of {first} × {second} (channels-last); say which with "
        "from_module or a card: sites={'block': {'path': '', 'layout': 'channels-last'}}."
    )


def _roles(
    network: nn.Module, count: int, size: int, name: str, leading: int | None
) -> tuple[dict[str, int], int | None]:
    """Leading tokens by role, and the patch size; both unknown for tokens that are no square grid of patches."""
    counted = {"cls": 0, "register": 0}
    config: Any = getattr(network, "config", None)
    for path, parameter in network.named_parameters():
        if "decoder" in path or parameter.ndim > 3:
            continue
        number = parameter.shape[-2] if parameter.ndim > 1 else 1
        if _LEADING.search(path):
            role = "register" if "dist" in path.rpartition(".")[2] else "cls"
            counted[role] += number
        elif _REGISTERS.search(path):
            counted["register"] += number
    registers = getattr(config, "num_register_tokens", None)
    if isinstance(registers, int) and registers and not counted["register"]:
        counted["register"] = registers
    classes, kept = (getattr(config, key, None) for key in ("num_cls_tokens", "num_registers"))  # RADIO, by teacher
    if isinstance(classes, int) and isinstance(kept, int):
        counted = {"cls": classes, "register": kept}
    special = leading if leading is not None else sum(counted.values())
    if leading is not None and leading != sum(counted.values()):
        counted = {"cls": max(leading - counted["register"], 0), "register": min(counted["register"], leading)}
    side = round((count - special) ** 0.5) if count > special else 0
    if side and side * side == count - special and size % side == 0:
        return {role: number for role, number in counted.items() if number}, size // side
    patch = _patch_of(network)
    if patch is not None and count == (size // patch) ** 2:  # a token of a pooling head is not among those of a block
        return {}, patch
    for other in range(64):
        side = round(max(count - other, 0) ** 0.5)
        if side and side * side == count - other and size % side == 0 and patch in (None, size // side):
            raise InputError(
                f"'{name}' has {count} tokens for {size} px: {side} × {side} patches and {other} more, of which "
                f"{special} are known ({', '.join(f'{n} {role}' for role, n in counted.items() if n) or 'none'}); "
                "register a card that says what they are and where (tokens={'cls': 1, 'register': 4})."
            )
    return {}, None


def _patch_of(network: nn.Module) -> int | None:
    patch = getattr(getattr(network, "config", None), "patch_size", None)
    return patch if isinstance(patch, int) else None
