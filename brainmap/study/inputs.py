"""From a configuration to photographs, features and responses; this is where the sample is assembled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import MODALITY_NAMES, TIMED
from brainmap.data import Responses, sample_stimuli
from brainmap.data.atlas import MESH_NAME
from brainmap.data.meshes import MESH_VERTICES
from brainmap.data.own_recordings.subjects import read_subjects
from brainmap.data.own_recordings.trial_and_target_tables import NO_VERTEX
from brainmap.data.simulation import GroundTruth, SimulationConfig, simulate
from brainmap.data.simulation.drives import EARLIER_SIGNAL
from brainmap.stimuli import StimulusSet
from brainmap.study.declared.study_config import OwnData, StudyConfig
from brainmap.study.pooled_targets import check_alike

if TYPE_CHECKING:
    from brainmap.data.readers import DatasetReader
    from brainmap.features import FeatureExtractor
    from brainmap.features.given_features import GivenFeatures
    from brainmap.models import VisionModel
    from brainmap.models.objectives import Objective


CLIP_BRIDGE = "clip-bridge"  # the objective that is fitted to captions before it can be used
SAMPLE_MODEL = "dino-tiny"
SAMPLE_EARLIER_WEIGHTS = "step_001600"
SAMPLE_POOLING = "patch-mean"


@dataclass(frozen=True)
class Inputs:
    """What a study starts from.

    Attributes
    ----------
    stimuli : StimulusSet
        The photographs.
    responses : dict of str to dict of str to Responses
        Modality → subject → trials × targets.
    truth : GroundTruth, optional
        What was planted, if the responses are simulated.
    """

    stimuli: StimulusSet
    responses: dict[str, dict[str, Responses]]
    truth: GroundTruth | None = None

    @property
    def everyone(self) -> list[Responses]:
        """Responses of all subjects and modalities."""
        return [responses for subjects in self.responses.values() for responses in subjects.values()]


def dataset_choices(config: StudyConfig) -> list[str]:
    """What the reader of a study's dataset found and chose by itself, in sentences."""
    reader = dataset_reader(config)
    return reader.choices(chosen_subjects(config, reader))


def load_stimuli(config: StudyConfig) -> StimulusSet:
    """Open the photographs of a study without reading their pixels."""
    if config.dataset not in ("sample", "own"):
        reader = dataset_reader(config)
        return reader.stimuli(chosen_subjects(config, reader))
    if config.own is None:
        return sample_stimuli()
    source = config.own.stimuli
    if source.suffix.lower() == ".zip":
        return StimulusSet.from_zip(source, config.own.table)
    return StimulusSet.from_folder(source, config.own.table)


Simulated = tuple[dict[str, dict[str, Responses]], GroundTruth]


def load_inputs(
    config: StudyConfig, stimuli: StimulusSet, store: Path, *, kept: dict[tuple[int, int], Simulated] | None = None
) -> Inputs:
    """Open or simulate the responses of a study.

    Parameters
    ----------
    config : StudyConfig
        The study.
    stimuli : StimulusSet
        Its photographs.
    store : Path
        Feature store; the sample's brains are driven by features of ``dino-tiny``.
    kept : dict, optional
        Simulated brains of studies before this one, by seed and thinning: many studies of one grid share them.

    Raises
    ------
    InputError
        If files do not fit together, or a subject or modality that was asked for does not exist.
    """
    if config.dataset not in ("sample", "own"):
        return Inputs(stimuli, check_alike(read_dataset(config, stimuli)))
    if config.own is not None:
        recorded = read_own(config.own, stimuli, sensors=sensors_of(config))
        return Inputs(stimuli, check_alike(choose_subjects(recorded, config)))
    names = dict.fromkeys(simulation(config).subjects)
    choose_subjects({"fmri": names, "meg": names}, config)  # a wrong name is answered before anything is computed
    kept = {} if kept is None else kept
    key = (config.seed, config.thin)
    if key not in kept:
        kept.clear()  # one at a time: they can be large
        kept[key] = simulate_sample(config, stimuli, store)
    everything, truth = kept[key]
    return Inputs(stimuli, choose_subjects(everything, config), truth)


