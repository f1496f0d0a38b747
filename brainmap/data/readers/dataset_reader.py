"""What all readers of datasets share: where files are, options, and the way from trials to photographs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.data.column_files import ColumnFile, RowStack, stack_standardised
from brainmap.data.missing_values import usable_trials, without_unusable_targets
from brainmap.data.photograph_matching import match_trials
from brainmap.data.prepared_responses import missing_cells
from brainmap.data.readers.findings import Findings
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

OWN_FOLDER = ".brainmap"
DEFAULT_MEMORY = 4 * 10**9


class Options(BaseModel):
    """Settings that every reader has; each reader adds its own. Unknown ones are errors.

    Attributes
    ----------
    unmatched : {"error", "drop"}
        What to do with trials whose photograph is not on disk.
    missing : {"error", "skip"}
        What to do when files of a run or session are absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unmatched: Literal["error", "drop"] = "error"
    missing: Literal["error", "skip"] = "error"

    @model_validator(mode="before")
    @classmethod
    def _text_is_one_name(cls, values: Any) -> Any:
        """Take a text where names are wanted for one of them."""
        several = {name for name, field in cls.model_fields.items() if "tuple[str, ...]" in str(field.annotation)}
        if not isinstance(values, dict):
            return values
        return {
            name: as_names(value) if name in several and isinstance(value, str) else value
            for name, value in values.items()
        }


