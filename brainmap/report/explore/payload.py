"""What the page of a run carries, made to fit the size it may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.report.explore.cortex_data import Places, above_chance, add_meshes, add_scores, places_of, scale_data
from brainmap.report.explore.packed_arrays import Payload
from brainmap.report.explore.time_data import add_times
from brainmap.report.figures.map_scales import score_scale
from brainmap.results import lookups, nameable
from brainmap.results.score_profiles import score_profiles
from brainmap.results.study_results import StudyResults

MOST_BYTES = 18_000_000
"""Of all numbers of a page; viewer and words take another megabyte and a half."""
MERGED_VERTICES = 40_000
FEWER_STEPS = 6


@dataclass(frozen=True)
class Detail:
    """How much a page carries.

    Attributes
    ----------
    errors : bool
        The error of every vertex; areas keep theirs.
    vertices : int or None
        Most vertices of a hemisphere; all where None.
    steps : int or None
        Most training steps, the first and the last among them; all where None.
    flat : bool
        The flat surface, too.
    """

    errors: bool = True
    vertices: int | None = None
    steps: int | None = None
    flat: bool = True


LADDER = (
    Detail(),
    Detail(errors=False),
    Detail(errors=False, steps=FEWER_STEPS),
    Detail(errors=False, steps=FEWER_STEPS, vertices=MERGED_VERTICES),
    Detail(errors=False, steps=2, vertices=MERGED_VERTICES // 4),
)
"""From everything to what still shows the study, one after the other until the page is small enough."""
IN_REPORT = Detail(errors=False, vertices=10_300, flat=False)


@dataclass(frozen=True, eq=False)
class Step:
    """One study of a page.

    Attributes
    ----------
    results : StudyResults
        What it found.
    step : int, optional
        Training step of its weights; needed where there are several.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.explore import Step
    >>> Step(brainmap.open_run("brainmap_runs/meg"), step=500).step
    500
    """

    results: StudyResults
    step: int | None = None


def explorer_payload(studies: Sequence[Step], detail: Detail | None = None) -> tuple[Payload, Detail]:
    """Return what the page of a study, or of one study at several training steps, carries.

    Parameters
    ----------
    studies : sequence of Step
        One, or several in any order.
    detail : Detail, optional
        How much; as much as fits by default.

    Returns
    -------
    payload : Payload
        For the script.
    detail : Detail
        How much there is.

    Raises
    ------
    InputError
        If nothing can be shown, studies do not belong together, or there is no detail at which they fit.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.explore import Step, explorer_payload
    >>> payload, detail = explorer_payload([Step(brainmap.open_run("brainmap_runs/meg"))])
    >>> payload.meta["time"]["modality"], detail.errors
    ('MEG', True)
    """
    ordered = check_alike(studies)
    for chosen in LADDER if detail is None else (detail,):
        payload = _payload(thinned(ordered, chosen.steps), chosen)
        if payload.size <= MOST_BYTES:
            return payload, chosen
    raise InputError(
        f"the numbers take {payload.size / 1e6:.0f} MB even without intervals, at a tenth of the vertices and two "
        "training steps; explore one run at a time"
    )


def check_alike(studies: Sequence[Step]) -> list[Step]:
    """Return studies by training step, if they differ in it alone.

    Raises
    ------
    InputError
        If there is none, a step is unknown or occurs twice, or layers, signals or targets differ.
    """
    if not studies:
        raise InputError("there is no finished run to explore")
    if len(studies) == 1:
        return list(studies)
    if any(study.step is None for study in studies):
        raise InputError("the training step of a run is not known: name its weights by the step, or explore one run")
    ordered = sorted(studies, key=lambda study: study.step or 0)
    steps = [study.step for study in ordered]
    if len(set(steps)) < len(steps):
        raise InputError("a training step occurs twice: these runs differ in more than the checkpoint; explore one run")
    first = ordered[0].results
    for study in ordered[1:]:
        if study.results.modalities != first.modalities:
            raise InputError("the runs have different modalities; explore one of them")
        for modality in first.modalities:
            mine, theirs = first.scores[modality], study.results.scores[modality]
            for name in ("signal", "layer"):
                if list(mine[name].values) != list(theirs[name].values):
                    raise InputError(f"the runs have different {name}s ({modality}); explore one of them")
            if not first.targets(modality).equals(study.results.targets(modality)):
                raise InputError(f"the runs have different {modality} targets; explore one of them")
    return ordered


def thinned(studies: Sequence[Step], most: int | None) -> list[Step]:
    """Return at most so many training steps, evenly, with the first and the last."""
    if most is None or len(studies) <= most:
        return list(studies)
    return [studies[number] for number in np.unique(np.rint(np.linspace(0, len(studies) - 1, most)).astype(int))]


def _payload(studies: Sequence[Step], detail: Detail) -> Payload:
    first, payload = studies[0].results, Payload()
    every = [study.results for study in studies]
    levels = nameable.naming_levels(every)
    steps = [study.step for study in studies] if len(studies) > 1 else []
    payload.meta = {"steps": steps, "cortex": None, "areas": None, "gain": None, "time": None}
    if lookups.main_signal(first, "fmri") is not None:
        places = places_of(first.targets("fmri"), detail.vertices)
        fmri_levels = [level.get("fmri") for level in levels]
        if places is not None:
            payload.meta["cortex"] = {
                **add_meshes(payload, places, flat=detail.flat),
                **add_scores(payload, places, every, fmri_levels, errors=detail.errors),
                **_ceiling(payload, places, every[-1]),
            }
            payload.meta["areas"] = _areas(every, fmri_levels)
            payload.meta["gain"] = _gain(every[-1])
    if first.timed is not None and lookups.main_signal(first, first.timed) is not None and same_layers(first):
        payload.meta["time"] = add_times(payload, every, [level.get(str(first.timed)) for level in levels])
    return payload


def same_layers(results: StudyResults) -> bool:
    """Return whether all modalities have the same layers, so that one slider moves through both."""
    return len({tuple(map(str, results.scores[name]["layer"].values)) for name in results.modalities}) == 1


def _ceiling(payload: Payload, places: Places, results: StudyResults) -> dict[str, Any]:
    ceiling = results.ceilings.get("fmri")
    if ceiling is None or "target" not in ceiling.dims:
        return {"ceiling": None}
    values = ceiling.mean([dim for dim in ceiling.dims if dim != "target"]).values.astype(float)
    payload.numbers("ceiling", places.mean(values)[None])
    return {"ceiling": scale_data(score_scale(values, "ceiling", "Noise ceiling of r"))}


def _areas(studies: Sequence[StudyResults], levels: Sequence[float | None]) -> dict[str, Any]:
    """Profiles of areas: mean over their targets."""
    found: dict[str, Any] = {"names": [], "steps": []}
    for results, level in zip(studies, levels, strict=True):
        profile = score_profiles(results, "fmri", "roi")
        named, marks = above_chance(results, "fmri", profile, level)
        found["names"] = [str(name) for name in profile.places]
        found["targets"] = [] if profile.n_targets is None else profile.n_targets.tolist()
        signals = {}
        for number, signal in enumerate(profile.signals):
            counts = None if profile.n_above is None or marks is None else profile.n_above[number] * named[number]
            signals[signal] = {
                "mean": _rounded(profile.mean[number]),
                "error": None if profile.error is None else _rounded(profile.error[number]),
                "above": None if counts is None else counts.tolist(),
            }
        found["errorOver"] = profile.error_over
        found["steps"].append(signals)
    return found


def _gain(results: StudyResults) -> dict[str, Any] | None:
    """What gradients add to activations, by area, with its interval and test."""
    table = results.residual.get("fmri")
    if table is None or not len(table):
        return None
    allowed = nameable.predicts(results, "fmri")
    significant = table["significant"].to_numpy(dtype=bool) & allowed
    delta = table["delta"].to_numpy(dtype=float)
    columns = {name: table[name].to_numpy(dtype=float) for name in ("low", "high", "p_fwer") if name in table}
    return {
        "names": [str(unit) for unit in table["unit"]],
        "delta": _rounded(delta[None])[0],
        "significant": significant.tolist(),
        "named": allowed,
        "scale": scale_data(score_scale(np.clip(delta[significant], 0, None), "residual", "Gain in r")),
        **{name: _rounded(values[None])[0] for name, values in columns.items()},
    }


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    return [[round(float(v), 4) if np.isfinite(v) else None for v in row] for row in values]
