"""Trials to photographs: by name or id, with a report of what does not match; equal names are no proof."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import as_names
from brainmap.image_readers import FolderReader, ImageReader, SubsetReader, ZipReader, is_image_name
from brainmap.photograph_names import PhotographNames, photograph_path, shared_by_several
from brainmap.stimuli import StimulusSet, content_id


@dataclass(frozen=True)
class Match:
    """Which photograph each trial showed.

    Attributes
    ----------
    ids : numpy.ndarray of str, (n,)
        Content id of each trial's photograph; empty where it is not among the photographs.
    unmatched : pandas.DataFrame
        ``row``, ``label`` and ``why`` of every trial without photograph.
    """

    ids: np.ndarray
    unmatched: pd.DataFrame

    @property
    def found(self) -> np.ndarray:
        """Whether each trial has its photograph, (n,) bool."""
        return self.ids != ""


def match_trials(labels: Sequence[str] | np.ndarray, stimuli: StimulusSet) -> Match:
    """Match trials to photographs by content id, or by name as :class:`brainmap.photograph_names.PhotographNames` does.

    Parameters
    ----------
    labels : sequence of str, (n,)
        What a dataset calls the photograph of each trial, such as ``dog/dog_12s.jpg``.
    stimuli : StimulusSet
        The photographs.

    Raises
    ------
    InputError
        If labels that differ in their folder (``cat/00``, ``dog/00``) would mean the same photograph (``00``).
    """
    names = PhotographNames([str(name) for name in stimuli.table["name"]])
    known = set(stimuli.ids)
    ids: dict[str, str] = {}
    meant: dict[str, str | None] = {}
    why: dict[str, str] = {}
    for label in dict.fromkeys(str(label) for label in as_names(labels)):
        positions = [] if label in known else names.find(label)
        different = {str(stimuli.ids[position]) for position in positions}
        ids[label] = label if label in known else (different.pop() if len(different) == 1 else "")
        meant[label] = names.names[positions[0]] if ids[label] and positions else None
        if not ids[label]:
            why[label] = names.explain(label)
    clash = shared_by_several(meant, meant.values())
    if clash is not None:
        raise InputError(
            f"The trials show {clash[0]!r} and {clash[1]!r}, and the photographs have only one "
            f"{meant[clash[0]]!r}; keep the folders of the photographs as the trials name them."
        )
    matched = np.array([ids[str(label)] for label in labels], dtype=str)
    rows = np.flatnonzero(matched == "")
    absent = [str(labels[int(row)]) for row in rows]
    return Match(matched, pd.DataFrame({"row": rows, "label": absent, "why": [why[label] for label in absent]}))


def image_key(name: str) -> str:
    """File name without folder and suffix: ``images_meg/dog/dog_12s.jpg`` → ``dog_12s``."""
    return photograph_path(name).rpartition("/")[2]


def compare_sets(these: StimulusSet, other: StimulusSet) -> pd.DataFrame:
    """Compare two sets of photographs by name and by content.

    Returns
    -------
    pandas.DataFrame
        One row per name (without folder and suffix) of either set: ``name`` and ``relation``, which is ``same``,
        ``same name, other content``, ``same content, other name``, ``only in the first`` or ``only in the second``.
    """
    names = [
        {image_key(str(n)): i for n, i in zip(part.table["name"], part.ids, strict=True)} for part in (these, other)
    ]
    contents = [set(part.values()) for part in names]
    rows = []
    for name in sorted({**names[0], **names[1]}):
        first, second = (part.get(name) for part in names)
        if first is not None and second is not None:
            relation = "same" if first == second else "same name, other content"
        elif (first or second) in contents[0] & contents[1]:
            relation = "same content, other name"
        else:
            relation = "only in the first" if second is None else "only in the second"
        rows.append({"name": name, "relation": relation})
    return pd.DataFrame(rows, columns=["name", "relation"])


def open_images(
    source: Path,
    keys: Iterable[str] | None = None,
    *,
    marks: Mapping[str, Collection[str]] | None = None,
    cache: Path | None = None,
    groups: str = "image",
) -> StimulusSet:
    """Open the photographs of a folder or zip archive that some trials show.

    Parameters
    ----------
    source : Path
        Folder (searched recursively) or zip archive.
    keys : iterable of str, optional
        Names of the photographs wanted: paths or file names, see :class:`brainmap.photograph_names.PhotographNames`;
        those that are absent are left out. All by default, by file name without folder and suffix.
    marks : mapping of str to collection of str, optional
        Further columns of the table: true for the photographs named.
    cache : Path, optional
        Folder that keeps content ids; they are computed anew when the size or the time of a file changes.
    groups : {"image", "concept"}
        What folds keep together (the table's ``source``): each photograph by itself, or all of a ``category``.

    Returns
    -------
    StimulusSet
        In sorted order of names (paths as far as keys and files share them); the table's ``category`` is the file's
        name without its last ``_``-separated part, or else its folder.

    Raises
    ------
    InputError
        If a name means files with different pixels, or two names mean one file: which was shown cannot be told.
    MissingFileError
        If there is no such folder or archive.
    """
    reader, names = _open(source)
    known = PhotographNames(names)
    wanted = sorted({image_key(name) for name in names} if keys is None else {photograph_path(key) for key in keys})
    places = {key: indices for key in wanted if (indices := known.find(key))}
    if not places:
        raise InputError(f"None of the photographs wanted is in {source}; name the folder that holds them.")
    for key, indices in places.items():
        if len({content_id(reader.read(index)) for index in indices} if len(indices) > 1 else indices) > 1:
            where = " and ".join(names[index] for index in indices[:2])
            raise InputError(
                f"{source} holds {len(indices)} files called {key!r} with different pixels ({where}); "
                "name the folder of the photographs that this dataset showed."
            )
    clash = shared_by_several(places, [names[indices[0]] for indices in places.values()])
    if clash is not None:
        raise InputError(
            f"The trials show {clash[0]!r} and {clash[1]!r}, and {source} has only one file for both "
            f"({names[places[clash[0]][0]]}); keep the folders of the photographs as the trials name them."
        )
    named = {_shared_path(key, names[indices[0]]): indices[0] for key, indices in places.items()}
    table = pd.DataFrame({"name": sorted(named)})
    table["category"] = [_category(name) for name in table["name"]]
    if groups == "concept":
        table["source"] = table["category"]
    for column, marked in (marks or {}).items():
        table[column] = table["name"].isin(set(marked))
    order = np.array([named[name] for name in table["name"]])
    stimuli = StimulusSet(SubsetReader(reader, order), table, allow_duplicates=True)
    if cache is None:
        return stimuli
    return stimuli.keep_ids(cache / "photographs" / f"ids-{_state(source, [names[index] for index in order])}.npy")


def _shared_path(key: str, file: str) -> str:
    """What the name wanted and the file's path have in common: the shorter of the two."""
    return min(photograph_path(file), key, key=len)


def _category(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return file.rpartition("_")[0] or folder.rpartition("/")[2] or file


def _state(source: Path, names: list[str]) -> str:
    """Sixteen hex characters that change with the names, sizes and times of files."""
    files = [source] if source.is_file() else [source / name for name in names]
    digest = hashlib.sha256("\n".join(names).encode())
    for file in files:
        status = file.stat()
        digest.update(f"{status.st_size}:{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _open(source: Path) -> tuple[ImageReader, list[str]]:
    if source.suffix.lower() == ".zip":
        archive = ZipReader(source)
        return archive, archive.names
    if not source.is_dir():
        raise MissingFileError(f"There is no folder or archive of photographs {source}; give it with --stimuli.")
    names = [file.relative_to(source).as_posix() for file in sorted(source.rglob("*"))]
    names = [name for name in names if is_image_name(name)]
    return FolderReader(source, names), names
