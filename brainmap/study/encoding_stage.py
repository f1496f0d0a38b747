"""The stage of a study that fits: every subject from every feature space, part by part, beside other processes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from brainmap.common.blocks import SortedRows
from brainmap.common.errors import BrainmapError, DependentRowsWarning
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.progress import track
from brainmap.common.storage.locks import file_lock, lock_or_skip
from brainmap.encoding import NumericalWarning, PreparedEncoding, RowDesign
from brainmap.study.analysis.dependent_photographs import ceiling_notes, dependence_notes
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded
from brainmap.study.analysis.rows_and_spaces import (
    align_rows,
    feature_spaces,
    ridge,
    splits_of,
)
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.encoders.keeping import keep_encoders
from brainmap.study.inputs import Inputs
from brainmap.study.lent import Lent
from brainmap.study.pooled_targets import common_targets
from brainmap.study.run_folder import RunFolder

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.stimuli import StimulusSet

Part = tuple[str, str, str]


class HeldElsewhereError(BrainmapError):
    """Other processes work on what is left of a study, and one did not want to wait."""


@dataclass(frozen=True, eq=False)
class EncodingStage:
    """Encode the parts of a study: a subject's responses of one modality, from one feature space.

    Parameters
    ----------
    config : StudyConfig
        What to compute.
    folder : RunFolder
        Where parts lie, and their locks.
    lent : Lent
        What a grid's studies share.
    threads : int, optional
        Of the regression; those of the process that planned, on another machine.
    """

    config: StudyConfig
    folder: RunFolder
    lent: Lent
    threads: int | None = None

    def encode(
        self,
        inputs: Inputs,
        features: Features,
        *,
        wait: bool = True,
        only: Part | None = None,
        share: tuple[int, int] = (1, 1),
    ) -> list[Encoded]:
        """Encode every subject from every feature space; finished parts are read back.

        One feature space is prepared at a time, for all subjects and modalities that saw the same photographs. Parts
        that another process holds are left to it, and looked at again when all others are done.
        """
        units = inputs.everyone
        kept = parse_memory(self.config.memory) // (4 * len(units))
        encoded = [align_rows(each, inputs.stimuli, kept, self.config, self.lent.means) for each in units]
        spaces = feature_spaces(self.config, inputs.stimuli, features, self.lent.controls)
        for note in self._dependence(encoded, inputs, spaces[self.config.signals[0]]) if only is None else ():
            warnings.warn(note, DependentRowsWarning, stacklevel=2)
        work = [(space, subject) for space in spaces for subject in sorted(encoded, key=lambda subject: subject.design)]
        work = [item for item in work if only is None or part_of(*item) == only]
        if only is not None and share[1] > 1:
            self._share(spaces[only[2]], only, work[0][1], inputs, share)
            return encoded
        prepared: dict[tuple[str, Any], PreparedEncoding] = {}
        held = []
        for space, subject in track(work, "encoding", unit="fits"):
            if not self._part(spaces, space, subject, inputs, prepared, wait=only is not None):
                held.append((space, subject))
        if held and not wait:
            raise HeldElsewhereError(f"other processes hold {len(held)} parts of {self.folder.path}")
        for space, subject in held:
            self._part(spaces, space, subject, inputs, prepared, wait=True)
        return encoded

    def _part(
        self, spaces: Mapping[str, Mapping[str, Any]], space: str, subject: Encoded, inputs: Inputs,
        prepared: dict[tuple[str, Any], PreparedEncoding], *, wait: bool,
    ) -> bool:  # fmt: skip
        """Encode a subject from a feature space, or read what is finished; False if another process holds it."""
        who = part_of(space, subject)
        if self.folder.scores(*who).is_dir():
            result = self.folder.load_scores(*who)
            if result is not None:
                subject.spaces[space] = result
                return True
        with lock_or_skip(self.folder.lock("-".join(who)), purpose=f"encodes {' '.join(who)}", wait=wait) as held:
            if not held:
                return False
            result = self.folder.load_scores(*who)
            done = self.folder.shares(*who)
            if result is None and not done and space == CONTROL_SPACES:
                result = self.folder.borrow_scores(*who)
            if result is None:
                key = (space, subject.design)
                if key not in prepared:
                    prepared.clear()
                    prepared[key] = self._prepare(spaces[space], subject, inputs.stimuli)
                targets = common_targets(list(inputs.responses[who[0]].values()))
                values, out = subject.averaged.values, self.folder.scores(*who)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumericalWarning)  # the texts travel with the scores
                    if done:
                        result = prepared[key].join(done, values, out, targets=targets)
                    else:
                        result = prepared[key].encode_to(values, out, targets=targets)
                self.folder.forget_shares(*who)
                if space == CONTROL_SPACES:
                    self.folder.lend_scores(*who)
        subject.spaces[space] = result
        return True

    def _share(self, space: Mapping[str, Any], who: Part, subject: Encoded, inputs: Inputs,
                      share: tuple[int, int]) -> None:  # fmt: skip
        """Encode some of a subject's targets, for whoever puts them together."""
        path = self.folder.share(who, share)
        with lock_or_skip(self.folder.lock("-".join([*who, path.name])), purpose=f"encodes {' '.join(who)}", wait=True):
            if not path.is_dir() and not self.folder.scores(*who).is_dir():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumericalWarning)
                    self._prepare(space, subject, inputs.stimuli).encode_to(subject.averaged.values, path, share=share)

    def _dependence(self, encoded: Sequence[Encoded], inputs: Inputs, layers: Mapping[str, Any]) -> list[str]:
        """Say where photographs are not exchangeable; the sentences go into the results, too."""
        notes = []
        for modality in dict.fromkeys(subject.responses.modality for subject in encoded):
            subjects = [subject for subject in encoded if subject.responses.modality == modality]
            found = [*dependence_notes(self.config, inputs.stimuli, subjects, layers), *ceiling_notes(subjects)]
            subjects[0].notes.extend(found)
            notes += found
        return notes

    def _prepare(self, space: Mapping[str, Any], subject: Encoded, stimuli: StimulusSet) -> PreparedEncoding:
        return PreparedEncoding(
            {name: x if len(x) == len(subject.rows) else SortedRows(x, subject.rows) for name, x in space.items()},
            estimator=ridge(self.config, self.threads),
            cv=splits_of(self.config, subject, stimuli),
            groups=subject.groups,
            rows=RowDesign(nuisance=subject.confounds),
            memory=self.config.memory,
            device=self.config.device,
        )

    def keep(self, inputs: Inputs, features: Features, encoded: Sequence[Encoded]) -> None:
        """Keep the encoders of every subject and signal, where the study asks for it."""
        if self.config.keep is None:
            return
        work = [(subject, signal) for signal in self.config.signals for subject in encoded]
        for subject, signal in track(work, "keeping encoders", unit="fits"):
            who = part_of(signal, subject)
            with file_lock(self.folder.lock("-".join(("encoders", *who))), purpose=f"keeps {' '.join(who)}"):
                prepare = partial(self._prepare, subject=subject, stimuli=inputs.stimuli)
                keep_encoders(self.config, subject, signal, features, self.folder.encoders(*who), prepare)


def part_of(space: str, subject: Encoded) -> Part:
    """Name a part: modality, subject and feature space."""
    return (subject.responses.modality, subject.responses.subject, space)
