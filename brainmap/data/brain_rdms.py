"""Brain RDMs: how differently a brain area answers to each pair of images, and readers of the files they come in."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.hdf5_files import open_hdf5, own_dataset, read_rows
from brainmap.stimuli import StimulusSet

if TYPE_CHECKING:
    from rsatoolbox.rdm import RDMs


TOLERANCE = 1e-5
"""Largest asymmetry, relative to the largest dissimilarity, that is taken for rounding."""

IMAGES78_AREAS = {"EVC": "fmri_EVC_RDMs.npz", "IT": "fmri_IT_RDMs.npz"}
ALGONAUTS92_AREAS = {"EVC": "EVC_RDMs", "IT": "IT_RDMs"}
IMAGES92_LABELS = ("category", "human", "face", "animal", "natural")


@dataclass(frozen=True, eq=False)
class BrainRDMs:
    """Representational dissimilarity matrices of one or more brain areas, for the same images and subjects.

    Parameters
    ----------
    rdms : mapping of str to array, (subjects, images, images)
        Area → one symmetric matrix per subject; kept as float64. Vectors of the upper triangle, row by row,
        (subjects, images · (images − 1) / 2), and single subjects (images, images) are accepted too.
    stimuli : StimulusSet, optional
        The images, in the order of the rows. Needed to compute features, not to compare.
    subjects : tuple of str, optional
        Names of the subjects; ``subject_01``, … by default.
    source : str
        Where the matrices come from: publication, data set, file.
    measure : str
        The dissimilarity, such as ``'1 − Pearson r'``; ``'unknown'`` if nobody says.
    simulated : bool
        True for generated matrices; shown wherever they are shown.

    Raises
    ------
    InputError
        If a matrix is not square, not symmetric, has missing values or a non-zero diagonal, or if counts disagree.
    """

    rdms: Mapping[str, np.ndarray]
    stimuli: StimulusSet | None = None
    subjects: tuple[str, ...] = ()
    source: str = "unknown"
    measure: str = "unknown"
    simulated: bool = False
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rdms:
            raise InputError("There is no brain area; give at least one, as {'IT': array of (subjects, n, n)}.")
        checked = {str(area): as_rdms(rdm, where=f"area {area!r}") for area, rdm in self.rdms.items()}
        shapes = {area: rdm.shape for area, rdm in checked.items()}
        if len(set(shapes.values())) > 1:
            raise InputError(f"The areas differ in (subjects, images, images): {shapes}; put them into separate sets.")
        n_subjects, n_images = next(iter(shapes.values()))[:2]
        if self.stimuli is not None and len(self.stimuli) != n_images:
            raise InputError(
                f"The RDMs from {self.source} compare {n_images} images, but there are {len(self.stimuli)} "
                "photographs; give the photographs of the rows, in their order."
            )
        subjects = tuple(self.subjects) or tuple(f"subject_{i + 1:02d}" for i in range(n_subjects))
        if len(subjects) != n_subjects:
            raise InputError(f"There are {len(subjects)} names for {n_subjects} subjects; give one name each.")
        object.__setattr__(self, "rdms", checked)
        object.__setattr__(self, "subjects", subjects)

    def __repr__(self) -> str:
        kind = "simulated, " if self.simulated else ""
        areas = ", ".join(self.areas)
        return f"BrainRDMs({kind}{areas}: {self.n_subjects} subjects × {self.n_images} images, {self.source})"

    def __getitem__(self, area: str) -> np.ndarray:
        """Matrices of one area, (subjects, images, images)."""
        if area not in self.rdms:
            raise InputError(f"There is no area {area!r} in {self.source}; it has {', '.join(self.areas)}.")
        return self.rdms[area]

    @property
    def areas(self) -> tuple[str, ...]:
        """Names of the areas."""
        return tuple(self.rdms)

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.subjects)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return int(next(iter(self.rdms.values())).shape[1])

    def vectors(self, area: str) -> np.ndarray:
        """Upper triangles, row by row, (subjects, pairs): the order of scipy's ``squareform`` and of rsatoolbox."""
        return self[area][:, *np.triu_indices(self.n_images, 1)]

    def mean(self, area: str) -> np.ndarray:
        """Mean of the subjects' dissimilarities, (pairs,)."""
        return self.vectors(area).mean(axis=0)

    def to_rsatoolbox(self, area: str) -> RDMs:
        """The area's matrices as an ``rsatoolbox.rdm.RDMs`` object, one RDM per subject."""
        from rsatoolbox.rdm import RDMs

        return RDMs(
            self.vectors(area),
            dissimilarity_measure=self.measure,
            descriptors={"area": area, "source": self.source},
            rdm_descriptors={"subject": list(self.subjects)},
        )


