"""Any BIDS folder with fMRI: single-trial responses by nilearn's GLM, or the BOLD signal at a delay; run by run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.progress import track
from brainmap.data.column_files import zscore_columns
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import Made, content_of, prepared
from brainmap.data.readers.bids.events import check_onsets, may_count_scans, read_events, shown_images
from brainmap.data.readers.bids.functional_files import FunctionalFiles, confound_table
from brainmap.data.readers.bids.runs import Run, gaps
from brainmap.data.readers.bids.voxels_and_vertices import Targets, count_places, targets_of
from brainmap.data.readers.findings import Findings
from brainmap.data.recordings.single_trials import recorded_share, signal_at_delay, single_trial_betas, trial_design
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 2
LEAST_RECORDED = 0.5  # share of a trial's response that must lie within the run


class BIDSfMRIReader(FunctionalFiles):
    """Reader of BIDS folders with fMRI. The parameters are those of :class:`DatasetReader`."""

    def _events(self, file: Path, findings: Findings) -> pd.DataFrame:
        return shown_images(
            file, self.options.image_column, findings, trial_types=self.options.trial_types,
            sidecar=self._sidecar_of(file),
        )  # fmt: skip

    def _trials(self, run: Run, times: np.ndarray, findings: Findings) -> pd.DataFrame:
        """Trials of a run whose response was recorded, with ``session`` and ``run``."""
        file = run.events.path
        table = self._with_durations(self._events(file, findings), file, findings)
        check_onsets(table, file, float(times[-1]))
        if may_count_scans(table["onset"].to_numpy(dtype=float), times):
            findings.add(
                file, None, f"all onsets are whole numbers and the last is {table['onset'].max():g}, the run lasts "
                f"{times[-1]:g} s: they may count scans", "read as seconds",
            )  # fmt: skip
        if self.options.estimate == "bold":
            at = table["onset"].to_numpy() + self.options.delay
            share = ((at >= times[0]) & (at <= times[-1])).astype(float)
        else:
            share = recorded_share(table, times, hrf=self.options.hrf)
        for row, onset, recorded in zip(table["row"], table["onset"], share, strict=True):
            if recorded < LEAST_RECORDED:
                findings.add(
                    file, int(row), f"its response (onset {onset:g} s) lies outside the scans "
                    f"({times[0]:g} to {times[-1]:g} s)", "trial dropped",
                )  # fmt: skip
        kept = table[share >= LEAST_RECORDED].reset_index(drop=True)
        return kept.assign(session=run.session, run=run.number)

    def _with_durations(self, table: pd.DataFrame, file: Path, findings: Findings) -> pd.DataFrame:
        """Check durations of the trials used; ``n/a`` throughout means impulses."""
        if self.options.estimate == "bold" or not len(table):
            return table
        unknown = table["duration"].isna().to_numpy()
        written = table["duration_text"].str.strip()
        wrong = (unknown & ~written.isin(("n/a", ""))) | (table["duration"] < 0).to_numpy()
        if wrong.any():
            first = table.iloc[int(wrong.argmax())]
            raise InputError(
                f"Row {first['row']} of {file} has the duration {first['duration_text']!r}; it must be seconds, 0 for "
                "an impulse, or n/a in all rows."
            )
        if unknown.any() and not unknown.all():
            row = int(table["row"].iloc[int(unknown.argmax())])
            raise InputError(
                f"Row {row} of {file} has no duration, other images have one; amplitudes of an impulse and of a longer "
                "stimulus cannot be compared. Fill it in."
            )
        if unknown.all():
            findings.add(file, None, f"the durations of {len(table)} images are n/a", "modelled as impulses")
            return table.assign(duration=0.0)
        return table

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the dataset's ``stimuli`` folder."""
        subjects = as_names(subjects)
        labels: set[str] = set()
        for subject in subjects:
            for events, _ in self.runs(subject):
                labels |= set(self._events(events, Findings())["label"])
        return open_images(self.stimuli_folder, labels, cache=self.cache)

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and voxels of a whole volume (the mask is not computed to say it)."""
        runs = self.runs(subject)
        trials = sum(len(self._events(events, Findings())) for events, _ in runs)
        return trials, count_places(runs[0][1])

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run, onset in the run (s) and, where fMRIPrep wrote it, framewise displacement of each trial."""
        tables = []
        for run in self._runs(subject):
            times = self._times(run, Findings())
            table = self._trials(run, times, Findings())[["session", "run", "onset"]]
            file = self._confounds_file(run)
            moved = None if file is None else confound_table(file, len(times)).get("framewise_displacement")
            if moved is not None:
                scans = np.clip(np.searchsorted(times, table["onset"], side="right") - 1, 0, len(moved) - 1)
                table = table.assign(framewise_displacement=moved.to_numpy()[scans])
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    # -- responses ------------------------------------------------------------------------------------------------

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Single-trial responses; every run is estimated once and kept."""
        findings = Findings()
        runs = self._runs(subject, findings)
        times = [self._times(run, findings) for run in runs]
        tables = [self._trials(run, scans, findings) for run, scans in zip(runs, times, strict=True)]
        runs, times, tables = self._with_trials(subject, runs, times, tables, findings)
        for session, number in gaps(runs):
            findings.add(
                runs[0].events.path.parent, None, f"session {session} lacks run {number}", "the other runs are used"
            )
        places = self._targets(runs)
        parts = [
            self._prepared(subject, run, scans, table, places)
            for run, scans, table in zip(track(runs, "estimating", unit="runs"), times, tables, strict=True)
        ]
        columns = ["label", "session", "run", "onset"]
        trials = pd.concat([table[columns] for table in tables], ignore_index=True)
        kept, rows = self._matched(trials, stimuli, findings, "the events tables")
        info = {
            "dataset": self.root.name,
            "mesh": places.mesh,
            "estimate": self.options.estimate,
            "source": self._source_name,
            "space": runs[0].files[0].entities.get("space", "native"),
            "tasks": sorted({run.files[0].entities.get("task", "") for run in runs}),
            "content": content_of(parts),
        }
        result = Responses(self._stacked(parts, None, rows), kept, places.targets(), "fmri", subject, info=info)
        return self._reported(result, parts, rows, findings)

    def _with_trials(
        self, subject: str, runs: list[Run], times: list[np.ndarray], tables: list[pd.DataFrame], findings: Findings
    ) -> tuple[list[Run], list[np.ndarray], list[pd.DataFrame]]:
        """Leave out runs without a trial; refuse runs that standardising would leave nothing of."""
        least = 2 if self.options.zscore == "run" else 1
        for run, table in zip(runs, tables, strict=True):
            if len(table) < least:
                findings.add(run.events.path, None, f"{len(table)} usable trials in the run", "run left out")
        kept = [place for place, table in enumerate(tables) if len(table) >= least]
        if not kept:
            hint = f" of trial_type {', '.join(self.options.trial_types)}" if self.options.trial_types else ""
            raise InputError(
                f"No run of subject {subject} has {least} usable trials{hint}; the first events table is "
                f"{runs[0].events.path}."
            )
        return [runs[place] for place in kept], [times[place] for place in kept], [tables[place] for place in kept]

    def _targets(self, runs: list[Run]) -> Targets:
        masks = self._brain_masks(runs) if self.options.mask is None else []
        images = [file.path for file in runs[0].files]
        return targets_of(images, self.options.mask, masks, resample=self.options.resample)

    def _prepared(self, subject: str, run: Run, times: np.ndarray, table: pd.DataFrame, places: Targets) -> Path:
        settings = self.options.model_dump(mode="json", exclude={"missing", "unmatched"}) | {
            "version": PREPARATION_VERSION,
            "mask": places.digest,
            "scans": np.round(times, 6).tolist(),
            "rows": table["row"].tolist(),
        }
        confounds = self._confounds_file(run)
        images = [file.path for file in run.files]
        sources = [run.events.path, *images, *([confounds] if confounds else [])]

        def make() -> Made:
            blocks = self._estimates(run, times, table, places)
            scaled = (zscore_columns(block) for block in blocks) if self.options.zscore == "run" else blocks
            return (len(table), places.count), scaled

        return prepared(self.cache / self.root.name / subject, run.stem, sources, settings, make)

    def _estimates(self, run: Run, times: np.ndarray, table: pd.DataFrame, places: Targets) -> Iterator[np.ndarray]:
        series = places.series([file.path for file in run.files])
        if self.options.estimate == "bold":
            return signal_at_delay(
                series, table["onset"].to_numpy(dtype=float), times, delay=self.options.delay,
                high_pass=self.options.high_pass,
            )  # fmt: skip
        design = trial_design(
            table,
            self._others(run, table, times),
            times,
            hrf=self.options.hrf,
            high_pass=self.options.high_pass,
            confounds=self._confounds(run, len(times)),
        )
        return single_trial_betas(series, design, len(table))

    def _others(self, run: Run, table: pd.DataFrame, times: np.ndarray) -> pd.DataFrame:
        """Events that are not used (catch trials, say): their responses must be modelled to be taken out.

        Their durations decide nothing that is kept: unknown or negative ones are impulses.
        """
        everything = read_events(run.events.path, self._sidecar_of(run.events.path))
        everything = everything[everything["onset"].notna() & ~np.isin(everything["onset"], table["onset"])]
        duration = everything["duration"].fillna(0.0).clip(lower=0.0)
        others = everything.assign(duration=duration).drop_duplicates("onset")[["onset", "duration"]]
        return others[recorded_share(others, times, hrf=self.options.hrf) > 0]
