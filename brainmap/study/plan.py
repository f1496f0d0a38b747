"""What a study would compute: sizes, what is finished, what is missing; nothing is computed to say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import BrainmapError, MissingFileError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import MODALITY_NAMES
from brainmap.common.readable import counted
from brainmap.features.given_features import GivenFeatures
from brainmap.models import missing_weights
from brainmap.statistics.tests_of_means import LEAST
from brainmap.study.analysis.bands_and_stacks import studies_of_bands
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.inputs import (
    CLIP_BRIDGE,
    load_stimuli,
    planned_extractor,
)
from brainmap.study.planned_targets import listed_facts, planned_targets
from brainmap.study.resources import (
    duration,
    duration_words,
    encoding_operations,
    feature_operations,
    lacking_room,
    readable,
)
from brainmap.study.run_folder import IDENTITY, RunFolder

if TYPE_CHECKING:
    from brainmap.features import FeatureExtractor
    from brainmap.statistics.permutation.expected_time import PermutationCost
    from brainmap.study.declared.cells import Cell

FLOAT32, FLOAT64 = 4, 8
GPU_SPEED = 1e13  # operations per second in single precision that are assumed of a GPU
DATA_SETTINGS = (
    *("dataset", "own", "place", "reading", "subjects", "modality", "memory", "thin"),
    *("groups", "gap", "cv", "split", "method"),
)
MODEL_SETTINGS = (
    *("model", "weights", "features", "layers", "signals", "site", "pooling", "objective", "projection", "wrt"),
    *("terms", "bridge", "bridge_weights", "batch_size", "memory"),
)
Planned = tuple[int, int, float, tuple[str, str, str]]
OF_CAPTIONS = (CLIP_BRIDGE, "image-text-similarity", "contrastive")
TESTS = {
    "folds": "t test over folds",
    "subjects": "t test over subjects",
    "wilcoxon": "Wilcoxon's test over subjects",
    "permutation": "permutations of photographs",
}


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a study.

    Attributes
    ----------
    rows : list of (str, str, str)
        Stage, what it works on, and whether it is finished.
    disk_bytes : int
        What the run folder will hold at most.
    score_bytes : int
        Of these, scores: of each subject and feature space, and put together in the results.
    memory_bytes : int
        Responses in memory beside the bound given to the encoding engine, at most.
    missing : list of str
        One sentence for each thing without which the study cannot run.
    seconds : dict of str to float
        What permutations that are still to do take here, by the stage of their row.
    duration : str
        What features and encoding take here, in words; empty where that is unknown.
    operations : tuple of float
        Floating-point operations of features and of encoding that are still to do; 0 where they are unknown.
    task_operations : dict of str to float
        Floating-point operations of ``features``, of ``encoding <modality>`` for each subject and feature space, and of
        ``permutations <modality>``, where they are known.
    targets : dict of str to int
        Targets of a subject, by modality.
    layers : int
        Layers of the model; 0 where it cannot be opened.

    Examples
    --------
    >>> from brainmap.study import Study, StudyConfig
    >>> plan = Study(StudyConfig(modality=("meg",), thin=24), out="brainmap_runs/thin").plan()
    >>> plan.missing
    []
    """

    title: str
    rows: list[tuple[str, str, str]]
    disk_bytes: int
    score_bytes: int
    memory_bytes: int
    memory_bound: str
    missing: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    duration: str = ""
    operations: tuple[float, float] = (0.0, 0.0)
    task_operations: dict[str, float] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    layers: int = 0

    @property
    def finished(self) -> bool:
        """Whether the study is done."""
        return any(stage == "report" and state == "finished" for stage, _, state in self.rows)

    def to_text(self) -> str:
        """Return the plan as aligned lines."""
        lines = [self.title, ""]
        width = max(len(stage) for stage, _, _ in self.rows)
        lines += [f"  {stage:<{width}}  {what}" + (f"  [{state}]" if state else "") for stage, what, state in self.rows]
        lines += [
            "",
            f"  {'disk':<{width}}  {readable(self.disk_bytes)} at most in the run folder, "
            f"{readable(self.score_bytes)} of it scores",
            f"  {'memory':<{width}}  {readable(self.memory_bytes)} of responses, and {self.memory_bound} for encoding",
            *([f"  {'time':<{width}}  {self.duration}"] if self.duration else []),
            f"  {'missing':<{width}}  {'nothing' if not self.missing else ''}".rstrip(),
        ]
        return "\n".join(lines + [f"    - {sentence}" for sentence in self.missing])


