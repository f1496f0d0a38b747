"""Maps of scores in the space the responses came in: NIfTI, GIFTI or CIFTI files for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.lazy_arrays import mean_by_layer
from brainmap.data.exported_maps import check_hemispheres, write_cifti, write_gifti, write_volume
from brainmap.data.meshes import MESH_VERTICES, NATIVE_MESH, VOXELS
from brainmap.data.responses import Responses
from brainmap.study.run_folder import RunFolder

OutSpace = Literal["nifti", "gifti", "cifti"]
OUT_SPACES: tuple[OutSpace, ...] = ("nifti", "gifti", "cifti")


def check_out_space(responses: Responses, out_space: OutSpace) -> None:
    """Refuse a kind of file that responses cannot be written to, before anything is computed.

    Raises
    ------
    InputError
        Naming what the responses are, and what can be written.
    """
    if out_space not in OUT_SPACES:
        raise InputError(f"There are no maps {out_space!r}; choose {', '.join(OUT_SPACES)}.")
    if responses.modality != "fmri":
        raise InputError("Maps are of voxels or vertices; sensors have none: leave out --out-space.")
    mesh, placed = _mesh(responses), _placed(responses.targets)
    model = responses.info.get("brain_model")
    if not len(placed) and model is None:
        raise InputError(
            "The targets have no places (column 'vertex'), so there is no map to write; leave out --out-space."
        )
    of_cortex = [*(["gifti"] if len(placed) else []), *(["cifti"] if model or mesh.startswith("fsLR") else [])]
    possible = ["nifti"] if mesh == VOXELS else of_cortex
    if mesh == VOXELS and "affine" not in responses.info:
        raise InputError("The voxels come without the grid of their image, so no map can be written.")
    if out_space not in possible:
        where = "voxels" if mesh == VOXELS else f"vertices of {mesh}"
        raise InputError(f"The responses are {where}: their maps are {' or '.join(possible)}, not {out_space}.")
    if out_space != "nifti" and not (out_space == "cifti" and model):
        check_hemispheres(placed, mesh)


def check_maps(
    out_space: OutSpace | None, everyone: Sequence[Responses] | None, modality: Sequence[str] | None
) -> None:
    """The same for a study: of everyone's responses, or of the sample where there are none.

    Raises
    ------
    InputError
        As :func:`check_out_space`.
    """
    if out_space is None:
        return
    for responses in everyone or ():
        check_out_space(responses, out_space)
    if everyone is None and (modality != ("fmri",) or out_space == "nifti"):  # vertices, and sensors
        raise InputError(
            "Maps of the sample are gifti or cifti, of its fMRI alone: choose one of them and modality fmri, or "
            "leave out --out-space."
        )


def check_meshes(everyone: Sequence[Responses]) -> None:
    """Look at the user's files of template meshes before anything is computed: a report needs them at its end.

    Raises
    ------
    InputError
        If a file is there but is not the mesh that its name says.
    """
    from brainmap.report.cortex.template_meshes import template_mesh

    for mesh in {str(responses.info.get("mesh", NATIVE_MESH)) for responses in everyone}:
        if mesh in MESH_VERTICES and mesh != NATIVE_MESH:
            template_mesh(mesh)


def write_score_maps(
    folder: RunFolder, responses: Responses, signals: tuple[str, ...], out_space: OutSpace
) -> list[Path]:
    """Write one subject's scores, a map a layer, averaged over splits.

    Parameters
    ----------
    folder : RunFolder
        A finished run; maps go to ``maps/`` in it.
    responses : Responses
        The subject's; only places are read from them.
    signals : tuple of str
        A file (or pair) each.
    out_space : {"nifti", "gifti", "cifti"}
        Kind of file.

    Returns
    -------
    list of Path
        NIfTI files have a table beside them that names their volumes.
    """
    check_out_space(responses, out_space)
    model = responses.info.get("brain_model") if out_space == "cifti" else None
    targets = _placed(responses.targets) if model is None else responses.targets.reset_index(drop=True)
    chosen = targets.index.to_numpy()
    written: list[Path] = []
    for signal in signals:
        result = folder.load_scores(responses.modality, responses.subject, signal)
        if result is None:
            continue
        r = mean_by_layer(result.r)
        maps = {str(layer): np.asarray(r.sel(layer=layer))[chosen] for layer in r["layer"].values}
        stem = folder.path / "maps" / f"sub-{responses.subject}_{signal}_r"
        table = targets.reset_index(drop=True)
        if out_space == "gifti":
            written += write_gifti(maps, table, stem, mesh=_mesh(responses))
        elif out_space == "cifti":
            file = stem.with_name(f"{stem.name}.dscalar.nii")
            written.append(write_cifti(maps, table, file, mesh=_mesh(responses), model=model))
        else:
            like = (responses.info["grid"], np.array(responses.info["affine"]))
            written.append(write_volume(maps, table, like, stem.with_name(f"{stem.name}.nii.gz")))
            names = pd.DataFrame({"volume": range(len(maps)), "layer": list(maps)})
            names.to_csv(stem.with_name(f"{stem.name}.tsv"), sep="\t", index=False)
    return written


def _mesh(responses: Responses) -> str:
    mesh = str(responses.info.get("mesh", NATIVE_MESH))
    return mesh if mesh in MESH_VERTICES else VOXELS


def _placed(targets: pd.DataFrame) -> pd.DataFrame:
    """Targets that have a place, with their rows as index; voxels below the cortex have none on a surface."""
    table = targets.reset_index(drop=True)
    return table[table["mesh_vertex" if "mesh_vertex" in table else "vertex"] >= 0]
