"""Where pixels come from: folders, archives, arrays, HDF5. Each reader hands out its i-th image as RGB uint8."""

from __future__ import annotations

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.hdf5_files import open_hdf5, own_dataset, read_rows

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# A file of a few kilobytes can unpack to gigabytes; no photograph of an experiment has this many pixels.
MAX_PIXELS = 100_000_000
LIMIT = "BRAINMAP_MAX_PIXELS"
TRANSPARENT_BACKGROUND = (128, 128, 128)


class ImageReader(Protocol):
    """Anything that hands out the pixels of its i-th image."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> np.ndarray:
        """Return image ``index`` as (h, w, 3) uint8."""
        ...


class ArrayReader:
    """Images in memory."""

    def __init__(self, images: Sequence[np.ndarray] | np.ndarray) -> None:
        for i, image in enumerate(images):
            _check_pixels(image, f"Image {i}")
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> np.ndarray:
        """Return image ``index``."""
        return np.asarray(self._images[index])


class FolderReader:
    """Image files below a folder."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder, self._names = folder, names

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> np.ndarray:
        """Decode file ``index``."""
        file = self._folder / self._names[index]
        _refuse_large(file.stat().st_size, str(file))
        return decode_image(file.read_bytes(), str(file))


# What zipfile and the packers below it raise for archives that are cut short, damaged, encrypted or packed otherwise.
_DAMAGED_ZIP = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError, EOFError, ValueError, KeyError,
    OSError, OverflowError,
)  # fmt: skip


class ZipReader:
    """Image files of a zip archive; each process opens the archive for itself."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingFileError(f"There is no archive {path}; give the zip file that holds the photographs.")
        self._path = path
        self._archive: zipfile.ZipFile | None = None
        self.names = sorted(name for name in self._open().namelist() if is_image_name(name))

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self._path)
            except _DAMAGED_ZIP as error:
                raise InputError(
                    f"{self._path} is not a zip archive ({error}); give a zip file or a folder."
                ) from error
        return self._archive

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None}

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray:
        """Decode member ``index``."""
        name = self.names[index]
        try:
            _refuse_large(self._open().getinfo(name).file_size, f"{name} in {self._path}")
            data = self._open().read(name)
        except InputError:
            raise
        except _DAMAGED_ZIP as error:
            raise InputError(f"{name} in {self._path} cannot be unpacked ({error}); make the archive anew.") from error
        return decode_image(data, f"{name} in {self._path}")


class HDF5Reader:
    """Rows of an (n, h, w, 3) uint8 dataset."""

    def __init__(self, path: Path, dataset: str, rows: Sequence[int] | np.ndarray | None) -> None:
        if not path.is_file():
            raise MissingFileError(f"There is no file {path}; give the HDF5 file that holds the photographs.")
        self._path, self._dataset = path, dataset
        self._file: Any = None
        images = self._open()
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise InputError(
                f"Dataset {dataset!r} in {path} is {images.dtype} of shape {images.shape}; "
                "photographs are uint8 of shape (n, h, w, 3)."
            )
        _refuse_pixels(int(images.shape[1]), int(images.shape[2]), f"Dataset {dataset!r} in {path}")
        self.rows = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
        outside = self.rows[(self.rows < 0) | (self.rows >= len(images))]
        if len(outside):
            raise InputError(f"Row {outside[0]} is asked for, but {dataset!r} in {path} has rows 0…{len(images) - 1}.")

    def _open(self) -> Any:
        if self._file is None:
            self._file = open_hdf5(self._path)
        return own_dataset(self._file, self._dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> np.ndarray:
        """Read row ``rows[index]``."""
        return read_rows(self._open(), int(self.rows[index]))


class EncodedHDF5Reader:
    """Rows of an (n,) dataset that holds the bytes of one image file each (JPEG, PNG)."""

    def __init__(self, path: Path, dataset: str) -> None:
        if not path.is_file():
            raise MissingFileError(f"There is no file {path}; give the HDF5 file that holds the photographs.")
        self._path, self._dataset = path, dataset
        self._file: Any = None
        files = self._open()
        if files.ndim != 1:
            raise InputError(f"Dataset {dataset!r} in {path} has shape {files.shape}; it must hold one file a row.")
        self._length = len(files)

    def _open(self) -> Any:
        if self._file is None:
            self._file = open_hdf5(self._path)
        return own_dataset(self._file, self._dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Decode row ``index``."""
        data = np.asarray(read_rows(self._open(), int(index)), dtype=np.uint8).tobytes()
        return decode_image(data, f"Row {index} of {self._dataset!r} in {self._path}")


