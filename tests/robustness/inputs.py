"""Input from elsewhere: YAML, manifests, tables, images, archives, HDF5."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import yaml
from PIL import Image
from robustness.damage import damaged
from robustness.outcomes import Silent

from brainmap.common.yaml_text import parse_yaml, read_yaml
from brainmap.data.fetching import Dataset
from brainmap.image_readers import LIMIT, decode_image
from brainmap.stimuli import StimulusSet, read_table

Case = tuple[str, str, Callable[[], None]]

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE_YAML = {
    "billion laughs": LAUGHS,
    "nested": "a: " + "[" * 1500 + "]" * 1500,
    "nested keys": "".join(f"{' ' * i}k:\n" for i in range(1500)),
    "long integer": "a: " + "9" * 5000,
    "sexagesimal": "a: " + ":".join(["59"] * 3000),
    "self": "a: &a [*a]",
    "python object": "a: !!python/object/apply:os.system ['true']",
    "bad date": "a: 2020-99-99",
    "merge of self": "a: &a {<<: *a}",
    "list key": "? [a, b]\n: c",
    "twice": "a: 1\na: 2",
    "control characters": "a: \x1b[31m",
    "empty": "",
}
HOSTILE_MANIFESTS: dict[str, dict[str, object]] = {
    "alias above": {"aliases": ["../../victim"]},
    "absolute alias": {"aliases": ["/etc"]},
    "dot alias": {"aliases": ["."]},
    "sessions": {"subjects": {"1": {"code": "s", "sessions": 10**9}}},
    "many files": {
        "subjects": {str(i): {"code": "s", "sessions": 9999} for i in range(200)},
        "files": [{"path": "{code}{session}", "per": ["session"]}],
    },
    "file url": {"base_url": "file:///etc"},
    "data url": {"files": [{"path": "a", "url": "data:,x"}]},
    "unknown placeholder": {"files": [{"path": "{nobody}"}]},
    "malformed placeholder": {"files": [{"path": "{code"}]},
    "attribute": {"files": [{"path": "{code.__class__}", "per": ["subject"]}]},
    "long placeholder": {"files": [{"path": "{session:02000000000d}", "per": ["session"]}]},
    "path above": {"files": [{"path": "../x"}]},
    "recognise above": {"recognise": ["../../x"]},
    "stimuli above": {"stimuli": {"included": True, "source": "x", "path": "../x"}},
    "list above": {"file_list": "../x.xz"},
    "code above": {"subjects": {"1": {"code": "../../x", "sessions": 1}}},
    "bad purpose": {"purposes": {"fit": ["{x}"]}},
    "size": {"size": 10**400},
    "negative": {"files": [{"path": "a", "bytes": -1}]},
    "digest": {"files": [{"path": "a", "hash": "sha256", "digest": "zz"}]},
}


def manifest(**changes: object) -> dict[str, object]:
    return {
        "name": "toy", "title": "Toy", "version": "1", "modality": "fmri", "citation": "none", "homepage": "none",
        "terms": {"licence": "own"}, "size": 3, "base_url": "https://example.org", "files": [{"path": "a.bin"}],
        "subjects": {"1": {"code": "01", "sessions": 1}}, "stimuli": {"included": True, "source": "here"},
        "space": "none", "reader": "arrays", "purposes": {"fit": ["a.bin"]}, **changes,
    }  # fmt: skip


def open_manifest(folder: Path, text: bytes) -> None:
    """Open a manifest; every place it names must lie inside its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "toy.yaml"
    file.write_bytes(text)
    data = Dataset.open(str(file), folder / "data")
    for entry in data.entries[:1000]:
        if not data.place(entry).resolve().is_relative_to((folder / "data").resolve()):
            raise Silent(f"{entry.path} leads outside")
    data.plan()


