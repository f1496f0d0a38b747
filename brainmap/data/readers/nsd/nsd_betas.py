"""The Natural Scenes Dataset (Allen et al. 2022): betas on fsaverage, the subject's surface or in the 1.8 mm volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.progress import track
from brainmap.data.column_files import write_columns, zscore_columns
from brainmap.data.manifests import load_manifest
from brainmap.data.prepared_responses import cache_key, content_of
from brainmap.data.readers.dataset_reader import DatasetReader, Options, with_repeats
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import bare
from brainmap.data.readers.nsd.nsd_design import TRIALS_PER_SESSION, check_behaviour, read_captions, read_design
from brainmap.data.readers.nsd.nsd_space import NSDOptions, Space, SurfaceSeries, open_space
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
PREPARATION_VERSION = 2  # 2: targets without signal are left out; they were 0


class NSDReader(DatasetReader):
    """Reader of NSD as it lies in its public bucket. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "nsd"
    measures: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = NSDOptions

    def subjects(self) -> list[str]:
        """Subjects that have betas in the chosen space."""
        folder = self.root / "nsddata_betas/ppdata"
        present = {path.name for path in folder.glob("subj*") if (path / self.options.space).is_dir()}
        return [name for name, facts in load_manifest("nsd").subjects.items() if facts.code in present]

    @property
    def purpose(self) -> str:
        """Betas on a surface or in the volume."""
        return "fit" if self.options.space == "fsaverage" else f"fit-{self.options.space}"

    @cached_property
    def _design(self) -> Any:
        return read_design(self.root)

    def _code(self, subject: str) -> tuple[str, int]:
        number = int(bare(subject))
        return f"subj{number:02d}", number

    def sessions(self, subject: str) -> list[int]:
        """Sessions to read, in order.

        Raises
        ------
        MissingFileError
            If files of a session are absent and may not be skipped.
        """
        code, number = self._code(subject)
        held = load_manifest("nsd").subjects[str(number)].sessions
        wanted = list(self.options.sessions or range(1, held + 1))
        if max(wanted) > held or min(wanted) < 1:
            raise InputError(f"Subject {subject} of NSD has sessions 1 to {held}, not {max(wanted)}.")
        space = open_space(self.root, code, self.options)
        absent = [session for session in wanted if not all(file.is_file() for file in space.files(session))]
        if absent and (self.options.missing == "error" or len(absent) == len(wanted)):
            file = next(file for file in space.files(absent[0]) if not file.is_file())
            raise MissingFileError(
                f"{len(absent)} of {len(wanted)} sessions of subject {subject} have no betas; the first is {file}. "
                f"Get them with: brainmap data fetch nsd --subject {subject}, or go on without: --set missing=skip"
            )
        return [session for session in wanted if session not in absent]

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw in the sessions on disk; captions where COCO's annotations are there."""
        subjects = as_names(subjects)
        rows = np.unique(np.concatenate([self._shown(subject) for subject in subjects]))
        table = pd.DataFrame({"name": [image_name(row) for row in rows], "nsd_id": rows})
        table["shared"] = np.isin(rows, self._design.shared)
        captions = read_captions(self.root, rows)
        if captions is not None:
            table["caption"] = captions
        file = self.root / STIMULI
        stimuli = StimulusSet.from_hdf5(file, rows=rows, table=table, allow_duplicates=True)
        changed = {"rows": rows.tolist(), "time": file.stat().st_mtime_ns}
        return stimuli.keep_ids(self.cache / "photographs" / f"ids-{cache_key([file], changed)}.npy")

    def _shown(self, subject: str) -> np.ndarray:
        number = self._code(subject)[1]
        return np.concatenate([self._design.shown(number, session) for session in self.sessions(subject)])

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and targets in the mask."""
        space = open_space(self.root, self._code(subject)[0], self.options)
        return TRIALS_PER_SESSION * len(self.sessions(subject)), len(space.targets)

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs are among the 1,000 that all subjects saw."""
        return stimuli.table["shared"].to_numpy(dtype=bool) if "shared" in stimuli.table else None

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run (where the behavioural log is there) and place in the session, one row per trial."""
        return self._trials(subject, Findings())[["session", "run", "trial"]]

    def _trials(self, subject: str, findings: Findings) -> pd.DataFrame:
        code, number = self._code(subject)
        log = check_behaviour(self.root, code, number, self._design, findings)
        tables = []
        for session in self.sessions(subject):
            shown = self._design.shown(number, session)
            table = pd.DataFrame({"label": [image_name(row) for row in shown], "session": session})
            table["trial"] = np.arange(len(table))
            logged = None if log is None else log.loc[log["SESSION"] == session, "RUN"].to_numpy()
            table["run"] = -1 if logged is None or len(logged) != len(table) else logged
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Betas of one subject, one row per trial; ``targets`` has ``ncsnr``, NSD's noise-ceiling ratio of one trial.

        Raises
        ------
        InputError
            If betas, design and behavioural log do not fit together.
        """
        findings = Findings()
        code, number = self._code(subject)
        space = open_space(self.root, code, self.options)
        if isinstance(space, SurfaceSeries):
            self._check_order(space, number)
        trials, rows = self._matched(self._trials(subject, findings), stimuli, findings, "the design")
        parts = [self._prepared(space, code, session) for session in self.sessions(subject)]
        values = self._stacked(parts, None, rows)
        info = {
            "dataset": self.name,
            "mesh": space.mesh,
            "atlas": self.options.atlas,
            "units": "standard deviations within session" if self.options.zscore == "session" else "% signal change",
            "estimate": self.options.estimate,
            "stimulus_duration": 3.0,
            "betas": self.options.betas,
            "content": content_of(parts),
            "findings": findings.to_info(),
        }
        responses = Responses(values, with_repeats(trials), space.targets, "fmri", subject, info=info)
        return _with_signal(responses, parts, findings)

    def _check_order(self, space: SurfaceSeries, number: int) -> None:
        """Runs' designs must show what the experiment's design does."""
        for session in self.sessions(str(number)):
            shown, listed = self._design.shown(number, session), space.order(session)
            if len(shown) != len(listed) or (shown != listed).any():
                raise InputError(
                    f"The designs of the runs of session {session} show {len(listed)} photographs, not in the order of "
                    "nsd_expdesign.mat; a run is missing or files are swapped."
                )

    def _prepared(self, space: Space, code: str, session: int) -> Path:
        settings = self.options.model_dump(include={"space", "mask", "zscore", "betas", "estimate", "delay"}) | {
            "version": PREPARATION_VERSION,
            "places": space.digest,
        }
        files = space.files(session)
        key = cache_key(files, settings)
        path = self.cache / self.name / code / f"session{session:02d}-{key}.npy"
        if not path.is_file():
            shape = (TRIALS_PER_SESSION, len(space.targets))
            write_columns(path, shape, self._blocks(space, session, _file_of_gaps(path)))
        return path

    def _blocks(self, space: Space, session: int, gaps: Path) -> Iterator[np.ndarray]:
        # Betas, their z-scores in double precision and the copy that is written: 24 bytes a number and some room.
        held = min(self.options.block, self.memory // 4)
        width = max(1, held // (8 * TRIALS_PER_SESSION))
        starts = range(0, len(space.targets), width)
        without_signal: list[int] = []
        for start in track(starts, f"session {session}", total=len(starts), unit="blocks"):
            betas = space.read(session, start, min(start + width, len(space.targets)))
            if betas.shape[0] != TRIALS_PER_SESSION:
                raise InputError(
                    f"{space.files(session)[0]} has {betas.shape[0]} trials; a session of NSD has {TRIALS_PER_SESSION}."
                )
            finite = np.isfinite(betas)
            if not finite.all():  # outside the slices of this session, say
                without_signal += (start + np.flatnonzero(~finite.all(axis=0))).tolist()
                betas = np.where(finite, betas, 0.0)
            yield zscore_columns(betas) if self.options.zscore == "session" else betas
        if without_signal:
            gaps.parent.mkdir(parents=True, exist_ok=True)
            np.save(gaps, np.array(without_signal))


def _file_of_gaps(part: Path) -> Path:
    """Beside prepared betas: columns that hold NaN or infinite values."""
    return part.with_name(f"{part.stem}.gaps.npy")


def _with_signal(responses: Responses, parts: Sequence[Path], findings: Findings) -> Responses:
    """Leave out targets that lack a value in any session: a mean over the others would mix sessions unequally."""
    lacking = np.zeros(responses.n_targets, dtype=bool)
    for part in parts:
        gaps = _file_of_gaps(part)
        if gaps.is_file():
            columns = np.load(gaps, allow_pickle=False)
            lacking[columns] = True
            session = part.name.partition("-")[0]
            findings.add(part, None, f"{len(columns)} targets hold NaN or infinite betas in {session}", "left out")
    if lacking.all():
        raise InputError(f"Every target of subject {responses.subject} lacks values in some session; fetch them anew.")
    if lacking.any():
        responses = responses.select(~lacking)
    responses.info["findings"] = findings.to_info()
    return responses


def image_name(row: int) -> str:
    """Name of a photograph of NSD by its 0-based row in the stimulus brick (NSD's own ids count from 1)."""
    return f"nsd_{int(row):05d}"
