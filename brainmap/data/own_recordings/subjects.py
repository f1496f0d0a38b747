"""Several subjects of one's own: a folder each, or a column ``subject`` in the table of events."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError, MissingFileError, ReadingNote
from brainmap.common.names import MODALITY_NAMES
from brainmap.data.own_recordings.formats import ARRAYS, SUPPORTED, estimates_in, split_variable, suffix_of
from brainmap.data.own_recordings.read_responses import assemble, checked, rows_of
from brainmap.data.own_recordings.reading_options import ReadingOptions, reading_options
from brainmap.data.own_recordings.trial_and_target_tables import TARGET_SYNONYMS, TableLike, open_table
from brainmap.data.responses import Responses, with_one_table
from brainmap.stimuli import StimulusSet

RECORDING_FOLDERS = (".zarr", ".ds", ".mff")
TABLES = (".tsv", ".csv", ".txt")
_NO_RESPONSES = re.compile(
    r"(^|[._-])(events|targets|trials|mask|atlas|dseg|labels?|confounds)([._-]|$)", re.IGNORECASE
)
_LATER_PART = re.compile(r"(-[1-9]\d*\.fif(\.gz)?|_split-(?!0*1_)\d+_.*\.fif)$")  # MNE opens it with the first part


def read_subjects(
    responses: Any,
    targets: TableLike | None,
    events: TableLike | None,
    stimuli: StimulusSet,
    *,
    check: bool = True,
    **options: Any,
) -> dict[str, Responses]:
    """Read recordings of one or several subjects.

    Parameters
    ----------
    responses : path or object
        As :func:`brainmap.data.read_responses` takes them, or a folder with a folder for each subject. In a subject's
        folder lies one file of responses (called ``responses.…`` where there are others), and ``events.tsv``,
        ``targets.tsv`` and ``confounds.tsv`` where they are the subject's own.
    targets, events : path to a table or DataFrame, optional
        Those that all subjects share. A column ``subject`` of events tells rows of several subjects apart.
    stimuli : StimulusSet
        The photographs.
    check : bool
        Whether to go through all values once, see :func:`brainmap.data.read_responses`.
    **options
        As for :func:`brainmap.data.read_responses`. A mask or atlas that is not there is looked for in each subject's
        folder.

    Returns
    -------
    dict of str to Responses
        By subject, all of one modality.
    """
    chosen = reading_options(options)
    folders = subject_folders(responses)
    if folders:
        if targets is not None:  # may be a line for each of 327,684 vertices: is read once
            targets = open_table(targets, TARGET_SYNONYMS, "targets")
        subjects: dict[str, Responses] = {}
        for name, folder in folders.items():
            recording = _of_folder(folder, targets, events, stimuli, name, chosen)
            subjects = with_one_table({**subjects, name: recording})
    else:
        subjects = _by_column(assemble(responses, targets, events, stimuli, "01", chosen))
    modalities = {recording.modality: name for name, recording in subjects.items()}
    if len(modalities) > 1:
        told = " and ".join(f"subject {name} {MODALITY_NAMES[modality]}" for modality, name in modalities.items())
        raise InputError(f"Subjects differ in what was measured: {told}; make a study of each.")
    if check:
        subjects = {name: checked(recording) for name, recording in subjects.items()}
    _check_confounds(subjects)
    for note in dict.fromkeys(note for recording in subjects.values() for note in recording.info["notes"]):
        warnings.warn(note, ReadingNote, stacklevel=2)
    return subjects


def _check_confounds(subjects: dict[str, Responses]) -> None:
    """Refuse subjects of whom some have confounds and others none: their scores would not mean the same."""
    lacking = [name for name, recording in subjects.items() if recording.confounds is None]
    if lacking and len(lacking) < len(subjects):
        having = next(name for name in subjects if name not in lacking)
        raise InputError(
            f"Subject {having} has a table of confounds and subject {lacking[0]} has none; give each a confounds.tsv, "
            "or none of them."
        )


def subject_folders(responses: Any) -> dict[str, Path]:
    """Folders of subjects by name; empty where the responses are of one file or object."""
    if not isinstance(responses, str | Path):
        return {}
    path, variable = split_variable(responses)
    if not path.is_dir() or suffix_of(path) in RECORDING_FOLDERS or estimates_in(path):
        return {}
    inside = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    folders = [folder for folder in inside if suffix_of(folder) not in RECORDING_FOLDERS and _candidates(folder)]
    if not folders:
        raise InputError(f"{path} holds no folders with files of responses; give a file, or a folder per subject.")
    if variable is not None:
        raise InputError(f"{path} is a folder: name variables in none of its files, or give one file.")
    _refuse_alike([folder.name for folder in folders], str(path))
    return {folder.name.removeprefix("sub-"): folder for folder in folders}


def _refuse_alike(names: list[str], where: str) -> None:
    """Refuse names of subjects that may be one: ``sub-01``, ``01`` and ``1``."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(re.sub(r"^sub-?", "", name.casefold()).lstrip("0"), name)
        if other != name:
            raise InputError(f"{where} names the subjects {other!r} and {name!r}, which may be one; use one name.")