def ceiling_unknown(config: StudyConfig, responses: Responses) -> str | None:
    """Say why a study cannot give scores as a share of the noise ceiling, if it asks for them; None if it can."""
    published = responses.targets.get("ncsnr")
    known = published is not None and bool(np.isfinite(published).all())
    if config.normalise == "none" or known or responses.trials["stimulus"].duplicated().any():
        return None
    return (
        f"'normalise: ceiling' needs the noise ceiling of {responses.subject} ({responses.modality}): no photograph "
        "was shown twice, and the dataset gives none; leave it out"
    )


def sensors_of(config: StudyConfig) -> str | None:
    """Return what a study says its sensors measure; None where it does not say it."""
    timed = [name for name in config.modality or () if name in TIMED]
    return timed[0] if len(timed) == 1 else None


def read_own(
    own: OwnData, stimuli: StimulusSet, *, check: bool = True, sensors: str | None = None
) -> dict[str, dict[str, Responses]]:
    """Open recordings of one's own; values stay on disk.

    Parameters
    ----------
    own : OwnData
        Files and options.
    stimuli : StimulusSet
        The photographs.
    check : bool
        Whether to go through all values once, and to identify them by their content.
    sensors : str, optional
        What sensors measure, where the file does not say it.
    """
    said = {} if sensors is None else {"modality": sensors}
    subjects = read_subjects(own.responses, own.targets, own.events, stimuli, check=check, **own.changed, **said)
    if check and not own.is_plain:
        for responses in subjects.values():
            responses.info["content"] = responses.digest()
    modality = next(iter(subjects.values())).modality
    return {modality: {name: _drawable(responses) for name, responses in subjects.items()}}


def dataset_reader(config: StudyConfig) -> DatasetReader:
    """Open the public dataset of a study; no responses are read.

    Raises
    ------
    InputError
        If its folder or a setting of its reader is wrong.
    """
    from brainmap.data.readers import open_dataset

    place = config.place
    return open_dataset(
        config.dataset,
        place.data_root,
        stimuli=place.stimuli,
        cache=place.cache,
        options=dict(config.reading),
        memory=parse_memory(config.memory),
    )


def absent_files(config: StudyConfig) -> str | None:
    """One sentence about the files of a public dataset that a study needs and that are not on disk; None if all are."""
    from brainmap.data.fetching.dataset import ROOT_VARIABLE, Dataset
    from brainmap.data.manifests import list_manifests, load_manifest

    if config.dataset not in list_manifests():
        return None
    named = config.place.data_root or os.environ.get(ROOT_VARIABLE)
    dataset = Dataset.open(config.dataset, named or Path.cwd())  # without a folder all is missing
    purpose = dataset_reader(config).purpose if named and dataset.root.is_dir() else "fit"
    plan = dataset.plan(purpose, config.subjects)
    absent = [*plan.missing, *plan.wrong]
    if not absent:
        return None
    terms = load_manifest(config.dataset).terms
    agree = f", terms of use to agree to: {terms.url}" if terms.confirm else ""
    chosen = f" --subject {','.join(config.subjects)}" if config.subjects else ""
    about = "" if plan.exact else "about "
    get = f"brainmap data fetch {config.dataset}{chosen} --for {purpose}{'' if named else ' --data-root FOLDER'}"
    return (
        f"{len(absent):,} of {len(plan.wanted):,} files of {config.dataset} are not on disk ({about}"
        f"{plan.missing_bytes / 1e9:,.1f} GB, licence {terms.licence}{agree}), the first is {absent[0].path}; "
        f"get them with: {get}"
    )


