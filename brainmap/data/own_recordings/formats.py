"""Which reader takes a file or object of responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.file_errors import reading
from brainmap.data.own_recordings.arrays.array_files import HDF5_SUFFIXES, read_array
from brainmap.data.own_recordings.reading_options import ReadingOptions
from brainmap.data.own_recordings.recording import Recording, flattened
from brainmap.data.recordings.brain_images import check_content
from brainmap.stimuli import StimulusSet

ARRAYS = (".npy", ".npz", ".mat", ".zarr", ".nc", ".nc4", ".cdf", ".csv", ".tsv", ".txt", *HDF5_SUFFIXES)
IMAGES = (".nii", ".nii.gz", ".gii", ".mgh", ".mgz", ".img", ".hdr")
MEEG = (
    ".fif", ".fif.gz", ".set", ".vhdr", ".edf", ".bdf", ".gdf", ".stc", "-stc.h5", ".ds", ".mff", ".cnt", ".con",
    ".sqd",
)  # fmt: skip
ESTIMATES = (".stc", "-stc.h5")
SUPPORTED = (*ARRAYS, *IMAGES, *MEEG)


def split_variable(source: str | Path) -> tuple[Path, str | None]:
    """``file.mat::betas`` → path and name of the variable."""
    path, mark, variable = str(source).rpartition("::")
    return (Path(path), variable) if mark else (Path(source), None)


def suffix_of(path: Path) -> str:
    """The suffix that tells the format: ``.nii.gz`` of ``betas.nii.gz``; empty where none is known."""
    name = path.name.casefold()
    fitting = [suffix for suffix in SUPPORTED if name.endswith(suffix)]
    return max(fitting, key=len) if fitting else (".csv" if name.endswith((".csv.gz", ".tsv.gz")) else "")


def estimates_in(folder: Path) -> list[Path]:
    """Files of source estimates in a folder."""
    return sorted(file for file in folder.iterdir() if suffix_of(file) in ESTIMATES and not file.name.startswith("."))


def read_recording(
    source: Any, trials: pd.DataFrame | None, stimuli: StimulusSet, options: ReadingOptions
) -> Recording:
    """Open responses in whatever form, see :func:`brainmap.data.read_responses`."""
    if isinstance(source, str | Path):
        with reading(split_variable(source)[0]):
            return _read_file(source, trials, stimuli, options)
    kind = type(source[0] if isinstance(source, list | tuple) and len(source) else source)
    if kind.__module__.split(".")[0] == "mne":
        from brainmap.data.own_recordings.meeg_objects import read_object

        return read_object(source, trials, stimuli, options)
    if isinstance(source, list | tuple) and len(source) and all(isinstance(part, str | Path) for part in source):
        paths = [split_variable(part)[0] for part in source]
        with reading(paths[0]):
            return _read_files(paths, options)
    if kind.__module__.split(".")[0] == "xarray":
        from brainmap.data.own_recordings.arrays.labelled_axes import read_labelled

        return read_labelled(source, "the array")
    values = source if hasattr(source, "shape") and isinstance(source.dtype, np.dtype) else np.asarray(source)
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    recording = flattened(values)
    recording.info["file"] = "array"
    return recording


def _read_file(
    source: str | Path, trials: pd.DataFrame | None, stimuli: StimulusSet, options: ReadingOptions
) -> Recording:
    path, variable = split_variable(source)
    if not path.exists():
        raise MissingFileError(f"There is no file {path}; give the file that holds the responses.")
    if path.is_file():
        check_content(path)
    suffix = suffix_of(path)
    if variable is not None and suffix not in ARRAYS:
        raise InputError(f"{path.name} has no variables; leave out '::{variable}'.")
    if path.is_dir() and suffix not in (".zarr", ".ds", ".mff"):
        if (path / "zarr.json").is_file() or (path / ".zgroup").is_file() or (path / ".zarray").is_file():
            raise InputError(f"{path} is a Zarr folder without its suffix; rename it to end in .zarr.")
        estimates = estimates_in(path)
        if not estimates:
            raise InputError(f"{path} is a folder without files of responses; give a file, or a folder per subject.")
        return _read_files(estimates, options)
    if suffix in ARRAYS:
        return read_array(path, variable)
    if suffix in IMAGES:
        return _read_images([path], options)
    if suffix in MEEG:
        from brainmap.data.own_recordings.meeg_files import read_meeg

        return read_meeg(path, trials, stimuli, options)
    raise InputError(f"{path} is of no known format; responses are files that end in {', '.join(SUPPORTED)}.")


def _read_files(paths: list[Path], options: ReadingOptions) -> Recording:
    """Several files: the two hemispheres, or one source estimate a trial."""
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"There is no file {path}; give the files that hold the responses.")
    if all(suffix_of(path) in ESTIMATES for path in paths):
        from brainmap.data.own_recordings.meeg_files import read_estimates

        return read_estimates(paths)
    if len(paths) == 2 and all(suffix_of(path) in (".gii", ".mgh", ".mgz") for path in paths):
        return _read_images(paths, options)
    if len(paths) == 1:
        raise InputError(f"{paths[0]} is given as a list of one; give the file itself.")
    raise InputError(
        f"{len(paths)} files are given, {paths[0].name} first; several files "
        "are two hemispheres (.gii, .mgh) or source "
        "estimates (.stc), one a trial. Join volumes first (nilearn.image.concat_imgs, fslmerge -t)."
    )


def _read_images(paths: list[Path], options: ReadingOptions) -> Recording:
    """Open NIfTI, CIFTI, GIFTI or FreeSurfer files of responses."""
    from brainmap.data.own_recordings.surface_images import read_cifti, read_surfaces
    from brainmap.data.own_recordings.volumes import load_image, read_volumes

    image = load_image(paths[0])
    if type(image).__name__ == "Cifti2Image":
        return read_cifti(image, paths[0], options)
    if type(image).__name__ == "GiftiImage" or paths[0].suffix.lower() in (".mgh", ".mgz"):
        return read_surfaces(paths, options)
    return read_volumes(image, paths[0], options)
