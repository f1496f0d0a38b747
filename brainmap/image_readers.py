"""Where pixels come from: folders, archives, arrays, HDF5. Each reader hands out its i-th image as RGB uint8."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from brainmap.common.errors import InputError, MissingFileError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
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
        return decode_image(file.read_bytes(), str(file))


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
            except zipfile.BadZipFile as error:
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
            data = self._open().read(name)
        except (zipfile.BadZipFile, RuntimeError) as error:
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
        self.rows = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
        outside = self.rows[(self.rows < 0) | (self.rows >= len(images))]
        if len(outside):
            raise InputError(f"Row {outside[0]} is asked for, but {dataset!r} in {path} has rows 0…{len(images) - 1}.")

    def _open(self) -> Any:
        if self._file is None:
            import h5py

            self._file = h5py.File(self._path, "r")
            if self._dataset not in self._file:
                raise InputError(f"{self._path} has no dataset {self._dataset!r}; it has {sorted(self._file)}.")
        return self._file[self._dataset]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> np.ndarray:
        """Read row ``rows[index]``."""
        return np.asarray(self._open()[int(self.rows[index])])


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
            import h5py

            self._file = h5py.File(self._path, "r")
            if self._dataset not in self._file:
                raise InputError(f"{self._path} has no dataset {self._dataset!r}; it has {sorted(self._file)}.")
        return self._file[self._dataset]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __len__(self) -> int:
        return self._length

    def read(self, index: int) -> np.ndarray:
        """Decode row ``index``."""
        data = np.asarray(self._open()[int(index)], dtype=np.uint8).tobytes()
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
        with Image.open(io.BytesIO(data)) as file:
            frames = getattr(file, "n_frames", 1)
            if frames > 1 and file.format != "MPO":  # a camera's JPEG may carry previews as further pictures
                raise InputError(f"{where} has {frames} frames; save the one that was shown as a picture of its own.")
            file.load()
            image: Image.Image = ImageOps.exif_transpose(file)
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} cannot be read as an image ({error}); replace or remove the file.") from error
    if image.mode == "F" or image.mode.startswith("I"):
        raise InputError(f"{where} has pixels of mode {image.mode!r}; save it with 8 bits per channel.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        backdrop = Image.new("RGBA", image.size, (*TRANSPARENT_BACKGROUND, 255))
        image = Image.alpha_composite(backdrop, image)
    return np.array(image.convert("RGB"))


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
