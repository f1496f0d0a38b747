from __future__ import annotations

import importlib.util
import struct
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "make_sample_photographs.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample_photographs", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def qt_name(text: str) -> bytes:
    return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")


def test_qt_resources_are_unpacked(tool: ModuleType):
    plain, packed = b"plain bytes", b"packed bytes" * 20
    squeezed = struct.pack(">I", len(packed)) + zlib.compress(packed)
    contents = struct.pack(">I", len(plain)) + plain + struct.pack(">I", len(squeezed)) + squeezed
    names = b"".join(qt_name(name) for name in ("", "photos", "a.txt", "b.txt"))
    offsets = np.cumsum([0, *(len(qt_name(name)) for name in ("", "photos", "a.txt"))])
    nodes = struct.pack(">IHIIQ", offsets[0], 2, 1, 1, 0)  # the root holds one folder
    nodes += struct.pack(">IHIIQ", offsets[1], 2, 2, 2, 0)  # which holds two files
    nodes += struct.pack(">IHIIQ", offsets[2], 0, 0, 0, 0)
    nodes += struct.pack(">IHIIQ", offsets[3], 1, 0, 4 + len(plain), 0)
    tree = 24
    head = struct.pack(">4sIIIII", b"qres", 3, tree, tree + len(nodes), tree + len(nodes) + len(contents), 1)
    found = dict(tool.qt_resources(head + nodes + contents + names))
    assert found == {"photos/a.txt": plain, "photos/b.txt": packed}
    with pytest.raises(ValueError, match="not a Qt binary resource"):
        list(tool.qt_resources(b"PK\x03\x04" + bytes(40)))


def test_overlap_of_squares(tool: ModuleType):
    assert tool.intersection_over_union((0, 0, 10), (0, 0, 10)) == 1.0
    assert tool.intersection_over_union((0, 0, 10), (10, 0, 10)) == 0.0
    assert tool.intersection_over_union((0, 0, 10), (5, 5, 10)) == pytest.approx(25 / 175)


def test_crops_lie_inside_are_repeatable_and_avoid_the_empty_half(tool: ModuleType):
    pixels = np.full((400, 800, 3), 200, dtype=np.uint8)
    pixels[:, 400:] = np.random.default_rng(0).integers(0, 256, (400, 400, 3))
    image = Image.fromarray(pixels)
    boxes = tool.place_crops(image, np.random.default_rng(1))
    assert boxes == tool.place_crops(image, np.random.default_rng(1))
    assert len(boxes) == len(tool.CROP_FRACTIONS)
    assert all(0 <= left <= 800 - side and 0 <= top <= 400 - side for left, top, side in boxes)
    assert min(side for _, _, side in boxes) >= tool.SIDE
    assert np.mean([left + side / 2 > 400 for left, _, side in boxes]) > 0.5
