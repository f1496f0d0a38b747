"""Where the data of a study lie: files of one's own, or the folder of a public dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, field_validator, model_serializer

from brainmap.common.names import as_names


class OwnData(BaseModel):
    """Photographs and recordings of one's own.

    Attributes
    ----------
    stimuli : Path
        Folder or zip of photographs.
    responses : str
        File of responses in any form that :func:`brainmap.data.read_responses` takes (``file.mat::betas`` names a
        variable), or a folder with a folder for each subject.
    targets : Path, optional
        Table, one row per target (fMRI: ``roi``, ``hemisphere``, ``x``, ``y``, ``z``; M/EEG: ``sensor``, ``time``),
        where the file does not say it.
    events : Path, optional
        Table, one row per trial: ``stimulus`` (file name of the photograph) and optionally ``session``, ``run``,
        ``subject``, where the file does not say it.
    table : Path, optional
        Table of the photographs: ``name`` and optionally ``source``, ``category``, ``caption``.
    mask, atlas, labels, surface, resample, catch, confounds, montage, tmin, tmax, axes
        As :class:`brainmap.data.own_recordings.reading_options.ReadingOptions` has them.

    Examples
    --------
    >>> from brainmap.study import OwnData, StudyConfig
    >>> own = OwnData(stimuli="photos", responses="responses.npy", targets="targets.tsv", events="events.tsv")
    >>> StudyConfig(dataset="own", own=own, modality=("meg",)).own.stimuli.name
    'photos'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stimuli: Path
    responses: str
    targets: Path | None = None
    events: Path | None = None
    table: Path | None = None
    mask: Path | None = None
    atlas: Path | None = None
    labels: Path | None = None
    surface: str | None = None
    resample: bool = False
    catch: tuple[str, ...] = ()
    confounds: Path | None = None
    montage: str | None = None
    tmin: float | None = None
    tmax: float | None = None
    axes: str | None = None

    @field_validator("responses", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator("catch", mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        return as_names(value) if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_given(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out options that were not given: they change nothing."""
        written = plain(self)
        return {name: value for name, value in written.items() if name in _ALWAYS_WRITTEN or name in self.changed}

    @property
    def changed(self) -> dict[str, Any]:
        """Options of reading that were given."""
        options = {name: getattr(self, name) for name in type(self).model_fields if name not in _ALWAYS_WRITTEN}
        return {name: value for name, value in options.items() if value != type(self).model_fields[name].default}

    @property
    def files(self) -> list[tuple[str, Path]]:
        """The files that were given beside the responses, by name."""
        names = ("targets", "events", "table", "mask", "atlas", "labels", "confounds")
        return [(name, path) for name in names if (path := getattr(self, name)) is not None]

    @property
    def is_plain(self) -> bool:
        """Whether it is one array and two tables, whose files tell everything."""
        return bool(self.targets and self.events and not self.changed and self.responses.endswith(".npy"))


_ALWAYS_WRITTEN = ("stimuli", "responses", "targets", "events", "table")


class Place(BaseModel):
    """Where a public dataset lies on this machine; part of how, not of what is computed.

    Attributes
    ----------
    data_root : Path, optional
        Folder of the dataset, or the one that holds its folder; ``$BRAINMAP_DATA`` by default.
    stimuli : Path, optional
        Folder or zip of photographs, for datasets that come without them.
    cache : Path, optional
        Where prepared responses go; ``.brainmap`` in the dataset's folder by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_root: Path | None = None
    stimuli: Path | None = None
    cache: Path | None = None
