"""What a pickle says, without doing it: Python's own disassembler, and a stack that only takes notes.

Checkpoints of training frameworks, TorchScript archives and indices of sharded checkpoints keep names, shapes and
offsets in pickles that call functions and build objects of arbitrary classes. Here nothing is called, imported or
built: a class is its dotted name (:class:`Named`), a call is a note of what would have been called (:class:`Call`).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any


class Named:
    """A class or function, by its dotted name only."""

    def __init__(self, name: str) -> None:
        self.name = name


class Call:
    """An object that unpickling would have made.

    Attributes
    ----------
    name : str
        Dotted name of the class or function.
    args : tuple
        Its arguments.
    state : object
        What would have been set on it: a dict of attributes, for most classes.
    items : dict
        What would have been stored in it with ``[]``.
    """

    def __init__(self, name: str, args: Any) -> None:
        self.name = name
        self.args = tuple(args) if isinstance(args, tuple | list) else ()
        self.state: Any = None
        self.items: dict[Any, Any] = {}


class Reference:
    """A persistent id: a tensor's bytes, which lie in another file."""

    def __init__(self, key: Any) -> None:
        self.key = key


def read_symbols(data: bytes) -> Any:
    """Plain values, containers, and notes of everything else that a pickle holds.

    Parameters
    ----------
    data : bytes
        A pickle of any protocol.

    Raises
    ------
    ValueError
        If the bytes are not a pickle, or end before it does.
    """
    machine = _Stack()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return machine.stack.pop()
        try:
            machine.do(opcode.name, argument)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a well-formed pickle: {opcode.name} ({error})") from None
    raise ValueError("the pickle has no end")


_MARK = object()
_EMPTY: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list,
}  # fmt: skip
_LITERAL = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip


class _Stack:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        if name in _LITERAL:
            self.stack.append(argument)
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ("PROTO", "FRAME", "NEXT_BUFFER", "READONLY_BUFFER"):
            return
        else:
            handler = getattr(self, f"_{name.lower()}", None)
            if handler is None:
                raise KeyError(f"instruction {name}")
            handler(argument)

    def _pop(self, _: Any = None) -> Any:
        return self.stack.pop()

    def _until_mark(self) -> list[Any]:
        start = len(self.stack) - 1 - next(i for i, item in enumerate(reversed(self.stack)) if item is _MARK)
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    # -- stack and memo -------------------------------------------------------------------------------------------

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop_mark(self, _: Any) -> None:
        self._until_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _put(self, index: Any) -> None:
        self.memo[int(index)] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, index: Any) -> None:
        self.stack.append(self.memo[int(index)])

    _binget = _long_binget = _get

    # -- containers -----------------------------------------------------------------------------------------------

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._until_mark()))

    def _tuple1(self, _: Any, count: int = 1) -> None:
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(values)

    def _tuple2(self, _: Any) -> None:
        self._tuple1(_, 2)

    def _tuple3(self, _: Any) -> None:
        self._tuple1(_, 3)

    def _list(self, _: Any) -> None:
        self.stack.append(self._until_mark())

    _frozenset = _list

    def _dict(self, _: Any) -> None:
        values = self._until_mark()
        self.stack.append(dict(zip(map(_hashable, values[::2]), values[1::2], strict=True)))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self, _: Any) -> None:
        self._extend(self._until_mark())

    _additems = _appends

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # a list of another class, such as torch.Size, takes no notes
            self.stack[-1].extend(values)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _setitems(self, _: Any) -> None:
        self._update(self._until_mark())

    def _update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Call) else target
        items.update(zip(map(_hashable, values[::2]), values[1::2], strict=True))

    # -- what would be imported, called, built --------------------------------------------------------------------

    def _global(self, argument: str) -> None:
        self.stack.append(Named(argument.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Named(f"{module}.{name}"))

    def _reduce(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(Call(function.name if isinstance(function, Named) else "?", args))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self.stack.pop()
        self._reduce(_)

    def _inst(self, argument: str) -> None:
        self.stack.append(Call(argument.replace(" ", ".", 1), self._until_mark()))

    def _obj(self, _: Any) -> None:
        kind, *args = self._until_mark()
        self.stack.append(Call(kind.name if isinstance(kind, Named) else "?", args))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Call):
            self.stack[-1].state = state

    def _binpersid(self, _: Any) -> None:
        self.stack.append(Reference(self.stack.pop()))

    def _persid(self, argument: Any) -> None:
        self.stack.append(Reference(argument))


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return id(key)
    return key
