"""Names of BIDS files: the only module that knows them. A name is taken apart whole, never matched by its beginning.

``run-1`` and ``run-01`` are one run, ``run-10`` is another; ``task-things`` is not ``task-thingsLoc``; the order of
entities does not matter. Sidecars and events are found by BIDS's inheritance principle: a file applies to a recording
if it lies in the recording's folder or above it and all of its entities are the recording's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError, MissingFileError

NUMBERED = ("run", "echo", "split", "chunk", "flip", "inv")  # values are numbers, however they are padded
DERIVED = ("space", "cohort", "res", "den", "desc", "hemi", "label")  # one recording in several versions
VARIANTS = ("acq", "ce", "rec", "dir", "proc", "echo", "part")  # versions of one recording, or different ones
FOLDERS_AS_FILES = (".ds", ".mefd", ".zarr")
NO_DATA = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
EXTENSION = re.compile(
    r"\.(?:nii\.gz|(?:dtseries|dscalar|dlabel|ptseries)\.nii|(?:func|shape|surf|label)\.gii|[A-Za-z0-9]+(?:\.gz)?)$"
)
Entities = dict[str, str | int | list[str | int] | None]
# Names of fMRIPrep before 1.2: ``…_bold_space-T1w_preproc.nii.gz``.
OLD_PARTS = {"preproc": ("bold", "preproc"), "brainmask": ("mask", "brain"), "confounds": ("timeseries", "confounds")}


def canonical(entity: str, value: object) -> str:
    """Value of an entity as it is compared: ``run-01`` is ``run-1``."""
    text = str(value)
    return str(int(text)) if entity in NUMBERED and text.isdecimal() else text


@dataclass(frozen=True)
class BIDSFile:
    """A file with a BIDS name.

    Attributes
    ----------
    path : Path
        Where it is.
    entities : dict
        Entities as they are compared (numbers without padding).
    written : dict
        Entities as they are written.
    suffix, extension : str
        ``bold`` and ``.nii.gz``, say.
    """

    path: Path
    entities: Mapping[str, str]
    written: Mapping[str, str] = field(repr=False)
    suffix: str
    extension: str

    def without(self, *names: str) -> dict[str, str]:
        """Entities but some."""
        return {key: value for key, value in self.entities.items() if key not in names}

    @property
    def sort_key(self) -> tuple[Any, ...]:
        """Order of recordings: subject, session, task, run, then the rest; numbers by their value."""
        leading = [natural(self.entities.get(key, "")) for key in ("sub", "ses", "task", "run")]
        rest = sorted((key, natural(value)) for key, value in self.without("sub", "ses", "task", "run").items())
        return (*leading, rest, self.path.name)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``ses-2`` before ``ses-10``."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def parse(path: Path) -> BIDSFile | None:
    """Take a name apart; None for a file whose name is no BIDS name."""
    if path.name.startswith("."):
        return None
    match = EXTENSION.search(path.name)
    extension = match.group() if match else ""
    *parts, suffix = path.name[: len(path.name) - len(extension)].split("_")
    written: dict[str, str] = {}
    if "bold" in parts and suffix in OLD_PARTS:
        parts.remove("bold")
        suffix, written["desc"] = OLD_PARTS[suffix]
    for part in parts:
        key, dash, value = part.partition("-")
        if not (key.isalpha() and dash and value) or key in written:
            return None
        written[key] = value
    if "-" in suffix or not suffix:
        return None
    return BIDSFile(path, {key: canonical(key, value) for key, value in written.items()}, written, suffix, extension)


class BIDSFolder:
    """The files of a BIDS folder, or of one of its derivatives.

    Parameters
    ----------
    root : Path
        Folder that holds the subjects' folders.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise MissingFileError(f"There is no folder {root}.")
        self.root = root

    @cached_property
    def files(self) -> list[BIDSFile]:
        """Everything with a BIDS name, in the order of subject, session, task and run."""
        return sorted(self._walk(), key=lambda file: file.sort_key)

    def _walk(self) -> Iterator[BIDSFile]:
        seen: set[str] = set()
        for folder, below, names in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back
                below[:] = []
                continue
            seen.add(real)
            here = Path(folder)
            whole = [name for name in below if name.endswith(FOLDERS_AS_FILES)]
            skipped = {*whole, *(NO_DATA if here == self.root else ())}
            below[:] = [name for name in below if name not in skipped and not name.startswith(".")]
            for name in (*names, *whole):
                file = parse(here / name)
                if file is not None:
                    yield file

    def select(
        self, suffix: str | Sequence[str], extensions: Sequence[str], chosen: Mapping[str, Any] | None = None
    ) -> list[BIDSFile]:
        """Files by suffix, extension and entities.

        Parameters
        ----------
        suffix : str or sequence of str
            ``bold``, say.
        extensions : sequence of str
            ``.nii.gz``, say.
        chosen : mapping, optional
            Entity → value, or several values. None asks for files without the entity.
        """
        suffixes = (suffix,) if isinstance(suffix, str) else tuple(suffix)
        return [
            file
            for file in self.files
            if file.suffix in suffixes and file.extension in extensions and has_entities(file, chosen or {})
        ]

    def inherited(self, file: BIDSFile, suffix: str, extension: str, datatype: str) -> list[BIDSFile]:
        """Files that apply to a recording, from the most general to the nearest.

        Parameters
        ----------
        file : BIDSFile
            Recording, here or in a derivative of this folder.
        suffix, extension : str
            What is looked for: ``events``, ``.tsv``.
        datatype : str
            Folder of the recording: ``func``, ``meg`` …

        Raises
        ------
        InputError
            If two files of one folder apply equally well.
        """
        wanted = file.entities if file.path in self._paths else file.without(*DERIVED)
        levels = self._levels(file, datatype)
        sidecars: list[BIDSFile] = []
        for level in levels:
            here = [
                other
                for other in self._by_folder.get(level, ())
                if other.suffix == suffix and other.extension == extension and other.entities.items() <= wanted.items()
            ]
            here.sort(key=lambda other: len(other.entities))
            if len(here) > 1 and len(here[-1].entities) == len(here[-2].entities):
                names = " and ".join(other.path.name for other in here[-2:])
                raise InputError(
                    f"{names} in {level} apply equally to {file.path.name}; which one is meant cannot be told. "
                    "Keep one of them."
                )
            sidecars += here
        return sidecars

    @cached_property
    def _by_folder(self) -> dict[Path, list[BIDSFile]]:
        folders: dict[Path, list[BIDSFile]] = {}
        for file in self.files:
            folders.setdefault(file.path.parent, []).append(file)
        return folders

    @cached_property
    def _paths(self) -> set[Path]:
        return {file.path for file in self.files}

    def _levels(self, file: BIDSFile, datatype: str) -> list[Path]:
        levels = [self.root]
        for key in ("sub", "ses"):
            if key in file.written:
                levels.append(levels[-1] / f"{key}-{file.written[key]}")
        levels.append(levels[-1] / datatype)
        if file.path in self._paths and file.path.parent not in levels:
            levels.append(file.path.parent)
        return levels

    def metadata(self, file: BIDSFile, datatype: str, *, suffix: str | None = None) -> dict[str, tuple[Any, Path]]:
        """Keys of the sidecars that apply to a recording, each with its value and the sidecar that states it."""
        content: dict[str, tuple[Any, Path]] = {}
        for sidecar in self.inherited(file, suffix or file.suffix, ".json", datatype):
            content |= {key: (value, sidecar.path) for key, value in read_json(sidecar.path).items()}
        return content

    @property
    def derivatives(self) -> list[Path]:
        """Folders below ``derivatives`` that hold subjects."""
        place = self.root / "derivatives"
        if not place.is_dir():
            return []
        folders = [place, *sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))]
        return [path for path in folders if any(path.glob("sub-*"))]


