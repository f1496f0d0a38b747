"""Runs of a subject: which recordings belong to which events, each recording once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.readers.bids.layout import (
    DERIVED,
    VARIANTS,
    BIDSFile,
    BIDSFolder,
    ambiguous,
    differing_entities,
    has_entities,
    natural,
    one_version,
)

KINDS = ("acq", "ce", "rec", "dir", "proc", "recording")  # what may tell two recordings, or two versions of one, apart


@dataclass(frozen=True)
class Run:
    """A recording with its events.

    Attributes
    ----------
    files : tuple of BIDSFile
        One recording, or the two hemispheres of one.
    events : BIDSFile
        The nearest events table that applies.
    session, number : str
        As the names have them; ``1`` where they have none.
    """

    files: tuple[BIDSFile, ...]
    events: BIDSFile
    session: str
    number: str

    @property
    def stem(self) -> str:
        """Beginning of names of files made from this run."""
        return self.files[0].path.name.partition(".")[0]


@dataclass(frozen=True)
class RunSearch:
    """What there is of a subject.

    Attributes
    ----------
    runs : list of Run
        By session and run.
    absent : list of BIDSFile
        Events tables of runs that have no recording here.
    unexplained : list of BIDSFile
        Recordings without an events table, of tasks whose other recordings have one.
    """

    runs: list[Run]
    absent: list[BIDSFile]
    unexplained: list[BIDSFile]


@dataclass(frozen=True)
class PreparedRuns:
    """Prepared responses of a subject's runs, with their trials.

    Attributes
    ----------
    parts, tables : list
        File of responses and table of trials of each run.
    channels : list of str
        Of all parts.
    times : numpy.ndarray, (n_times,)
        In s from onset.
    recording : mne.Info
        Of the first run: kinds and places of its channels.
    info : dict
        Sampling rate and window.
    """

    parts: list[Path]
    tables: list[pd.DataFrame]
    channels: list[str]
    times: np.ndarray
    recording: Any
    info: dict[str, Any]


def find_runs(
    raw: BIDSFolder, recordings: Sequence[BIDSFile], subject: str, datatype: str, chosen: Mapping[str, Any]
) -> RunSearch:
    """Pair recordings with events.

    Parameters
    ----------
    raw : BIDSFolder
        Holds the events.
    recordings : sequence of BIDSFile
        Candidates: recordings of the subject, raw or from a derivative. Those that lack an entity chosen are known to
        be there, and left out.
    subject : str
        Whose.
    datatype : str
        ``func``, ``meg``, ``eeg`` or ``ieeg``.
    chosen : mapping
        Entities the user chose.

    Raises
    ------
    InputError
        If several versions of one recording are left; the sentence lists them.
    """
    for file in recordings:
        folders = [part for part in file.path.parent.parts if part.startswith("sub-")]
        if folders and folders[-1] != f"sub-{file.written['sub']}":
            raise InputError(f"{file.path} lies in the folder of another subject; move or rename it.")
    units = _one_version_each(_hemispheres(file for file in recordings if has_entities(file, chosen)), chosen)
    paired: list[Run] = []
    unexplained: list[BIDSFile] = []
    for unit in units:
        events = raw.inherited(unit[0], "events", ".tsv", datatype)
        if events:
            paired.append(_run(unit, events[-1]))
        else:
            unexplained.append(unit[0])
    for _, group in groupby(sorted(paired, key=_recording_key), key=_recording_key):
        _check_versions(list(group), chosen)
    tasks = {run.files[0].entities.get("task") for run in paired}
    used = {run.events.path for run in paired}
    others = [file for file in recordings if not has_entities(file, chosen)]
    absent = [
        file
        for file in raw.select("events", (".tsv",), {"sub": subject})
        if file.path.parent.name == datatype
        and file.path not in used
        and not any(file.entities.items() <= other.entities.items() for other in others)
        and has_entities(file, {key: value for key, value in chosen.items() if key in file.entities or key == "task"})
    ]
    missing_events = [file for file in unexplained if file.entities.get("task") in tasks]
    ordered = sorted(paired, key=lambda run: run.files[0].sort_key)
    return RunSearch(_distinct_numbers(ordered), absent, missing_events)


def distinct_recordings(files: Sequence[BIDSFile], chosen: Mapping[str, Any]) -> list[BIDSFile]:
    """Recordings that hold different trials by their names: one version of each, see :func:`find_runs`.

    Raises
    ------
    InputError
        If several versions of one are left, or one may hold the trials of another (``run-1`` beside all runs).
    """
    units = _one_version_each(_hemispheres(file for file in files if has_entities(file, chosen)), chosen)
    left = sorted((unit[0] for unit in units), key=lambda file: file.sort_key)
    listed = {key for key, value in chosen.items() if isinstance(value, (list, tuple))}

    def own(file: BIDSFile) -> dict[str, str]:
        return file.without(*({*DERIVED, *VARIANTS, *KINDS, "split"} - listed))

    for place, file in enumerate(left):
        for other in left[place + 1 :]:
            if own(file).items() <= own(other).items() or own(other).items() <= own(file).items():
                raise ambiguous([file, other], "one recording")
    return left


def chosen_recordings(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Of the entities chosen those that say which recordings are meant, not which version of each."""
    return {key: value for key, value in chosen.items() if key not in (*VARIANTS, *KINDS)}