def as_rdms(array: np.ndarray, *, where: str = "the array") -> np.ndarray:
    """Bring RDMs of any usual shape into (subjects, images, images), checked.

    Parameters
    ----------
    array : array-like
        (n, n), (subjects, n, n), (pairs,) or (subjects, pairs) real numbers. Missing values on the diagonal only are
        read as zero, as some programs write them.
    where : str
        How error messages name the array.

    Returns
    -------
    numpy.ndarray of float64, (subjects, n, n)
        Exactly symmetric, zero diagonal.

    Raises
    ------
    InputError
        Naming subject, row, column and value of the first fault.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        raise InputError(f"The RDMs of {where} are of type {values.dtype}; save them as real numbers.")
    values = values.astype(np.float64)
    if values.ndim == 2 and values.shape[0] == values.shape[1] and _looks_square(values):
        values = values[None]
    elif values.ndim in (1, 2):
        return _from_vectors(np.atleast_2d(values), where)
    if values.ndim != 3 or values.shape[1] != values.shape[2]:
        raise InputError(
            f"The RDMs of {where} have shape {values.shape}; they need (subjects, images, images) "
            "or (subjects, images · (images − 1) / 2)."
        )
    if values.shape[0] == 0 or values.shape[1] < 3:
        raise InputError(
            f"The RDMs of {where} have shape {values.shape}; at least one subject and 3 images are needed."
        )
    return _checked(values, where)


def read_rdms(
    path: str | Path,
    *,
    stimuli: StimulusSet | None = None,
    area: str | None = None,
    source: str | None = None,
    measure: str = "unknown",
) -> BrainRDMs:
    """Read brain RDMs from a .npy or .npz file.

    Parameters
    ----------
    path : str or Path
        ``.npy``: one array. ``.npz``: one array per area, under its name. Shapes as in :func:`as_rdms`.
    stimuli : StimulusSet, optional
        The images, in the order of the rows.
    area : str, optional
        Name of the area of a single array; by default the name of the file, or the array's name in the archive.
    source, measure : str, optional
        As in :class:`BrainRDMs`; ``source`` defaults to the file's name.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If the file is not what it should be: not readable, Python objects inside, asymmetric, missing values, …
    """
    file = Path(path)
    arrays = _read_arrays(file)
    if len(arrays) == 1:
        name, only = next(iter(arrays.items()))
        fallback = file.stem if name.startswith("arr_") or not name else name
        arrays = {area or fallback: only}
    elif area is not None:
        if area not in arrays:
            raise InputError(f"{file} has no array {area!r}; it has {', '.join(arrays)}.")
        arrays = {area: arrays[area]}
    checked = {name: as_rdms(array, where=f"{name!r} in {file}") for name, array in arrays.items()}
    return BrainRDMs(checked, stimuli=stimuli, source=source or file.name, measure=measure)


def read_images78(folder: str | Path) -> BrainRDMs:
    """Human fMRI of early visual cortex and IT, 15 subjects, 78 photographs (Algonauts 2019 [1]_).

    Parameters
    ----------
    folder : str or Path
        Holds ``brain_data/fmri_EVC_RDMs.npz``, ``brain_data/fmri_IT_RDMs.npz`` and ``stimuli_data/image_NN.jpg``.

    Returns
    -------
    BrainRDMs
        Areas ``EVC`` and ``IT``; dissimilarity 1 − Pearson r. Single subjects are very noisy: use the mean.

    References
    ----------
    .. [1] Cichy et al. 2019, *The Algonauts project*, arXiv 1905.05675.
    """
    root = Path(folder)
    stimuli = StimulusSet.from_folder(root / "stimuli_data")
    rdms = {}
    for area, name in IMAGES78_AREAS.items():
        arrays = _read_arrays(root / "brain_data" / name)
        rdms[area] = as_rdms(next(iter(arrays.values())), where=f"{area!r} in {name}")
    return BrainRDMs(rdms, stimuli=stimuli, source="Algonauts 2019, 78 images, human fMRI", measure="1 − Pearson r")


def read_algonauts92(folder: str | Path) -> BrainRDMs:
    """Human fMRI of early visual cortex and IT, 15 subjects, 92 photographs (training set of Algonauts 2019 [1]_).

    Parameters
    ----------
    folder : str or Path
        Holds ``target_fmri_92.mat`` (MATLAB 7.3) and ``92images/image_NN.jpg``.

    Returns
    -------
    BrainRDMs
        Areas ``EVC`` and ``IT``; dissimilarity 1 − Pearson r.

    Raises
    ------
    InputError, MissingFileError
        If a file is absent or is not what it should be.

    References
    ----------
    .. [1] Cichy et al. 2019, *The Algonauts project*, arXiv 1905.05675.
    """
    root = Path(folder)
    file = root / "target_fmri_92.mat"
    if not file.is_file():
        raise MissingFileError(f"There is no file {file}; get the training set of Algonauts 2019 from its organisers.")
    rdms = {}
    with open_hdf5(file) as opened:
        for area, name in ALGONAUTS92_AREAS.items():
            matrices = read_rows(own_dataset(opened, name), slice(None))
            rdms[area] = as_rdms(np.moveaxis(matrices, -1, 0), where=f"{name!r} in {file.name}")
    stimuli = StimulusSet.from_folder(root / "92images")
    return BrainRDMs(rdms, stimuli=stimuli, source="Algonauts 2019, 92 images, human fMRI", measure="1 − Pearson r")


def read_images92(path: str | Path) -> BrainRDMs:
    """Human IT, 4 subjects, 92 images of bodies, faces, animals and objects (Kriegeskorte et al. 2008 [1]_).

    Parameters
    ----------
    path : str or Path
        The file ``images92_hIT_session1.npz``, or the folder that holds it.

    Returns
    -------
    BrainRDMs
        Area ``hIT``. The stimuli's table has ``category`` and the binary columns ``human``, ``face``, ``animal`` and
        ``natural``.

    References
    ----------
    .. [1] Kriegeskorte et al. 2008, *Matching categorical object representations in inferior temporal cortex of man
       and monkey*, Neuron 60.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "images92_hIT_session1.npz"
    arrays = _read_arrays(file)
    needed = ("images", "rdm_session1", "subjects", *IMAGES92_LABELS)
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(f"{file} has no array {missing[0]!r}; it has {', '.join(arrays)}.")
    n_images = len(arrays["images"])
    names = pd.DataFrame({"name": [f"image_{i + 1:02d}" for i in range(n_images)]})
    table = names.assign(**{label: arrays[label] for label in IMAGES92_LABELS})
    return BrainRDMs(
        {"hIT": arrays["rdm_session1"]},
        stimuli=StimulusSet.from_arrays(arrays["images"], table),
        subjects=tuple(str(name) for name in arrays["subjects"]),
        source="Kriegeskorte et al. 2008, 92 images, human fMRI, session 1",
        measure="1 − Pearson r",
    )