def has_entities(file: BIDSFile, chosen: Mapping[str, Any]) -> bool:
    """Whether a file has the entities chosen; None asks for a file without, a list for any of its values."""
    for key, value in chosen.items():
        own = {"extension": file.extension, "suffix": file.suffix}.get(key, file.entities.get(key))
        if value is None:
            if own is not None:
                return False
            continue
        allowed = value if isinstance(value, (list, tuple, set)) else (value,)
        if own not in {canonical(key, allowed_value) for allowed_value in allowed}:
            return False
    return True


def read_json(path: Path) -> dict[str, Any]:
    """Content of a sidecar.

    Raises
    ------
    InputError
        If it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); mend or remove it.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object ({{…}}); mend or remove it.")
    return content


def one_version(files: Sequence[BIDSFile], what: str) -> BIDSFile:
    """Choose among versions of one recording by a stated rule, or ask.

    ``desc-preproc`` goes before other versions, combined echoes before single ones, magnitude before phase. Whatever
    else differs has to be chosen by the user.

    Raises
    ------
    InputError
        If more than one is left; the sentence lists them and names the setting.
    """
    left = [file for file in files if not _preprocessed_beside(file, files)]
    for preferred in (
        lambda file: "echo" not in file.entities,
        lambda file: file.entities.get("part", "mag") == "mag",
    ):
        if len(left) > 1:
            left = [file for file in left if preferred(file)] or left
    if len(left) == 1:
        return left[0]
    raise ambiguous(left, what)


def _preprocessed_beside(file: BIDSFile, files: Sequence[BIDSFile]) -> bool:
    """Whether a file of the same space and kind is ``desc-preproc``, and this one is not."""
    if file.entities.get("desc") == "preproc":
        return False
    return any(
        other.entities.get("desc") == "preproc"
        and other.extension == file.extension
        and other.without("desc", "echo", "part") == file.without("desc", "echo", "part")
        for other in files
    )


def ambiguous(files: Sequence[BIDSFile], what: str) -> InputError:
    """Sentence about several versions of one recording: what differs, which there are, how to choose."""
    names = ", ".join(file.path.name for file in files[:6]) + (" …" if len(files) > 6 else "")
    differing = differing_entities(files)
    if not differing:
        return InputError(f"There are several files of {what}: {names}; keep one of them.")
    key = differing[0]
    absent = "native" if key == "space" else "null"
    names_of = {"extension": lambda file: file.extension, "suffix": lambda file: file.suffix}
    value_of = names_of.get(key, lambda file: file.entities.get(key, absent))
    values = sorted({value_of(file) for file in files}, key=natural)
    setting = "space" if key == "space" else f"entities.{key}"
    return InputError(
        f"There are several versions of {what}: {names}; say which one is meant with --set {setting}={values[0]} "
        f"(there are {', '.join(values)})."
    )


def differing_entities(files: Iterable[BIDSFile]) -> list[str]:
    """Names of entities whose values differ between files (and ``extension``, ``suffix``), the telling ones first."""
    listed = list(files)
    keys = dict.fromkeys([*DERIVED, *VARIANTS, *(key for file in listed for key in file.entities)])
    different = [key for key in keys if len({file.entities.get(key) for file in listed}) > 1]
    if len({file.extension for file in listed}) > 1:
        different = [key for key in different if key != "hemi"]  # surfaces beside grayordinates
        different.append("extension")
    if len({file.suffix for file in listed}) > 1:
        different.append("suffix")
    return different