def _run(unit: tuple[BIDSFile, ...], events: BIDSFile) -> Run:
    written = {**unit[0].written, **events.written}
    return Run(unit, events, written.get("ses", "1"), written.get("run", "1"))


def _hemispheres(files: Iterable[BIDSFile]) -> list[tuple[BIDSFile, ...]]:
    """Pair left and right; volumes stay alone."""
    units: list[tuple[BIDSFile, ...]] = []
    sides: dict[tuple[Any, ...], dict[str, BIDSFile]] = {}
    for file in files:
        if "hemi" not in file.entities:
            units.append((file,))
            continue
        key = (*sorted(file.without("hemi").items()), file.extension)
        sides.setdefault(key, {})[file.entities["hemi"]] = file
    for pair in sides.values():
        if set(pair) != {"L", "R"}:
            raise InputError(f"{next(iter(pair.values())).path} has no partner; both hemispheres are needed.")
        units.append((pair["L"], pair["R"]))
    return units


def _one_version_each(units: list[tuple[BIDSFile, ...]], chosen: Mapping[str, Any]) -> list[tuple[BIDSFile, ...]]:
    """Of the spaces, resolutions, echoes … of one recording: the one that a rule or the user chooses."""
    aside = (*DERIVED, "split", *(name for name in ("echo", "part") if not isinstance(chosen.get(name), (list, tuple))))

    def key(unit: tuple[BIDSFile, ...]) -> list[tuple[str, str]]:
        return sorted(unit[0].without(*aside).items())

    kept = []
    for _, group in groupby(sorted(units, key=key), key=key):
        by_first = {unit[0].path: unit for unit in _first_parts(list(group))}
        kept.append(by_first[one_version([unit[0] for unit in by_first.values()], "one recording").path])
    return kept


def _first_parts(units: list[tuple[BIDSFile, ...]]) -> list[tuple[BIDSFile, ...]]:
    """Of a recording in several files (``split-01``, ``split-02``) the first: MNE reads on from there."""
    if not any("split" in unit[0].entities for unit in units):
        return units
    whole = [unit for unit in units if unit[0].entities.get("split", "1") == "1"]
    if not whole:
        raise InputError(f"{units[0][0].path} is a later part of a split recording, and its first part is not here.")
    return whole


def _recording_key(run: Run) -> list[tuple[str, str]]:
    return sorted(run.files[0].without(*DERIVED, *VARIANTS, *KINDS, "split").items())


def _check_versions(runs: list[Run], chosen: Mapping[str, Any]) -> None:
    """Two files of one subject, session, task and run are two recordings only if their events tell them apart.

    ``acq-``, ``rec-``, ``dir-`` and ``proc-`` name either; read as two, versions of one recording would pass for
    repeats.
    """
    listed = {key for key, value in chosen.items() if isinstance(value, (list, tuple))}
    if len(runs) < 2 or set(differing_entities(run.files[0] for run in runs)) & listed:
        return
    contents = [run.events.path.read_bytes() for run in runs]
    if len(set(contents)) < len(runs):
        raise ambiguous([run.files[0] for run in runs], "one recording (their events are the same)")


def _distinct_numbers(runs: list[Run]) -> list[Run]:
    """Put task, direction … before the number of a run where two runs of a session have one number."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault((run.session, run.number), []).append(place)
    result = list(runs)
    for same in places.values():
        if len(same) < 2:
            continue
        telling = differing_entities(runs[place].files[0] for place in same)
        for place in same:
            entities = runs[place].files[0].entities
            words = [entities[key] for key in telling if key in entities and key not in DERIVED]
            result[place] = replace(runs[place], number="-".join([*words, runs[place].number]))
    return result


def gaps(runs: Sequence[Run]) -> list[tuple[str, int]]:
    """Session and number of each run that a session lacks and other sessions have."""
    present: dict[str, set[int]] = {}
    for run in runs:
        number = run.files[0].entities.get("run", "1")
        present.setdefault(run.session, set()).add(int(number) if number.isdecimal() else 0)
    everything = set().union(*present.values())
    sessions = sorted(present, key=natural)
    return [(session, run) for session in sessions for run in sorted(everything - present[session])]
