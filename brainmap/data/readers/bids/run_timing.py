"""When each scan of a run was taken: repetition time, slice-timing reference, from sidecars and the image's header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.data.readers.findings import Findings

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
LONGEST = 60.0  # s; a longer repetition time is in another unit
AGREE = 0.01  # relative difference of sidecar and header that needs no word

Sidecar = Mapping[str, tuple[Any, Path]]


def scan_times(
    image: Path,
    n_scans: int,
    sidecar: Sidecar,
    header: tuple[float, str] | None,
    findings: Findings,
    *,
    start_time: float | None = None,
) -> np.ndarray:
    """Time of each scan in s from the beginning of the run, as events count.

    Parameters
    ----------
    image : Path
        The run, for sentences.
    n_scans : int
        Its number of scans.
    sidecar : mapping
        Keys of the sidecars that apply, each with its value and the file that states it.
    header : tuple of (float, str), optional
        Repetition time in the image's header, and its unit (``sec``, ``msec``, ``usec``, ``unknown``).
    findings : Findings
        Receives disagreements of sidecar and header.
    start_time : float, optional
        Time of the first scan in s; by default ``StartTime`` of the sidecar (fMRIPrep writes the time that slice
        timing was corrected to), or 0.

    Returns
    -------
    numpy.ndarray of float, (n_scans,)

    Raises
    ------
    InputError
        If no repetition time is stated, or none in a known unit, or two statements exclude each other.
    """
    stated = _number(sidecar, "RepetitionTime")
    volumes = sidecar.get("VolumeTiming")
    if volumes is not None:
        times = _volume_times(volumes, n_scans, stated, sidecar)
    else:
        times = np.arange(n_scans) * _repetition_time(image, stated, sidecar, header, findings)
    first = _start(image, sidecar, findings) if start_time is None else start_time
    if n_scans > 1 and not 0 <= first <= times[1] - times[0]:
        where = sidecar["StartTime"][1] if start_time is None else "--set start_time"
        raise InputError(
            f"{where} says that the first scan of {image.name} is at {first:g} s; it must lie within its first "
            f"{times[1] - times[0]:g} s."
        )
    shifted: np.ndarray = times + first
    return shifted


def _number(sidecar: Sidecar, key: str) -> float | None:
    if key not in sidecar or sidecar[key][0] is None:
        return None
    value, file = sidecar[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InputError(f"{file} has {key} = {value!r}; it must be a number of seconds.")
    return float(value)


def _volume_times(volumes: tuple[Any, Path], n_scans: int, stated: float | None, sidecar: Sidecar) -> np.ndarray:
    value, file = volumes
    try:
        times = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        times = np.zeros(0)
    if times.shape != (n_scans,) or not (np.diff(times) > 0).all():
        raise InputError(f"VolumeTiming in {file} must hold one rising number of seconds for each of {n_scans} scans.")
    if stated and n_scans > 1 and not np.allclose(np.diff(times), stated, rtol=AGREE):
        raise InputError(
            f"{file} has VolumeTiming, {sidecar['RepetitionTime'][1]} has RepetitionTime = {stated:g}, and the two "
            "exclude each other; remove the wrong one."
        )
    return times


def _repetition_time(
    image: Path, stated: float | None, sidecar: Sidecar, header: tuple[float, str] | None, findings: Findings
) -> float:
    value, unit = header if header is not None else (0.0, "unknown")
    inside = value * SECONDS[unit] if unit in SECONDS and value > 0 else None
    if stated is not None:
        file = sidecar["RepetitionTime"][1]
        if not 0 < stated <= LONGEST:
            raise InputError(
                f"{file} has RepetitionTime = {stated:g}; it must be in seconds, between 0 and {LONGEST:g}."
            )
        if inside is not None and abs(inside - stated) > AGREE * stated:
            findings.add(
                image, None, f"its header says a repetition time of {inside:g} s, {file.name} {stated:g} s",
                "the sidecar counts",
            )  # fmt: skip
        return stated
    if inside is None and value >= 100:  # 2000 without a unit can only be milliseconds
        inside = value / 1000
        findings.add(image, None, f"its header has a repetition time of {value:g} without a unit", "read as ms")
    if inside is None or not 0 < inside <= LONGEST:
        said = f"its header says {value:g} in the unit {unit!r}" if value > 0 else "its header has none"
        raise InputError(
            f"The repetition time of {image} is in no sidecar that applies to it, and {said}; add RepetitionTime "
            "(in s) to its .json."
        )
    return inside


def _start(image: Path, sidecar: Sidecar, findings: Findings) -> float:
    first = _number(sidecar, "StartTime")
    if first is None and sidecar.get("SliceTimingCorrected", (False, None))[0] is True:
        findings.add(
            image, None, "slice timing was corrected, but no sidecar says to which time (StartTime)",
            "the beginning of each scan is assumed; --set start_time=… says otherwise",
        )  # fmt: skip
    return 0.0 if first is None else first
