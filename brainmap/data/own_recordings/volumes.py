"""Images opened with nibabel, and volumes as responses: NIfTI with trials as volumes, a mask or an atlas."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.data.meshes import VOXELS
from brainmap.data.own_recordings.atlas_labels import atlas_names, named_areas
from brainmap.data.own_recordings.lazy_rows import SpooledRows
from brainmap.data.own_recordings.reading_options import ReadingOptions
from brainmap.data.own_recordings.recording import Recording
from brainmap.data.recordings.brain_images import check_header
from brainmap.data.recordings.gifti_files import check_gifti

BLOCK_BYTES = 64 * 2**20
SAME_PLACE = 1e-2  # mm (and mm per voxel): rounding of headers, far below a voxel


def load_image(path: Path | str, **keywords: Any) -> Any:
    """Open an image with nibabel; what is no image, or is cut short, is refused in a sentence."""
    import nibabel

    with decoding(Path(path)):
        if Path(path).suffix.lower() == ".gii":
            check_gifti(Path(path))
        image = nibabel.load(path, **keywords)
    check_header(image, Path(path))
    return image


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn what nibabel and zlib say of a damaged image into a sentence."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        with reading(path):
            yield
    except (ImageFileError, HeaderDataError, EOFError, zlib.error, ValueError, SyntaxError) as error:
        if isinstance(error, InputError) and "Expected" not in str(error):
            raise
        if path.is_file() and path.stat().st_size < 1000 and b"annex" in path.read_bytes():
            raise InputError(
                f"{path} is a pointer of git-annex, not the image; get it with: git annex get {path}"
            ) from error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{path} cannot be read as an image ({reason}); it may be cut short: copy it again."
        ) from error


def read_volumes(image: Any, path: Path, options: ReadingOptions) -> Recording:
    """Volumes of one file as trials, voxels of a mask or atlas as targets.

    Without either, the voxels are used that are neither 0 nor NaN in the first volume.
    """
    shape = tuple(int(length) for length in image.shape)
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) != 4:
        raise InputError(f"{path} is {' × '.join(map(str, shape))}; responses are one volume a trial, 4-D.")
    places, roi, notes = _chosen_voxels(image, path, shape, options)
    xyz = places @ image.affine[:3, :3].T + image.affine[:3, 3]
    targets = pd.DataFrame({"roi": roi, "hemisphere": "", "x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2]})
    index = np.ravel_multi_index(tuple(places.T), shape[:3])
    targets["vertex"] = index
    targets.attrs = {"file": path.name, "notes": []}
    blocks = functools.partial(_volume_blocks, path, index, shape)
    info = {"file": path.name, "mesh": VOXELS, "grid": list(shape[:3]), "affine": np.asarray(image.affine).tolist()}
    return Recording(
        SpooledRows((shape[3], len(index)), blocks, str(path)), targets, None, "fmri", info=info, notes=notes
    )


def _volume_blocks(path: Path, index: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Volumes in their order, so that a compressed file is unpacked once."""
    with decoding(path):
        proxy = load_image(path, keep_file_open=True).dataobj
        size = int(np.prod(shape[:3]))
        step = max(1, BLOCK_BYTES // (8 * size))
        for start in range(0, shape[3], step):
            key = (slice(None),) * 3 + ((0,) if proxy.ndim == 5 and shape[3] != proxy.shape[3] else ())
            block = np.asarray(proxy[(*key, slice(start, start + step))], dtype=np.float32)
            yield block.reshape(size, -1)[index].T


def _chosen_voxels(
    image: Any, path: Path, shape: tuple[int, ...], options: ReadingOptions
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Voxels to use as (k, 3) indices in C order, the area of each, and notes."""
    inside = np.ones(shape[:3], dtype=bool)
    notes: list[str] = []
    if options.mask is not None:
        mask = _on_grid(options.mask, image, path, shape, options.resample, "mask")
        inside &= np.isfinite(mask) & (mask != 0)
    if options.atlas is not None:
        source = options.atlas if isinstance(options.atlas, str | Path) else options.atlas.maps
        where = str(source) if isinstance(source, str | Path) else "the atlas"
        numbers = _on_grid(source, image, path, shape, options.resample, "atlas")
        labelled = np.where(np.isfinite(numbers), numbers, 0)
        if not np.array_equal(labelled, np.round(labelled)):
            raise InputError(
                f"{where} is no image of labels: it holds {labelled[labelled != np.round(labelled)][0]:g}."
            )
        inside &= labelled != 0
        names = atlas_names(options.atlas, options.labels, where)
        if names is None:
            notes.append(f"{Path(where).name} has no table of labels beside it; areas are called by their numbers")
        roi = named_areas(labelled[inside].astype(np.int64), names, where)
        kept = np.array([name.casefold() not in ("background", "unknown", "???") for name in roi], dtype=bool)
        inside[tuple(np.argwhere(inside)[~kept].T)] = False
        roi = roi[kept]
    else:
        if options.mask is None:
            with decoding(path):
                first = np.asarray(image.dataobj[..., 0], dtype=np.float32).reshape(shape[:3])
            inside &= np.isfinite(first) & (first != 0)
            notes.append(
                f"no mask or atlas is given: the {int(inside.sum()):,} voxels of "
                f"{path.name} that are neither 0 nor NaN in "
                "the first volume are used (--mask, --atlas)"
            )
        roi = np.array([""] * int(inside.sum()), dtype=object)
    if not inside.any():
        raise InputError(f"No voxel of {path} lies inside the mask or atlas.")
    return np.argwhere(inside), roi, notes


def _turned_like(other: Any, affine: np.ndarray) -> Any:
    """The same image with its axes stored in the order and direction of another one's; no value is changed."""
    from nibabel.orientations import io_orientation, ornt_transform

    turn = ornt_transform(io_orientation(other.affine), io_orientation(affine))
    return other.as_reoriented(turn)


def _on_grid(source: Any, image: Any, path: Path, shape: tuple[int, ...], resample: bool, what: str) -> np.ndarray:
    """Values of a mask or atlas at the voxels of the responses."""
    other = load_image(source) if isinstance(source, str | Path) else source
    where = str(source) if isinstance(source, str | Path) else f"the {what}"
    grid = tuple(int(length) for length in other.shape)
    while len(grid) > 3 and grid[-1] == 1:
        grid = grid[:-1]
    if len(grid) != 3:
        raise InputError(f"{where} is {' × '.join(map(str, grid))}; a {what} has one volume.")
    other = _turned_like(other, image.affine)
    grid = tuple(int(length) for length in other.shape[:3])
    if grid != shape[:3] or not np.allclose(other.affine, image.affine, atol=SAME_PLACE):
        if not resample:
            why = f"{grid} voxels, not {shape[:3]}" if grid != shape[:3] else "another position or orientation (affine)"
            raise InputError(
                f"{where} has {why} than {path}; bring it to their grid with "
                "nilearn.image.resample_to_img, or let brainmap "
                "do it (nearest neighbour) with --set resample=true."
            )
        from nilearn.image import resample_img

        other = resample_img(
            other, image.affine, shape[:3], interpolation="nearest", copy_header=True, force_resample=True
        )
    with decoding(Path(where)):
        return np.asarray(other.dataobj, dtype=np.float64).reshape(shape[:3])
