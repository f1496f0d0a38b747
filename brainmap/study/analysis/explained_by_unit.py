"""What bands explain alone and together in each area or at each time, over subjects, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.names import LEVEL
from brainmap.statistics import VariancePartition, folds_interval, subjects_interval
from brainmap.statistics.image_intervals import ImageScores, combine
from brainmap.statistics.jackknife import half_width
from brainmap.statistics.tests_of_means import LEAST

Float64 = NDArray[np.float64]
SHARED, TOTAL = "shared", "total"
CONFIDENCE = 1 - LEVEL


def explained_by_unit(partitions: Sequence[VariancePartition], units: NDArray[np.generic], *, over: str) -> xr.Dataset:
    """Return unique, shared and total variance by unit, mean over targets and subjects.

    Parameters
    ----------
    partitions : sequence of VariancePartition
        Of each subject, with ``images`` of these units.
    units : ndarray, (n_targets,)
        Area or time of each target.
    over : {"photographs", "subjects"}
        What intervals are over: other photographs for these subjects, or other subjects (three and more).

    Returns
    -------
    Dataset
        ``explained``, ``explained_low``, ``explained_high`` (kind, unit); kinds are the bands, ``shared`` (by two bands
        or more) and ``total``. The attribute ``interval`` says how it was made.
    """
    names = [str(name) for name in partitions[0].parts["part"].values if "&" not in str(name)]
    kinds, labels = [*names, SHARED, TOTAL], np.unique(units)
    if any(partition.images is None for partition in partitions):
        by_split = np.mean([_by_split(partition, names, units, labels) for partition in partitions], axis=0)
        mean = by_split.mean(axis=0)
        low, high = folds_interval(by_split, CONFIDENCE) if len(by_split) > 2 else (mean * np.nan, mean * np.nan)
        words = f"over {len(by_split)} folds"
    else:
        scores = [[_of_kind(partition, kind, names) for kind in kinds] for partition in partitions]
        each = np.array([[score.score for score in subject] for subject in scores])
        mean, n = each.mean(axis=0), len(partitions)
        if over == "subjects" and n >= LEAST["subjects"]:
            low, high = subjects_interval(each, CONFIDENCE)
            words = f"t over {n} subjects"
        else:
            half, count = _over_photographs(scores)
            low, high, words = mean - half, mean + half, f"jackknife over {count} groups of photographs"
    dims = ("kind", "unit")
    variables = {"explained": (dims, mean), "explained_low": (dims, low), "explained_high": (dims, high)}
    return xr.Dataset(variables, coords={"kind": kinds, "unit": labels}, attrs={"interval": words})


def _of_kind(partition: VariancePartition, kind: str, names: list[str]) -> ImageScores:
    assert partition.images is not None
    if kind != SHARED:
        return partition.images[kind]
    return combine([partition.images[name] for name in (TOTAL, *names)], [1.0, *[-1.0] * len(names)])


def _over_photographs(scores: Sequence[Sequence[ImageScores]]) -> tuple[Float64, int]:
    """Half widths (kind, unit), and the number of groups: a group that several subjects saw counts once."""
    groups = np.unique(np.concatenate([subject[0].groups for subject in scores]))
    shape = (len(groups), len(scores[0]), len(scores[0][0].units))
    changes = np.zeros((2, *shape))
    for subject in scores:
        rows = np.searchsorted(groups, subject[0].groups)
        for number, kind in enumerate(subject):
            changes[0, rows, number] += kind.test / len(scores)
            changes[1, rows, number] += kind.training / len(scores)
    freedom = len(groups) - scores[0][0].n_splits
    return half_width(changes[0], changes[1], freedom, CONFIDENCE), len(groups)


def _by_split(
    partition: VariancePartition, names: list[str], units: NDArray[np.generic], labels: NDArray[np.generic]
) -> Float64:
    """Values of each split, (split, kind, unit)."""
    total = partition.r2.isel(model=-1, drop=True)
    unique = partition.parts.sel(part=names)
    parts = [*(unique.sel(part=name, drop=True) for name in names), total - unique.sum("part"), total]
    values = np.stack([part.transpose("split", "target").values for part in parts], axis=1)
    return np.stack([np.nanmean(values[..., units == label], axis=-1) for label in labels], axis=-1)
