"""Cortical properties: values of areas (half time, best layer, …) against thickness, myelin, expansion and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.atlas import N_VERTICES, load_atlas
from brainmap.data.recordings.brain_images import load_image
from brainmap.hierarchy.spin_tests import SpinTest, spin_test, spins
from brainmap.hierarchy.surrogate_maps import map_order

FloatArray = NDArray[np.float64]
GIFTI_LABEL, GIFTI_POINTS = 1002, 1008  # NIFTI_INTENT_LABEL, NIFTI_INTENT_POINTSET
_LABELS = "it holds labels of areas, not values; give a map of numbers, such as a .dscalar.nii file"
COVERED = 0.75  # of the rotated map, at least
VERTICES = {32492: "fsLR-32k", 163842: "fsaverage", 40962: "fsaverage6", 10242: "fsaverage5"}


@dataclass(frozen=True)
class SpinOptions:
    """Settings of the spin test of whole maps.

    Parameters
    ----------
    n_spins : int
        Rotations.
    seed : int
        Seed of rotations.

    Examples
    --------
    >>> from brainmap.hierarchy import SpinOptions
    >>> SpinOptions(n_spins=100, seed=1).n_spins
    100
    """

    n_spins: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_spins < 1:
            raise InputError(f"A spin test needs at least 1 rotation, and 1,000 are usual; n_spins is {self.n_spins}.")


def read_map(
    path: str | Path, hemisphere: str = "L", *, which: int | None = None, zeros_missing: bool = False
) -> FloatArray:
    """Read a cortical map the user has: one value per vertex of one hemisphere.

    Parameters
    ----------
    path : str or Path
        CIFTI (``.dscalar.nii``), GIFTI (``.gii``), FreeSurfer (``.mgh``, ``.mgz`` or a curvature file such as
        ``lh.thickness``), ``.npy`` or one number a line (``.txt``).
    hemisphere : {'L', 'R'}
        Side to take from a CIFTI file; other files hold one side: say which, for its medial wall.
    which : int, optional
        Number, from 0, of the map in a CIFTI or GIFTI file that holds several.
    zeros_missing : bool
        Take every value that is exactly 0 for missing. GIFTI, FreeSurfer and plain files have no other way to say that
        a vertex has no value, but 0 is a value in some maps (13 % of the left cortex in one of Neurosynth), so this is
        for you to say.

    Returns
    -------
    ndarray, (n_vertices,)
        NaN where the file has no value: the medial wall of CIFTI files, and zeros on the medial wall of the fsLR-32k
        mesh in all formats, because there is no cortex there whose value could be 0. The medial wall of other meshes is
        not known here: on fsaverage its zeros count as values unless ``zeros_missing`` says otherwise.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If it cannot be read as one map, holds no values, labels of areas (``.dlabel.nii``), a surface, or several maps
        of which none is chosen, or the side is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import read_map
    >>> np.save("thickness.npy", np.linspace(1, 4, 32492))
    >>> read_map("thickness.npy", "L").shape
    (32492,)
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"There is no cortical map {file}; give a .dscalar.nii, .gii, .mgh, .npy or .txt file.")
    if hemisphere not in ("L", "R"):
        raise InputError(f"The hemisphere must be 'L' or 'R', not {hemisphere!r}.")
    try:
        values = _read(file, hemisphere, which)
    except InputError:  # says itself what is wrong with the file
        raise
    except Exception as error:  # parsers of five formats, each with errors of its own for a file that is not one
        raise InputError(f"{file.name} cannot be read as a cortical map: {' '.join(str(error).split())}") from error
    if values.ndim != 1:
        raise InputError(f"{file.name} holds an array of shape {values.shape}; a map has one value per vertex.")
    if not np.isfinite(values).any():
        raise InputError(f"{file.name} holds no values, or none that is a finite number.")
    values = np.where((values == 0) & (zeros_missing or _medial_wall(values, hemisphere)), np.nan, values)
    if not np.isfinite(values).any():
        raise InputError(f"{file.name} holds nothing but zeros that count as missing.")
    return values


def _medial_wall(values: FloatArray, hemisphere: str) -> NDArray[np.bool_] | bool:
    """Vertices without cortex, where the mesh is one whose medial wall is known."""
    return load_atlas()[hemisphere] == "" if len(values) == N_VERTICES else False


