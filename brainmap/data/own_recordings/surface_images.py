"""Surfaces as responses: CIFTI with a row a trial; GIFTI and FreeSurfer files of one or both hemispheres."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.exported_maps import MODEL_COLUMNS, brain_model_columns, brain_model_info
from brainmap.data.meshes import NATIVE_MESH, mesh_of_size
from brainmap.data.own_recordings.atlas_labels import named_areas
from brainmap.data.own_recordings.lazy_rows import FlatAxes, SpooledRows
from brainmap.data.own_recordings.reading_options import ReadingOptions
from brainmap.data.own_recordings.recording import Recording
from brainmap.data.own_recordings.volumes import decoding, load_image
from brainmap.data.recordings.grayordinates import CORTEX, fill_native_places, grayordinate_table

GEOMETRY = (1008, 1009)  # NIFTI_INTENT_POINTSET, NIFTI_INTENT_TRIANGLE
# What marks the hemisphere in a file's name, left and right.
_SIDES = (
    (r"(?<![A-Za-z])lh(?![A-Za-z])", "rh"),
    (r"(?<=hemi-)L(?![A-Za-z])", "R"),
    (r"(?<![A-Za-z])L(?![A-Za-z])", "R"),
    (r"(?<![A-Za-z])left(?![A-Za-z])", "right"),
)


# -- CIFTI ------------------------------------------------------------------------------------------------------------


def read_cifti(image: Any, path: Path, options: ReadingOptions) -> Recording:
    """Rows of a dense or parcellated CIFTI file as trials; ``dscalar`` names them, too."""
    from nibabel.cifti2 import BrainModelAxis, ParcelsAxis, ScalarAxis

    rows, columns = (image.header.get_axis(number) for number in (0, 1))
    notes: list[str] = []
    model: dict[str, Any] = {}
    if isinstance(columns, BrainModelAxis):
        targets, mesh = grayordinate_table(columns, str(path), options.surface)
        targets[list(MODEL_COLUMNS)] = brain_model_columns(columns)
        model = brain_model_info(columns)
        notes = _with_areas(targets, mesh, path, options) if mesh is not None else []
    elif isinstance(columns, ParcelsAxis):
        targets, mesh = pd.DataFrame({"roi": [str(name) for name in columns.name]}), None
    else:
        raise InputError(
            f"{path} has {type(columns).__name__} along its columns; rows must be trials, columns grayordinates or "
            "parcels (wb_command -cifti-transpose)."
        )
    targets.attrs = {"file": path.name, "notes": []}
    trials = None
    if isinstance(rows, ScalarAxis):
        trials = pd.DataFrame({"stimulus": [str(name) for name in rows.name]})
        trials.attrs = {"file": path.name, "notes": []}
    info = {"file": path.name, **({"mesh": mesh} if mesh else {}), **model}
    return Recording(FlatAxes(image.dataobj), targets, trials, "fmri", info=info, notes=notes)


# -- GIFTI, FreeSurfer -----------------------------------------------------------------------------------------------


def read_surfaces(paths: list[Path], options: ReadingOptions) -> Recording:
    """Values of vertices, one column (GIFTI: one array) a trial; the other hemisphere's file is found beside it."""
    files, notes = _hemispheres(paths)
    parts, widths, sizes = {}, {}, {}
    for side, path in files.items():
        image = load_image(path)
        if hasattr(image, "darrays"):
            arrays = [part for part in image.darrays if part.data is not None]
            if any(part.intent in GEOMETRY for part in arrays):
                raise InputError(f"{path} holds the geometry of a surface, not values; give a .func.gii or .shape.gii.")
            one_matrix = len(arrays) == 1 and arrays[0].data.ndim == 2
            sizes[side] = int(arrays[0].data.shape[0]) if arrays else 0
            widths[side] = int(arrays[0].data.shape[1]) if one_matrix else len(arrays)
        else:
            shape = tuple(image.shape)
            sizes[side], widths[side] = int(np.prod(shape[:3])), int(shape[3]) if len(shape) > 3 else 1
        parts[side] = path
    if len(set(widths.values())) > 1 or len(set(sizes.values())) > 1:
        first, second = files.values()
        raise InputError(
            f"{first.name} has {sizes['L']:,} vertices × {widths['L']} trials, "
            f"{second.name} {sizes['R']:,} × {widths['R']}; "
            "the two hemispheres must be equal."
        )
    count, n_trials = next(iter(sizes.values())), next(iter(widths.values()))
    first = next(iter(files.values()))
    mesh = mesh_of_size(count, str(first), options.surface, freesurfer=first.suffix.lower() in (".mgh", ".mgz"))
    targets = pd.concat(
        [pd.DataFrame({"roi": "cortex", "hemisphere": side, "vertex": np.arange(count)}) for side in parts],
        ignore_index=True,
    ).assign(x=np.nan, y=np.nan, z=np.nan)
    targets["roi"] = targets["roi"].astype(object)
    notes += _with_areas(targets, mesh, first, options)
    targets.attrs = {"file": first.name, "notes": []}
    values = SpooledRows(
        (n_trials, len(targets)), functools.partial(_surface_blocks, list(parts.values()), n_trials), str(first)
    )
    return Recording(values, targets, None, "fmri", info={"file": first.name, "mesh": mesh}, notes=notes)