def chosen_subjects(config: StudyConfig, reader: DatasetReader) -> list[str]:
    """Subjects of a public dataset that were asked for, as its files name them; all that are on disk by default.

    Raises
    ------
    InputError
        If a subject or the modality is not there.
    """
    choose_subjects({reader.modality: {}}, config.model_copy(update={"subjects": None}))
    chosen = [reader.resolve(name) for name in config.subjects] if config.subjects else reader.subjects()
    if not chosen:
        from brainmap.data.manifests import list_manifests

        remedy = f"get them with: brainmap data fetch {config.dataset} --subject 1"
        if config.dataset not in list_manifests():  # a folder of the user's own cannot be fetched
            remedy = "check that it is the folder that holds sub-…, and which task and derivatives are asked for"
        raise InputError(f"{reader.root} holds no responses of {config.dataset}; {remedy}")
    return chosen


def read_dataset(config: StudyConfig, stimuli: StimulusSet) -> dict[str, dict[str, Responses]]:
    """Prepare (or find prepared) and open the responses of a public dataset; values stay on disk."""
    reader = dataset_reader(config)
    subjects = {name: reader.responses(name, stimuli) for name in chosen_subjects(config, reader)}
    if config.nuisance is not None:
        from brainmap.data.readers.nuisance_columns import with_nuisance

        subjects = {name: with_nuisance(reader, name, each, config.nuisance) for name, each in subjects.items()}
    return {reader.modality: {name: _drawable(responses) for name, responses in subjects.items()}}


def _drawable(responses: Responses) -> Responses:
    """Keep vertices of other meshes out of the column that maps on fsLR-32k are drawn from."""
    if responses.modality != "fmri" or responses.info.get("mesh") == MESH_NAME:
        return responses
    targets = responses.targets
    mesh, vertex = str(responses.info.get("mesh", "")), targets["vertex"].to_numpy()
    right, count = (targets["hemisphere"] == "R").to_numpy() & (vertex != NO_VERTEX), MESH_VERTICES.get(mesh)
    if count is not None and right.any() and vertex[right].min() >= count:  # counted on from the left hemisphere
        vertex = np.where(right, vertex - count, vertex)
    return replace(responses, targets=targets.assign(mesh=mesh, mesh_vertex=vertex, vertex=NO_VERTEX))


def contents(inputs: Inputs | None) -> dict[str, str]:
    """Identity of recorded responses by content, by modality and subject."""
    recorded = {} if inputs is None else inputs.responses
    return {
        f"{modality} {subject}": str(responses.info.get("content", ""))
        for modality, subjects in recorded.items()
        for subject, responses in subjects.items()
    }


def simulate_sample(config: StudyConfig, stimuli: StimulusSet, store: Path) -> Simulated:
    """Simulate the sample's brains from features of ``dino-tiny``, whichever model is studied.

    Gradients of one of its checkpoints take part, so that what gradients add is highest before the end of its training.
    """
    drive = extractor(config.model_copy(update=sample_drive()), store).extract(stimuli)
    arrays = {(str(signal), layer): np.asarray(drive[signal, layer]) for signal, layer in drive}
    before = sample_drive() | {"weights": SAMPLE_EARLIER_WEIGHTS}
    earlier = extractor(config.model_copy(update=before), store).extract(stimuli)
    arrays |= {(EARLIER_SIGNAL, layer): np.asarray(earlier[s, layer]) for s, layer in earlier if s == "gradient"}
    simulated = simulate(arrays, stimuli.table, seed=config.seed, config=simulation(config))
    return {modality: simulated[modality] for modality in ("fmri", "meg")}, simulated["truth"]


def simulation(config: StudyConfig) -> SimulationConfig:
    """Return what is simulated for a study of the sample: everything, or every n-th vertex and sensor."""
    return SimulationConfig(every=config.thin, sensor_every=config.thin)


