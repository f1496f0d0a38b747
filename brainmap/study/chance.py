"""Which vertices (fMRI) or moments (MEG) are predicted above chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from brainmap.data.splits import fixed_split
from brainmap.encoding.inference import adjust, significance
from brainmap.encoding.memory import parse_memory
from brainmap.encoding.permutation import PermutationInput, PermutationOptions, group_permutation_test
from brainmap.encoding.permutation_input import common_penalty
from brainmap.encoding.ridge import DEFAULT_ALPHAS
from brainmap.errors import InputError
from brainmap.progress import track
from brainmap.study.config import StudyConfig

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.stimuli import StimulusSet
    from brainmap.study.summary import Encoded

PER = {"fmri": "target", "meg": "time"}
LEVEL = 0.05
STOP_AFTER = 25
FEW = 500  # fewer targets agree on a penalty by chance: every permutation then chooses its own


def above_chance(
    r: xr.DataArray,
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    config: StudyConfig,
    *,
    scratch: Path | None = None,
) -> tuple[xr.DataArray | None, str]:
    """Mark the targets (fMRI) or times (MEG) predicted above chance.

    Parameters
    ----------
    r : DataArray, (subject, signal, layer, split, target)
        Scores.
    subjects : sequence of Encoded
        Of one modality, in the order of ``r``.
    stimuli, features, config
        The study.
    scratch : Path, optional
        Folder in which a permutation test keeps what is finished.

    Returns
    -------
    marks : DataArray of bool, (signal, layer, target or time), or None
        None where the test cannot be made.
    method : str
        How, or why not.
    """
    modality = subjects[0].responses.modality
    per, test = PER[modality], config.yardstick(modality)
    try:
        if test == "permutation":
            return _permuted(r, subjects, stimuli, features, config, scratch)
        tested = significance(r, per="target" if per == "target" else "time", test=test)
    except InputError as error:
        return None, f"not computed: {error}"
    return tested.significant, tested.method


def permutation_options(config: StudyConfig, n_rows: int, n_targets: int, *, sequential: bool) -> PermutationOptions:
    """Return the settings of a study's permutation test.

    Parameters
    ----------
    config : StudyConfig
        The study.
    n_rows, n_targets : int
        Rows of all subjects together, and targets.
    sequential : bool
        Stop early where a target is settled.
    """
    block = parse_memory(config.memory) // (4 * 16 * max(n_rows, 1))
    return PermutationOptions(
        n_permutations=config.shuffles,
        cv=config.cv,
        stop_after=STOP_AFTER if sequential and config.shuffles > 4 * STOP_AFTER else None,
        candidates=tuple(float(a) for a in DEFAULT_ALPHAS) if n_targets < FEW else None,
        pca=config.pca,
        block=int(np.clip(block, 16, 8192)),
        seed=config.seed,
    )


def _permuted(
    r: xr.DataArray,
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    config: StudyConfig,
    scratch: Path | None,
) -> tuple[xr.DataArray, str]:
    """Permute whole photographs and refit, map by map."""
    modality = subjects[0].responses.modality
    per, units = PER[modality], None if modality == "fmri" else r["time"].values
    names = np.arange(r.sizes["target"]) if units is None else np.unique(units)
    rows = sum(len(one.rows) for one in subjects)
    options = permutation_options(config, rows, r.sizes["target"], sequential=units is None)
    layers = [str(layer) for layer in r["layer"].values]
    p = np.full((r.sizes["signal"], len(layers), len(names)), np.nan)
    maps = [(i, j, signal, layer) for i, signal in enumerate(config.signals) for j, layer in enumerate(layers)]
    for i, j, signal, layer in track(maps, f"{modality} permutations", unit="maps"):
        found = group_permutation_test(
            _inputs(subjects, stimuli, features, config, (signal, layer), fixed=options.candidates is None),
            units=units,
            options=options,
            checkpoint=None if scratch is None else scratch / modality / f"{signal}-{layer}.npz",
            memory=config.memory,
            device=config.device,
        )
        p[i, j] = found.table["p"].to_numpy()
    coords = {"signal": list(config.signals), "layer": layers} | ({} if units is None else {"time": names})
    array = xr.DataArray(p, dims=("signal", "layer", per), coords=coords)
    if "depth" in r.coords:
        array = array.assign_coords(depth=("layer", r["depth"].values))
    return adjust(array, "bh", over=(per,)) <= LEVEL, _words(options, per, len(names))


def _words(options: PermutationOptions, per: str, n_tests: int) -> str:
    """How the p values were made, and how many tests must be passed together for the correction to let any pass."""
    fixed = "the penalty that most of the best predicted targets chose"
    penalty = fixed if options.candidates is None else "its own best penalty"
    stopped = "" if options.stop_after is None else f", stopped after {options.stop_after} exceedances"
    together = int(np.ceil(n_tests / (LEVEL * (options.n_permutations + 1))))
    least = f"; so few permutations can only mark {together} {per}s or more at once" if together > 1 else ""
    return (
        f"{options.n_permutations} permutations of whole photographs, each refitted at {penalty}{stopped}; score "
        f"averaged over subjects, one-sided; false discovery rate (Benjamini–Hochberg) over {per}s of each map{least}"
    )


def _inputs(
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    config: StudyConfig,
    space: tuple[str, str],
    *,
    fixed: bool,
) -> list[PermutationInput]:
    """Features and averaged responses of all subjects for one signal and layer."""
    signal, layer = space
    values = np.asarray(features[signal, layer])
    penalty = None
    if fixed:
        chosen, scores = (
            np.concatenate([one.spaces[signal].dataset[name].sel(layer=layer).values for one in subjects])
            for name in ("alpha", "r")
        )
        penalty = common_penalty(chosen, scores)
    first = subjects[0].rows
    return [
        PermutationInput(
            values[one.rows],
            one.averaged.values,
            penalty,
            one.groups,
            cv=fixed_split(one.averaged, stimuli) if config.split == "test" else None,
            same_photographs=bool(np.array_equal(one.rows, first)),
        )
        for one in subjects
    ]
