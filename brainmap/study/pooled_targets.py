"""Targets of several subjects as one table: scores are pooled target by target, so these must be the same ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.data.responses import with_one_table

NAMES = ("sensor", "time", "roi", "hemisphere", "mesh", "vertex", "mesh_vertex")  # what a target is
PLACES = ("x", "y", "z")
SAME_PLACE = 0.5  # mm; of voxels, which nothing else tells apart
REMEDY = "bring them to the same targets, or make a study of each (--subject)"


def check_alike(everything: dict[str, dict[str, Responses]]) -> dict[str, dict[str, Responses]]:
    """Refuse subjects whose targets differ, before anything is computed; equal tables become one.

    Raises
    ------
    InputError
        Naming the first subject that differs, and in what.
    """
    for subjects in everything.values():
        first, *others = subjects.values()
        for other in others:
            _check_pair(first, other)
    return {modality: with_one_table(subjects) for modality, subjects in everything.items()}


def common_targets(subjects: Sequence[Responses]) -> pd.DataFrame:
    """Table of targets that holds for all subjects of a modality.

    Parameters
    ----------
    subjects : sequence of Responses
        As :func:`check_alike` passes them.

    Returns
    -------
    pandas.DataFrame
        Columns that all share; places (mm) are means over subjects where these differ, as those of sensors and of
        vertices of native surfaces do. What else differs is a subject's own (noise ceilings) and left out.
    """
    first = subjects[0].targets
    table = first.copy()
    for name in first:
        each = [subject.targets[name] for subject in subjects if name in subject.targets]
        if len(each) == len(subjects) and all(_equal(each[0], other).all() for other in each[1:]):
            continue
        if name in PLACES and len(each) == len(subjects):
            table[name] = np.mean([column.to_numpy(dtype=float) for column in each], axis=0)
        else:
            table = table.drop(columns=name)
    return table


def _check_pair(first: Responses, other: Responses) -> None:
    if other.n_targets != first.n_targets:
        raise InputError(
            f"subject {other.subject} has {other.n_targets:,} targets and subject {first.subject} "
            f"{first.n_targets:,}; {REMEDY}"
        )
    for name in NAMES:
        if (name in first.targets) != (name in other.targets):
            having, lacking = (first, other) if name in first.targets else (other, first)
            raise InputError(
                f"targets of subject {having.subject} have a column '{name}' and those of subject {lacking.subject} "
                f"have none; {REMEDY}"
            )
        if name in first.targets:
            _refuse(_equal(first.targets[name], other.targets[name]), name, first, other)
    places = [name for name in PLACES if name in first.targets and name in other.targets]
    if _are_voxels(first) and len(places) == len(PLACES):
        apart = np.abs(first.targets[places].to_numpy(dtype=float) - other.targets[places].to_numpy(dtype=float))
        for column, name in enumerate(places):
            _refuse(~(apart[:, column] > SAME_PLACE), name, first, other)


def _are_voxels(responses: Responses) -> bool:
    """Whether neither a sensor nor a vertex of a mesh nor a name of its own tells a target from others."""
    table = responses.targets
    if responses.modality != "fmri":
        return False
    placed = str(responses.info.get("mesh", "")) != "voxels" and (table["vertex"] >= 0).all()
    return bool(not placed and table["roi"].duplicated().any())


def _refuse(same: np.ndarray, name: str, first: Responses, other: Responses) -> None:
    if same.all():
        return
    row = int(np.argmin(same))
    raise InputError(
        f"target {row} has {name} {other.targets[name].iloc[row]} in subject {other.subject} and "
        f"{first.targets[name].iloc[row]} in subject {first.subject}; {REMEDY}"
    )


def _equal(first: pd.Series, second: pd.Series) -> np.ndarray:
    same = (first.to_numpy() == second.to_numpy()) | (first.isna().to_numpy() & second.isna().to_numpy())
    return np.asarray(same, dtype=bool)
