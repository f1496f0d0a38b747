"""Which vertices (fMRI) or moments (MEG, EEG) are predicted above chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.names import LEVEL, MODALITY_NAMES, TIMED
from brainmap.common.progress import track
from brainmap.data.published_splits import fixed_split
from brainmap.encoding.settings import RELATIVE_ALPHAS
from brainmap.statistics.correction import adjust
from brainmap.statistics.permutation.permutation_test import (
    PermutationTest,
    compute_blocks,
    group_permutation_test,
)
from brainmap.statistics.permutation.permuted_subject import PermutationInput, PermutationOptions, common_penalty
from brainmap.statistics.significance import significance
from brainmap.study.declared.study_config import StudyConfig

if TYPE_CHECKING:
    from brainmap.features import Features
    from brainmap.stimuli import StimulusSet
    from brainmap.study.analysis.encoded_part import Encoded
    from brainmap.study.inputs import Inputs


UNIT_OF_TEST = {"fmri": "target", **dict.fromkeys(TIMED, "time")}
STOP_AFTER = 25
FEW_TARGETS = 500  # fewer targets agree on a penalty by chance: every permutation then chooses its own


def above_chance(
    r: xr.DataArray,
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    config: StudyConfig,
    *,
    scratch: Path | None = None,
) -> tuple[xr.DataArray | None, str]:
    """Mark the targets (fMRI) or times (MEG, EEG) predicted above chance.

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
    per, test = UNIT_OF_TEST[modality], config.yardstick(modality)
    try:
        if test == "permutation":
            return _permuted(r, subjects, stimuli, features, config, scratch)
        level = config.level(modality)
        tested = significance(r, per="target" if per == "target" else "time", test=test, alpha=level)
        marks, p, method = tested.significant, tested.p, tested.method
        del tested  # each array of it is as large as a signal's and layer's scores of a subject and split
    except InputError as error:
        return None, f"not computed: {error}"
    return corrected_over_all(marks, p), method + _at(level)


def corrected_over_all(marks: xr.DataArray, p: xr.DataArray) -> xr.DataArray:
    """Return the marks with the coordinate ``q``: p corrected over all signals, layers and targets (or times).

    Marks are corrected within each map, as maps are shown one by one. A headline picks the best of all of them, so that
    what it names must pass the correction over all.

    Parameters
    ----------
    marks, p : DataArray, (signal, layer, target or time)
        Marks of a modality, and the p values behind them.
    """
    q = adjust(p, "bh", over=tuple(p.dims)).transpose(*marks.dims)
    return marks.assign_coords(q=(marks.dims, q.values.astype(np.float32)))


def permutation_options(
    config: StudyConfig, n_rows: int, n_targets: int, *, n_subjects: int, sequential: bool
) -> PermutationOptions:
    """Return the settings of a study's permutation test.

    Parameters
    ----------
    config : StudyConfig
        The study.
    n_rows, n_targets : int
        Rows of all subjects together, and targets.
    n_subjects : int
        Subjects.
    sequential : bool
        Stop early where a target is settled.
    """
    block = parse_memory(config.memory) // (4 * 16 * max(n_rows, 1))
    early = sequential and config.tails == "counted"
    return PermutationOptions(
        n_permutations=config.permutations,
        cv=config.cv,
        stop_after=STOP_AFTER if early and config.permutations > 4 * STOP_AFTER else None,
        candidates=_candidates(config, n_rows / n_subjects) if n_targets < FEW_TARGETS else None,
        pca=config.pca,
        block=int(np.clip(block, 16, 8192)),
        seed=config.seed,
        tails=config.tails,
    )


def _candidates(config: StudyConfig, n_rows: float) -> tuple[float, ...]:
    """Penalties that every permutation chooses from: the study's, or of the default ones every other."""
    if config.alphas is not None:
        return config.alphas
    return tuple(alpha * n_rows * (config.cv - 1) / config.cv for alpha in RELATIVE_ALPHAS[::2])


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
    layers = [str(layer) for layer in r["layer"].values]
    test = PermutedMaps(
        subjects, stimuli, features, config, scratch, times=r["time"].values if "time" in r.coords else None
    )
    per, options, names, units = UNIT_OF_TEST[modality], test.options, test.names, test.units
    p = np.full((r.sizes["signal"], len(layers), len(names)), np.nan)
    maps = [(i, j, signal, layer) for i, signal in enumerate(config.signals) for j, layer in enumerate(layers)]
    for i, j, signal, layer in track(maps, f"{MODALITY_NAMES[modality]} permutations", unit="maps"):
        p[i, j] = test.tested(signal, layer).table["p"].to_numpy()
    coords = {"signal": list(config.signals), "layer": layers} | ({} if units is None else {"time": names})
    array = xr.DataArray(p, dims=("signal", "layer", per), coords=coords)
    if "depth" in r.coords:
        array = array.assign_coords(depth=("layer", r["depth"].values))
    marks = adjust(array, "bh", over=(per,)) <= config.level(modality)
    marks = corrected_over_all(marks, array)
    return marks, _words(options, per, (len(names), config.level(modality)), test.sessions)


