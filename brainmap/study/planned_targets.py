"""Subjects, trials and targets that a study will have, told from files' headers and manifests; no response is read."""

from __future__ import annotations

from typing import Any

from brainmap.common.errors import BrainmapError
from brainmap.data.own_recordings.formats import split_variable
from brainmap.study.declared.study_config import OwnData, StudyConfig
from brainmap.study.inputs import (
    absent_files,
    ceiling_unknown,
    chosen_subjects,
    dataset_reader,
    load_stimuli,
    read_own,
    sensors_of,
    simulation,
)
from brainmap.study.photograph_groups import undivided
from brainmap.study.pooled_targets import check_alike


def planned_targets(config: StudyConfig, missing: list[str]) -> dict[str, tuple[list[str], int, int]]:
    """Subjects, trials and targets by modality, without reading responses."""
    if config.dataset == "sample":
        return _sample_targets(config)
    if config.own is not None:
        return _own_targets(config, config.own, missing)
    try:
        reader = dataset_reader(config)
        subjects = chosen_subjects(config, reader)
        shapes = [reader.shape(subject) for subject in subjects]
        return {reader.modality: (subjects, max(trials for trials, _ in shapes), max(count for _, count in shapes))}
    except BrainmapError as error:
        missing.append(str(error))
        absent = absent_files(config)
        if absent is not None:
            missing.append(absent)
        return _listed_targets(config)


def listed_facts(config: StudyConfig) -> dict[str, Any]:
    """What the manifest of a public dataset says of its size; empty where there is none."""
    from brainmap.data.manifests import list_manifests, load_manifest

    return load_manifest(config.dataset).facts if config.dataset in list_manifests() else {}


def _listed_targets(config: StudyConfig) -> dict[str, tuple[list[str], int, int]]:
    """Subjects, trials and targets of a public dataset that is not on disk, as its manifest has them."""
    from brainmap.data.manifests import load_manifest
    from brainmap.data.manifests.file_entries import resolve_subject

    targets = int(listed_facts(config).get("targets", 0))
    if not targets:
        return {}
    manifest = load_manifest(config.dataset)
    try:
        names = [resolve_subject(manifest, name) for name in config.subjects or manifest.subjects]
    except BrainmapError:  # named among what is missing
        return {}
    trials = max(facts.trials or 0 for facts in manifest.subjects.values())
    return {manifest.modality: (names, trials, targets)}


def _sample_targets(config: StudyConfig) -> dict[str, tuple[list[str], int, int]]:
    """Subjects, trials and targets of the sample, by modality."""
    from brainmap.data import sample_stimuli
    from brainmap.data.atlas import cortical_targets
    from brainmap.data.sensor_layout import load_sensors

    simulated = simulation(config)
    trials = len(sample_stimuli()) * simulated.repeats
    sensors = len(load_sensors().iloc[:: simulated.sensor_every])
    vertices = len(cortical_targets(every=simulated.every))
    counts = {"fmri": vertices, "meg": sensors * len(simulated.time_axis())}
    return {modality: (list(simulated.subjects), trials, count) for modality, count in counts.items()}


def _own_targets(config: StudyConfig, own: OwnData, missing: list[str]) -> dict[str, tuple[list[str], int, int]]:
    """Check that a user's files fit together, without reading the responses themselves."""
    absent = [
        f"there is no file {path}; give the {name} with "
        f"{'--set labels=…' if name == 'labels' else '--' + name}, or own.{name} in a study file"
        for name, path in (("responses", split_variable(own.responses)[0]), *own.files)
        if not path.exists()
    ]
    if absent:
        missing += absent
        return {}
    try:
        stimuli = load_stimuli(config)
        by_modality = read_own(own, stimuli, check=False, sensors=sensors_of(config))
        check_alike(by_modality)
        chosen = [each for subjects in by_modality.values() for each in subjects.values()]
        problems = [undivided(config, stimuli, each) or ceiling_unknown(config, each) for each in chosen]
        missing += [problem for problem in problems if problem is not None]
    except BrainmapError as error:
        missing.append(str(error))
        return {}
    return {
        modality: (
            list(subjects),
            max(responses.n_trials for responses in subjects.values()),
            max(responses.n_targets for responses in subjects.values()),
        )
        for modality, subjects in by_modality.items()
    }
