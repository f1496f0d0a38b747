"""One declared analysis: validate, plan, run (resumable), results."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainmap.common.blocks import SortedRows
from brainmap.common.errors import BrainmapError, DamagedError, DependentRowsWarning, InputError, MissingFileError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.progress import track
from brainmap.common.storage.files import file_hash, recover_folder
from brainmap.data import Responses
from brainmap.data.published_splits import fixed_split
from brainmap.encoding import EncodingRidgeCV, NumericalWarning, PreparedEncoding, RidgeOptions, RowDesign
from brainmap.study.analysis.dependent_photographs import ceiling_notes, dependence_notes
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded
from brainmap.study.analysis.score_maps import OutSpace, check_meshes, check_out_space, write_score_maps
from brainmap.study.analysis.summarise import summarise
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.inputs import CLIP_BRIDGE, Inputs, Simulated, contents, extractor, load_inputs, load_stimuli
from brainmap.study.photograph_groups import photograph_groups, undivided
from brainmap.study.plan import StudyPlan, make_plan
from brainmap.study.pooled_targets import common_targets
from brainmap.study.run_folder import RunFolder, check_out

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.features.given_features import GivenModel
    from brainmap.models import VisionModel
    from brainmap.results import StudyResults
    from brainmap.stimuli import StimulusSet


# Raise when encoding or statistics give other numbers: a run folder then refuses to mix old parts with new ones.
STUDY_VERSION = 7
SHUFFLED = "shuffled gradients"
MENDINGS = 100  # damaged files that one run sets aside and computes again
OWN_FILES = ("responses", "targets", "events")


class Study:
    """A declared analysis and the folder it lives in.

    Parameters
    ----------
    config : StudyConfig
        What to compute.
    out_space : {"nifti", "gifti", "cifti"}, optional
        Also write maps of the scores, in the space that the responses came in, to ``maps/`` in the run folder.
    out : Path, optional
        Run folder; by default ``brainmap_runs/<model>-<dataset>-<digest of the settings>``.

    Examples
    --------
    >>> study = Study(StudyConfig(modality=("meg",)))  # doctest: +SKIP
    >>> print(study.plan().to_text())  # doctest: +SKIP
    >>> results = study.run()  # doctest: +SKIP
    """

    def __init__(
        self, config: StudyConfig, out: str | Path | None = None, *, out_space: OutSpace | None = None
    ) -> None:
        self.config, self.out_space = config, out_space or config.out_space
        name = f"{config.model_name}-{config.dataset}-{config.digest()}"
        self.out = check_out(Path(out) if out is not None else Path("brainmap_runs") / name)
        self.folder = RunFolder(self.out)
        self.simulated: dict[tuple[int, int], Simulated] = {}  # a grid lends its studies one for all
        self.planned: dict[str, Any] = {}  # likewise: what plans have looked at

    def plan(self) -> StudyPlan:
        """Say what would be computed, its disk and memory, what is finished and what is missing; computes nothing."""
        return make_plan(self.config, self.folder, self.planned)

    def run(self, *, report: bool = True) -> StudyResults:
        """Compute what is not finished yet.

        Parameters
        ----------
        report : bool
            Write the HTML report, too; a grid of studies has one of its own.

        Returns
        -------
        StudyResults
            Also saved in ``<out>/results``, with the report beside it.

        Raises
        ------
        InputError
            If input files do not fit together, or the folder holds another study.
        """
        for _ in range(MENDINGS):
            try:
                return self._run(report)
            except DamagedError as error:
                if not self._mend(error):
                    raise
        return self._run(report)

    def _run(self, report: bool) -> StudyResults:
        from brainmap.features.control_spaces import check_controls
        from brainmap.report import write_report

        try:
            stimuli = load_stimuli(self.config)
            check_controls(self.config.controls or (), stimuli)
            extracting = extractor(self.config, self.folder.features)
            own = load_inputs(self.config, stimuli, self.folder.features) if self.config.dataset != "sample" else None
        except DamagedError:  # is mended, not missing
            raise
        except BrainmapError as error:
            raise everything_missing(error, self.plan().missing) from None
        self._check_out_space(own)
        if own is not None:
            check_meshes(own.everyone)
        self.folder.claim(self._identity(stimuli, extracting.model, own))  # only what can run takes the folder
        finished, drawn = self._finished(), own
        if finished is None:
            drawn = inputs = own or load_inputs(self.config, stimuli, self.folder.features, kept=self.simulated)
            if self.config.objective == CLIP_BRIDGE:
                extracting = extractor(self.config, self.folder.features, stimuli)
            features = extracting.extract(stimuli)
            encoded = self._encode(inputs, features)
            if inputs.truth is not None and not self.folder.truth.is_dir():
                inputs.truth.save(self.folder.truth)
            finished = self._results()  # of a run in which only scores or features were damaged
            if finished is None:
                finished = summarise(self.config, inputs, features, encoded, scratch=self.folder.permutations)
                if report:
                    write_report(finished, self.folder.report)
                finished.save(self.folder.results)
        if report and not self.folder.report.is_file():
            write_report(finished, self.folder.report)
        if self.out_space is not None:
            self._write_maps(drawn or load_inputs(self.config, stimuli, self.folder.features, kept=self.simulated))
        self.folder.completed()
        return finished

    def _finished(self) -> StudyResults | None:
        """Results of a run that is complete and sound; what is damaged is set aside first."""
        results = self._results()
        if results is None:
            return None
        damaged = dict.fromkeys(self.folder.noted_damages(), "was found damaged")
        damaged |= dict(self.folder.damages(full=False))
        for file, problem in damaged.items():
            self.folder.mend(file, f"{file} {problem}")
        return None if damaged else results

    def _results(self) -> StudyResults | None:
        from brainmap.results import StudyResults

        recover_folder(self.folder.results)
        return StudyResults.load(self.folder.results) if self.folder.results.is_dir() else None

    def _mend(self, error: DamagedError) -> bool:
        """Take what is damaged out of the way; False if it is no file that brainmap wrote and can write again."""
        if self.folder.mend(error.file, str(error)):
            return True
        if error.file.suffix == ".npy" and error.file.is_file():  # prepared responses
            warnings.warn(f"{error} It is prepared again.", stacklevel=3)
            error.file.unlink()
            return True
        return False

    def _check_out_space(self, own: Inputs | None) -> None:
        if self.out_space is None:
            return
        if own is not None:
            for responses in own.everyone:
                check_out_space(responses, self.out_space)
        elif self.config.modality != ("fmri",) or self.out_space == "nifti":  # the sample: vertices, and sensors
            raise InputError(
                "Maps of the sample are gifti or cifti, of its fMRI alone: choose one of them and modality fmri, or "
                "leave out --out-space."
            )

    def _write_maps(self, inputs: Inputs) -> None:
        if self.out_space is not None:
            for responses in inputs.everyone:
                write_score_maps(self.folder, responses, self.config.signals, self.out_space)

    def _identity(
        self, stimuli: StimulusSet, model: VisionModel | GivenModel, recorded: Inputs | None
    ) -> dict[str, Any]:
        """Everything that decides the numbers of this run, by content."""
        config = self.config
        described = config.describe()
        for how in ("device", "memory", "own", "place", "features"):
            described.pop(how, None)
        own = config.own
        files = contents(recorded)
        if own is not None and own.is_plain:
            files = {name: file_hash(Path(getattr(own, name))) for name in OWN_FILES}
        return {
            "study_version": STUDY_VERSION,
            "config": described,
            "weights_digest": model.digest,
            "stimuli": hashlib.sha256("".join(stimuli.ids).encode()).hexdigest(),
            "files": files,
        }

    def _encode(self, inputs: Inputs, features: Features) -> list[Encoded]:
        """Encode every subject from every feature space; finished parts are read back.

        One feature space is prepared at a time, for all subjects and modalities that saw the same photographs.
        """
        units = list(_units(self.config, inputs))
        share = parse_memory(self.config.memory) // (4 * len(units))
        encoded = [align_rows(responses, inputs.stimuli, share, self.config) for responses in units]
        spaces = feature_spaces(self.config, inputs.stimuli, features)
        tables = {name: common_targets(list(subjects.values())) for name, subjects in inputs.responses.items()}
        for note in self._dependence(encoded, inputs, spaces[self.config.signals[0]]):
            warnings.warn(note, DependentRowsWarning, stacklevel=2)
        work = [(space, subject) for space in spaces for subject in sorted(encoded, key=lambda subject: subject.design)]
        prepared: tuple[tuple[str, bytes], PreparedEncoding] | None = None
        for space, subject in track(work, "encoding", unit="fits"):
            who = (subject.responses.modality, subject.responses.subject, space)
            result = self.folder.load_scores(*who)
            if result is None:
                key = (space, subject.design)
                if prepared is None or prepared[0] != key:
                    prepared = (key, self._prepare(spaces[space], subject, inputs.stimuli))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumericalWarning)  # the texts travel with the scores
                    result = prepared[1].encode(subject.averaged.values)
                result = result.with_targets(tables[subject.responses.modality])
                self.folder.save_scores(result, *who)
            subject.spaces[space] = result
        return encoded

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
        fixed = self.config.split == "test"
        return PreparedEncoding(
            {name: x if len(x) == len(subject.rows) else SortedRows(x, subject.rows) for name, x in space.items()},
            estimator=ridge(self.config),
            cv=fixed_split(subject.averaged, stimuli, groups=subject.labels) if fixed else self.config.cv,
            groups=subject.groups,
            rows=RowDesign(nuisance=subject.confounds),
            memory=self.config.memory,
            device=self.config.device,
        )


def everything_missing(error: BrainmapError, missing: Sequence[str]) -> BrainmapError:
    """Return the error that names all that stands in the way of a study, not only what was met first."""
    sentences = list(dict.fromkeys([*missing, *([] if missing else [str(error)])]))
    if len(sentences) < 2:
        return error
    return MissingFileError("\n  - ".join([f"{len(sentences)} things are missing:", *sentences]))


def align_rows(
    responses: Responses, stimuli: StimulusSet, memory: int | None = None, config: StudyConfig | None = None
) -> Encoded:
    """Average the repeats of each photograph, put rows in the order of the photographs, and group them.

    Means larger than ``memory`` (bytes) are not kept: they are read again wherever they are needed. Without a
    ``config`` photographs are grouped by source.
    """
    shown = responses.stimulus_ids
    rows = np.sort(stimuli.index_of(shown))
    ids = stimuli.ids[rows]
    if len(shown) == responses.n_trials and np.array_equal(shown, ids):
        averaged = responses
    else:
        averaged = responses.average_repeats(ids, memory=memory)
    groups = photograph_groups(StudyConfig() if config is None else config, stimuli, responses, rows)
    return Encoded(responses, averaged, rows, groups)


def ridge(config: StudyConfig) -> EncodingRidgeCV:
    """Return the study's estimator: alpha per target by inner cross-validation, scaling and PCA on the train split."""
    mode: Literal["exact", "gcv"] = "gcv" if config.method == "ridge-gcv" else "exact"
    return EncodingRidgeCV(config.alphas, pca=config.pca, options=RidgeOptions(mode=mode, seed=config.seed))


def feature_spaces(config: StudyConfig, stimuli: StimulusSet, features: Features) -> dict[str, dict[str, Any]]:
    """Signals and controls, each a mapping of layer (or control) to an array, rows in the order of the photographs."""
    from brainmap.features.control_spaces import control_spaces
    from brainmap.statistics.permutation.group_orders import group_orders

    spaces: dict[str, dict[str, Any]] = {signal: dict(features.by_layer(signal)) for signal in config.signals}
    spaces[CONTROL_SPACES] = control_spaces(stimuli, features, names=config.controls)
    if "gradient" in config.signals:  # what gradients predict must be owed to the photograph they belong to
        order = next(group_orders(stimuli.table["source"].to_numpy(), 1, seed=config.seed))
        spaces[CONTROL_SPACES][SHUFFLED] = np.asarray(features["gradient", features.layers[-1]])[order]
    return spaces


def _units(config: StudyConfig, inputs: Inputs) -> Iterator[Responses]:
    """Subjects of all modalities, each checked for enough photographs."""
    for subjects in inputs.responses.values():
        for responses in subjects.values():
            problem = undivided(config, inputs.stimuli, responses)
            if problem is not None:
                raise InputError(problem)
            yield responses