class PermutedMaps:
    """The permutation tests of a modality: one for each signal and layer, each in blocks of targets.

    Parameters
    ----------
    subjects, stimuli, features, config, scratch
        As for :func:`above_chance`; the subjects are encoded.
    times : ndarray, optional
        Time of each target, where scores are averaged over the targets of a time.

    Raises
    ------
    InputError
        If the study projects confounds out.
    """

    def __init__(
        self,
        subjects: Sequence[Encoded],
        stimuli: StimulusSet,
        features: Features,
        config: StudyConfig,
        scratch: Path | None,
        *,
        times: np.ndarray | None,
    ) -> None:
        if any(subject.confounds is not None for subject in subjects):
            raise InputError("permutations do not project confounds out; test over folds or subjects instead")
        self.subjects, self.stimuli, self.features, self.config = subjects, stimuli, features, config
        self.modality = subjects[0].responses.modality
        self.scratch = scratch
        self.units = None if self.modality == "fmri" else times
        n_targets = subjects[0].averaged.n_targets
        self.names = np.arange(n_targets) if self.units is None else np.unique(self.units)
        rows = sum(len(subject.rows) for subject in subjects)
        self.options = permutation_options(
            config, rows, n_targets, n_subjects=len(subjects), sequential=self.units is None
        )
        self.strata, self.sessions = session_strata(subjects)

    def tested(self, signal: str, layer: str) -> PermutationTest:
        """Test a map; blocks that are finished are found, those that other processes hold are waited for."""
        return group_permutation_test(
            self._inputs(signal, layer),
            units=self.units,
            options=self.options,
            checkpoint=None if self.scratch is None else self.scratch / self.modality / f"{signal}-{layer}",
            memory=self.config.memory,
            device=self.config.device,
        )

    def compute(self, signal: str, layer: str, share: tuple[int, int] = (1, 1), *, wait: bool) -> None:
        """Compute a share of a map's blocks, for whoever tests it."""
        assert self.scratch is not None
        compute_blocks(
            self._inputs(signal, layer),
            share=share,
            units=self.units,
            options=self.options,
            checkpoint=self.scratch / self.modality / f"{signal}-{layer}",
            memory=self.config.memory,
            device=self.config.device,
            wait=wait,
        )

    def _inputs(self, signal: str, layer: str) -> list[PermutationInput]:
        space, fixed = (signal, layer, self.strata), self.options.candidates is None
        return _inputs(self.subjects, self.stimuli, self.features, self.config, space, fixed=fixed)


def permuted_maps(
    config: StudyConfig, inputs: Inputs, features: Features, encoded: Sequence[Encoded], scratch: Path
) -> dict[str, PermutedMaps]:
    """Return the permutation tests of each modality whose yardstick they are and that can be made.

    Parameters
    ----------
    config, inputs, features
        The study.
    encoded : sequence of Encoded
        All subjects of all modalities.
    scratch : Path
        Folder in which finished blocks are kept.
    """
    tests: dict[str, PermutedMaps] = {}
    for modality in dict.fromkeys(subject.responses.modality for subject in encoded):
        subjects = [subject for subject in encoded if subject.responses.modality == modality]
        if config.yardstick(modality) != "permutation" or any(each.confounds is not None for each in subjects):
            continue
        scored = subjects[0].spaces[config.signals[0]].dataset
        times = scored["time"].values if "time" in scored.coords else None
        tests[modality] = PermutedMaps(subjects, inputs.stimuli, features, config, scratch, times=times)
    return tests