def responses_file(folder: Path) -> Path:
    """Return the file of responses in a subject's folder."""
    candidates = _candidates(folder)
    named = [file for file in candidates if file.name.casefold().startswith("responses")]
    chosen = named or candidates
    if len(chosen) == 2 and _are_hemispheres(chosen):
        chosen = chosen[:1]  # the other one is found beside it
    if len(chosen) != 1:
        names = ", ".join(file.name for file in chosen[:4])
        raise InputError(f"{folder} holds several files of responses ({names}); call the one to use responses.….")
    return chosen[0]


def _candidates(folder: Path) -> list[Path]:
    if estimates_in(folder):
        return [folder]
    files = [
        file
        for file in sorted(folder.iterdir())
        if suffix_of(file) in SUPPORTED
        and not file.name.startswith(".")
        and not _NO_RESPONSES.search(file.name.split(".")[0])
        and not _LATER_PART.search(file.name)
        and (not file.is_dir() or suffix_of(file) in RECORDING_FOLDERS)
        and not (suffix_of(file) == ".img" and file.with_suffix(".hdr").is_file())
    ]
    arrays = [file for file in files if suffix_of(file) not in TABLES]
    return arrays or [file for file in files if suffix_of(file) in ARRAYS]


def _are_hemispheres(files: list[Path]) -> bool:
    left, right = (re.sub(r"(lh|rh|left|right|(?<![A-Za-z])[LR](?![A-Za-z]))", "", file.name) for file in files)
    return left == right


def _of_folder(
    folder: Path,
    targets: TableLike | None,
    events: TableLike | None,
    stimuli: StimulusSet,
    subject: str,
    options: ReadingOptions,
) -> Responses:
    tables = {name: _table_in(folder, name) for name in ("targets", "events", "confounds")}
    files = {name: _local(getattr(options, name), folder) for name in ("mask", "atlas", "labels", "confounds")}
    if files["confounds"] is None:
        files["confounds"] = tables["confounds"]
    try:
        return assemble(
            responses_file(folder),
            tables["targets"] if tables["targets"] is not None else targets,
            tables["events"] if tables["events"] is not None else events,
            stimuli,
            subject,
            replace(options, **files),
        )
    except InputError as error:
        if str(folder) in str(error):
            raise
        raise InputError(f"In {folder}: {error}") from None


def _table_in(folder: Path, name: str) -> Path | None:
    """Return the table of a subject's own, such as ``events.tsv`` or ``sub-01_events.csv``."""
    pattern = re.compile(rf"(^|[._-]){name}([._-]|$)", re.IGNORECASE)
    tables = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in TABLES and not file.name.startswith(".") and pattern.search(file.stem)
    ]
    if len(tables) > 1:
        raise InputError(f"{folder} holds two tables of {name}, {tables[0].name} and {tables[1].name}; keep one.")
    return tables[0] if tables else None


def _local(path: Any, folder: Path) -> Any:
    """Return a file of the subject's own where there is none by that name."""
    if not isinstance(path, str | Path) or Path(path).exists():
        return path
    if not (folder / path).exists():
        raise MissingFileError(f"There is no file {path}, nor {folder / path}.")
    return folder / path


def _by_column(everyone: Responses) -> dict[str, Responses]:
    if "subject" not in everyone.trials:
        return {everyone.subject: everyone}
    names = everyone.trials["subject"].map(str).to_numpy()
    _refuse_alike(list(dict.fromkeys(names)), "the events table")
    return {
        str(name).removeprefix("sub-"): rows_of(everyone, np.flatnonzero(names == name), str(name).removeprefix("sub-"))
        for name in dict.fromkeys(names)
    }
