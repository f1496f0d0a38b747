"""What became of registered hypotheses: estimate, two claims each, one correction over all, and a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.hierarchy.cortex_distances import cortex_areas, in_hcp_areas
from brainmap.hierarchy.hypotheses import INCONCLUSIVE, above_chance_at_some_time, targets_of
from brainmap.hierarchy.order_in_space import SpatialOptions, spatial_hierarchy
from brainmap.hierarchy.order_in_time import peak_lag, temporal_hierarchy
from brainmap.hierarchy.registered.hypotheses_file import UNITS, Hypothesis, RegisteredHypotheses, Scores
from brainmap.hierarchy.replication import OverUnits, over_units, unit_scores

CONFIRMED, REFUTED, EQUIVALENT = "confirmed", "refuted", "equivalent"
LEAST_SUBJECTS = 3  # of a test over subjects that the file asks for


@dataclass(frozen=True)
class Estimate:
    """An effect with its standard error, on the scale on which it is tested.

    Attributes
    ----------
    value, error : float
        Effect and standard error; of correlations over areas, of Fisher's z.
    df : float
        Degrees of freedom of Student's t; infinite for a normal distribution.
    how : str
        How p is made.
    p : float, optional
        Two-sided p of no effect, where it does not follow from value and error.
    span : (float, float), optional
        Interval at the family's level, where it does not follow from value and error.
    fisher : bool
        Whether the scale is Fisher's z.
    note : str
        Why nothing can be said, where nothing can.
    """

    value: float
    error: float
    df: float
    how: str
    p: float | None = None
    span: tuple[float, float] | None = None
    fisher: bool = False
    note: str = ""

    def p_of_no_effect(self) -> float:
        """Two-sided p."""
        return self.p if self.p is not None else float(2.0 * stats.t.sf(abs(self._t(self.value)), self.df))

    def p_of_equivalence(self, smallest: float) -> float:
        """Larger p of the two one-sided tests that the effect lies within ± ``smallest`` (Schuirmann 1987)."""
        bound = np.arctanh(smallest) if self.fisher else smallest
        return float(stats.t.sf(self._t(bound - abs(self.value)), self.df))

    def interval(self, confidence: float) -> tuple[float, float, float]:
        """Effect, low and high, as a correlation where that is what it is."""
        if self.span is not None:
            return float(np.tanh(self.value)), *self.span
        half = stats.t.ppf((1.0 + confidence) / 2.0, self.df) * self.error
        values = (self.value, self.value - half, self.value + half)
        return tuple(float(np.tanh(x)) for x in values) if self.fisher else values  # type: ignore[return-value]

    def _t(self, distance: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.float64(distance) / self.error)


def evaluate_registered(
    registered: RegisteredHypotheses,
    scores: Mapping[str, xr.Dataset | xr.DataArray],
    *,
    mask: Mapping[str, NDArray[np.bool_]] | None = None,
    predicting: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Say of every registered hypothesis what became of it.

    Parameters
    ----------
    registered : RegisteredHypotheses
        The file.
    scores : mapping of str to Dataset or DataArray
        By modality: r with dims (subject, signal, layer, split, target).
    mask : mapping of str to ndarray of bool, (n_targets,), optional
        By signal, the fMRI targets whose order in space counts; all by default.
    predicting : mapping of str to collection of str, optional
        Modality → signals that predict it above chance by a corrected test. Of others no order in space is judged.

    Returns
    -------
    pandas.DataFrame
        One row per hypothesis: ``hypothesis`` (its id), ``prediction``, ``modality``, ``effect``, ``low``, ``high``
        (interval of coverage 1 − level / number of hypotheses), ``unit``, ``expected`` (sign), ``smallest``, ``p`` (no
        effect, two-sided), ``p_equivalent`` (nothing as large as the smallest effect of interest), both corrected over
        the family in ``p_corrected`` and ``p_equivalent_corrected``, ``how``, ``verdict``, ``note``. The verdict is
        'equivalent' where the second p is at most the level (with an effect that is not zero, too: it is too small to
        matter), else 'confirmed' or 'refuted' (the other sign) where the first is, else 'inconclusive'. A hypothesis
        whose scores are absent or cannot be tested is inconclusive, counts in the correction, and ``note`` says why.

    Notes
    -----
    At any true effect one of the two claims of a hypothesis at most is false, so that Bonferroni over hypotheses bounds
    the probability of any false word by the level. A wrong sign counts as false, too: it takes an estimate beyond the
    other tail of the equivalence test.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import RegisteredHypotheses, evaluate_registered
    >>> registered = RegisteredHypotheses.from_yaml("hypotheses.yaml")
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> evaluate_registered(registered, {"meg": run.scores["meg"].load()})["verdict"].tolist()
    ['confirmed']
    """
    known = {name: values["r"] if isinstance(values, xr.Dataset) else values for name, values in scores.items()}
    named = None if predicting is None else {modality: as_names(signals) for modality, signals in predicting.items()}
    places = (mask or {}, named, _coverage(registered))
    estimates = [_estimate(each, known, *places) for each in registered.hypotheses]
    rows = pd.DataFrame([_row(each, at, registered) for each, at in zip(registered.hypotheses, estimates, strict=True)])
    rows["p_corrected"], rows["p_equivalent_corrected"] = corrected(
        rows["p"].to_numpy(), rows["p_equivalent"].to_numpy(), registered.correction
    )
    rows["verdict"] = [_word(row, registered.level) for _, row in rows.iterrows()]
    return rows