# -- checks ---------------------------------------------------------------------------------------------------------


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npy (under the empty name) or .npz file, without ever unpickling."""
    if not file.is_file():
        raise MissingFileError(f"There is no file {file}; give a .npy or .npz file with RDMs.")
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read as numpy arrays ({error}); save it with numpy.savez.") from error
    if not arrays:
        raise InputError(f"{file} holds no arrays; save the RDMs with numpy.savez(file, IT=array).")
    return arrays


def _looks_square(values: np.ndarray) -> bool:
    """One n × n matrix rather than n subjects × n pairs: only a matrix has a constant (or missing) diagonal."""
    diagonal = np.diagonal(values)
    return _count_images(len(values)) is None or bool(np.all(np.isnan(diagonal) | (diagonal == diagonal[0])))


def _count_images(n_pairs: int) -> int | None:
    """The n ≥ 3 with n · (n − 1) / 2 pairs, if there is one."""
    n_images = round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
    return n_images if n_images >= 3 and n_images * (n_images - 1) // 2 == n_pairs else None


def _from_vectors(vectors: np.ndarray, where: str) -> np.ndarray:
    n_images = _count_images(vectors.shape[1])
    if n_images is None or not len(vectors):
        raise InputError(
            f"The RDMs of {where} have shape {vectors.shape}; {vectors.shape[1]} is not the number of pairs of 3 or "
            "more images, n · (n − 1) / 2. Give matrices (subjects, n, n) or vectors of the upper triangle."
        )
    rdms = np.zeros((len(vectors), n_images, n_images))
    rows, columns = np.triu_indices(n_images, 1)
    rdms[:, rows, columns] = rdms[:, columns, rows] = vectors
    return _checked(rdms, where)


def _checked(values: np.ndarray, where: str) -> np.ndarray:
    diagonal = np.arange(values.shape[1])
    on_diagonal = values[:, diagonal, diagonal]
    values[:, diagonal, diagonal] = np.where(np.isnan(on_diagonal), 0.0, on_diagonal)
    if not np.isfinite(values).all():
        subject, i, j = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise InputError(
            f"The RDMs of {where} have the value {values[subject, i, j]} at subject {subject}, images {i} and {j}; "
            "remove the image or the subject."
        )
    scale = float(np.abs(values).max())
    asymmetry = np.abs(values - values.transpose(0, 2, 1))
    if asymmetry.max() > TOLERANCE * scale:
        subject, i, j = (int(k) for k in np.unravel_index(asymmetry.argmax(), asymmetry.shape))
        raise InputError(
            f"The RDM of subject {subject} of {where} is not symmetric: {values[subject, i, j]:.6g} at ({i}, {j}), "
            f"{values[subject, j, i]:.6g} at ({j}, {i}); average it with its transpose if that is intended."
        )
    if np.abs(values[:, diagonal, diagonal]).max() > TOLERANCE * scale:
        subject, i = (int(k) for k in np.argwhere(np.abs(values[:, diagonal, diagonal]) > TOLERANCE * scale)[0])
        raise InputError(
            f"The RDM of subject {subject} of {where} has {values[subject, i, i]:.6g} at ({i}, {i}), where an image "
            "meets itself and 0 belongs; if these are similarities r, give 1 − r."
        )
    values = (values + values.transpose(0, 2, 1)) / 2
    values[:, diagonal, diagonal] = 0.0
    return values