def _surface_blocks(paths: list[Path], n_trials: int) -> Iterator[np.ndarray]:
    """Trials of both hemispheres side by side; GIFTI files are read whole, as their text can only be."""
    images = [load_image(path) for path in paths]
    step = 64
    for start in range(0, n_trials, step):
        stop = min(start + step, n_trials)
        sides = []
        for path, image in zip(paths, images, strict=True):
            with decoding(path):
                if not hasattr(image, "darrays"):
                    data = np.asarray(image.dataobj[..., start:stop] if len(image.shape) > 3 else image.dataobj)
                    sides.append(data.reshape(-1, stop - start, order="F").T)
                elif len(image.darrays) == 1 and image.darrays[0].data.ndim == 2:
                    sides.append(image.darrays[0].data[:, start:stop].T)
                else:
                    sides.append(np.stack([part.data for part in image.darrays[start:stop]]))
        yield np.concatenate(sides, axis=1).astype(np.float32)


def _hemispheres(paths: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """Files by side, left first."""
    if len(paths) == 2:
        sides = [_side_of(path) for path in paths]
        if set(sides) != {"L", "R"}:
            raise InputError(
                f"{paths[0].name} and {paths[1].name} are not the left and right hemisphere, by their names."
            )
        return dict(sorted(zip(sides, paths, strict=True))), []
    side, other = _side_of(paths[0]), _other_side(paths[0])
    if other is not None and other.is_file():
        both = {side: paths[0], "R" if side == "L" else "L": other}
        return dict(sorted(both.items())), [f"{other.name} is read as the other hemisphere of {paths[0].name}"]
    return {side: paths[0]}, [f"only the {'left' if side == 'L' else 'right'} hemisphere is read, from {paths[0].name}"]


def _side_of(path: Path) -> str:
    for left, right in _SIDES:
        for side, pattern in (("L", left), ("R", re.sub(r"(lh|left|L)(?=\(\?!)", right, left))):
            if re.search(pattern, path.name):
                return side
    image = load_image(path)
    structure = str(dict(getattr(image, "meta", None) or {}).get("AnatomicalStructurePrimary", ""))
    if structure in ("CortexLeft", "CortexRight"):
        return "L" if structure == "CortexLeft" else "R"
    raise InputError(f"{path.name} does not say which hemisphere it is; call it lh.… or rh.…, or hemi-L, hemi-R.")


def _other_side(path: Path) -> Path | None:
    for left, right in _SIDES:
        mark = {"rh": "lh", "R": "L", "right": "left"}[right]
        mirrored = re.sub(r"(lh|left|L)(?=\(\?!)", right, left)
        for pattern, replacement in ((left, right), (mirrored, mark)):
            name, count = re.subn(pattern, replacement, path.name, count=1)
            if count:
                return path.with_name(name)
    return None


# -- areas -----------------------------------------------------------------------------------------------------------


def _with_areas(targets: pd.DataFrame, mesh: str, path: Path, options: ReadingOptions) -> list[str]:
    """Fill in areas and, on fsLR-32k, coordinates; returns notes."""
    notes = []
    if options.mask is not None:
        raise InputError(f"{path.name} is on a surface: a volume mask does not apply; leave out --mask.")
    if options.atlas is not None:
        _label_from_file(targets, Path(options.atlas), mesh)
    elif mesh == NATIVE_MESH:
        notes.append(f"areas of {path.name} are those of HCP-MMP1 on {NATIVE_MESH} (--atlas for others)")
    if mesh == NATIVE_MESH:
        fill_native_places(targets, areas=options.atlas is None)
    return notes


def _label_from_file(targets: pd.DataFrame, atlas: Path, mesh: str) -> None:
    """Areas from FreeSurfer ``.annot`` or GIFTI label files of each hemisphere, or a CIFTI ``dlabel`` of both."""
    if atlas.name.endswith(".dlabel.nii"):
        _label_from_cifti(targets, atlas)
        return
    for side in dict.fromkeys(targets["hemisphere"]):
        if not side:
            continue
        file = atlas if _side_of(atlas) == side else _other_side(atlas)
        if file is None or not file.is_file():
            raise InputError(f"There is no atlas for the hemisphere {side} beside {atlas}; give a pair, lh.… and rh.….")
        numbers, names = _surface_labels(file)
        mine = (targets["hemisphere"] == side).to_numpy()
        vertex = targets["vertex"].to_numpy()[mine]
        if vertex.max(initial=-1) >= len(numbers):
            raise InputError(f"{file} has {len(numbers):,} vertices, fewer than {mesh} of the responses.")
        targets.loc[mine, "roi"] = named_areas(numbers[vertex], names, str(file))


def _surface_labels(file: Path) -> tuple[np.ndarray, dict[int, str]]:
    if file.suffix == ".annot":
        from nibabel.freesurfer import read_annot

        with decoding(file):
            numbers, _, labels = read_annot(file)
        names = {number: label.decode() for number, label in enumerate(labels)}
    else:
        image = load_image(file)
        if not hasattr(image, "labeltable"):
            raise InputError(f"{file} is no atlas of a surface; give .annot, .label.gii or .dlabel.nii.")
        numbers = np.asarray(image.darrays[0].data).astype(np.int64)
        names = {int(number): str(name) for number, name in image.labeltable.get_labels_as_dict().items()}
    unlabelled = {-1: "", **{number: "" for number, name in names.items() if name.casefold() in ("unknown", "???")}}
    return numbers, {**names, **unlabelled}


def _label_from_cifti(targets: pd.DataFrame, atlas: Path) -> None:
    image = load_image(atlas)
    table = {number: ("" if name == "???" else name) for number, (name, _) in image.header.get_axis(0).label[0].items()}
    numbers = np.asarray(image.dataobj)[0].astype(np.int64)
    axis = image.header.get_axis(1)
    lookup = {
        (CORTEX.get(str(name), ""), int(vertex)): table.get(int(number), "")
        for name, vertex, number in zip(axis.name, axis.vertex, numbers, strict=True)
    }
    targets["roi"] = [
        lookup.get((side, int(vertex)), roi) if side else roi
        for side, vertex, roi in zip(targets["hemisphere"], targets["vertex"], targets["roi"], strict=True)
    ]
