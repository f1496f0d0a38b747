"""One declared analysis: validate, plan, run (resumable), results."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brainmap.common.errors import BrainmapError, DamagedError, InputError, MissingFileError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.storage.file_errors import is_writable, require_writable
from brainmap.common.storage.files import file_hash, recover_folder, short_hash
from brainmap.common.storage.locks import lock_or_skip
from brainmap.data.simulation.simulation_config import SIMULATION_VERSION
from brainmap.hierarchy import RegisteredHypotheses
from brainmap.study.analysis.above_chance import PermutedMaps, permuted_maps
from brainmap.study.analysis.bands_and_stacks import studies_of_bands
from brainmap.study.analysis.encoded_part import CONTROL_SPACES, Encoded
from brainmap.study.analysis.rows_and_spaces import check_subjects
from brainmap.study.analysis.score_maps import OutSpace, check_maps, check_meshes, write_score_maps
from brainmap.study.analysis.summarise import READ_AT_ONCE, summarise
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.encoders.keeping import is_kept
from brainmap.study.encoding_stage import EncodingStage, HeldElsewhereError, Part
from brainmap.study.inputs import (
    CLIP_BRIDGE,
    Inputs,
    ceiling_unknown,
    contents,
    extractor,
    load_inputs,
    load_stimuli,
)
from brainmap.study.lent import Lent
from brainmap.study.photograph_groups import columns_that_decide
from brainmap.study.plan import StudyPlan, make_plan, planned_subjects
from brainmap.study.registration import judge_hypotheses, lock_hypotheses
from brainmap.study.resources import everything_missing
from brainmap.study.run_folder import RunFolder, check_out, key_without_features

if TYPE_CHECKING:
    from brainmap.features import FeatureExtractor, Features
    from brainmap.features.given_features import GivenFeatures
    from brainmap.results import StudyResults
    from brainmap.stimuli import StimulusSet

    Extracting = FeatureExtractor | GivenFeatures
Shared = tuple[str, str, str, str]
Permuted = tuple[str, str, str, str]
T = TypeVar("T")

# Raise when encoding or statistics give other numbers: a run folder then refuses to mix old parts with new ones.
STUDY_VERSION = 12
BANDS_VERSION = 2  # likewise, of what bands explain together
DECODING_VERSION = 2  # likewise, of photographs found by decoding
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
    >>> import brainmap
    >>> from brainmap.study import StudyConfig
    >>> study = brainmap.Study(StudyConfig(modality=("meg",), thin=24), out="brainmap_runs/thin")
    >>> len(study.plan().rows) > 0
    True
    >>> results = study.run()  # doctest: +SKIP
    """

    def __init__(
        self, config: StudyConfig, out: str | Path | None = None, *, out_space: OutSpace | None = None
    ) -> None:
        self.config, self.out_space = config, out_space or config.out_space
        name = f"{config.model_name}-{config.dataset}-{config.digest()}"
        self.out = check_out(Path(out) if out is not None else Path("brainmap_runs") / name)
        self.folder = RunFolder(self.out)
        self.lent = Lent()  # a grid gives all its studies one
        self.threads: int | None = None  # of the regression; those of the process that planned, on another machine

    def plan(self) -> StudyPlan:
        """Say what would be computed, its disk and memory, what is finished and what is missing; computes nothing."""
        return make_plan(self.config, self.folder, self.lent.planned)

    def refuse_missing(self) -> None:
        """Name all that is missing before anything is computed.

        Raises
        ------
        MissingFileError
            If something is.
        """
        missing = self.plan().missing
        if missing:
            raise everything_missing(MissingFileError(missing[0]), missing)

    def run(self, *, report: bool = True, wait: bool = True) -> StudyResults:
        """Compute what is not finished yet, beside any other processes that work on the same folder.

        Parameters
        ----------
        report : bool
            Write the HTML report, too; a grid of studies has one of its own.
        wait : bool
            Wait for parts that other processes hold; else stop when nothing else is left to do.

        Returns
        -------
        StudyResults
            Also saved in ``<out>/results``, with the report beside it.

        Raises
        ------
        InputError
            If input files do not fit together, or the folder holds another study.
        HeldElsewhereError
            With ``wait=False``, if other processes hold what is left.
        """
        return self._mending(lambda: self._run(report, wait))

    def extract(self, share: tuple[int, int] | None = None) -> None:
        """Extract the features and simulate the sample's brains: what must be there before anything is encoded.

        Parameters
        ----------
        share : tuple of int, optional
            Of the images compute only this one of so many shares, for whoever extracts all.
        """
        if share is None:
            self._mending(self._extracted)
        else:
            self._mending(lambda: self._extract_share(share))

    def _extract_share(self, share: tuple[int, int]) -> None:
        stimuli, extracting, _ = self._opened()
        extracting.extract_share(stimuli, share)

    def encode(self, part: Part | Shared) -> None:
        """Encode one subject from one feature space, if that is not done yet.

        Parameters
        ----------
        part : tuple of str
            Modality, subject and feature space (a signal, or ``controls``), as :meth:`parts` names them, and perhaps a
            share of the targets, as ``2/8``. Whoever needs them next puts the shares together.
        """
        modality, subject, space, share = (*part, "1/1")[:4]
        only = (modality, subject, space)
        self._mending(lambda: self._stage.encode(*self._extracted(), only=only, share=fraction(share)))

    def permute(self, part: Permuted) -> None:
        """Compute a share of the permutations of one map; every subject must have been encoded.

        Parameters
        ----------
        part : tuple of str
            Modality, signal, number of the layer from 0, and share of the blocks of targets, as ``2/8``.
        """
        modality, signal, layer, share = part
        maps = self._mending(self._encoded_maps)
        if modality in maps:
            name = maps[modality].features.layers[int(layer)]
            maps[modality].compute(signal, name, fraction(share), wait=True)

    def _encoded_maps(self) -> dict[str, PermutedMaps]:
        inputs, features = self._extracted()
        return permuted_maps(
            self.config, inputs, features, self._stage.encode(inputs, features), self.folder.permutations
        )

    @property
    def _stage(self) -> EncodingStage:
        return EncodingStage(self.config, self.folder, self.lent, self.threads)

    def parts(self) -> list[Part]:
        """Name what is encoded: modality, subject and feature space of each part; nothing is computed."""
        spaces = (*self.config.signals, CONTROL_SPACES)
        subjects = planned_subjects(self.config, self.lent.planned)
        return [(modality, name, space) for modality, names in subjects.items() for name in names for space in spaces]

    def extracted(self) -> bool:
        """Whether the run folder says that features are there: something has been encoded."""
        return any(self.finished(part) for part in self.parts())

    def finished(self, part: Part) -> bool:
        """Whether a part has been encoded."""
        return self.folder.scores(*part).is_dir()

    def _mending(self, work: Callable[[], T]) -> T:
        """Do work; what turns out to be damaged is taken out of the way, and the work begun again."""
        for _ in range(MENDINGS):
            try:
                return work()
            except DamagedError as error:
                if not self._mend(error):
                    raise
        return work()

    def _photographs(self) -> StimulusSet:
        if self.config.dataset != "sample":  # files may change between two runs of one process
            return load_stimuli(self.config)
        self.lent.sample = self.lent.sample or load_stimuli(self.config)
        return self.lent.sample

    def _opened(self) -> tuple[StimulusSet, Extracting, Inputs | None]:
        """Photographs, extractor and recordings; the folder is taken for this study."""
        from brainmap.features.control_spaces import check_controls

        if not self.folder.results.is_dir():
            require_writable(self.out, "--out")
        try:
            stimuli = self._photographs()
            check_controls(self.config.controls or (), stimuli)
            extracting = extractor(self.config, self.folder.features)
            own = load_inputs(self.config, stimuli, self.folder.features) if self.config.dataset != "sample" else None
        except DamagedError:  # is mended, not missing
            raise
        except BrainmapError as error:
            raise everything_missing(error, self.plan().missing) from None
        check_maps(self.out_space, None if own is None else own.everyone, self.config.modality)
        if own is not None:
            check_meshes(own.everyone)
            check_subjects(self.config, own)
            for problem in filter(None, (ceiling_unknown(self.config, responses) for responses in own.everyone)):
                raise InputError(problem)
        if self.config.hypotheses is not None:
            RegisteredHypotheses.from_yaml(self.config.hypotheses)
        identity = self._identity(stimuli, extracting, own)
        self.folder.claim(identity)  # only what can run takes the folder
        if self.folder.studies is not None and "gradient" not in self.config.signals:
            self.folder.lending_key = key_without_features(identity, stimuli.table)
        if self.config.hypotheses is not None:
            lock_hypotheses(self.folder, self.config.hypotheses, self.config.digest())
        return stimuli, extracting, own

    def _inputs(self, stimuli: StimulusSet) -> Inputs:
        self.lent.make_room(self.config.seed, self.config.thin)
        inputs = load_inputs(self.config, stimuli, self.folder.features, kept=self.lent.simulated)
        check_subjects(self.config, inputs)
        return inputs

    def _extracted(
        self, opened: tuple[StimulusSet, Extracting, Inputs | None] | None = None
    ) -> tuple[Inputs, Features]:
        """Responses and features; those that the store lacks are computed, by one process at a time."""
        stimuli, extracting, own = opened or self._opened()
        inputs = own or self._inputs(stimuli)
        if self.config.objective == CLIP_BRIDGE:
            extracting = extractor(self.config, self.folder.features, stimuli)
        return inputs, extracting.extract(stimuli)

    def _run(self, report: bool, wait: bool) -> StudyResults:
        from brainmap.report import write_report

        opened = self._opened()
        finished, drawn = self._finished(), opened[-1]
        if finished is not None and self._to_be_shown(report):
            return finished
        encoded: list[Encoded] = []
        if finished is None or self._unkept():
            drawn, features = self._extracted(opened)
            encoded = self._stage.encode(drawn, features, wait=wait)
            self._stage.keep(drawn, features, encoded)
        if finished is None:
            assert drawn is not None
            self._help(drawn, features, encoded)
        with lock_or_skip(self.folder.lock("results"), purpose=f"finishes {self.out}", wait=wait) as held:
            if not held:
                raise HeldElsewhereError(f"another process finishes {self.out}")
            if finished is None:
                finished = self._results()  # of another process, or of a run in which only scores were damaged
            if finished is None:
                assert drawn is not None
                finished = self._summarise(drawn, features, encoded, report)
            elif judge_hypotheses(self.folder, finished, self.config.digest()):
                finished.save(self.folder.results)
                self.folder.report.unlink(missing_ok=True)
            if report and not self.folder.report.is_file():
                write_report(finished, self.folder.report)
            if self.out_space is not None:
                mapped = drawn or self._inputs(opened[0])
                for responses in mapped.everyone:
                    write_score_maps(self.folder, responses, self.config.signals, self.out_space)
            self.folder.completed()
        self.folder.left()
        return finished

    def _to_be_shown(self, report: bool) -> bool:
        """Whether a finished run lies where nothing can be written, and has all that is asked for."""
        if is_writable(self.out):
            return False
        if self._unkept() or self.out_space is not None or (report and not self.folder.report.is_file()):
            require_writable(self.out, "--out")
        return True

    def _unkept(self) -> bool:
        """Whether encoders that are to be kept are not there."""
        wanted = [part for part in self.parts() if part[2] in self.config.signals] if self.config.keep else []
        return not all(is_kept(self.folder.encoders(*part), self.config.keep) for part in wanted)

    def _help(self, inputs: Inputs, features: Features, encoded: Sequence[Encoded]) -> None:
        """Permute blocks of targets that nobody works on, where another process makes the results already."""
        with lock_or_skip(self.folder.lock("results"), purpose="", wait=False) as held:
            if held:
                return
        for maps in permuted_maps(self.config, inputs, features, encoded, self.folder.permutations).values():
            for signal in self.config.signals:
                for layer in features.layers:
                    maps.compute(signal, layer, wait=False)

    def _summarise(self, inputs: Inputs, features: Features, encoded: Sequence[Encoded], report: bool) -> StudyResults:
        from brainmap.report import write_report

        if inputs.truth is not None and not self.folder.truth.is_dir():
            inputs.truth.save(self.folder.truth)
        folders = {"scratch": self.folder.permutations, "store": self.folder.features}
        results = summarise(self.config, inputs, features, encoded, **folders, ceilings=self.lent.ceilings)
        judge_hypotheses(self.folder, results, self.config.digest())
        if report:
            write_report(results, self.folder.report)
        results.save(self.folder.results)
        return results

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
        if not self.folder.results.is_dir():
            return None
        return StudyResults.load(self.folder.results, lazy=parse_memory(self.config.memory) // READ_AT_ONCE)

    def _mend(self, error: DamagedError) -> bool:
        """Take what is damaged out of the way; False if it is no file that brainmap wrote and can write again."""
        if self.folder.mend(error.file, str(error)):
            return True
        if error.file.suffix == ".npy" and error.file.is_file():  # prepared responses
            warnings.warn(f"{error} It is prepared again.", stacklevel=3)
            error.file.unlink()
            return True
        return False

    def _identity(self, stimuli: StimulusSet, extracting: Extracting, recorded: Inputs | None) -> dict[str, Any]:
        """Everything that decides the numbers of this run, by content."""
        config = self.config
        described = config.describe()
        for how in ("device", "memory", "own", "place", "features"):
            described.pop(how, None)
        own, files = config.own, contents(recorded)
        bands = {name: extractor(each, None) for name, each in studies_of_bands(config).items()}
        others = {name: each.model.digest for name, each in bands.items()}
        if own is not None and own.is_plain:
            files = {name: file_hash(Path(getattr(own, name))) for name in OWN_FILES}
        return {
            "study_version": STUDY_VERSION,
            **({"simulation_version": SIMULATION_VERSION} if config.dataset == "sample" else {}),
            "config": described,
            "weights_digest": extracting.model.digest,
            **({"bands": {"version": BANDS_VERSION, **others}} if config.method == "banded" else {}),
            **({"decoding": DECODING_VERSION} if config.retrieval == "decoding" else {}),
            "photographs": columns_that_decide(config, stimuli, [extracting, *bands.values()]),
            "stimuli": hashlib.sha256("".join(stimuli.ids).encode()).hexdigest(),
            "files": files,
            "shown": {
                f"{each.modality} {each.subject}": short_hash(each.trials["stimulus"].astype(str).tolist())
                for each in (() if recorded is None else recorded.everyone)
            },
        }


def fraction(share: str) -> tuple[int, int]:
    """Which of how many: ``2/8``."""
    number, of = map(int, share.split("/"))
    return number, of
