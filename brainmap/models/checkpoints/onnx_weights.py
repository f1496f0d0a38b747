"""Tensors of an ONNX file, read from its bytes: no runtime, no code, and no dependency for a format this simple.

Only what is needed here: initialisers by name, and the names that exporters take away from the weights of linear layers
(``onnx::MatMul_1966``), recovered from the path of the node that uses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from brainmap.common.errors import InputError

GRAPH, NODE, INITIALIZER = 7, 1, 5  # field numbers of ModelProto and GraphProto
NODE_INPUT, NODE_OUTPUT, NODE_KIND = 1, 2, 4
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
FLOAT32 = 1


def read_onnx(path: Path) -> dict[str, np.ndarray]:
    """Float32 initialisers of an ONNX file, by name.

    Weights of linear layers are named ``<module path>.weight`` and transposed to torch's (out, in).

    Parameters
    ----------
    path : Path
        File.

    Raises
    ------
    InputError
        If it is not an ONNX file.
    """
    data = memoryview(path.read_bytes())
    try:
        graph = next(value for field, value in _fields(data) if field == GRAPH)
        parts = [(field, value) for field, value in _fields(graph) if field in (NODE, INITIALIZER)]
        tensors = dict(_tensor(value) for field, value in parts if field == INITIALIZER)
        for field, value in parts:
            if field == NODE:
                _rename_linear(value, tensors)
    except (StopIteration, IndexError, ValueError) as error:
        raise InputError(f"{path} is not a readable ONNX file ({error}).") from None
    return {name: values for name, values in tensors.items() if values.size}


def _rename_linear(node: memoryview, tensors: dict[str, np.ndarray]) -> None:
    inputs, output, kind = [], "", ""
    for field, value in _fields(node):
        if field in (NODE_INPUT, NODE_OUTPUT, NODE_KIND):
            text = bytes(value).decode()
            if field == NODE_INPUT:
                inputs.append(text)
            elif field == NODE_OUTPUT:
                output = text
            else:
                kind = text
    anonymous = [name for name in inputs if name.startswith("onnx::MatMul") and name in tensors]
    if kind == "MatMul" and anonymous:
        module = output.removeprefix("/").removesuffix("/MatMul_output_0").replace("/", ".")
        tensors[f"{module}.weight"] = np.ascontiguousarray(tensors.pop(anonymous[0]).T)


def _tensor(data: memoryview) -> tuple[str, np.ndarray]:
    shape: list[int] = []
    name, kind, raw = "", 0, memoryview(b"")
    for field, value in _fields(data):
        if field == TENSOR_DIMS:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif field == TENSOR_TYPE:
            kind = int(value)
        elif field == TENSOR_NAME:
            name = bytes(value).decode()
        elif field == TENSOR_RAW:
            raw = value
    if kind != FLOAT32:
        return name, np.empty(0, np.float32)
    return name, np.frombuffer(raw, "<f4").reshape(shape).copy()


def _packed(data: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        values.append(value)
    return values


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Fields of a protocol buffer message: number, and content (an int for varints)."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield key >> 3, value  # type: ignore[misc]
            continue
        if kind == 2:
            length, position = _varint(data, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result, position
