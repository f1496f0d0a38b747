"""Warnings about photographs that are not exchangeable, with the numbers and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainmap.common.blocks import read_block
from brainmap.encoding import RowGroups
from brainmap.statistics.dependent_rows import Resemblance, neighbours, resemblance, same_kind, sufficient_gap
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.photograph_groups import CATEGORIES, FOLDER, folders, order_of_trials, recordings_of

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet
    from brainmap.study.analysis.encoded_part import Encoded

MOST_COLUMNS = 64  # features and targets that are looked at, evenly spaced
MOST_TRIALS = 3000
MOST_LAYERS = 3
CLOSE_REPEATS = 3  # trials
SOME_CLOSE = 0.1  # of all repeats


def dependence_notes(
    config: StudyConfig, stimuli: StimulusSet, subjects: Sequence[Encoded], layers: Mapping[str, Any]
) -> list[str]:
    """Say where neighbours in time, or photographs of a kind, resemble each other in features and in responses.

    Parameters
    ----------
    config : StudyConfig
        Groups and gap that are in effect: only photographs that folds may tear apart are compared.
    stimuli : StimulusSet
        The photographs.
    subjects : sequence of Encoded
        Of one modality; nothing is said of simulated ones.
    layers : mapping of str to array-like, (n_photographs, d)
        Features of a signal.

    Returns
    -------
    list of str
        Sentences, each of the subject in whom it is worst.
    """
    if all(subject.responses.simulated for subject in subjects):  # noise is drawn for each trial, order at random
        return []
    names = list(layers)
    shown = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, MOST_LAYERS).astype(int))]
    features = {name: _columns(layers[name]) for name in shown}
    in_time = [_in_time(config, stimuli, subject, features) for subject in subjects]
    of_kind = {FOLDER: folders(stimuli)} | {name: stimuli.table[name] for name in CATEGORIES if name in stimuli.table}
    notes = [_worst(in_time, subjects)] + [
        _worst([_of_a_kind(name, labels, subject, features) for subject in subjects], subjects)
        for name, labels in of_kind.items()
    ]
    return [note for note in notes if note]


def ceiling_notes(subjects: Sequence[Encoded]) -> list[str]:
    """Say where repeats follow one another and neighbours share drift: the ceiling then counts it as signal."""
    each = [_drifting_repeats(subject) for subject in subjects if subject.responses.targets.get("ncsnr") is None]
    note = _worst(each, subjects)
    return [note] if note else []


def _drifting_repeats(subject: Encoded) -> tuple[float, str]:
    trials = subject.responses.trials
    order = order_of_trials(trials)[:MOST_TRIALS]
    recording, photograph = recordings_of(trials)[order], trials["stimulus"].to_numpy(dtype=str)[order]
    places = pd.Series(np.arange(len(order))).groupby([photograph, recording])
    apart = places.diff().dropna()
    if not len(apart):
        return 0.0, ""
    close = float((apart <= CLOSE_REPEATS).sum() / max(len(order) - len(np.unique(photograph)), 1))
    first = np.flatnonzero((recording[1:] == recording[:-1]) & (photograph[1:] != photograph[:-1]))
    y = _without_confounds(_trial_values(subject, order), subject.responses.confounds, order)
    alike = resemblance(y, y, neighbours(first, first + 1))
    if close < SOME_CLOSE or alike is None or not alike.clear:
        return 0.0, ""
    return alike.responses, (
        f"{close:.0%} of the repeats come within {CLOSE_REPEATS} trials of each other, and responses to neighbouring, "
        f"different photographs correlate by {alike.responses:.2f} ({{who}}): repeats share drift, which noise "
        "ceilings count as signal, so they are too high. Remove the drift (high-pass filter, confounds) or take "
        "repeats that lie apart"
    )


def _in_time(
    config: StudyConfig, stimuli: StimulusSet, subject: Encoded, features: Mapping[str, np.ndarray]
) -> tuple[float, str]:
    """How strongly neighbours in time depend on each other, and the sentence; 0 where they do not."""
    trials = subject.responses.trials
    order = order_of_trials(trials)[:MOST_TRIALS]
    recording = recordings_of(trials)[order]
    photograph = stimuli.index_of(trials["stimulus"])[order]
    groups = np.asarray(subject.groups)[np.searchsorted(subject.rows, photograph)]
    lag = config.gap + 1
    if lag >= len(order):
        return 0.0, ""
    apart = (recording[lag:] == recording[:-lag]) & (photograph[lag:] != photograph[:-lag])
    if not isinstance(subject.groups, RowGroups):  # blocks part few neighbours, but those as all others
        apart &= groups[lag:] != groups[:-lag]
    first = np.flatnonzero(apart)
    y = _without_confounds(_trial_values(subject, order), subject.responses.confounds, order)
    known = {name: resemblance(x[photograph], y, neighbours(first, first + lag)) for name, x in features.items()}
    layer, alike = _clearest(known)
    if alike is None:
        return 0.0, ""
    gap = max(sufficient_gap(features[layer][photograph], y, recording), config.gap + (config.n_blocks is not None))
    blocks = config.groups if config.n_blocks is not None else f"blocks:{2 * config.cv}"
    who = "neighbours in the order of presentation" if lag == 1 else f"photographs shown {lag} trials apart"
    return alike.features * alike.responses, (
        f"{who} correlate by {alike.features:.2f} in features ({layer}) and {alike.responses:.2f} in responses "
        f"({{who}}; {alike.share:.0%} of targets): they are not exchangeable, and folds and tests that part them call "
        f"chance a prediction. Hold out blocks in time: --groups {blocks} --gap {gap} (groups and gap in a study file)"
    )


def _of_a_kind(name: str, labels: Any, subject: Encoded, features: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """The same for photographs of one folder, or of one value of a column."""
    own = pd.Series(np.asarray(labels, dtype=str)[subject.rows])
    named = own[~own.isin(("", "n/a", "nan", "None"))]
    if named.nunique() < 2 or named.value_counts().max() < 2:
        return 0.0, ""
    pairs = same_kind(pd.factorize(named)[0])
    pairs = named.index.to_numpy()[pairs]
    groups = np.asarray(subject.groups)
    pairs = pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]
    if not len(pairs):
        return 0.0, ""
    every = np.arange(len(subject.rows))
    y = _without_confounds(_columns(subject.averaged.values), subject.averaged.confounds, every)
    known = {layer: resemblance(x[subject.rows], y, pairs) for layer, x in features.items()}
    layer, alike = _clearest(known)
    if alike is None:
        return 0.0, ""
    return alike.features * alike.responses, (
        f"photographs of one {name} correlate by {alike.features:.2f} in features ({layer}) and {alike.responses:.2f} "
        f"in responses ({{who}}; {alike.share:.0%} of targets): folds that part them count what tells the "
        f"{named.nunique()} {_plural(name)} apart as prediction. To predict photographs of unseen {_plural(name)}: "
        f"--groups {name} (groups in a study file)"
    )


def _plural(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def _clearest(known: Mapping[str, Resemblance | None]) -> tuple[str, Resemblance | None]:
    clear = {name: alike for name, alike in known.items() if alike is not None and alike.clear}
    if not clear:
        return "", None
    name = max(clear, key=lambda layer: clear[layer].features)
    return name, clear[name]


def _worst(each: Sequence[tuple[float, str]], subjects: Sequence[Encoded]) -> str:
    if not any(sentence for _, sentence in each):
        return ""
    number = int(np.argmax([strength if sentence else -1.0 for strength, sentence in each]))
    count = sum(bool(sentence) for _, sentence in each)
    who = f"subject {subjects[number].responses.subject}"
    who += f", the most of {count}" if count > 1 else ""
    sentence = each[number][1].replace("{who}", who)
    return sentence[:1].upper() + sentence[1:] + "."


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_COLUMNS)).astype(int))


def _columns(values: Any) -> np.ndarray:
    """Some columns of all rows, (n, at most 64)."""
    columns = _evenly(int(values.shape[1]))
    return np.asarray(read_block(values, None, columns), dtype=np.float64)


def _trial_values(subject: Encoded, order: np.ndarray) -> np.ndarray:
    """Responses of some trials to some targets, in the given order; rows are read in the order of the file."""
    columns, rows = _evenly(subject.responses.n_targets), np.sort(order)
    block = np.asarray(read_block(subject.responses.values, rows, columns), dtype=np.float64)
    return block[np.searchsorted(rows, order)]


def _without_confounds(values: np.ndarray, confounds: pd.DataFrame | None, rows: np.ndarray) -> np.ndarray:
    if confounds is None:
        return values
    design = np.column_stack([np.ones(len(rows)), confounds.to_numpy()[rows]])
    result: np.ndarray = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return result
