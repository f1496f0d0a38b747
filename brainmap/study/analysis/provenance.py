"""What must travel with every score: what was done, on what, and how each p was made."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from brainmap.common.errors import BrainmapError
from brainmap.common.names import LEVEL
from brainmap.common.versions import versions
from brainmap.models.model_cards import model_card, resolve_model
from brainmap.study.declared.band_names import bands_of_other_models
from brainmap.study.declared.study_config import DEFAULT_GROUPS, StudyConfig
from brainmap.study.inputs import Inputs

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.study.analysis.encoded_part import Encoded


def study_provenance(
    config: StudyConfig,
    inputs: Inputs,
    features: Features,
    scores: Mapping[str, xr.Dataset],
    p_values: Mapping[str, Mapping[str, str]],
    encoded: Sequence[Encoded] = (),
) -> dict[str, Any]:
    """Describe a study.

    Parameters
    ----------
    config, inputs, features, scores
        The study, what it started from, and its scores by modality.
    p_values : mapping
        Modality → statistic → how its p values were made.
    encoded : sequence of Encoded
        The subjects, with what was noted of their photographs.

    Returns
    -------
    dict
        JSON-able, with the names that :class:`brainmap.results.StudyResults` shows.
    """
    everyone = [responses for subjects in inputs.responses.values() for responses in subjects.values()]
    extracted = features.provenance
    objective = extracted.get("objective") or {}
    first = next(iter(scores.values())).attrs
    return {
        "simulated": any(responses.simulated for responses in everyone),
        "dataset": config.dataset,
        "subjects": {modality: list(subjects) for modality, subjects in inputs.responses.items()},
        "model": config.model_name,
        "citations": [text for name in models_of(config) for text in model_citations(name)],
        "weights": config.weights if config.features is None else None,
        "weights_digest": extracted["weights_digest"],
        "objective": objective.get("name"),
        "exactness": extracted.get("exactness"),
        "batch_coupled": extracted.get("batch_coupled"),
        "gradient_of": extracted.get("gradient_of"),
        "site": config.site if config.features is None else None,
        "pooling": config.pooling if config.features is None else None,
        "features_file": None if config.features is None else config.features.name,
        "n_images": len(inputs.stimuli),
        "n_sources": int(inputs.stimuli.table["source"].nunique()),
        "n_trials": {
            modality: max(responses.n_trials for responses in subjects.values())
            for modality, subjects in inputs.responses.items()
        },
        "repeats": "averaged before encoding",
        "cv": config.cv if config.split == "folds" else None,
        "fixed_split": None if config.split == "folds" else "the test photographs that the dataset names",
        "groups": group_words(config),
        "confounds": confound_words(everyone),
        "split_hash": {modality: dataset.attrs["split_hash"] for modality, dataset in scores.items()},
        "inner_cv": first["inner_scheme"],
        "alphas": first["alphas"],
        **({"alphas_times": first["alphas_times"]} if first.get("alphas_times") else {}),
        "alpha_per_target": True,
        "standardise": "on the train split",
        "pca": config.pca,
        "scoring": "Pearson r",
        "ceiling_normalised": False,
        "p_values": _by_statistic(p_values),
        "alpha_level": LEVEL,
        "notes": [
            *_grouped(note for dataset in scores.values() for note in _flat(dataset.attrs.get("warnings", []))),
            *extracted.get("remarks", []),
            *_found_in_files(everyone),
            *dict.fromkeys(note for subject in encoded for note in subject.notes),
        ],
        "stimulus_duration": _stimulus_duration(everyone),
        "seeds": {"folds, permutations, simulation": config.seed},
        "versions": dict(versions()),
        "device": config.device,
        "memory": config.memory,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": json.loads(json.dumps(config.describe())),
    }


def models_of(config: StudyConfig) -> list[str]:
    """Return the names of the study's model and of those that make some of its bands."""
    others = bands_of_other_models((config.method == "banded" and config.bands) or ())
    return list(dict.fromkeys([config.model_name, *(resolve_model(band.model) for band in others.values())]))


def model_citations(model: str | None) -> list[str]:
    """Citation on the card of a model, if it is a registered one."""
    if not model:
        return []
    try:
        text = model_card(model).citation
    except BrainmapError:
        return []
    return [f"{text} (model {model})"] if text else []


def group_words(config: StudyConfig) -> str:
    """What folds keep together, in words."""
    if config.n_blocks is not None:
        gap = f", {config.gap} photographs left out on either side of a test block" if config.gap else ""
        return f"{config.n_blocks} blocks in the order of presentation{gap}"
    return "source photograph" if config.groups == DEFAULT_GROUPS else config.groups


def confound_words(everyone: Sequence[Any]) -> str | None:
    """Which confounds were projected out; None where there were none."""
    names = dict.fromkeys(
        str(name) for responses in everyone if responses.confounds is not None for name in responses.confounds
    )
    return f"{', '.join(names)} (fitted on each train set)" if names else None


def _grouped(notes: Iterable[str]) -> list[str]:
    """One line for each kind of warning of a run, with the places of one of the encodings that it concerns."""
    places: dict[str, list[str]] = {}
    for note in sorted(set(notes)):
        what, word, where = note.rpartition(" Layers: ")
        places.setdefault(what or note, []).append(f"{word}{where}" if what else "")
    return [
        what + where[0] + (f" The same in {len(where) - 1} more encodings." if len(where) > 1 else "")
        for what, where in places.items()
    ]


def _by_statistic(p_values: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Statistic → method, naming the modality where two modalities differ."""
    merged: dict[str, dict[str, str]] = {}
    for modality, statistics in p_values.items():
        for name, text in statistics.items():
            merged.setdefault(name, {})[modality] = text
    return {
        name: next(iter(texts.values()))
        if len(set(texts.values())) == 1
        else "; ".join(f"{modality}: {text}" for modality, text in texts.items())
        for name, texts in merged.items()
    }


def _flat(notes: Any) -> list[str]:
    """Return all texts in nested lists (results that were stacked keep a list each where they differ)."""
    return [notes] if isinstance(notes, str) else [text for part in notes for text in _flat(part)]


def _found_in_files(everyone: list[Any]) -> list[str]:
    """Say what readers found wrong in a dataset's files, and what they did about it."""
    notes = []
    for responses in everyone:
        findings = responses.info.get("findings") or {}
        if findings.get("n"):
            first = findings["items"][0]
            row = "" if first["row"] is None else f", row {first['row']}"
            notes.append(
                f"Subject {responses.subject}: {findings['n']} findings in the files, the first in "
                f"{first['file']}{row}: {first['what']} ({first['done']})."
            )
    return notes


def _stimulus_duration(everyone: list[Any]) -> float | None:
    """Return how long a photograph was shown (s), where the recordings say so."""
    durations = {responses.info.get("stimulus_duration") for responses in everyone}
    return durations.pop() if len(durations) == 1 else None