def make_plan(config: StudyConfig, folder: RunFolder, known: dict[str, Any] | None = None) -> StudyPlan:
    """Plan a study.

    Parameters
    ----------
    config : StudyConfig
        The study.
    folder : RunFolder
        Where it would run; finished parts are counted.
    known : dict, optional
        What plans of other studies have looked at (photographs, models, recordings), so that a grid looks once.
    """
    missing: list[str] = []
    known = {} if known is None else known
    n_images, photographs_row = _once(known, _photographs, config, DATA_SETTINGS, missing)
    rows = [photographs_row]
    n_layers, width, operations, model_row = _planned_model(known, config, missing)
    rows.append(model_row)
    for name, each in studies_of_bands(config).items():
        *_, (_, what, _) = _planned_model(known, each, missing)
        rows.append(("features of a band", f"{name}: {what}", ""))
    if config.objective in OF_CAPTIONS and "gradient" in config.signals:
        _once(known, _captions, config, (*DATA_SETTINGS, "objective"), missing)
    targets = _once(known, planned_targets, config, DATA_SETTINGS, missing)
    wanted = {name: shape for name, shape in targets.items() if not config.modality or name in config.modality}
    absent = [name for name in config.modality or () if targets and name not in targets]
    if absent:
        there = ", ".join(MODALITY_NAMES[name] for name in targets)
        missing.append(f"the dataset has no {MODALITY_NAMES[absent[0]]} responses; it has {there}")
    scored = memory = kept = 0
    tasks: dict[str, float] = {}
    work = 0.0
    seconds: dict[str, float] = {}
    for modality, (subjects, trials, n_targets) in wanted.items():
        listed = config.dataset in ("sample", "own")
        chosen = [name for name in subjects if not listed or not config.subjects or name in config.subjects]
        unknown = [name for name in config.subjects or () if listed and name not in subjects]
        if unknown:
            missing.append(f"there is no subject '{unknown[0]}'; the subjects are {', '.join(subjects)}")
        what = f"{len(chosen)} subjects × {trials:,} trials × {n_targets:,} targets"
        word = MODALITY_NAMES[modality]
        seen = min(n_images, trials, listed_facts(config).get("photographs_of_a_subject", n_images))
        rows.append((f"{word} responses", what, "simulated" if config.dataset == "sample" else ""))
        spaces = [*config.signals, "controls"]
        done = sum(folder.scores(modality, name, space).is_dir() for name in chosen for space in spaces)
        split = (
            f"{config.cv} folds by {config.groups}" if config.split == "folds" else "the data set's test photographs"
        )
        fits = f"{len(chosen)} subjects × {len(spaces)} feature spaces, {n_layers} layers, {split}"
        rows.append((f"{word} encoding", fits, f"{done} of {len(chosen) * len(spaces)} finished"))
        rows.append(_test_row(config, modality, len(chosen)))
        if config.terms != "together":
            rows.append(_terms_row(config, modality))
        if config.yardstick(modality) == "permutation":
            sizes = (len(chosen), n_layers, n_targets)
            row, cost = _permutation_row(config, modality, sizes, (seen, width), folder.results.is_dir())
            rows.append(row)
            if cost is not None:
                seconds[row[0]] = cost.seconds
                tasks[f"permutations {modality}"] = cost.operations
        splits = config.cv if config.split == "folds" else 1
        scored += 2 * len(chosen) * len(config.signals) * n_layers * splits * n_targets * 3 * FLOAT32
        kept += len(chosen) * len(config.signals) * encoder_bytes(config, splits, n_targets, width)
        memory += len(chosen) * trials * n_targets * FLOAT32
        work += encoding_operations((seen, width), len(chosen), n_targets, config.cv)
        tasks[f"encoding {modality}"] = n_layers * encoding_operations((seen, width), 1, n_targets, config.cv)
    if config.dataset != "sample":  # larger ones stay on disk, see align()
        memory = min(memory, parse_memory(config.memory) // 4)
    if config.keep:
        which = ", ".join(config.keep_layers or ("the best layer of each target",))
        rows.append(("encoders", f"of {which}: {readable(kept)}, folds and refit", ""))
    disk = scored + kept + len(config.signals) * n_layers * width * FLOAT32 * n_images
    rows.append(("report", str(folder.report), "finished" if folder.results.is_dir() else "to do"))
    state = "continues" if (folder.path / IDENTITY).is_file() else "new"
    weights = config.weights if config.features is None else "features in a file"
    title = f"{config.model_name} ({weights}) on {config.dataset}, {state} run in {folder.path}"
    missing += lacking_room(folder.path, disk, memory + parse_memory(config.memory))
    told, todo = "", (0.0, 0.0)
    if n_images and operations:
        tasks["features"] = n_images * operations
        if not folder.results.is_dir():
            todo = (n_images * operations, work * n_layers * len(config.signals))
            told = duration_words(*todo)
    missing = list(dict.fromkeys(missing))
    counts = {modality: n_targets for modality, (_, _, n_targets) in wanted.items()}
    return StudyPlan(
        title, rows, disk, scored, memory, config.memory, missing, seconds, told, todo, tasks, counts, n_layers
    )


def encoder_bytes(config: StudyConfig, splits: int, n_targets: int, width: int) -> int:
    """Bytes of the encoders of one subject and signal: weights of each split and of the refit, in double precision."""
    if not config.keep:
        return 0
    return len(config.keep_layers or ("best",)) * (splits + 1) * n_targets * (width + 1) * FLOAT64


def planned_subjects(config: StudyConfig, known: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """Return the subjects of each modality that a study encodes, without reading responses.

    Parameters
    ----------
    config, known
        As in :func:`make_plan`.

    Raises
    ------
    MissingFileError
        If the recordings are not here.
    """
    missing: list[str] = []
    targets = _once({} if known is None else known, planned_targets, config, DATA_SETTINGS, missing)
    if missing:
        raise MissingFileError("; ".join(missing))
    listed = config.dataset in ("sample", "own")
    return {
        modality: [name for name in subjects if not listed or not config.subjects or name in config.subjects]
        for modality, (subjects, _, _) in targets.items()
        if not config.modality or modality in config.modality
    }


def _once(
    known: dict[str, Any],
    look: Callable[[StudyConfig, list[str]], Any],
    config: StudyConfig,
    settings: Sequence[str],
    missing: list[str],
) -> Any:
    """Return what a look at a part of a study finds, looking once for all studies that share the settings it reads."""
    key = look.__name__ + config.model_dump_json(include=set(settings))
    if key not in known:
        sentences: list[str] = []
        known[key] = (look(config, sentences), sentences)
    kept, sentences = known[key]
    missing += sentences
    return kept


def lines_of_sizes(cells: Sequence[Cell], plans: Sequence[StudyPlan]) -> list[str]:
    """Say once for many studies what they are of, and what they take together."""
    weights: dict[str, list[str]] = {}
    for cell in cells:
        weights.setdefault(cell.config.model_name, []).append(Path(cell.config.weights).stem)
    models = [f"{name} ({', '.join(dict.fromkeys(each))})" for name, each in weights.items()]
    lines = [f"  models and weights: {'; '.join(models)}"]
    data: dict[str, None] = {}
    for cell, plan in zip(cells, plans, strict=True):
        photographs = next((what for stage, what, _ in plan.rows if stage == "photographs"), "")
        sizes = [
            f"{stage.removesuffix(' responses')} of {what}" for stage, what, _ in plan.rows if "responses" in stage
        ]
        data[f"  {cell.config.dataset}: {'; '.join([*sizes, photographs])}"] = None
    features, encoding = (sum(plan.operations[i] for plan in plans) for i in range(2))
    disk = sum(plan.disk_bytes for plan in plans if not plan.finished)
    lines += [*data, f"  disk in the run folder: {readable(disk)} at most, beside the data"]
    if features or encoding:
        unknown = sum(not (plan.finished or any(plan.operations)) for plan in plans)
        more = f" ({unknown} of {len(plans)} studies not counted: their size is unknown)" if unknown else ""
        lines.append(f"  time: {duration_words(features, encoding)}{more}")
    return lines


def lines_of_tests(plans: Sequence[StudyPlan]) -> list[str]:
    """Say once for many studies which tests they make, and what permutations that are still to do take together."""
    seconds_by_test: dict[tuple[str, str, str], list[float]] = {}
    for plan in plans:
        for stage, what, state in plan.rows:
            if stage.endswith((" test", " permutations")):
                known = stage in plan.seconds
                seconds_by_test.setdefault((stage, what, "" if known else state), []).append(
                    plan.seconds.get(stage, 0.0)
                )
    lines = []
    for (stage, what, state), seconds in seconds_by_test.items():
        count = f"{len(seconds)} {'study' if len(seconds) == 1 else 'studies'}"
        told = f"about {duration(sum(seconds))} here" if sum(seconds) else state
        lines.append(f"{stage}, {count}: {what}" + (f"  [{told}]" if told else ""))
    return lines


def _test_row(config: StudyConfig, modality: str, n_subjects: int) -> tuple[str, str, str]:
    """Say which test of "above chance" is made, or that there are too few subjects or folds for it."""
    test = config.yardstick(modality)
    folds = config.cv if config.split == "folds" else 1
    n_units, unit = (folds, "folds") if test == "folds" else (n_subjects, "subjects")
    few = 0 < n_units < LEAST.get(test, 0)
    why = f"nothing will be marked: {LEAST[test]} {unit} are needed, not {n_units}" if few else ""
    return (f"{MODALITY_NAMES[modality]} test", f"{TESTS[test]}, false discovery rate {config.level(modality):g}", why)


def _terms_row(config: StudyConfig, modality: str) -> tuple[str, str, str]:
    """Say what is made of the terms of the loss."""
    role = " at each role of tokens" if config.terms == "split-by-role" else ""
    beyond = "the activations and the other terms" if "activation" in config.signals else "the other terms"
    what = f"what the gradient of each term{role} explains beyond {beyond}, {config.flips:,} sign flips"
    return (f"{MODALITY_NAMES[modality]} terms of the loss", what, "")


def _permutation_row(
    config: StudyConfig, modality: str, sizes: tuple[int, int, int], shape: tuple[int, int], finished: bool
) -> tuple[tuple[str, str, str], PermutationCost | None]:
    """What the permutations asked for will take on this machine; None where that is unknown or they are finished."""
    from brainmap.statistics.permutation.expected_time import PermutationCost, permutation_cost
    from brainmap.study.analysis.above_chance import permutation_options

    n_subjects, n_layers, n_targets = sizes
    stage, maps = f"{MODALITY_NAMES[modality]} permutations", n_layers * len(config.signals)
    what = f"{config.permutations:,} refits × {n_subjects} subjects × {maps} maps × {n_targets:,} targets"
    if finished:
        return (stage, what, "finished"), None
    if not maps or not min(shape):
        return (stage, what, "cost unknown: the model or the photographs are missing"), None
    options = permutation_options(
        config, shape[0] * n_subjects, n_targets, n_subjects=n_subjects, sequential=modality == "fmri"
    )
    single, times = permutation_cost(shape, n_targets, options), n_subjects * maps
    cost = PermutationCost(single.operations * times, single.seconds * times, single.memory, single.cpu_seconds * times)
    early = ", less where targets are settled early" if options.stop_after else ""
    hours = f"{cost.cpu_seconds / 3600:,.1f} CPU hours, or {cost.operations / GPU_SPEED / 3600:,.1f} of a GPU"
    told = f"about {duration(cost.seconds)} here: {hours}{early}; the test over folds takes none of it"
    return (stage, what, told), cost


def _photographs(config: StudyConfig, missing: list[str]) -> tuple[int, tuple[str, str, str]]:
    """Count the photographs, without reading them."""
    try:
        stimuli = load_stimuli(config)
    except BrainmapError as error:
        missing.append(str(error))
        if (apart := _apart(config)) is not None and config.place.stimuli is None:
            missing.append(apart)
        count = int(listed_facts(config).get("photographs", 0))
        if not count:
            return 0, ("photographs", "cannot be opened", "")
        return count, ("photographs", f"{count:,} images, by the manifest of {config.dataset}", "not here")
    return len(stimuli), ("photographs", f"{len(stimuli):,} images of {stimuli.n_listed_sources:,} sources", "")


def _captions(config: StudyConfig, missing: list[str]) -> None:
    """Say that a loss needs captions where the photographs have none."""
    try:
        table = load_stimuli(config).table
        known = "caption" in table and bool(table["caption"].notna().any())
    except BrainmapError:  # the photographs are among what is missing
        known = "captions" in listed_facts(config)
    if not known:
        missing.append(
            f"loss '{config.objective}' needs captions, and the photographs of {config.dataset} have none; choose "
            "another loss, or give them as own data with a column 'caption'"
        )


def _planned_model(known: dict[str, Any], config: StudyConfig, missing: list[str]) -> Planned:
    """Look once at a model for all its weights, unless these are files of one's own."""
    _once(known, _weights, config, MODEL_SETTINGS, missing)
    own = config.weights not in ("trained", "untrained") and Path(config.weights).exists()
    settings = MODEL_SETTINGS if own else [name for name in MODEL_SETTINGS if name != "weights"]
    planned: Planned = _once(known, _model, config, settings, missing)
    missing[:] = dict.fromkeys(missing)  # a model that does not exist has no weights either
    return planned


def _weights(config: StudyConfig, missing: list[str]) -> None:
    """Look for the weights that a study needs; they are not read."""
    needed = [(config.model, config.weights)] if config.features is None else []
    if config.objective == CLIP_BRIDGE and "gradient" in config.signals:
        needed.append((config.bridge, config.bridge_weights))
    try:
        sentences = [missing_weights(model, weights) for model, weights in needed]
        missing += [sentence for sentence in sentences if sentence is not None]
    except BrainmapError as error:
        missing.append(str(error))


def _model(config: StudyConfig, missing: list[str]) -> Planned:
    """Layers, width, operations for one photograph, and the row of the model."""
    try:
        planned = planned_extractor(config)
    except BrainmapError as error:
        missing.append(str(error))
        return 0, 0, 0.0, ("features", "cannot be extracted", "")
    layers = planned.layers
    if isinstance(planned, GivenFeatures):
        what = f"{' and '.join(config.signals)} of {counted(len(layers), 'layer')}, from {planned.path.name}"
        return len(layers), planned.width, 0.0, ("features", what, "")
    vectors = {name: int(p.shape[0]) for name, p in planned.model.module.named_parameters() if p.ndim == 1}
    width = max([size for name, size in vectors.items() if "norm" in name] or [*vectors.values(), 0])
    kind = "weights" if config.wrt == "weights" else "outputs"
    what = f"{' and '.join(config.signals)} of {counted(len(layers), 'layer')}, {config.site} {kind}, {config.pooling}"
    return len(layers), width, feature_operations(planned), ("features", what + _passes(config, planned), "")


def _passes(config: StudyConfig, planned: FeatureExtractor) -> str:
    """What an image costs, in forward passes of the model on the plain photograph."""
    objective = planned.objective
    if objective is None:
        return ""
    if config.objective == CLIP_BRIDGE:
        captions = f"captions through {config.bridge} besides"
        return f"; loss '{CLIP_BRIDGE}' (surrogate): 1 pass forward and 1 backward an image, {captions}"
    counted = objective.passes(planned.model)
    if counted is None:
        return f"; loss '{objective.name}': passes unknown"
    plain = 0.0 if objective.plain_view or "activation" not in config.signals else 1.0
    label: str = objective.label(planned.model)
    terms = objective.terms(planned.model) if config.terms != "together" else ()
    if terms:
        counted = counted.by_term(len(terms))
        label = f"{label}; by term: {', '.join(terms)}"
    return (
        f"; loss '{objective.name}' ({label}): {plain + counted.forward:.2g} passes forward and {counted.backward:.2g} "
        f"backward, about {plain + counted.total:.2g} forward passes an image"
    )


def _apart(config: StudyConfig) -> str | None:
    """Say where photographs come from that a public dataset does not hold."""
    from brainmap.data.manifests import list_manifests, load_manifest

    if config.dataset not in list_manifests():
        return None
    facts = load_manifest(config.dataset).stimuli
    if facts.included:
        return None
    return f"the photographs of {config.dataset} come apart from it: {' '.join(facts.source.split()).rstrip('.')}"