class DatasetReader(ABC):
    """A dataset on disk.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    cache : Path, optional
        Folder for prepared responses; ``.brainmap`` in the dataset's folder by default.
    stimuli : Path, optional
        Folder or archive of the photographs, for datasets that come without them.
    options : dict, optional
        Settings of the reader, by name.
    memory : int, optional
        Bytes that preparing may hold.

    Raises
    ------
    InputError
        For unknown settings or values.

    Examples
    --------
    >>> from brainmap.data.readers import DatasetReader, open_dataset
    >>> issubclass(type(open_dataset("bids-fmri", "bids")), DatasetReader)
    True
    """

    name: ClassVar[str]
    measures: ClassVar[Modality]
    options_model: ClassVar[type[Options]] = Options

    def __init__(
        self,
        root: Path,
        *,
        cache: Path | None = None,
        stimuli: Path | None = None,
        options: dict[str, Any] | None = None,
        memory: int | None = None,
    ) -> None:
        if not root.is_dir():
            from brainmap.data.manifests import list_manifests

            fetch = f", or get the data with: brainmap data fetch {self.name}" if self.name in list_manifests() else ""
            raise MissingFileError(
                f"There is no folder {root}; name the folder of {self.name} with --data-root{fetch}."
            )
        self.root, self.photographs, self.memory = root, stimuli, DEFAULT_MEMORY if memory is None else memory
        self.cache = cache if cache is not None else root / OWN_FOLDER
        try:
            self.options: Any = self.options_model(**(options or {}))
        except ValidationError as error:
            first = error.errors()[0]
            known = ", ".join(self.options_model.model_fields)
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"The reader of {self.name} cannot use {where} = {first['input']!r}: {first['msg']}; "
                f"its settings are {known}."
            ) from None

    @property
    def modality(self) -> Modality:
        """What was measured."""
        return self.measures

    @abstractmethod
    def subjects(self) -> list[str]:
        """Names of the subjects that have files here."""

    @abstractmethod
    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw."""

    @abstractmethod
    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Responses of one subject; the first call prepares and caches them."""

    @abstractmethod
    def shape(self, subject: str) -> tuple[int, int]:
        """Number of trials and (an estimate of the number of) targets, without reading responses."""

    @property
    def purpose(self) -> str:
        """Which list of the manifest's ``purposes`` names the files that these settings need."""
        return "fit"

    def resolve(self, subject: str) -> str:
        """Name of a subject as files have it: ``1``, ``01`` and ``sub-01`` are one."""
        from brainmap.data.readers.folder_files import bare

        known = self.subjects()
        exact = [name for name in known if name == subject.removeprefix("sub-")]
        alike = exact or [name for name in known if bare(name) == bare(subject)]
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise InputError(f"{self.root} has the subjects {' and '.join(alike)}; {subject!r} may be either.")
        raise InputError(
            f"{self.root} has no files of subject {subject!r}; there are {', '.join(self.subjects()) or 'none'}."
        )

    def choices(self, subjects: Sequence[str]) -> list[str]:
        """What the reader found and chose by itself, in sentences for the user; none where nothing was open."""
        return []

    @property
    def stimuli_folder(self) -> Path:
        """Folder or zip of photographs: the one that was given, or ``stimuli`` in the dataset's folder."""
        return self.root / "stimuli" if self.photographs is None else self.photographs

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs make up the dataset's own test split, (n,) bool; None where it has none."""
        return None

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Nuisance variables of each trial (session, run, time in the run, …), rows as in the responses."""
        raise InputError(f"{self.name} has no table of nuisance variables for subject {subject}.")

    # -- shared by readers ----------------------------------------------------------------------------------------

    def _matched(
        self, trials: pd.DataFrame, stimuli: StimulusSet, findings: Findings, file: str
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Replace labels by content ids; return the trials kept and their rows."""
        match = match_trials(trials["label"].to_numpy(), stimuli)
        if len(match.unmatched):
            first = match.unmatched.iloc[0]
            what = f"{len(match.unmatched)} of {len(trials)} trials show photographs that are not on disk"
            if self.options.unmatched == "error" or len(match.unmatched) == len(trials):
                raise InputError(
                    f"{what}; the first is {first['label']!r} (trial {first['row']} of {file}). Complete the folder "
                    "of photographs, or drop these trials with --set unmatched=drop."
                )
            for row, label in match.unmatched[["row", "label"]].itertuples(index=False):
                findings.add(file, int(row), f"photograph {label} is not on disk", "trial dropped")
        rows = np.flatnonzero(match.found)
        kept = trials.iloc[rows].assign(stimulus=match.ids[rows]).reset_index(drop=True)
        return with_repeats(kept), rows

    def _reported(self, responses: Responses, parts: Sequence[Path], rows: np.ndarray, findings: Findings) -> Responses:
        """Put the findings beside the responses; leave out what is missing, trial by trial and target by target.

        A value that is NaN or infinite is missing: means over repeats are taken without it. A trial that lacks most of
        its values is dropped, and so is a target that lacks every showing of a photograph.
        """
        cells = missing_cells(parts, rows)
        if len(cells):
            findings.add(
                parts[0], None, f"{len(cells)} values (of a target in a trial) are NaN or infinite", "taken as missing"
            )
            usable = usable_trials(cells, responses.n_trials, responses.n_targets)
            for trial in np.flatnonzero(~usable):
                findings.add(parts[0], int(rows[trial]), "most values of the trial are missing", "trial dropped")
            if not usable.all():
                place = np.cumsum(usable) - 1
                cells = np.stack([place[cells[:, 0]], cells[:, 1]], axis=1)[usable[cells[:, 0]]]
                trials = with_repeats(responses.trials[usable].reset_index(drop=True))
                values = replace_rows(responses.values, rows[usable])
                responses = replace(responses, values=values, trials=trials)
            responses, lost = without_unusable_targets(responses, cells)
            if lost:
                findings.add(parts[0], None, f"{lost} targets lack a value for some photograph", "targets left out")
        responses.info["missing"] = len(cells)
        responses.info["findings"] = findings.to_info()
        return responses

    def _stacked(
        self, parts: Sequence[Path], groups: Sequence[int] | None, rows: np.ndarray, store: Path | None = None
    ) -> RowStack:
        """Stack prepared files, z-scored within groups where there are any."""
        files = [ColumnFile(path) for path in parts]
        if groups is None:
            return RowStack(files, keep=rows)
        return stack_standardised(files, groups, keep=rows, store=store)


def replace_rows(values: RowStack, rows: np.ndarray) -> RowStack:
    """Return the same stack with other rows kept."""
    return RowStack(values.parts, mean=values.mean, deviation=values.deviation, group=values.group, keep=rows)


def with_repeats(trials: pd.DataFrame) -> pd.DataFrame:
    """Number the showings of each photograph from 0, in the order of the trials."""
    repeat = trials.groupby("stimulus", sort=False).cumcount().to_numpy()
    rest = [column for column in trials if column not in ("stimulus", "repeat")]
    return trials.assign(repeat=repeat)[["stimulus", "repeat", *rest]]
