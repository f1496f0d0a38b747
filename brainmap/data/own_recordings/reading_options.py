"""What a file of responses does not say itself: mask, atlas, mesh, catch trials, epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brainmap.common.errors import InputError
from brainmap.common.names import TIMED, as_names
from brainmap.data.own_recordings.arrays.axis_order import axis_names


@dataclass(frozen=True)
class ReadingOptions:
    """What a file of responses does not say itself.

    Attributes
    ----------
    mask : str or Path, optional
        Image (NIfTI) whose non-zero voxels are used.
    atlas : str, Path or object with ``maps`` and ``lut`` or ``labels``, optional
        Labels image, its table beside it or in ``labels``; a FreeSurfer ``.annot`` or GIFTI label file for surfaces.
        What nilearn's ``fetch_atlas_…`` functions return is taken as it is.
    labels : str or Path, optional
        Table of the atlas: the number and name of each area.
    surface : str, optional
        Mesh that vertices count in: ``fsaverage``, ``fsaverage5``, ``fsaverage6``, ``fsLR-32k``, ``fsLR-59k`` or
        ``fsLR-164k``.
    resample : bool
        Bring a mask or atlas of another grid to that of the responses (nearest neighbour).
    catch : tuple of str
        Values of ``stimulus`` or ``trial_type`` that mark catch trials.
    confounds : str, Path or DataFrame, optional
        Table of numbers, one row a trial, that are projected out inside each split.
    modality : {"meg", "eeg", "ieeg", "fnirs"}, optional
        What sensors measure, where the file does not say it or holds several kinds.
    montage : str, optional
        Where sensors are: a montage or layout of MNE by name (``biosemi128``, ``GSN-HydroCel-128``, ``CTF151``), where
        neither the file nor the targets table says it.
    tmin, tmax : float
        For continuous recordings: beginning and end of an epoch in s from onset.
    axes : tuple of str, optional
        Names of a bare array's axes (``trials,sensors,times``), where their lengths do not tell them apart.
    """

    mask: Any = None
    atlas: Any = None
    labels: Any = None
    surface: str | None = None
    resample: bool = False
    catch: tuple[str, ...] = ()
    confounds: Any = None
    modality: str | None = None
    montage: str | None = None
    tmin: float = -0.1
    tmax: float = 0.8
    axes: tuple[str, ...] | None = None


def reading_options(options: dict[str, Any]) -> ReadingOptions:
    """Options by name; unknown ones are errors."""
    known = list(ReadingOptions.__dataclass_fields__)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(f"There is no option {unknown[0]!r} of reading responses; there are {', '.join(known)}.")
    catch, axes = as_names(options.get("catch", ())), options.get("axes")
    chosen = ReadingOptions(**{**options, "catch": catch, "axes": None if axes is None else axis_names(axes)})
    if chosen.modality not in (None, *TIMED):
        raise InputError(f"Sensors measure {', '.join(TIMED)}, not {chosen.modality!r}.")
    if not chosen.tmin < chosen.tmax:
        raise InputError(f"An epoch must end after it begins, not from {chosen.tmin} to {chosen.tmax} s.")
    return chosen
