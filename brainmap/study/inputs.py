"""From a configuration to photographs, features and responses; this is where the sample is assembled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmap.data import Responses, read_responses, sample_stimuli, simulate
from brainmap.errors import InputError
from brainmap.stimuli import StimulusSet
from brainmap.study.config import OwnData, StudyConfig

if TYPE_CHECKING:
    from brainmap.features import Features

SAMPLE_MODEL = "dino-tiny"
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
    truth: Any | None = None


def load_stimuli(config: StudyConfig) -> StimulusSet:
    """Open the photographs of a study without reading their pixels."""
    if config.own is None:
        return sample_stimuli()
    source = config.own.stimuli
    if source.suffix.lower() == ".zip":
        return StimulusSet.from_zip(source, config.own.table)
    return StimulusSet.from_folder(source, config.own.table)


def load_inputs(config: StudyConfig, stimuli: StimulusSet, store: Path) -> Inputs:
    """Open or simulate the responses of a study.

    Parameters
    ----------
    config : StudyConfig
        The study.
    stimuli : StimulusSet
        Its photographs.
    store : Path
        Feature store; the sample's brains are driven by features of ``dino-tiny``.

    Raises
    ------
    InputError
        If files do not fit together, or a subject or modality that was asked for does not exist.
    """
    if config.own is not None:
        responses = own_responses(config.own, stimuli)
        everything: dict[str, dict[str, Responses]] = {responses.modality: {responses.subject: responses}}
        truth = None
    else:
        everything, truth = simulate_sample(config, stimuli, store)
    chosen = choose(everything, config)
    return Inputs(stimuli, chosen, truth)


def own_responses(own: OwnData, stimuli: StimulusSet) -> Responses:
    """Read a user's own recordings."""
    return read_responses(own.responses, own.targets, own.events, stimuli)


def simulate_sample(
    config: StudyConfig, stimuli: StimulusSet, store: Path
) -> tuple[dict[str, dict[str, Responses]], Any]:
    """Simulate the sample's brains from features of ``dino-tiny``, whichever model is studied."""
    drive = extract(config.model_copy(update=sample_drive()), stimuli, store)
    simulated = simulate({key: np.asarray(drive[key]) for key in drive}, stimuli.table, seed=config.seed)
    return {modality: simulated[modality] for modality in ("fmri", "meg")}, simulated["truth"]


def sample_drive() -> dict[str, Any]:
    """Return the settings of the features that drive the sample's simulated brains."""
    return {
        "model": SAMPLE_MODEL, "weights": "trained", "layers": None, "signals": ("activation", "gradient"),
        "site": "block", "pooling": SAMPLE_POOLING, "objective": None,
    }  # fmt: skip


def choose(everything: dict[str, dict[str, Responses]], config: StudyConfig) -> dict[str, dict[str, Responses]]:
    """Keep the modalities and subjects that were asked for."""
    modalities: Sequence[str] = config.modality or tuple(everything)
    absent = [modality for modality in modalities if modality not in everything]
    if absent:
        raise InputError(f"the dataset has no {absent[0]} responses; it has {', '.join(everything)}")
    chosen = {}
    for modality in modalities:
        subjects = everything[modality]
        unknown = [subject for subject in config.subjects or () if subject not in subjects]
        if unknown:
            raise InputError(f"there is no subject '{unknown[0]}'; the subjects are {', '.join(subjects)}")
        chosen[modality] = {name: subjects[name] for name in config.subjects or subjects}
    return chosen


def extract(config: StudyConfig, stimuli: StimulusSet, store: Path) -> Features:
    """Extract (or find in the store) the features of a study, rows in the order of the photographs."""
    from brainmap.features import FeatureExtractor
    from brainmap.models import load_model

    model = load_model(config.model, weights=config.weights, seed=config.seed, device=config.device)
    extractor = FeatureExtractor(
        model,
        layers=config.layers,
        signals=config.signals,
        site=config.site,
        pooling=config.pooling,
        objective=config.objective,
        batch_size=config.batch_size,
        store=store,
    )
    return extractor.extract(stimuli)