def parcel_means(values: ArrayLike, labels: ArrayLike) -> pd.Series:
    """Average a map over the vertices of each area.

    Parameters
    ----------
    values : array-like, (n_vertices,)
        Map; NaN is left out.
    labels : array-like of str, (n_vertices,)
        Area of each vertex; '', None or NaN for none.

    Returns
    -------
    pandas.Series
        Mean by area.

    Raises
    ------
    InputError
        If the two are on different meshes.

    Examples
    --------
    >>> from brainmap.hierarchy import parcel_means
    >>> parcel_means([1.0, 3.0, 5.0, 7.0], ["V1", "V1", "V2", ""]).to_dict()
    {'V1': 2.0, 'V2': 5.0}
    """
    array, areas = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=object)
    names = np.where(pd.isna(areas), "", areas).astype(str)
    if array.shape != names.shape:
        meshes = [VERTICES.get(n, "an unknown mesh") for n in (len(array), len(names))]
        raise InputError(
            f"The map has {len(array)} vertices ({meshes[0]}) but the areas {len(names)} ({meshes[1]}); resample one."
        )
    inside = names != ""
    return pd.Series(array[inside]).groupby(names[inside]).mean()


def compare_properties(
    values: pd.Series,
    properties: Mapping[str, pd.Series],
    cortex: pd.DataFrame,
    *,
    hemisphere: str = "L",
    n_surrogates: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate a value of areas with cortical properties, against random maps as smooth as the values.

    Parameters
    ----------
    values : pandas.Series
        Value by area (half time, best layer, score …), for some areas or all; NaN is left out.
    properties : mapping of str to pandas.Series
        Properties by area. Each is kept, and the values are replaced by random maps of their smoothness
        (:mod:`brainmap.hierarchy.surrogate_maps`).
    cortex : pandas.DataFrame
        Areas with their place on the sphere, from :func:`brainmap.hierarchy.cortex_distances.cortex_areas`.
    hemisphere : {'L', 'R'}
        Side on whose sphere the areas lie.
    n_surrogates : int
        Random maps of every smoothness.
    seed : int
        Seed.

    Returns
    -------
    pandas.DataFrame
        One row per property: ``property``, ``r`` with ``low``, ``high`` and ``p``, ``rho`` with ``rho_p``, all against
        random maps; ``areas_p``, the t test that takes areas for independent; ``n``.

    Raises
    ------
    InputError
        If fewer than four areas have both values, or an area is named twice or not in the table of the cortex.

    Examples
    --------
    >>> from brainmap.hierarchy import compare_properties, cortex_areas
    >>> cortex = cortex_areas()
    >>> left = cortex[cortex["hemisphere"] == "L"].set_index("roi")
    >>> properties = {"x": left["sphere_x"]}
    >>> table = compare_properties(left["distance_mm"], properties, cortex, n_surrogates=99)
    >>> table[["property", "n"]].values.tolist()
    [['x', 180]]
    """
    whole = cortex[cortex["hemisphere"] == hemisphere]
    place = whole.set_index(whole["roi"].astype(str))[["sphere_x", "sphere_y", "sphere_z"]].astype(float)
    for what, series in {"values": values, **properties}.items():
        if twice := series.index[series.index.duplicated()].astype(str).tolist():
            raise InputError(f"The area {twice[0]!r} occurs twice in {what!r}; give one value for each area.")
    absent = [name for name in values.index.astype(str) if name not in place.index]
    if absent:
        raise InputError(f"The area {absent[0]!r} is not in the table of the cortex ({hemisphere} hemisphere).")
    mine = values.set_axis(values.index.astype(str)).astype(float)
    rows = []
    for name, series in properties.items():
        measured = series.set_axis(series.index.astype(str)).astype(float).reindex(mine.index)
        known = np.isfinite(mine) & np.isfinite(measured)
        if known.sum() < 4:
            raise InputError(f"a correlation of orders needs at least 4 units with values, got {int(known.sum())}")
        x, y = (np.asarray(part[known], dtype=np.float64) for part in (mine, measured))
        at = np.asarray(place.loc[mine.index[known]], dtype=np.float64)
        rows.append({"property": name, **map_order(x, y, at, n_surrogates=n_surrogates, seed=seed)})
    return pd.DataFrame(rows)


def compare_vertices(
    x: ArrayLike,
    y: ArrayLike,
    sphere: ArrayLike,
    *,
    options: SpinOptions | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
) -> SpinTest:
    """Correlate two maps vertex by vertex, with a spin test.

    Parameters
    ----------
    x, y : array-like, (n_vertices,)
        Maps of one hemisphere; NaN where unknown. ``y`` is rotated.
    sphere : array-like, (n_vertices, 3)
        Spherical surface of the mesh.
    options : SpinOptions, optional
        Settings.
    method : {'pearson', 'spearman'}
        Correlation.

    Returns
    -------
    SpinTest

    Raises
    ------
    InputError
        If the maps are not of one mesh, the method is unknown, or ``x`` covers less than three quarters of what ``y``
        does: a rotated map is then compared in few places that are alike, and p ≤ .05 comes up to one time in eight.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import SpinOptions, compare_vertices
    >>> sphere = np.random.default_rng(0).standard_normal((200, 3))
    >>> sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    >>> test = compare_vertices(sphere[:, 0], sphere[:, 0], sphere, options=SpinOptions(n_spins=99))
    >>> round(test.r, 6)
    1.0
    """
    if method not in ("pearson", "spearman"):
        raise InputError(f"The method {method!r} is unknown; choose 'pearson' or 'spearman'.")
    options = options or SpinOptions()
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    places = np.asarray(sphere, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(places) != len(a):
        raise InputError(f"Maps {a.shape}, {b.shape} and sphere {places.shape} must be of the same mesh.")
    known = np.flatnonzero(np.isfinite(a))
    if len(known) < 4:
        raise InputError(f"A spin test needs at least 4 places with both values, here are {len(known)}.")
    covered = len(known) / max(int(np.isfinite(b).sum()), 1)
    if covered < COVERED:
        raise InputError(
            f"The first map covers {covered:.0%} of the second, and a spin test of a part of the cortex finds too "
            "much; average both in areas (parcel_means) and use compare_properties, which holds there."
        )
    turned = spins(places[known], places, n_spins=options.n_spins, seed=options.seed)
    return spin_test(a[known], b, turned, at=known, method=method)


def _read(file: Path, hemisphere: str, which: int | None) -> FloatArray:
    import nibabel

    name = file.name.lower()
    if name.endswith(".npy"):
        with file.open("rb") as stream:
            if stream.read(6) != b"\x93NUMPY":
                raise ValueError("it is no file of numpy.save")
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
    if name.endswith((".txt", ".csv")):
        return np.loadtxt(file, dtype=np.float64)
    if name.endswith(".gii"):
        return _read_gifti(load_image(file), which)
    if name.endswith((".mgh", ".mgz")):
        return np.asarray(nibabel.load(file).dataobj, dtype=np.float64).squeeze()  # type: ignore[attr-defined]
    if not name.endswith((".nii", ".nii.gz")):
        return np.asarray(nibabel.freesurfer.read_morph_data(file), dtype=np.float64)
    return _read_cifti(nibabel.load(file), hemisphere, which)


def _read_gifti(image: Any, which: int | None) -> FloatArray:
    arrays = image.darrays
    if any(array.intent == GIFTI_LABEL for array in arrays):
        raise ValueError(_LABELS)
    if any(array.intent == GIFTI_POINTS for array in arrays):
        raise ValueError("it holds a surface, not values at its vertices")
    return np.asarray(arrays[_number(which, [array.meta.get("Name", "") for array in arrays])].data, dtype=np.float64)


def _read_cifti(image: Any, hemisphere: str, which: int | None) -> FloatArray:
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ScalarAxis

    axes = [image.header.get_axis(0), image.header.get_axis(1)] if isinstance(image, Cifti2Image) else [None, None]
    if isinstance(axes[0], LabelAxis):
        raise ValueError(_LABELS)
    if not isinstance(axes[1], BrainModelAxis):
        raise ValueError("it has no values at vertices; give a .dscalar.nii file")
    names = list(axes[0].name) if isinstance(axes[0], ScalarAxis) else [""] * image.shape[0]
    row = _number(which, names)
    structure = f"CIFTI_STRUCTURE_CORTEX_{'LEFT' if hemisphere == 'L' else 'RIGHT'}"
    for brain_structure, columns, model in axes[1].iter_structures():
        if brain_structure == structure:
            values = np.full(model.nvertices[brain_structure], np.nan)
            values[model.vertex] = np.asarray(image.dataobj[row, columns], dtype=np.float64)
            return values
    raise ValueError(f"it has no {structure}")


def _number(which: int | None, names: Sequence[str]) -> int:
    """Number of the wanted one among the maps of a file; of several, one must be named."""
    if which is None and len(names) == 1:
        return 0
    if which is None or not 0 <= which < len(names):
        told = ", ".join(f"{number}: {name}" for number, name in enumerate(names[:5]) if name)
        about = f" ({told}{', ...' if len(names) > 5 else ''})" if told else ""
        raise ValueError(
            f"it holds {len(names)} maps{about}; choose one by which=0 to {len(names) - 1}, or save it in its own file"
        )
    return which
