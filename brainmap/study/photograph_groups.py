"""What the table of photographs decides: who is held out together, of a source, folder, column, or block in time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from brainmap.common.errors import InputError
from brainmap.common.storage.files import short_hash
from brainmap.data.published_splits import test_photographs
from brainmap.data.responses import CONFOUND, Responses
from brainmap.encoding import RowGroups, plan_splits, time_blocks
from brainmap.stimuli import StimulusSet
from brainmap.study.declared.study_config import DEFAULT_GROUPS, StudyConfig
from brainmap.study.inputs import CLIP_BRIDGE

FOLDER = "folder"
GROUP_WORDS = {DEFAULT_GROUPS: "source", FOLDER: "folder"}
CATEGORIES = ("concept", "category")  # columns of the table of photographs that put like with like
NO_GROUPS = ("stimulus", "repeat", "n_repeats", "onset", "duration", "subject")  # columns of trials that group nothing


def photograph_groups(
    config: StudyConfig, stimuli: StimulusSet, responses: Responses, rows: np.ndarray
) -> np.ndarray | RowGroups:
    """Group the photographs that a subject saw, as the study asks for.

    Parameters
    ----------
    config : StudyConfig
        Its ``groups`` and ``gap``.
    stimuli : StimulusSet
        The photographs.
    responses : Responses
        Trials of the subject, in the order in which they are stored.
    rows : ndarray of int, (n_images,)
        Photographs that were shown, as rows of ``stimuli``.

    Returns
    -------
    ndarray of str, (n_images,), or RowGroups
        Photographs of one source are always in one group.

    Raises
    ------
    InputError
        If there is no such column, it is empty for some photograph or says two things of one, or photographs were shown
        repeatedly in different orders, so that blocks cannot keep them apart in time.
    """
    sources = stimuli.table["source"].to_numpy()[rows]
    if config.groups == DEFAULT_GROUPS:
        return sources
    if config.n_blocks is not None:
        place, stretch = order_of_presentation(responses, stimuli.ids[rows])
        blocks = time_blocks(place, config.n_blocks, gap=config.gap, stretch=stretch)
        return RowGroups(_joined(np.asarray(blocks), sources), blocks.place, config.gap, blocks.stretch)
    if config.groups == FOLDER:
        return _joined(folders(stimuli)[rows], sources)
    return _joined(_column(config.groups, stimuli, responses, rows), sources)


def undivided(config: StudyConfig, stimuli: StimulusSet, responses: Responses) -> str | None:
    """Say why a subject's photographs cannot be dealt into folds of whole groups; None where they can."""
    rows = np.sort(stimuli.index_of(responses.stimulus_ids))
    try:
        groups = photograph_groups(config, stimuli, responses, rows)
    except InputError as error:
        return str(error)
    confounds = responses.confounds
    left = int(len(rows) * (1 - 1 / config.cv) ** 2)  # rows of an inner train set
    if confounds is not None and confounds.shape[1] + 2 >= left:
        return (
            f"subject {responses.subject} has {confounds.shape[1]} confounds for about {left} photographs to train on, "
            "which leave nothing to predict; give fewer"
        )
    if confounds is not None and config.yardstick(responses.modality) == "permutation":
        return "permutations do not project confounds out; test over folds or subjects, or leave the confounds out"
    count, by = len(np.unique(np.asarray(groups))), GROUP_WORDS.get(config.groups, config.groups)
    if config.groups not in GROUP_WORDS and config.n_blocks is None and count == len(rows):
        return f"every photograph has a '{config.groups}' of its own, which groups nothing; leave 'groups' out"
    if config.method == "ridge-gcv" and (count < len(rows) or config.n_blocks is not None):
        return (
            f"subject {responses.subject} saw {len(rows)} photographs of {count} {by}s; method ridge-gcv takes every "
            f"photograph for independent: set method: ridge, which groups them by {by}"
        )
    least = 2 * config.cv if config.split == "folds" else 2
    if count < least and config.n_blocks is not None:
        return (
            f"{config.cv} folds of blocks need at least {least} blocks, here are {count}; set groups: blocks:{least} "
            "or fewer folds"
        )
    if count < least:
        return (
            f"subject {responses.subject} saw photographs of {count} {by}s; {config.cv} folds grouped by {by} need at "
            f"least {least}"
        )
    if config.gap:
        try:
            plan_splits(len(rows), config.cv, groups=groups, seed=config.seed)
        except InputError as error:
            return str(error)
    return None


def columns_that_decide(config: StudyConfig, stimuli: StimulusSet, extracting: Iterable[Any]) -> dict[str, str]:
    """Digests of what numbers depend on in the table of photographs, by column.

    Parameters
    ----------
    config : StudyConfig
        Its ``groups``, ``split`` and ``features``: given features are found by the names of photographs.
    stimuli : StimulusSet
        The photographs.
    extracting : iterable of FeatureExtractor or GivenFeatures
        Their losses read columns, such as ``caption``.

    Raises
    ------
    InputError
        If a column that a loss reads is missing or has an empty cell, or test photographs are wanted and not known.
    """
    table = stimuli.table
    needs = {"caption"} if config.objective == CLIP_BRIDGE and "gradient" in config.signals else set()
    for each in extracting:
        needs.update(getattr(getattr(each, "objective", None), "needs", ()))  # given features have no loss
    if needs:
        from brainmap.models.image_batch import filled_column  # brings torch

        for name in sorted(needs):
            filled_column(table, name, stimuli.ids)
    by_name = () if config.features is None else ("name",)
    names = (DEFAULT_GROUPS, *CATEGORIES, config.groups, *needs, *by_name)
    columns = {name: table[name] for name in names if name in table}
    if config.groups == FOLDER:
        columns[FOLDER] = pd.Series(folders(stimuli))
    if config.split == "test":
        columns["test"] = pd.Series(test_photographs(stimuli))
    # a missing cell is none that says "nan"
    return {
        name: f"{column.nunique(dropna=False)} values, {short_hash(column.map(repr).tolist())}"
        for name, column in columns.items()
    }


