"""One model, several data sets: fMRI of one and MEG of another, side by side as if one study had measured both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from brainmap.results.collection import Collection, Member
from brainmap.results.study_results import StudyResults

# What says which data are predicted, not what they are predicted from or how.
DATA_SETTINGS = ("dataset", "own", "place", "reading", "subjects", "modality", "split", "batch_size")


def join_modalities(collection: Collection) -> Collection:
    """Join studies that differ in their data only and have no modality in common.

    Panels that show fMRI beside MEG then find both, wherever they were measured (the papers: fMRI of the Natural
    Scenes Dataset, MEG of THINGS).

    Parameters
    ----------
    collection : Collection
        Studies; each belongs to the parts of a study file.

    Returns
    -------
    Collection
        Joined studies stand where the first of them stood; studies that cannot be joined stay as they are.
    """
    groups: dict[str, list[Member]] = {}
    for member in collection:
        groups.setdefault(_what(member), []).append(member)
    members: list[Member] = []
    for group in groups.values():
        modalities = [name for member in group for name in member.results.modalities]
        timed = [name for name in modalities if name != "fmri"]
        joinable = len(group) > 1 and len(set(modalities)) == len(modalities) and len(timed) < 2
        members += [_joined(group)] if joinable else group
    return Collection(tuple(members), collection.title, collection.absent)


def _what(member: Member) -> str:
    """Everything about a study but its data."""
    settings = {name: value for name, value in sorted(member.settings.items()) if name not in DATA_SETTINGS}
    parts = {
        name: {key: value for key, value in sorted(varied.items()) if key not in DATA_SETTINGS}
        for name, varied in sorted(member.parts.items())
    }
    return repr((settings, parts, member.step))


def _joined(group: Sequence[Member]) -> Member:
    first = group[0]
    datasets = " + ".join(dict.fromkeys(str(member.settings.get("dataset")) for member in group))
    settings = {**first.settings, "dataset": datasets}
    return Member(first.label, settings, _joined_results(group, datasets), first.parts, first.step, first.places)


def _joined_results(group: Sequence[Member], datasets: str) -> StudyResults:
    every = [member.results for member in group]
    merged: dict[str, Any] = {}
    for item in fields(StudyResults):
        if item.name not in ("provenance", "truth", "hypotheses"):
            merged[item.name] = {key: value for results in every for key, value in getattr(results, item.name).items()}
    provenance = _joined_provenance(every) | {"dataset": datasets}
    truths = [results.truth for results in every if results.truth is not None]
    return StudyResults(provenance=provenance, truth=truths[0] if len(truths) == 1 else None, **merged)


def _joined_provenance(every: Sequence[StudyResults]) -> dict[str, Any]:
    """Values that all share; where they differ, a dictionary by modality."""
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(key for results in every for key in results.provenance):
        values = [results.provenance.get(name) for results in every]
        if all(repr(value) == repr(values[0]) for value in values):
            joined[name] = values[0]
        elif name == "p_values":
            joined[name] = {key: text for value in values if isinstance(value, dict) for key, text in value.items()}
        else:
            by_modality = (
                (mode, value) for results, value in zip(every, values, strict=True) for mode in results.modalities
            )
            joined[name] = {
                mode: value[mode] if isinstance(value, dict) and mode in value else value for mode, value in by_modality
            }
    joined["simulated"] = any(results.simulated for results in every)
    timed = [results for results in every if results.timed is not None]
    if timed and "stimulus_duration" in timed[0].provenance:  # only an axis of time shows it
        joined["stimulus_duration"] = timed[0].provenance["stimulus_duration"]
    return joined
