"""Maps and time courses for other tools: GIFTI and CIFTI on cortical meshes, FIF for MNE, NIfTI for volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.meshes import MESH_VERTICES
from brainmap.data.sensor_layout import load_sensors

STRUCTURES = {"L": "CIFTI_STRUCTURE_CORTEX_LEFT", "R": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
OFF_GRID = 0.1  # of a voxel
MODEL_COLUMNS = ("structure", "i", "j", "k")
GIFTI_STRUCTURES = {"L": "CortexLeft", "R": "CortexRight"}


def write_gifti(
    maps: Mapping[str, np.ndarray], targets: pd.DataFrame, stem: str | Path, *, mesh: str = "fsLR-32k"
) -> list[Path]:
    """Write maps as GIFTI, one file a hemisphere (``<stem>.L.func.gii``).

    Parameters
    ----------
    maps : mapping of str to numpy.ndarray, (n_targets,)
        Name of each map, and a value per target.
    targets : pandas.DataFrame
        ``hemisphere`` and ``vertex`` (or ``mesh_vertex``) of each target.
    stem : str or Path
        Beginning of the files' names.
    mesh : str
        Mesh that vertices count in, one of :data:`brainmap.data.meshes.MESH_VERTICES`. Vertices without target are NaN.

    Returns
    -------
    list of Path
    """
    import nibabel

    written = []
    for side, full in _on_mesh(maps, targets, mesh).items():
        image = nibabel.gifti.GiftiImage(
            meta=nibabel.gifti.GiftiMetaData({"AnatomicalStructurePrimary": GIFTI_STRUCTURES[side], "mesh": mesh})
        )
        for name, values in zip(maps, full, strict=True):
            array = nibabel.gifti.GiftiDataArray(
                values, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32", meta={"Name": name}
            )
            image.add_gifti_data_array(array)
        path = Path(f"{stem}.{side}.func.gii")
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, path)
        written.append(path)
    return written


def brain_model_columns(axis: Any) -> pd.DataFrame:
    """Columns of targets that say which grayordinate of a CIFTI file each is: structure, and place of voxels."""
    table = pd.DataFrame(np.asarray(axis.voxel), columns=list(MODEL_COLUMNS[1:]))
    table.insert(0, MODEL_COLUMNS[0], [str(name) for name in axis.name])
    return table


def brain_model_info(axis: Any) -> dict[str, Any]:
    """What the columns do not say of a file's grayordinates, as JSON takes it: sizes of surfaces, grid of voxels."""
    info: dict[str, Any] = {"surfaces": {str(name): int(count) for name, count in axis.nvertices.items()}}
    if axis.affine is not None:
        info |= {"grid": [int(length) for length in axis.volume_shape], "affine": np.asarray(axis.affine).tolist()}
    return {"brain_model": info}


def write_cifti(
    maps: Mapping[str, np.ndarray],
    targets: pd.DataFrame,
    path: str | Path,
    *,
    mesh: str = "fsLR-32k",
    model: Mapping[str, Any] | None = None,
) -> Path:
    """Write maps as one ``.dscalar.nii`` with the grayordinates that are targets.

    Parameters
    ----------
    maps, targets
        As in :func:`write_gifti`.
    path : str or Path
        File; must end in ``.dscalar.nii``.
    mesh : str
        Mesh that vertices count in.
    model : mapping, optional
        :func:`brain_model_info` of the file that responses came in. Targets then carry :func:`brain_model_columns`, and
        the file's grayordinates, voxels below the cortex among them, are written in its order.
    """
    import nibabel
    from nibabel import cifti2

    file = Path(path)
    if not file.name.endswith(".dscalar.nii"):
        raise InputError(f"A CIFTI file of maps ends in .dscalar.nii, not {file.name!r}.")
    axis, order = None, [np.arange(len(targets))]
    if model is not None:
        axis = _axis_of_file(targets, model)
    else:
        order = []
        for side, rows, vertices in _sides(targets, mesh):
            by_vertex = np.argsort(vertices)
            part = cifti2.BrainModelAxis.from_surface(vertices[by_vertex], MESH_VERTICES[mesh], STRUCTURES[side])
            axis = part if axis is None else axis + part
            order.append(rows[by_vertex])
    values = _checked(maps, len(targets))[:, np.concatenate(order)]
    header = cifti2.Cifti2Header.from_axes((cifti2.ScalarAxis(list(maps)), axis))
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(cifti2.Cifti2Image(values.astype(np.float32), header), file)
    return file