def sample_drive() -> dict[str, Any]:
    """Return the settings of the features that drive the sample's simulated brains."""
    return {
        "model": SAMPLE_MODEL, "weights": "trained", "layers": None, "signals": ("activation", "gradient"),
        "site": "block", "pooling": SAMPLE_POOLING, "objective": None, "wrt": "output", "projection": None,
        "features": None, "terms": "together",
    }  # fmt: skip


def choose_subjects(everything: Mapping[str, Mapping[str, Any]], config: StudyConfig) -> dict[str, dict[str, Any]]:
    """Keep the modalities and subjects that were asked for."""
    modalities: Sequence[str] = config.modality or tuple(everything)
    absent = [modality for modality in modalities if modality not in everything]
    if absent:
        there = ", ".join(MODALITY_NAMES.get(name, name) for name in everything)
        raise InputError(f"the dataset has no {MODALITY_NAMES.get(absent[0], absent[0])} responses; it has {there}")
    chosen = {}
    for modality in modalities:
        subjects = everything[modality]
        unknown = [subject for subject in config.subjects or () if subject not in subjects]
        if unknown:
            raise InputError(f"there is no subject '{unknown[0]}'; the subjects are {', '.join(subjects)}")
        chosen[modality] = {name: subjects[name] for name in config.subjects or subjects}
    return chosen


def planned_extractor(config: StudyConfig) -> FeatureExtractor | GivenFeatures:
    """Make the extractor of a study around its model without weights, to plan with; weights of one's own are read."""
    from brainmap.models import skeleton

    own = config.weights not in ("trained", "untrained") and Path(config.weights).exists()
    if own or config.features is not None:
        return extractor(config.model_copy(update={"device": "cpu"}), None)
    objective = None if config.objective == CLIP_BRIDGE else config.objective
    return _extractor(config, skeleton(config.model), None, objective)


def extractor(
    config: StudyConfig, store: Path | None, captioned: StimulusSet | None = None
) -> FeatureExtractor | GivenFeatures:
    """Load the model of a study and make the extractor of its features, or open the file that holds them.

    Parameters
    ----------
    config : StudyConfig
        The study.
    store : Path, optional
        Feature store.
    captioned : StimulusSet, optional
        Photographs with captions that the objective ``clip-bridge`` is fitted to; without them the extractor only says
        what would be computed, with the model's own loss.

    Raises
    ------
    InputError
        If the model, its weights, a layer, the site, the pooling or the objective does not exist.
    """
    from brainmap.models import load_model

    if config.features is not None:
        from brainmap.features.given_features import GivenFeatures

        return GivenFeatures(config.features, layers=config.layers, signals=config.signals)
    model = load_model(config.model, weights=config.weights, seed=config.seed, device=config.device)
    objective: str | Objective | None = config.objective
    if objective == CLIP_BRIDGE:
        objective = None if captioned is None else _bridge(config, model, captioned)
    return _extractor(config, model, store, objective)


def _extractor(
    config: StudyConfig, model: VisionModel, store: Path | None, objective: str | Objective | None
) -> FeatureExtractor:
    from brainmap.features import FeatureExtractor
    from brainmap.features.projection import RandomProjection

    return FeatureExtractor(
        model,
        layers=config.layers,
        signals=config.signals,
        site=config.site,
        pooling=config.pooling,
        objective=objective,
        wrt=config.wrt,
        terms=config.terms,
        batch_size=config.batch_size,
        memory=config.memory,
        store=store,
        projection=None if config.projection is None else RandomProjection(config.projection, seed=config.seed),
    )


def _bridge(config: StudyConfig, model: VisionModel, photographs: StimulusSet) -> Objective:
    """Fit the map from the model's output to the caption space of the study's image–text model."""
    from brainmap.models import load_model
    from brainmap.models.objectives import fit_clip_bridge

    clip = load_model(config.bridge, weights=config.bridge_weights, seed=config.seed, device=config.device)
    return fit_clip_bridge(model, clip, photographs, batch_size=config.batch_size or 32)
