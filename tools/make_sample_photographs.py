"""Cut the embedded sample's photographs out of the packages that carry them, and write table and attribution.

The sources are listed, with licence and checksum, in ``data_manifests/sample_photographs.tsv``. Photographs come from
two Debian packages (``gcompris-qt-data``, ``lomiri-wallpapers-16.04``) and from the installed scikit-learn and
scikit-image::

    apt-get download gcompris-qt-data lomiri-wallpapers-16.04
    for package in *.deb; do dpkg -x "$package" unpacked; done
    python tools/make_sample_photographs.py --unpacked unpacked

Each photograph gives the same number of square crops, from nearly the whole picture to details, placed with a seed so
that they overlap little and avoid empty sky. They are stored as JPEG without chroma subsampling: its decoding is exact
arithmetic, so every build of libjpeg returns the same pixels and the content ids stay the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "data_manifests" / "sample_photographs.tsv"
TARGET = ROOT / "brainmap" / "data" / "sample_photographs"

SEED = 20260528
SIDE = 96
QUALITY = 85
CROP_FRACTIONS = (0.95, 0.62, 0.62, 0.45, 0.45, 0.45, 0.32, 0.32)
"""Side of each crop as a fraction of the photograph's short side."""
ALLOWED_LICENCES = ("CC0-1.0", "public domain", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0")
LICENCE_LINKS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "public domain": "https://creativecommons.org/publicdomain/mark/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file in a Qt binary resource (``.rcc``, big-endian; entries plain or zlib)."""
    magic, version, tree, contents, names = struct.unpack(">4sIIII", data[:20])
    if magic != b"qres":
        raise ValueError("not a Qt binary resource")
    node_size = 22 if version >= 2 else 14
    pending = [("", 0)]
    while pending:
        prefix, index = pending.pop()
        offset = tree + index * node_size
        name_offset, flags = struct.unpack(">IH", data[offset : offset + 6])
        start = names + name_offset
        length = struct.unpack(">H", data[start : start + 2])[0]
        name = data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")
        path = f"{prefix}/{name}" if prefix and name else prefix + name
        if flags & 2:
            count, child = struct.unpack(">II", data[offset + 6 : offset + 14])
            pending += [(path, child + k) for k in range(count)]
            continue
        start = contents + struct.unpack(">I", data[offset + 10 : offset + 14])[0]
        size = struct.unpack(">I", data[start : start + 4])[0]
        body = data[start + 4 : start + 4 + size]
        yield path, zlib.decompress(body[4:]) if flags & 1 else body


def read_source(row: pd.Series, unpacked: Path) -> Image.Image:
    """Load one photograph of the manifest and check its bytes."""
    container, _, member = str(row["path"]).partition("!")
    if str(row["package"]).startswith("pypi:"):
        module, _, inside = container.partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{row['package']} is not installed")
        file = Path(spec.origin).parent / inside
    else:
        file = unpacked / container
    data = file.read_bytes()
    if member:
        data = dict(qt_resources(data))[member]
    digest = hashlib.sha256(data).hexdigest()
    if digest != row["sha256"]:
        raise SystemExit(f"{row['source']}: {file} has SHA-256 {digest}, the manifest says {row['sha256']}")
    return Image.open(io.BytesIO(data)).convert("RGB")


def place_crops(image: Image.Image, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Choose (left, top, side) of each crop: little overlap with crops of its size, much structure inside."""
    width, height = image.size
    luminance = np.asarray(image.convert("L"), dtype=np.float32)
    boxes: list[tuple[int, int, int]] = []
    for fraction in CROP_FRACTIONS:
        side = min(max(SIDE, round(fraction * min(width, height))), width, height)
        lefts = rng.integers(0, width - side + 1, size=60)
        tops = rng.integers(0, height - side + 1, size=60)
        scores = []
        for left, top in zip(lefts, tops, strict=True):
            overlap = max((intersection_over_union((left, top, side), box) for box in boxes), default=0.0)
            structure = float(luminance[top : top + side, left : left + side].std()) / 64.0
            scores.append(overlap - 0.25 * min(structure, 1.0))
        best = int(np.argmin(scores))
        boxes.append((int(lefts[best]), int(tops[best]), int(side)))
    return boxes


def intersection_over_union(a: tuple[int, int, int], b: tuple[int, int, int]) -> float:
    """Overlap of two squares given as (left, top, side)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[2], b[1] + b[2]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] ** 2 + b[2] ** 2 - shared)


def encode(image: Image.Image, box: tuple[int, int, int]) -> bytes:
    """Cut, resize to ``SIDE`` and compress one crop."""
    left, top, side = box
    crop = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def attribution(sources: pd.DataFrame) -> str:
    """Text that names every source, author and licence."""
    lines = [
        "Photographs of brainmap's embedded sample",
        "=========================================",
        "",
        f"{len(sources)} photographs, each cut into {len(CROP_FRACTIONS)} square crops, resized to {SIDE} px and",
        "compressed as JPEG by tools/make_sample_photographs.py; nothing else was changed here. Those taken from the",
        "package gcompris-qt-data had been scaled, cropped or sharpened there. They keep the licences named below,",
        "independently of the licence of brainmap's code. table.tsv maps every crop to its source.",
        "",
        "Licences:",
        *(f"  {name}: {LICENCE_LINKS[name]}" for name in ALLOWED_LICENCES if name in set(sources["licence"])),
        "",
    ]
    for _, row in sources.iterrows():
        lines += [
            str(row["source"]),
            f"  what:    {row['caption']}",
            f"  author:  {row['author']}",
            f"  licence: {row['licence']}",
            f"  origin:  {row['origin']}",
            f"  package: {row['package']}",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Write ``photographs.zip``, ``table.tsv`` and ``ATTRIBUTION.txt``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--unpacked", type=Path, required=True, help="folder into which the Debian packages were unpacked"
    )
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    sources = pd.read_csv(MANIFEST, sep="\t", dtype=str)
    refused = sources[~sources["licence"].isin(ALLOWED_LICENCES)]
    if len(refused):
        raise SystemExit(f"licence not allowed: {refused[['source', 'licence']].to_string()}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with zipfile.ZipFile(arguments.out / "photographs.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, (_, row) in enumerate(sources.iterrows()):
            image = read_source(row, arguments.unpacked)
            for k, box in enumerate(place_crops(image, np.random.default_rng([SEED, number]))):
                name = f"{row['source']}-{k}"
                # A fixed date makes the archive the same bytes on every run.
                archive.writestr(zipfile.ZipInfo(f"{name}.jpg", (2026, 1, 1, 0, 0, 0)), encode(image, box))
                left, top, side = box
                rows.append(
                    {"name": name, "source": row["source"], "left": left, "top": top, "side": side}
                    | {column: row[column] for column in ("category", "caption", "author", "licence", "origin")}
                )
    pd.DataFrame(rows).to_csv(arguments.out / "table.tsv", sep="\t", index=False)
    (arguments.out / "ATTRIBUTION.txt").write_text(attribution(sources), encoding="utf-8")
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{len(rows)} crops of {len(sources)} photographs, {size / 1e6:.2f} MB in {arguments.out}")


if __name__ == "__main__":
    main()