def folders(stimuli: StimulusSet) -> np.ndarray:
    """Folder of each photograph, (n,) str."""
    names = stimuli.table["name"].astype(str).str.replace("\\", "/")
    return np.array([PurePosixPath(name).parent.as_posix() for name in names])


def recordings_of(trials: pd.DataFrame) -> np.ndarray:
    """Number of the recording (session, run) of each trial, (n_trials,), by first appearance."""
    columns = [name for name in ("session", "run") if name in trials]
    if not columns:
        return np.zeros(len(trials), dtype=np.int64)
    names = [trials[name].astype(str) for name in columns]
    return pd.factorize(names[0] if len(names) == 1 else names[0] + " " + names[1])[0].astype(np.int64)


def order_of_trials(trials: pd.DataFrame) -> np.ndarray:
    """Trials in the order of presentation: as they stand, or by ``onset`` within a recording where all have one."""
    recording = recordings_of(trials)
    onset = pd.to_numeric(trials["onset"], errors="coerce").to_numpy(dtype=float) if "onset" in trials else None
    if onset is None or not np.isfinite(onset).all():
        return np.argsort(recording, kind="stable")
    return np.lexsort((onset, recording))


def order_of_presentation(responses: Responses, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of each photograph in the order of presentation, and the recording in which it was first shown.

    Raises
    ------
    InputError
        If photographs were shown again in another order.
    """
    trials = responses.trials
    order = order_of_trials(trials)
    codes = pd.Index(ids).get_indexer(trials["stimulus"])[order]
    showing = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    first = np.zeros(len(ids), dtype=np.int64)
    first[codes[showing == 0]] = np.flatnonzero(showing == 0)
    for number in range(1, int(showing.max(initial=0)) + 1):
        again = first[codes[showing == number]]
        if (np.diff(again) < 0).any():
            raise InputError(
                f"subject {responses.subject} saw photographs repeatedly in different orders, so no block in time "
                "holds all showings of its photographs; group them by another column, or leave 'groups' out"
            )
    return first, recordings_of(trials)[order][first]


def _column(name: str, stimuli: StimulusSet, responses: Responses, rows: np.ndarray) -> np.ndarray:
    of_photographs = [column for column in stimuli.table if column not in ("name", "stimulus", DEFAULT_GROUPS)]
    of_trials = [
        column for column in responses.trials if column not in NO_GROUPS and not str(column).startswith(CONFOUND)
    ]
    if name not in of_photographs and name not in of_trials:
        known = ", ".join(dict.fromkeys(map(str, [DEFAULT_GROUPS, FOLDER, "blocks:10", *of_photographs, *of_trials])))
        raise InputError(
            f"there is no column '{name}' to group the photographs of subject {responses.subject} by; 'groups' may be "
            f"{known}"
        )
    groups = []
    if name in of_photographs:
        groups.append(_of_photographs(name, stimuli, rows))
    if name in of_trials:
        groups.append(_of_trials(name, stimuli, responses, rows))
    if len(groups) == 2 and not _same_partition(*groups):
        raise InputError(
            f"the tables of photographs and of trials both have a column '{name}', and group photographs differently; "
            "rename one of them"
        )
    return groups[0]


def _of_photographs(name: str, stimuli: StimulusSet, rows: np.ndarray) -> np.ndarray:
    column = stimuli.table[name].iloc[rows]
    empty = np.flatnonzero(column.map(_is_empty).to_numpy(dtype=bool))
    if len(empty):
        photograph = stimuli.table["name"].iloc[rows[empty[0]]]
        raise InputError(f"the photograph {photograph} has no '{name}' to be grouped by; fill the cell of its table")
    return column.map(str).to_numpy(dtype=str)


def _of_trials(name: str, stimuli: StimulusSet, responses: Responses, rows: np.ndarray) -> np.ndarray:
    trials = responses.trials
    empty = np.flatnonzero(trials[name].map(_is_empty).to_numpy(dtype=bool))
    if len(empty):
        raise InputError(f"trial {empty[0]} of subject {responses.subject} has no '{name}' to be grouped by")
    ids = stimuli.ids[rows]
    values = trials[name].map(str).groupby(trials["stimulus"].astype(str)).unique()
    several = values[values.map(len) > 1]
    if len(several):
        photograph = stimuli.table["name"].iloc[int(stimuli.index_of([several.index[0]])[0])]
        raise InputError(
            f"the photograph {photograph} was shown with '{name}' {several.iloc[0][0]} and {several.iloc[0][1]}; group "
            "photographs by something that is the same in all their showings"
        )
    return values.map(lambda each: each[0]).loc[ids].to_numpy(dtype=str)


def _is_empty(cell: object) -> bool:
    return cell is None or cell is pd.NA or str(cell).strip() in ("", "n/a", "nan")


def _joined(labels: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Join groups that share a source, (n,) int by first appearance."""
    left, right = (pd.factorize(part)[0] for part in (labels, sources))
    n_left = int(left.max()) + 1
    size = n_left + int(right.max()) + 1
    links = sparse.coo_array((np.ones(len(left)), (left, n_left + right)), shape=(size, size))
    components = connected_components(links, directed=False)[1][left]
    return pd.factorize(components)[0].astype(np.int64)


def _same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(pd.factorize(first)[0], pd.factorize(second)[0])
