"""What a study takes on this machine: time, disk, memory; told before it starts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainmap.common.errors import BrainmapError, MissingFileError

if TYPE_CHECKING:
    from brainmap.features import FeatureExtractor

EFFICIENCY = 0.5  # of a network's passes, relative to a plain matrix product
INNER_FOLDS = 5
CUBES = 10.0  # operations of an eigendecomposition, in units of n³


def feature_operations(extractor: FeatureExtractor) -> float:
    """Floating-point operations for the signals of one photograph; 0 where they cannot be counted.

    The forward pass is counted on torch's ``meta`` device, where nothing is computed; an objective knows how
    many of them it takes.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = extractor.model
    size = model.preprocessing.crop
    device = next(model.module.parameters()).device
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network = next(iter(model.adapter.branches(model.module).values()))
            model.adapter.forward(network, torch.zeros(1, 3, size, size, device=device))
    except (BrainmapError, RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
        return 0.0
    forward = float(counter.get_total_flops())
    if extractor.objective is None:
        return forward
    counted = extractor.objective.passes(model)
    if counted is None:
        return 0.0
    if extractor.terms != "together":
        counted = counted.by_term(len(extractor.objective.terms(model)))
    plain = 0.0 if extractor.objective.plain_view or "activation" not in extractor.signals else 1.0
    return forward * (plain + counted.total)


def encoding_operations(shape: tuple[int, int], n_subjects: int, n_targets: int, folds: int) -> float:
    """Floating-point operations of the regression on one layer: its factors in every fold, and all targets."""
    n, d = shape
    rank = min(n, d)
    fits = folds * (INNER_FOLDS + 1)
    return float(fits * (2 * n * d * rank + CUBES * rank**3 + 2 * n * rank * n_targets * n_subjects))


def duration_words(features: float, encoding: float) -> str:
    """Say how long features and encoding take here, given their operations."""
    speed = measured_speed()
    seconds = (features / (EFFICIENCY * speed), encoding / speed)
    told = f"features about {duration(seconds[0])}, encoding about {duration(seconds[1])} here"
    return f"{told}, with the machine to itself; statistics and report come on top"


def lacking_room(folder: Path, disk: int, memory: int) -> list[str]:
    """Say what of disk and memory is missing for a run in a folder."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    short = []
    if disk > free:
        short.append(
            f"the run takes up to {readable(disk)} of disk, and {readable(free)} are free in {place}; "
            "choose another folder with --out, or fewer layers"
        )
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if total and memory > total:
        short.append(
            f"the run takes up to {readable(memory)} of memory, and this machine has {readable(total)}; lower --memory"
        )
    return short


def readable(count: float) -> str:
    """Bytes with a unit: ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def duration(seconds: float) -> str:
    """Time with a unit: ``3 min``."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{max(seconds / size, 1):.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def measured_speed() -> float:
    """Return the operations per second of a matrix product, measured here."""
    probe = np.ones((768, 768), dtype=np.float32)
    start = time.perf_counter()
    for _ in range(3):
        _ = probe @ probe
    return 3 * 2.0 * probe.shape[0] ** 3 / max(time.perf_counter() - start, 1e-9)


def everything_missing(error: BrainmapError, missing: Sequence[str]) -> BrainmapError:
    """Return the error that names all that stands in the way of a study, not only what was met first."""
    sentences = list(dict.fromkeys([*missing, *([] if missing else [str(error)])]))
    if len(sentences) < 2:
        return error
    return MissingFileError("\n  - ".join([f"{len(sentences)} things are missing:", *sentences]))