class SubsetReader:
    """Some images of another reader."""

    def __init__(self, reader: ImageReader, indices: np.ndarray) -> None:
        self._reader, self._indices = reader, indices

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> np.ndarray:
        """Return image ``indices[index]`` of the other reader."""
        return self._reader.read(int(self._indices[index]))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """Decode an image file into (h, w, 3) uint8 RGB, upright; transparency is laid over mid-grey.

    Raises
    ------
    InputError
        If the bytes are no image, are cut short, or hold more than 8 bits per channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            _refuse_pixels(*file.size, where)
            frames = getattr(file, "n_frames", 1)
            if frames > 1 and file.format != "MPO":  # a camera's JPEG may carry previews as further pictures
                raise InputError(f"{where} has {frames} frames; save the one that was shown as a picture of its own.")
            file.load()
            image: Image.Image = ImageOps.exif_transpose(file)
    except Image.DecompressionBombError as error:
        raise InputError(f"{where} is too large ({error}); save it smaller, or set {LIMIT}.") from error
    except InputError:
        raise
    except Exception as error:  # Pillow's formats raise whatever their parsers stumble over: struct, index, key errors
        raise InputError(f"{where} cannot be read as an image ({error}); replace or remove the file.") from error
    if image.mode == "F" or image.mode.startswith("I"):
        raise InputError(f"{where} has pixels of mode {image.mode!r}; save it with 8 bits per channel.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        backdrop = Image.new("RGBA", image.size, (*TRANSPARENT_BACKGROUND, 255))
        image = Image.alpha_composite(backdrop, image)
    return np.array(image.convert("RGB"))


def max_pixels() -> int:
    """Pixels an image may have: the environment variable ``BRAINMAP_MAX_PIXELS``, or 100 million.

    Raises
    ------
    InputError
        If the variable is not a number.
    """
    text = os.environ.get(LIMIT, str(MAX_PIXELS))
    if not text.isdigit() or not 0 < len(text) < 16:
        raise InputError(f"{LIMIT} is {text!r}; it must be a number of pixels, such as {MAX_PIXELS}.")
    return int(text)


def _refuse_pixels(width: int, height: int, where: str) -> None:
    if width * height > max_pixels():
        raise InputError(
            f"{where} has {width} × {height} = {width * height / 1e6:,.0f} million pixels, more than "
            f"{max_pixels() / 1e6:,.0f} million; save it smaller, or set {LIMIT}={width * height}."
        )


def _refuse_large(size: int, where: str) -> None:
    """Refuse a file larger than any image with as many pixels as allowed, before it is read or unpacked."""
    largest = 4 * max_pixels() + 2**20
    if size > largest:
        raise InputError(
            f"{where} has {size / 1e9:,.2f} GB, more than an image of {max_pixels() / 1e6:,.0f} million pixels needs; "
            f"replace or remove the file, or set {LIMIT} to a larger number of pixels."
        )


def without_suffix(name: str) -> str:
    """``beach/img_07.jpg`` → ``beach/img_07``; names without an image suffix stay as they are."""
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else name


def is_image_name(name: str) -> bool:
    """Whether a path inside a folder or archive is a visible image file, by its suffix."""
    # Archives made on a Mac carry "__MACOSX/" and "._name" twins that end in .jpg and are no images.
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _check_pixels(image: np.ndarray, label: str) -> None:
    shape, dtype = np.shape(image), getattr(image, "dtype", None)
    if dtype != np.uint8 or len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        raise InputError(f"{label} is {dtype} of shape {shape}; photographs are uint8 of shape (h, w, 3).")