def session_strata(subjects: Sequence[Encoded]) -> tuple[list[np.ndarray | None], str]:
    """Within what photographs are exchanged: those shown in the same session (or in the same several sessions).

    Responses differ between sessions, so that photographs of two sessions are no fair exchange. Where some photograph
    would have no partner left, as where each was shown in a combination of sessions of its own, all are exchanged.

    Parameters
    ----------
    subjects : sequence of Encoded
        Of one modality. Those who saw the same photographs as the first are permuted alike, and get common strata.

    Returns
    -------
    strata : list of ndarray or None, one per subject, each (n_images,)
        None: no strata.
    words : str
        What the method's sentence says about sessions; empty where nobody had more than one.
    """
    if not any(subject.responses.trials.get("session", pd.Series(dtype=str)).nunique() > 1 for subject in subjects):
        return [None] * len(subjects), ""
    own = [_shown_in(subject) for subject in subjects]
    alike = [subject.design == subjects[0].design for subject in subjects]
    common = _joined([labels for labels, same in zip(own, alike, strict=True) if same])
    strata = [common if same else labels for labels, same in zip(own, alike, strict=True)]
    for subject, labels in zip(subjects, strata, strict=True):
        groups_of = pd.Series(subject.labels).groupby(labels).nunique()
        if groups_of.min() < 2:
            return [None] * len(subjects), ", exchanged across sessions (too few were shown in the same ones)"
    if all(len(np.unique(labels)) == 1 for labels in strata):  # every session showed every photograph
        return [None] * len(subjects), ""
    return list(strata), " within sessions"


def _shown_in(subject: Encoded) -> np.ndarray:
    """Number of the set of sessions in which each photograph of a subject was shown, alike within a group of them."""
    trials = subject.responses.trials
    if "session" not in trials:
        return np.zeros(len(subject.rows), dtype=np.intp)
    sets = trials.groupby(trials["stimulus"].astype(str))["session"].agg(lambda s: "+".join(sorted(set(map(str, s)))))
    each = sets.loc[subject.averaged.trials["stimulus"].astype(str)]
    # Photographs of one source move together, in sequence: only a source that was shown alike can take their place.
    patterns = each.groupby(subject.labels).agg(lambda s: s.iloc[0] if s.nunique() == 1 else "|".join(s))
    return np.unique(patterns.loc[subject.labels].to_numpy(str), return_inverse=True)[1]


def _joined(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Number the combinations of several labels of the same rows."""
    return np.unique(np.column_stack(labels), axis=0, return_inverse=True)[1].ravel()


def _words(options: PermutationOptions, per: str, tests: tuple[int, float], sessions: str) -> str:
    """How the p values were made, and how many tests must be passed together for the correction to let any pass."""
    fixed = "the penalty that most of the best predicted targets chose"
    penalty = fixed if options.candidates is None else "its own best penalty"
    stopped = "" if options.stop_after is None else f", stopped after {options.stop_after} exceedances"
    stopped += ", small p values from a fitted generalised Pareto tail" if options.tails == "pareto" else ""
    together = int(np.ceil(tests[0] / (tests[1] * (options.n_permutations + 1))))
    least = f"; so few permutations can only mark {together} {per}s or more at once" if together > 1 else ""
    return (
        f"{options.n_permutations} permutations of whole photographs{sessions}, each refitted at {penalty}{stopped}; "
        "score averaged over subjects, one-sided; false discovery rate (Benjamini–Hochberg) "
        f"over {per}s of each map{_at(tests[1])}{least}"
    )


def _at(level: float) -> str:
    """Say the level where it is not the one that is told for the whole study."""
    return "" if level == LEVEL else f", p ≤ {format(level, 'g').removeprefix('0')}"


def _inputs(
    subjects: Sequence[Encoded],
    stimuli: StimulusSet,
    features: Features,
    config: StudyConfig,
    space: tuple[str, str, Sequence[np.ndarray | None]],
    *,
    fixed: bool,
) -> list[PermutationInput]:
    """Features and averaged responses of all subjects for one signal and layer, with each subject's strata."""
    signal, layer, strata = space
    values = np.asarray(features[signal, layer])
    penalty = None
    if fixed:
        chosen, scores = (
            np.concatenate([subject.spaces[signal].dataset[name].sel(layer=layer).values for subject in subjects])
            for name in ("alpha", "r")
        )
        penalty = common_penalty(chosen, scores)
    return [
        PermutationInput(
            values[subject.rows],
            subject.averaged.values,
            penalty,
            subject.groups,
            within,
            cv=fixed_split(subject.averaged, stimuli, groups=subject.labels) if config.split == "test" else None,
            same_photographs=subject.design == subjects[0].design,
        )
        for subject, within in zip(subjects, strata, strict=True)
    ]
