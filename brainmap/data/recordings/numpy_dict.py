"""Read dictionaries of arrays that were saved as pickles, without executing anything.

Some datasets publish ``np.save(file, {...})`` or ``pickle.dump({...}, file)``: pickles. Loading a pickle runs whatever
it says. This module instead follows the stream of instructions and understands only those that describe dictionaries,
lists, text, numbers and plain numeric arrays; anything else is refused. Large arrays are not read but mapped from the
file.
"""

from __future__ import annotations

import mmap
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError, MissingFileError

ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("_codecs", "encode"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),  # protocol 5
}  # fmt: skip
VALUES = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple
}  # fmt: skip
CONSTANTS = (
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "SHORT_BINSTRING", "BINSTRING", "INT", "LONG",
    "FLOAT", "UNICODE",
)  # fmt: skip
MAPPED = 2**20  # bytes strings from this length on are mapped, not copied


class _Name(tuple):  # a global that may occur, never looked up
    __slots__ = ()


class _Building:
    """An array or dtype under construction."""

    def __init__(self, kind: str, arguments: tuple[Any, ...]) -> None:
        self.kind, self.arguments, self.state = kind, arguments, None


_MARK = object()


class _MappedStream:
    """A file whose long reads are views of the mapped file: arrays larger than memory cost nothing until used."""

    def __init__(self, view: memoryview, start: int) -> None:
        self.view, self.place = view, start

    def read(self, count: int) -> Any:
        part = self.view[self.place : self.place + count]
        self.place += len(part)
        return part if count >= MAPPED else bytes(part)

    def readline(self) -> bytes:
        end = self.place
        while end < len(self.view) and self.view[end] != 10:
            end += 1
        return bytes(self.read(end + 1 - self.place))

    def tell(self) -> int:
        return self.place


def read_numpy_dict(path: Path) -> dict[str, Any]:
    """Read a dictionary saved by ``numpy.save``, or by ``pickle.dump`` (protocols 2 to 5) under any name.

    Parameters
    ----------
    path : Path
        File with one pickled dictionary of numeric arrays, lists and text.

    Returns
    -------
    dict
        Arrays are read-only views of the file's content.

    Raises
    ------
    InputError
        If the file holds anything but plain data.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}.")
    start = _start_of_pickle(path)
    try:
        with path.open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        content = _finished(_Machine(path).run(_MappedStream(memoryview(mapped), start)))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} holds something else than plain data ({error}); it is not read.") from error
    # numpy wraps the dictionary in an array of no dimension: a list of one.
    content = content[0] if isinstance(content, list) and len(content) == 1 else content
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a dictionary.")
    return content


def _start_of_pickle(path: Path) -> int:
    """Where the pickle begins: behind numpy's header, or at once."""
    with path.open("rb") as stream:
        if stream.read(1) == b"\x80":
            return 0
        stream.seek(0)
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            _, _, dtype = read(stream)
        except ValueError as error:
            raise InputError(f"{path} is neither a .npy file nor a pickle ({error}).") from error
        if dtype.kind != "O":
            raise InputError(f"{path} holds a plain array ({dtype}), not a dictionary.")
        return stream.tell()


class _Machine:
    """The stack on which the instructions work."""

    def __init__(self, path: Path) -> None:
        self.path, self.stack, self.memo = path, [], {}  # type: ignore[var-annotated]

    def run(self, stream: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise ValueError("it ends too early")

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in CONSTANTS:
            stack.append(argument)
        elif name in VALUES:
            made = VALUES[name]
            stack.append(made() if isinstance(made, type) else made)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(name, argument)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3", "TUPLE"):
            self._tuple(name)
        elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS"):
            self._fill(name)
        elif name == "REDUCE":
            self._call()
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], _Building):
                raise ValueError("it sets the state of an unknown object")
            stack[-1].state = state
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"instruction {name}")

    def _name(self, name: str, argument: Any) -> None:
        if name == "GLOBAL":
            module, attribute = str(argument).split(" ", 1)
        else:
            attribute, module = self.stack.pop(), self.stack.pop()
        if (module, attribute) not in ARRAYS:
            raise ValueError(f"it asks for {module}.{attribute}")
        self.stack.append(_Name((module, attribute)))

    def _tuple(self, name: str) -> None:
        count = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}.get(name)
        items = self._to_mark() if count is None else [self.stack.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(items))

    def _to_mark(self) -> list[Any]:
        items = []
        while self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        self.stack.pop()
        return items[::-1]

    def _fill(self, name: str) -> None:
        single = {"SETITEM": 2, "APPEND": 1}.get(name)
        items = self._to_mark() if single is None else [self.stack.pop() for _ in range(single)][::-1]
        target = self.stack[-1]
        if name.startswith("SET"):
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            target.extend(items)

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name):
            raise ValueError("it calls something unknown")
        attribute = function[1]
        if attribute == "encode":  # bytes as older protocols write them
            self.stack.append(str(arguments[0]).encode(str(arguments[1])))
        else:
            self.stack.append(_Building(attribute, arguments))


def _finished(item: Any) -> Any:
    if isinstance(item, _Building):
        return _build(item)
    if isinstance(item, dict):
        return {_finished(key): _finished(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_finished(value) for value in item]
    if isinstance(item, tuple):
        return tuple(_finished(value) for value in item)
    return item


def _build(item: _Building) -> Any:
    if item.kind == "dtype":
        order = str(item.state[1]) if item.state is not None and item.state[1] in ("<", ">") else ""
        dtype = np.dtype(order + str(item.arguments[0]))
        return dtype
    if item.kind == "scalar":
        return np.frombuffer(item.arguments[1], dtype=_build(item.arguments[0]))[0]
    if item.kind == "_frombuffer":
        data, described, shape, order = item.arguments
        return np.frombuffer(data, dtype=_build(described)).reshape(shape, order=order)
    if item.kind != "_reconstruct" or item.state is None:
        raise InputError("An array in the file has no content; it is not read.")
    _, shape, described, fortran, data = item.state
    dtype = _build(described)
    if dtype.kind == "O" or isinstance(data, list):
        values = [_finished(value) for value in data]
        return values if len(shape) != 1 or shape[0] == len(values) else values[: shape[0]]
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")
