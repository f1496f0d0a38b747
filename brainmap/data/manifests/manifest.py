"""The schema of ``data_manifests/*.yaml``; unknown keys are errors. ``docs/datasets.md`` describes it for authors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from brainmap.common.storage.files import HASH_LENGTHS, HashKind, checked_relative

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
Bytes = Annotated[int, Field(ge=0, le=10**16)]
PLACES = ("subject", "code", "session")
MAX_FILES = 1_000_000  # that the patterns of one manifest may stand for


def filled(pattern: str, values: Mapping[str, str | int]) -> str:
    """Fill the placeholders of a pattern, ``{code}`` or ``{session:02d}``.

    Raises
    ------
    ValueError
        For a placeholder that is unknown or not of these forms: ``str.format`` itself also follows attributes and
        makes texts of any length.
    """
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as error:
        raise ValueError(f"'{pattern}' has a malformed placeholder ({error})") from None
    text = []
    for literal, name, form, conversion in parts:
        text.append(literal)
        if name is None:
            continue
        if name not in values:
            raise ValueError(f"'{pattern}' has the placeholder {{{name}}}; it may have {_listed(values)}")
        if conversion or not re.fullmatch(r"(0?[1-9]d)?", form or ""):
            raise ValueError(f"'{pattern}': write the placeholder as {{{name}}} or {{{name}:02d}}")
        if form and not isinstance(values[name], int):
            raise ValueError(f"'{pattern}': {{{name}}} is text, it takes no {form}")
        text.append(format(values[name], form or ""))
    return "".join(text)


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{{{name}}}" for name in values) or "none here"


def web_address(value: str, key: str) -> str:
    """Return an address if it is one of the web; files of this machine and data in the address itself are refused."""
    if not re.match(r"(https?|ftp)://[^\s/@]+(/|$)", value) or any(ord(letter) < 33 for letter in value):
        raise ValueError(f"'{key}' must start with https:// and name a server, got {value[:200]!r}")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Terms(_Strict):
    """Licence and terms of use.

    Attributes
    ----------
    licence : str
        SPDX name where there is one.
    url : str, optional
        Where the terms are written.
    confirm : bool
        Whether the user has to agree once before anything is fetched.
    text : str
        What one agrees to, in a few sentences.
    """

    licence: str
    url: str | None = None
    confirm: bool = False
    text: str = ""


class SubjectFacts(_Strict):
    """What is known of one subject.

    Attributes
    ----------
    code : str
        The subject in file names, such as ``subj01``.
    sessions : int
        Number of sessions.
    runs, trials, images : int, optional
        Totals over sessions, of what the dataset's reader reads (with catch trials where they are in its files).
    """

    code: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
    sessions: Annotated[int, Field(ge=1, le=10_000)]
    runs: int | None = None
    trials: int | None = None
    images: int | None = None


class FileGroup(_Strict):
    """Files whose paths follow a pattern.

    Attributes
    ----------
    path : str
        Path below the dataset's folder, with ``{subject}``, ``{code}``, ``{session:02d}`` and the names in ``each``.
    per : tuple of {"subject", "session"}
        What to go through; sessions run from 1 to the subject's number of them.
    each : dict of str to tuple of str
        Further names and their values, all combinations.
    bytes : int, optional
        Exact size of every file.
    about : int, optional
        Approximate size, where the exact one is not published.
    hash, digest : str, optional
        Kind and value, for a single file.
    url : str, optional
        Where the file lies, if not below ``base_url``.
    by_hand : bool
        Whether the file can only be had by hand.
    """

    path: str
    per: tuple[Literal["subject", "session"], ...] = ()
    each: dict[str, tuple[str, ...]] = {}
    bytes: Bytes | None = None
    about: Bytes | None = None
    hash: HashKind | None = None
    digest: str | None = None
    url: str | None = None
    by_hand: bool = False

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        return checked_relative(value)

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else web_address(value, "url")

    @model_validator(mode="after")
    def _one_digest(self) -> FileGroup:
        if (self.hash is None) != (self.digest is None):
            raise ValueError(f"'{self.path}': 'hash' and 'digest' go together")
        if self.digest is not None and (self.per or self.each):
            raise ValueError(f"'{self.path}': one digest cannot hold for several files; list them one by one")
        if self.hash is not None and not re.fullmatch(f"[0-9a-f]{{{HASH_LENGTHS[self.hash]}}}", self.digest or ""):
            raise ValueError(f"'{self.path}': a {self.hash} has {HASH_LENGTHS[self.hash]} hexadecimal digits")
        return self

    @model_validator(mode="after")
    def _fillable(self) -> FileGroup:
        taken = [name for name in self.each if name in PLACES or not name.isidentifier()]
        if taken:
            raise ValueError(f"'{self.path}': 'each' cannot name {taken[0]!r}; choose another word")
        first: dict[str, str | int] = {name: values[0] for name, values in self.each.items() if values}
        if self.per:
            first |= {"subject": "1", "code": "1"}
        if "session" in self.per:
            first["session"] = 1
        for pattern in filter(None, (self.path, self.url)):
            filled(pattern, first)
        return self


class StimulusFacts(_Strict):
    """Where the photographs come from.

    Attributes
    ----------
    included : bool
        Whether they are among the dataset's files.
    source : str
        Who made them, and where they are to be had by hand if they are not.
    path : str, optional
        Where they lie, or are put, below the dataset's folder.
    terms : str
        Licence of the photographs.
    """

    included: bool
    source: str
    path: str | None = None
    terms: str = ""

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        return None if value is None else checked_relative(value)


class Manifest(_Strict):
    """A dataset.

    Attributes
    ----------
    name, title, version : str
        Name for ``--dataset``, in full, and the version the files are of.
    modality : {"fmri", "meg", "eeg"}
        What was measured.
    terms : Terms
        Licence.
    citation : str
        How to cite it.
    homepage : str
        Where it is described.
    size : int
        Bytes of everything.
    base_url : str, optional
        Files lie at ``<base_url>/<path>``; without it they are fetched by hand (``by_hand`` says how).
    by_hand : str
        How to get what cannot be fetched.
    recognise : tuple of str
        Paths of which one at least exists in a folder that holds the dataset.
    aliases : tuple of str
        Other names of the dataset's folder.
    file_list : str, optional
        Compressed table beside the manifest: path, bytes, hash, digest of every file.
    files : tuple of FileGroup
        Files by pattern; used without ``file_list`` or in addition to it.
    purposes : dict of str to tuple of str
        What for → patterns of the paths it needs (``fnmatch``; ``{code}`` and ``{subject}`` are filled in).
    subjects : dict of str to SubjectFacts
        By the name for ``--subject``.
    stimuli : StimulusFacts
        The photographs.
    space : str
        Atlas and space of the responses.
    reader : str
        Name of the reader.
    facts : dict
        Further facts: shown, and asserted by tests.

    Examples
    --------
    >>> from brainmap.data.manifests import load_manifest
    >>> manifest = load_manifest("things-meg")
    >>> manifest.modality, len(manifest.subjects)
    ('meg', 4)
    """

    name: Name
    title: str
    version: str
    modality: Literal["fmri", "meg", "eeg"]
    terms: Terms
    citation: str
    homepage: str
    size: Bytes
    base_url: str | None = None
    by_hand: str = ""
    recognise: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    file_list: str | None = None
    files: tuple[FileGroup, ...] = ()
    purposes: dict[str, tuple[str, ...]] = {}
    subjects: dict[str, SubjectFacts]
    stimuli: StimulusFacts
    space: str
    reader: str
    facts: dict[str, Any] = {}

    @field_validator("base_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError(f"'base_url' must start with https://, got {value[:200]!r}")
        return None if value is None else web_address(value, "base_url")

    @field_validator("aliases")
    @classmethod
    def _names_of_folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if "/" in checked_relative(name) or name in (".", ""):
                raise ValueError(f"an alias is the name of a folder, got {name!r}")
        return value

    @field_validator("recognise")
    @classmethod
    def _paths_inside(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(checked_relative(path) for path in value)

    @field_validator("purposes")
    @classmethod
    def _fillable(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for pattern in (pattern for patterns in value.values() for pattern in patterns):
            filled(pattern, {"subject": "1", "code": "1"})
        return value

    @field_validator("file_list")
    @classmethod
    def _beside(cls, value: str | None) -> str | None:
        if value is not None and "/" in checked_relative(value):
            raise ValueError(f"'file_list' must lie beside the manifest, got {value!r}")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> Manifest:
        if self.base_url is None and not self.by_hand:
            raise ValueError("a dataset without 'base_url' must say in 'by_hand' how to get its files")
        sessions = sum(facts.sessions for facts in self.subjects.values())
        for group in self.files:
            places = 1 if not group.per else sessions if "session" in group.per else len(self.subjects)
            n_files = places * math.prod(len(values) for values in group.each.values())
            if n_files > MAX_FILES:
                raise ValueError(f"'{group.path}' stands for {n_files:,} files; a dataset has {MAX_FILES:,} at most")
        if not self.files and self.file_list is None:
            raise ValueError("a dataset needs 'files' or a 'file_list'")
        return self