class Inputs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        self.pixels = [rng.integers(0, 256, (9, 7, 3), dtype=np.uint8) for _ in range(3)]
        self.images = {}
        for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
            stream = io.BytesIO()
            Image.fromarray(self.pixels[0]).save(stream, kind)
            self.images[kind] = stream.getvalue()
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for i, pixels in enumerate(self.pixels):
                image = io.BytesIO()
                Image.fromarray(pixels).save(image, "PNG")
                archive.writestr(f"{i}.png", image.getvalue())
        self.zip = stream.getvalue()
        with h5py.File(folder / "sound.h5", "w") as file:
            file.create_dataset("imgBrick", data=np.stack(self.pixels), chunks=(1, 9, 7, 3), compression="gzip")
        self.hdf5 = (folder / "sound.h5").read_bytes()

    def fixed(self) -> Iterator[Case]:
        """Cases that are known to have gone wrong somewhere."""
        for name, text in HOSTILE_YAML.items():
            yield "yaml", name, lambda text=text: _refused(lambda: parse_yaml(text, "the file"))
        for name, changes in HOSTILE_MANIFESTS.items():
            text = yaml.safe_dump(manifest(**changes)).encode()
            yield "manifests", name, lambda text=text: _refused(lambda: open_manifest(self.folder / "m", text))
        yield "images", "170 million pixels", lambda: _refused(self._large_image)
        yield "zips", "zeros", lambda: _refused(self._zeros)
        yield "hdf5", "external link", lambda: _refused(self._external_link)
        yield "hdf5", "external storage", lambda: _refused(self._external_storage)
        yield "hdf5", "never written", lambda: _refused(self._never_written)

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        text = yaml.safe_dump(manifest()).encode()
        table = b"name\tcaption\nimg_0\ta dog\nimg_1\ta cat\nimg_2\tn/a\n"
        while True:
            kind = ("yaml", "manifests", "tables", "images", "zips", "hdf5")[int(rng.integers(6))]
            name = sorted(self.images)[int(rng.integers(len(self.images)))]
            sound = {"yaml": text, "manifests": text, "tables": table, "zips": self.zip, "hdf5": self.hdf5}
            content = damaged(sound.get(kind, self.images[name]), rng)
            read = {
                "yaml": self._yaml, "tables": self._table, "zips": self._zip, "hdf5": self._hdf5,
                "manifests": partial(open_manifest, self.folder / "m"), "images": partial(self._image, name),
            }[kind]  # fmt: skip
            yield kind, name if kind == "images" else "damaged", partial(read, content)

    def _yaml(self, content: bytes) -> None:
        (self.folder / "study.yaml").write_bytes(content)
        read_yaml(self.folder / "study.yaml")

    def _table(self, content: bytes) -> None:
        (self.folder / "table.tsv").write_bytes(content)
        read_table(self.folder / "table.tsv")

    def _image(self, name: str, content: bytes) -> None:
        found = decode_image(content, f"the {name}")
        if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3:
            raise Silent(f"{found.shape} {found.dtype}")

    def _zip(self, content: bytes) -> None:
        (self.folder / "photos.zip").write_bytes(content)
        for image in StimulusSet.from_zip(self.folder / "photos.zip", allow_duplicates=True):
            if not any(np.array_equal(image, pixels) for pixels in self.pixels):
                raise Silent("an image that nobody packed")

    def _hdf5(self, content: bytes) -> None:
        (self.folder / "photos.h5").write_bytes(content)
        for image in StimulusSet.from_hdf5(self.folder / "photos.h5", allow_duplicates=True):
            if image.shape[2:] != (3,) or image.dtype != np.uint8:
                raise Silent("no photograph")

    def _large_image(self) -> None:
        stream = io.BytesIO()
        Image.new("1", (13_000, 13_100)).save(stream, "PNG")
        decode_image(stream.getvalue(), "the image")

    def _zeros(self) -> None:
        path = self.folder / "zeros.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w") as member:
            for _ in range(8):
                member.write(bytes(2**20))
        before = os.environ.get(LIMIT)
        os.environ[LIMIT] = "1000000"  # or the case would need half a gigabyte
        try:
            StimulusSet.from_zip(path).image(0)
        finally:
            os.environ.pop(LIMIT) if before is None else os.environ.update({LIMIT: before})

    def _external_link(self) -> None:
        with h5py.File(self.folder / "link.h5", "w") as file:
            file["imgBrick"] = h5py.ExternalLink("sound.h5", "/imgBrick")
        StimulusSet.from_hdf5(self.folder / "link.h5")

    def _external_storage(self) -> None:
        (self.folder / "raw").write_bytes(bytes(9 * 7 * 3))
        with h5py.File(self.folder / "outside.h5", "w") as file:
            file.create_dataset("imgBrick", (1, 9, 7, 3), np.uint8, external=[(str(self.folder / "raw"), 0, 189)])
        StimulusSet.from_hdf5(self.folder / "outside.h5")

    def _never_written(self) -> None:
        with h5py.File(self.folder / "gaps.h5", "w") as file:
            file.create_dataset("imgBrick", (3, 9, 7, 3), np.uint8, chunks=(1, 9, 7, 3))[0] = self.pixels[0]
        StimulusSet.from_hdf5(self.folder / "gaps.h5")


def _refused(case: Callable[[], object]) -> None:
    case()
    raise Silent("was not refused")