def corrected(
    p: NDArray[np.float64], p_equivalent: NDArray[np.float64], correction: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correct the two p values of every hypothesis over the family, shapes (n,); NaN, not tested, counts as 1."""
    both = np.nan_to_num(np.concatenate([p, p_equivalent]), nan=1.0)
    if correction == "bonferroni":
        adjusted = np.minimum(1.0, both * len(p))
    else:
        from statsmodels.stats.multitest import multipletests

        adjusted = multipletests(both, method={"holm": "holm", "fdr": "fdr_bh"}[correction])[1]
    return adjusted[: len(p)], adjusted[len(p) :]


def _word(row: pd.Series, level: float) -> str:
    if row["note"]:
        return INCONCLUSIVE
    if row["p_equivalent_corrected"] <= level:
        return EQUIVALENT
    if row["p_corrected"] <= level:
        return CONFIRMED if np.sign(row["effect"]) == row["expected"] else REFUTED
    return INCONCLUSIVE


def _coverage(registered: RegisteredHypotheses) -> float:
    """Coverage of the intervals: that of a family, unless false discoveries are counted."""
    return 1.0 - registered.level / (1 if registered.correction == "fdr" else len(registered.hypotheses))


def _row(hypothesis: Hypothesis, estimate: Estimate, registered: RegisteredHypotheses) -> dict[str, Any]:
    effect, low, high = estimate.interval(_coverage(registered))
    return {
        "hypothesis": hypothesis.id, "prediction": hypothesis.statement, "modality": hypothesis.modality,
        "effect": effect, "low": low, "high": high, "unit": UNITS[hypothesis.effect], "expected": hypothesis.sign,
        "smallest": hypothesis.smallest, "p": estimate.p_of_no_effect(),
        "p_equivalent": estimate.p_of_equivalence(hypothesis.smallest), "how": estimate.how, "note": estimate.note,
    }  # fmt: skip


def _estimate(
    hypothesis: Hypothesis,
    scores: Mapping[str, xr.DataArray],
    mask: Mapping[str, NDArray[np.bool_]],
    predicting: Mapping[str, Collection[str]] | None,
    coverage: float,
) -> Estimate:
    """Effect of a hypothesis; what cannot be estimated is unknown, with the reason."""
    try:
        if hypothesis.modality not in scores:
            raise InputError(f"there are no scores of {hypothesis.modality}")
        r = scores[hypothesis.modality]
        parts = [chosen(r, part) for part in hypothesis.parts]
        if hypothesis.effect in ("score", "difference"):
            return _mean_score(hypothesis, parts)
        if hypothesis.effect == "order in space":
            allowed = None if predicting is None else predicting.get("fmri", ())
            if allowed is not None and hypothesis.of.signal not in allowed:
                raise InputError(f"{hypothesis.of.signal}s are not shown to be above chance")
            return _in_space(hypothesis, parts[0], mask.get(hypothesis.of.signal), coverage)
        return _in_time(hypothesis, parts)
    except InputError as error:
        return Estimate(np.nan, np.nan, np.nan, "not tested", note=str(error).rstrip("."))


def chosen(r: xr.DataArray, part: Scores) -> xr.DataArray:
    """Return the scores that a part of a hypothesis speaks of.

    Raises
    ------
    InputError
        If there are none.
    """
    if part.signal not in r["signal"].values:
        raise InputError(f"there are no scores of {part.signal}s")
    r = r.sel(signal=part.signal)
    if part.layers is not None:
        absent = [name for name in part.layers if name not in r["layer"].values]
        if absent:
            raise InputError(f"there is no layer {absent[0]!r}")
        r = r.sel(layer=list(part.layers))
    keep = np.ones(r.sizes["target"], dtype=bool)
    for name, wanted in (("roi", part.roi), ("sensor", part.sensor)):
        if wanted is not None:
            absent = [each for each in wanted if name not in r.coords or each not in r[name].values.astype(str)]
            if absent:
                raise InputError(f"there is no {name} {absent[0]!r}")
            keep &= np.isin(r[name].values.astype(str), wanted)
    if part.time is not None:
        if "time" not in r.coords:
            raise InputError("these responses have no times")
        keep &= (r["time"].values >= part.time[0]) & (r["time"].values <= part.time[1])
    if not keep.any():
        raise InputError("no target is left of those that the hypothesis names")
    return r.isel(target=keep)


def _replicated(r: xr.DataArray, test: str) -> xr.DataArray:
    """Average what is not replicated, so that the units are those that the file names."""
    if test == "folds":
        return r.mean("subject", skipna=True) if "subject" in r.dims else r
    if test == "subjects" and r.sizes.get("subject", 1) < LEAST_SUBJECTS:
        raise InputError(f"a test over subjects needs {LEAST_SUBJECTS} of them, here are {r.sizes.get('subject', 1)}")
    return r


def _units(r: xr.DataArray, test: str, *rest: str) -> tuple[NDArray[np.float64], str]:
    if test != "subjects":
        return unit_scores(_replicated(r, test), *rest)
    others = [dim for dim in ("split",) if dim in r.dims]
    mean = _replicated(r, test).mean(others, skipna=True).transpose("subject", *rest)
    return mean.values.astype(np.float64), "subjects"


def _mean_score(hypothesis: Hypothesis, parts: list[xr.DataArray]) -> Estimate:
    means = [part.mean(("layer", "target"), skipna=True) for part in parts]
    difference = means[0] if len(means) == 1 else means[0] - means[1]
    cells = difference.drop_vars("signal", errors="ignore").expand_dims("cell")
    rows, unit = _units(cells, hypothesis.tested_over, "cell")
    test = over_units(rows, lambda x: x[:, 0], unit)
    return _of_units(test, "mean r" if len(parts) == 1 else "difference of mean r")


def _of_units(test: OverUnits, what: str) -> Estimate:
    """Value and standard error of a t test over units."""
    if not test.unit:
        raise InputError("there are fewer than five subjects and three folds")
    df = test.n_units - 1.0
    return Estimate(test.value, _error(test.low, test.high, df), df, test.how(what))


def _error(low: float, high: float, df: float, confidence: float = 0.95) -> float:
    """Standard error of a symmetric interval."""
    return float((high - low) / 2.0 / stats.t.ppf((1.0 + confidence) / 2.0, df))


def _in_time(hypothesis: Hypothesis, parts: list[xr.DataArray]) -> Estimate:
    silent = [part.signal for part, r in zip(hypothesis.parts, parts, strict=True) if not above_chance_at_some_time(r)]
    if silent:
        raise InputError(f"{silent[0]}s are not above chance at any time")
    if hypothesis.tested_over == "subjects" and parts[0].sizes.get("subject", 1) < 5:
        raise InputError("a test of moments over subjects needs five of them")
    parts = [_replicated(r, hypothesis.tested_over) for r in parts]
    if hypothesis.effect == "lag":
        lag = peak_lag(*parts)
        return _of_units(
            OverUnits(lag.lag, lag.low, lag.high, lag.p, lag.flip_p, lag.unit, lag.n_units), "lag of T_max"
        )
    at = temporal_hierarchy(parts[0]).attrs
    numbers = [at[name] for name in ("slope", "slope_low", "slope_high", "slope_p", "slope_flip_p", "unit", "n_units")]
    return _of_units(OverUnits(*numbers), "slope of T_max over depth")


def _in_space(hypothesis: Hypothesis, r: xr.DataArray, mask: NDArray[np.bool_] | None, coverage: float) -> Estimate:
    targets = targets_of(r)
    cortex = cortex_areas() if in_hcp_areas(targets) else None
    options = SpatialOptions(confidence=coverage if hypothesis.tested_over == "maps" else 0.95)
    r = _replicated(r, hypothesis.tested_over)
    at = spatial_hierarchy(r, targets, mask=mask, cortex=cortex, options=options).attrs
    if hypothesis.tested_over == "maps":
        value, low, high = (float(np.arctanh(np.clip(at[name], -1 + 1e-9, 1 - 1e-9))) for name in ("r", "low", "high"))
        if not np.isfinite(low + high + at["p"]):
            raise InputError(str(at["p_method"]))
        # the wider half of an interval that need not lie evenly around the estimate
        error = max(high - value, value - low) / stats.norm.ppf((1.0 + coverage) / 2.0)
        span = (float(at["low"]), float(at["high"]))
        return Estimate(value, float(error), np.inf, at["p_method"], p=float(at["p"]), span=span, fisher=True)
    if not at["unit"] or (hypothesis.tested_over == "subjects" and at["unit"] != "subjects"):
        raise InputError("there are fewer than five subjects or three folds")
    value, low, high = (float(np.arctanh(at[f"unit_{name}"])) for name in ("r", "low", "high"))
    df = at["n_units"] - 1.0
    return Estimate(value, _error(low, high, df), df, at["unit_method"], fisher=True)