def _axis_of_file(targets: pd.DataFrame, model: Mapping[str, Any]) -> Any:
    """Grayordinates of the file that responses came in, or those of them that are targets."""
    from nibabel import cifti2

    structure = targets[MODEL_COLUMNS[0]].to_numpy(dtype=str)
    voxel = targets[list(MODEL_COLUMNS[1:])].to_numpy(dtype=np.int64)
    vertex = np.where((voxel >= 0).all(axis=1), -1, _vertices_or_none(targets))
    surfaces = {name: count for name, count in model["surfaces"].items() if name in set(structure)}
    grid = {"affine": np.asarray(model["affine"]), "volume_shape": tuple(model["grid"])} if "grid" in model else {}
    return cifti2.BrainModelAxis(structure, voxel=voxel, vertex=vertex, nvertices=surfaces, **grid)


def write_volume(
    maps: Mapping[str, np.ndarray],
    targets: pd.DataFrame,
    like: str | Path | tuple[Sequence[int], np.ndarray],
    path: str | Path,
) -> Path:
    """Write maps of voxels as NIfTI in the space of another image.

    Parameters
    ----------
    maps, targets
        As in :func:`write_gifti`.
    like : str or Path, or (shape, affine)
        Image whose shape, orientation and position are used, or these themselves.
    path : str or Path
        File to write.

    Raises
    ------
    InputError
        If the targets lie on another grid.

    Notes
    -----
    Voxels are placed by ``x``, ``y``, ``z`` (mm), so that it does not matter how ``like`` stores its axes; where these
    are unknown, by ``vertex``, which counts voxels of ``like`` in C order.
    """
    import nibabel

    if isinstance(like, tuple):
        grid = np.broadcast_to(np.uint8(0), tuple(like[0]))
        model: Any = nibabel.Nifti1Image(grid, np.asarray(like[1], dtype=float))
    else:
        model = nibabel.load(like)
    values = _checked(maps, len(targets))
    volume = np.full((int(np.prod(model.shape[:3])), len(values)), np.nan, dtype=np.float32)
    volume[_voxels(targets, model, like)] = values.T
    image = nibabel.Nifti1Image(volume.reshape(*model.shape[:3], len(values)), model.affine)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return Path(path)


def _voxels(targets: pd.DataFrame, model: Any, like: object) -> np.ndarray:
    """Place of each target in a flattened image."""
    shape = model.shape[:3]
    places = _vertices(targets)
    xyz = targets.reindex(columns=["x", "y", "z"]).to_numpy(dtype=float)
    if np.isfinite(xyz).all():
        inverse = np.linalg.inv(model.affine)
        exact = xyz @ inverse[:3, :3].T + inverse[:3, 3]
        ijk = np.round(exact).astype(np.int64)
        if np.abs(exact - ijk).max() > OFF_GRID or (ijk < 0).any() or (ijk >= np.array(shape)).any():
            raise InputError(
                f"The voxels lie on another grid than {like}; give an image in the space of the recording."
            )
        places = np.ravel_multi_index(tuple(ijk.T), shape)
    elif places.max() >= np.prod(shape):
        raise InputError(
            f"{like} has {np.prod(shape)} voxels, a target is voxel {places.max()}; give the recording's image."
        )
    voxels: np.ndarray = places
    return voxels


