"""Open NIfTI, GIFTI and CIFTI so that whatever is wrong with a file is one sentence that names it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.file_errors import reading
from brainmap.common.storage.unpacked import refuse_impossible, refuse_large
from brainmap.data.recordings.gifti_files import check_gifti

COPIES = 4  # of a volume, in memory while it is read
SCANS = 50  # read at once
NEAR = 0.05  # of a voxel: grids closer than this are one
POINTERS = (b"/annex/objects", b"version https://git-lfs")


def load_image(path: Path) -> Any:
    """Open an image; its data are not read yet.

    Parameters
    ----------
    path : Path
        NIfTI, GIFTI or CIFTI file.

    Returns
    -------
    nibabel image

    Raises
    ------
    InputError
        If it is absent, a pointer of git-annex or git-lfs, empty, cut short, or no image.
    """
    import nibabel

    check_content(path)
    with reading(path):
        if path.suffix.lower() == ".gii":
            check_gifti(path)
        image = nibabel.load(path)
    check_header(image, path)
    return image


def check_header(image: Any, path: Path) -> None:
    """Refuse an opened image whose header promises what no memory, no file or no 32-bit number holds."""
    _refuse_exploding(image, path)
    _refuse_scale(image, path)


def _refuse_scale(image: Any, path: Path) -> None:
    """Refuse a factor of the header that takes whole numbers out of what 32-bit numbers can hold."""
    slope = getattr(getattr(image, "dataobj", None), "slope", 1.0)
    if slope == 1.0 or np.dtype(stored := image.get_data_dtype()).kind not in "iu":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        largest = abs(float(slope)) * float(np.iinfo(stored).max)
    limits = np.finfo(np.float32)
    if not float(limits.tiny) <= largest <= float(limits.max):
        raise InputError(
            f"The header of {path} scales its values by {slope:.3g} (scl_slope), which makes them as large as "
            f"{largest:.3g}: 32-bit numbers can't hold them. The header is damaged; export the image anew."
        )


def image_values(image: Any, index: Any = ...) -> np.ndarray:
    """Values of an image that was opened, all or those of an index; what is damaged is one sentence."""
    with reading(Path(image.get_filename())):
        return np.asarray(image.dataobj) if index is ... else np.asarray(image.dataobj[index])


def _refuse_exploding(image: Any, path: Path) -> None:
    """Refuse a packed image whose volumes would not fit in memory, or that cannot hold what its header promises."""
    shape = getattr(image, "shape", ())
    if path.name.lower().endswith(".nii") and len(shape) > 2:
        voxel = int(np.dtype(image.get_data_dtype()).itemsize)
        refuse_impossible(math.prod(map(int, shape)) * voxel, path, packed_to=1)
    if path.name.lower().endswith(("gz", "mgz")) and len(shape) > 2:
        voxel = int(np.dtype(image.get_data_dtype()).itemsize)
        refuse_impossible(math.prod(map(int, shape)) * voxel, path)
        refuse_large(math.prod(map(int, shape[:3])) * voxel, f"A volume of {path}", times=COPIES)


def check_content(path: Path) -> None:
    """Refuse files whose content is elsewhere (datalad, git-lfs), empty files and saved web pages."""
    if path.is_symlink() and not path.exists():
        raise MissingFileError(
            f"{path} is a link to content that is not here; fetch it (datalad get, or git annex get)."
        )
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}.")
    with reading(path), path.open("rb") as stream:
        start = stream.read(400)
    if not start:
        raise InputError(f"{path} is empty; fetch or save it anew.")
    if any(pointer in start for pointer in POINTERS):
        raise MissingFileError(
            f"{path} is a pointer of git-annex or git-lfs, not the file itself; fetch its content "
            "(datalad get, git annex get or git lfs pull)."
        )
    if start.lstrip()[:9].lower() in (b"<!doctype", b"<html><he", b"<html>\n<h"):
        raise InputError(f"{path} is a web page, not data; fetch it anew.")
    if path.suffix.lower() != ".mgz" and path.name.endswith(".gz") != (start[:2] == b"\x1f\x8b"):
        packed = "is not compressed; its name should not end in .gz" if path.name.endswith(".gz") else (
            "is compressed; its name should end in .gz"
        )  # fmt: skip
        raise InputError(f"{path} {packed}: rename it, or fetch it anew.")


class Volumes:
    """A volume or a series of volumes, turned to RAS+ (x to the right, y to the front, z up) as it is read.

    How a file stores its axes is no property of the brain: the same scan stored left to right or right to left gives
    the same array here.

    Parameters
    ----------
    path : Path
        NIfTI file with three or four axes (axes of length 1 at the end don't count).

    Attributes
    ----------
    shape : tuple of int
        The three axes in space.
    affine : numpy.ndarray, (4, 4)
        Of the turned volume, in mm.
    n_scans : int
        Number of volumes; 1 for a single one.
    """

    def __init__(self, path: Path) -> None:
        from nibabel.orientations import inv_ornt_aff, io_orientation

        self.path = path
        self._image = load_image(path)
        stored = tuple(int(size) for size in getattr(self._image, "shape", ()))
        while len(stored) > 4 and stored[-1] == 1:
            stored = stored[:-1]
        if len(stored) not in (3, 4) or not hasattr(self._image, "affine") or 0 in stored:
            raise InputError(
                f"{path} has the shape {stored}; it must be a volume or a series of volumes (3 or 4 axes)."
            )
        if np.dtype(self._image.get_data_dtype()).kind not in "iuf":
            raise InputError(f"{path} holds {self._image.get_data_dtype()}, not real numbers.")
        affine = np.asarray(self._image.affine, dtype=float)
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InputError(f"The affine of {path} is not invertible, so places are unknown; mend its header.")
        self._stored = stored
        self._turn = io_orientation(affine)
        self.affine: np.ndarray = affine @ inv_ornt_aff(self._turn, stored[:3])
        axes = np.argsort(self._turn[:, 0])
        self.shape: tuple[int, int, int] = tuple(stored[axis] for axis in axes)
        self.n_scans = stored[3] if len(stored) == 4 else 1

    @property
    def is_series(self) -> bool:
        """Whether the file has a fourth axis."""
        return len(self._stored) == 4

    @property
    def header(self) -> Any:
        """The file's header."""
        return self._image.header

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Some volumes, (x, y, z, n) float32."""
        from nibabel.orientations import apply_orientation

        last = self.n_scans if stop is None else min(stop, self.n_scans)
        with reading(self.path):
            if self.is_series:
                trailing = (0,) * (len(self._image.shape) - 4)
                block = self._image.dataobj[(..., slice(start, last), *trailing)] if not trailing else (
                    self._image.dataobj[(slice(None),) * 3 + (slice(start, last), *trailing)]
                )  # fmt: skip
            else:
                block = np.asarray(self._image.dataobj).reshape(*self._stored, 1)
            turned: np.ndarray = apply_orientation(np.asarray(block, dtype=np.float32), self._turn)
        return turned

    def same_grid(self, shape: tuple[int, ...], affine: np.ndarray) -> bool:
        """Whether voxels lie where those of another volume (in RAS+) lie."""
        return self.shape == tuple(shape) and displacement(self.affine, affine, self.shape) < NEAR


def displacement(first: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance between corners of two grids of one shape, in voxels."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape[:3]])).reshape(3, -1)
    apart = (first - other)[:3, :3] @ corners + (first - other)[:3, 3:]
    side = float(np.sqrt((first[:3, :3] ** 2).sum(axis=0)).min())
    return float(np.sqrt((apart**2).sum(axis=0)).max() / side)


def gifti_series(path: Path) -> np.ndarray:
    """Time series on a surface, (n_scans, n_vertices) float32: one array a scan, or one array of all scans."""
    image = load_image(path)
    with reading(path):
        arrays = [np.asarray(array.data, dtype=np.float32) for array in image.darrays]
    if not arrays or len({array.shape for array in arrays}) > 1:
        raise InputError(f"{path} holds no series of scans of one size; it must be a .func.gii.")
    if len(arrays) == 1 and arrays[0].ndim == 2:
        return np.ascontiguousarray(arrays[0].T)
    if arrays[0].ndim != 1:
        raise InputError(f"{path} holds arrays of shape {arrays[0].shape}, not one value a vertex.")
    return np.stack(arrays)