def write_evoked(values: np.ndarray, targets: pd.DataFrame, path: str | Path, *, comment: str = "brainmap") -> Path:
    """Write one value per sensor × time as an evoked response that MNE reads.

    Parameters
    ----------
    values : numpy.ndarray, (n_targets,) or (n_conditions, n_targets)
        Scores, or mean responses.
    targets : pandas.DataFrame
        ``sensor`` and ``time`` (s) of each target, sensor by sensor.
    path : str or Path
        File; MNE wants it to end in ``-ave.fif``.
    comment : str
        Name of the response; conditions are numbered.

    Notes
    -----
    Sensors of the CTF-275 system get their canonical positions; others have none. Units are whatever the values are
    (correlations, standard deviations): the channel type is magnetometer so that MNE draws topographies.
    """
    import mne

    sensors = targets["sensor"].drop_duplicates().to_numpy(dtype=str)
    times = np.unique(targets["time"].to_numpy(dtype=float))
    if len(targets) != len(sensors) * len(times):
        raise InputError(f"{len(targets)} targets are no grid of {len(sensors)} sensors and {len(times)} times.")
    array = np.atleast_2d(np.asarray(values, dtype=float))
    if array.shape[1] != len(targets):
        raise InputError(f"There are {array.shape[1]} values for {len(targets)} targets.")
    rate = 1.0 if len(times) < 2 else 1.0 / float(np.median(np.diff(times)))
    info = mne.create_info(sensors.tolist(), rate, "mag")
    places = load_sensors("ctf-275").set_index("sensor")
    for channel in info["chs"]:
        if channel["ch_name"] in places.index:
            place = places.loc[channel["ch_name"]]
            channel["loc"][:3] = place[["x", "y", "z"]].to_numpy(dtype=float)
            channel["loc"][3:12] = _frame(place[["nx", "ny", "nz"]].to_numpy(dtype=float)).ravel()
    grid = array.reshape(len(array), len(sensors), len(times))
    names = [comment if len(grid) == 1 else f"{comment} {number}" for number in range(len(grid))]
    evoked = [
        mne.EvokedArray(courses, info, tmin=float(times[0]), comment=name)
        for courses, name in zip(grid, names, strict=True)
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    mne.write_evokeds(path, evoked, overwrite=True, verbose="error")
    return Path(path)


def _frame(normal: np.ndarray) -> np.ndarray:
    """Two directions in the coil's plane, and its normal."""
    unit = normal / np.linalg.norm(normal)
    across = np.cross(unit, [0.0, 0.0, 1.0] if abs(unit[2]) < 0.9 else [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(unit, across), unit])


def _vertices_or_none(targets: pd.DataFrame) -> np.ndarray:
    return targets["mesh_vertex" if "mesh_vertex" in targets else "vertex"].to_numpy(dtype=np.int64)


def _vertices(targets: pd.DataFrame) -> np.ndarray:
    column = "mesh_vertex" if "mesh_vertex" in targets else "vertex"
    if column not in targets or (targets[column] < 0).any():
        raise InputError("The targets have no places on a mesh; only targets with a vertex can be exported as maps.")
    return targets[column].to_numpy(dtype=np.int64)


def check_hemispheres(targets: pd.DataFrame, mesh: str) -> None:
    """Refuse targets that cannot be written as maps of two hemispheres.

    Raises
    ------
    InputError
        If one has no hemisphere, or a vertex that the mesh does not have.
    """
    _sides(targets, mesh)


def _sides(targets: pd.DataFrame, mesh: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    if mesh not in MESH_VERTICES:
        raise InputError(f"There is no mesh {mesh!r}; choose {', '.join(MESH_VERTICES)}.")
    vertices = _vertices(targets)
    right = (targets["hemisphere"] == "R").to_numpy()
    if right.any() and vertices[right].min() >= MESH_VERTICES[mesh]:  # counted on from the left hemisphere
        vertices = np.where(right, vertices - MESH_VERTICES[mesh], vertices)
    if vertices.max() >= MESH_VERTICES[mesh]:
        raise InputError(f"Vertex {vertices.max()} is not on {mesh}, which has {MESH_VERTICES[mesh]} a hemisphere.")
    side = targets["hemisphere"].to_numpy()
    sides = [(letter, np.flatnonzero(side == letter)) for letter in ("L", "R")]
    if sum(len(rows) for _, rows in sides) != len(targets):
        raise InputError("Every target needs the hemisphere 'L' or 'R' to be exported as a map.")
    return [(letter, rows, vertices[rows]) for letter, rows in sides if len(rows)]


def _on_mesh(maps: Mapping[str, np.ndarray], targets: pd.DataFrame, mesh: str) -> dict[str, np.ndarray]:
    values = _checked(maps, len(targets))
    full = {}
    for side, rows, vertices in _sides(targets, mesh):
        full[side] = np.full((len(values), MESH_VERTICES[mesh]), np.nan, dtype=np.float32)
        full[side][:, vertices] = values[:, rows]
    return full


def _checked(maps: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    if not maps:
        raise InputError("There is no map to export.")
    for name, values in maps.items():
        if np.shape(values) != (count,):
            raise InputError(f"The map {name!r} has shape {np.shape(values)} for {count} targets.")
    return np.stack([np.asarray(values, dtype=np.float32) for values in maps.values()])
