"""Comparison of models, training sets or other factors: tables, and mixed models with subjects as random effect."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import helmert

from brainmap.common.errors import InputError
from brainmap.common.names import as_names

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FactorModel:
    """A mixed model of scores.

    Parameters
    ----------
    effects : pandas.DataFrame
        Fixed effects: ``term``, ``estimate``, ``low``, ``high``, ``t``, ``df`` (Satterthwaite), ``p``.
    tests : pandas.DataFrame
        Joint test of each factor and interaction: ``term``, ``F``, ``df``, ``df_error``, ``p``. NaN where there are too
        few groups for so many contrasts; ``warning`` says so.
    formula : str
        Of the fixed effects.
    n, n_groups : int
        Observations and levels of the random effect.
    warning : str
        Empty, or why the fit should not be trusted (no convergence, too few groups for a joint test).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap.hierarchy import factor_model
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame([(f"S{s}", m) for s in range(8) for m in ("small", "large") for _ in range(4)])
    >>> table.columns = ["subject", "model"]
    >>> table["r"] = 0.1 + 0.1 * (table["model"] == "large") + 0.02 * rng.standard_normal(len(table))
    >>> fitted = factor_model(table, "r ~ model", groups="subject")
    >>> fitted.n, fitted.n_groups, fitted.effects.columns.tolist()
    (64, 8, ['term', 'estimate', 'low', 'high', 't', 'df', 'p'])
    """

    effects: pd.DataFrame
    tests: pd.DataFrame
    formula: str
    n: int
    n_groups: int
    warning: str

    def to_frame(self) -> pd.DataFrame:
        """Return the fixed effects, the rest in ``attrs``."""
        table = self.effects.copy()
        table.attrs = {"formula": self.formula, "n": self.n, "n_groups": self.n_groups, "warning": self.warning}
        return table

    def __repr__(self) -> str:
        tests = ", ".join(f"{t.term} p = {t.p:.3g}" for t in self.tests.itertuples())
        doubt = f"; {self.warning}" if self.warning else ""
        return f"<FactorModel {self.formula} ({self.n} scores, {self.n_groups} groups): {tests}{doubt}>"


def factor_table(scores: xr.DataArray, factors: Sequence[str]) -> pd.DataFrame:
    """Mean, standard error over subjects and number of subjects for every combination of factors.

    Parameters
    ----------
    scores : xr.DataArray
        Scores with a dimension ``subject`` and one per factor; other dimensions are averaged.
    factors : sequence of str
        Dimensions to keep (model, size, image type, signal …).

    Returns
    -------
    pandas.DataFrame
        The factors, ``mean``, ``sem``, ``n``.

    Raises
    ------
    InputError
        If a dimension is missing.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import factor_table
    >>> r = brainmap.open_run("brainmap_runs/demo").mean_r("fmri")
    >>> factor_table(r, ["signal"])[["signal", "n"]].values.tolist()
    [['activation', 2], ['gradient', 2]]
    """
    factors = as_names(factors)
    absent = [name for name in ("subject", *factors) if name not in scores.dims]
    if absent:
        raise InputError(f"Scores have no dimension {absent[0]!r}; they have {tuple(scores.dims)}.")
    rest = [d for d in scores.dims if d not in ("subject", *factors)]
    kept = scores.mean(rest, skipna=True)
    columns = {"mean": kept.mean("subject"), "n": kept.notnull().sum("subject")}
    columns["sem"] = kept.std("subject", ddof=1) / np.sqrt(columns["n"])
    return xr.Dataset(columns).to_dataframe().reset_index()[[*factors, "mean", "sem", "n"]]


def factor_model(table: pd.DataFrame, formula: str, *, groups: str = "subject") -> FactorModel:
    """Fit a linear mixed model with a random intercept per subject (``statsmodels``), tested over subjects.

    Subjects differ in their mean and, as a rule, also in how strongly a factor moves them, which a random intercept
    does not know: its Wald tests call such a factor too often, and the others too rarely (``docs/calibration.md``).
    Estimates are the mixed model's; their covariance is the sandwich over subjects with the correction of Bell and
    McCaffrey (CR2), tested by t with Satterthwaite's degrees of freedom, and jointly by the approximate Hotelling test
    of Pustejovsky and Tipton (2018). In a balanced design this is the t test (Hotelling's T²) of one contrast (several)
    per subject.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per score: the score, the factors and the groups as columns.
    formula : str
        Fixed effects, such as ``r ~ size * data``; ``a * b`` includes the interaction.
    groups : str
        Column of the random intercept, the unit of replication.

    Returns
    -------
    FactorModel
        A joint test of k contrasts needs more than k subjects.

    Raises
    ------
    InputError
        If a column is missing or the model cannot be fitted.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap.hierarchy import factor_model
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame([(f"S{s}", m) for s in range(8) for m in ("small", "large") for _ in range(4)])
    >>> table.columns = ["subject", "model"]
    >>> table["r"] = 0.1 + 0.1 * (table["model"] == "large") + 0.02 * rng.standard_normal(len(table))
    >>> bool(factor_model(table, "r ~ model", groups="subject").tests["p"].iloc[0] < 0.001)
    True
    """
    import statsmodels.formula.api as smf
    from patsy import PatsyError
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    if groups not in table:
        raise InputError(f"The table has no column {groups!r} for the random effect; it has {list(table.columns)}.")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit = smf.mixedlm(formula, table, groups=table[groups]).fit(reml=True)
    except (PatsyError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"The model {formula!r} cannot be fitted: {str(error).splitlines()[0]}.") from error
    doubts = [str(w.message).split(".")[0] for w in caught if issubclass(w.category, ConvergenceWarning)]
    sandwich = _Sandwich.of(fit)
    names = list(fit.fe_params.index)
    numbers = np.arange(len(names))
    effects = pd.DataFrame({"term": names, **sandwich.single(fit.fe_params.to_numpy())})
    tests: list[dict[str, Any]] = []
    for term, columns in _terms(fit).items():
        if term != "Intercept":
            tests.append({"term": term, **sandwich.joint(fit.fe_params.to_numpy(), numbers[columns])})
            if np.isnan(tests[-1]["p"]):
                doubts.append(f"{len(sandwich.parts)} groups are too few for the joint test of {term}")
    joint = pd.DataFrame(tests, columns=["term", "F", "df", "df_error", "p"])
    warning = "; ".join(dict.fromkeys(doubts))
    return FactorModel(effects, joint, formula, len(table), int(table[groups].nunique()), warning)


def _terms(fit: Any) -> dict[str, slice]:
    """Columns of every term of a formula; releases of ``statsmodels`` name the place differently."""
    data = fit.model.data
    terms: dict[str, slice] = (getattr(data, "model_spec", None) or data.design_info).term_name_slices
    return terms


@dataclass(frozen=True, eq=False)
class _Sandwich:
    """Covariance of fixed effects over groups (CR2), in the space where the mixed model whitens the scores.

    ``spread`` (p, p) is (X'X)⁻¹, ``errors`` (n_groups, p) the groups' contributions to the estimates, and ``parts``
    (n_groups, p, n) the linear forms of the whitened errors that those are.
    """

    spread: FloatArray
    errors: FloatArray
    parts: FloatArray

    @classmethod
    def of(cls, fit: Any) -> _Sandwich:
        """Whiten a fitted random intercept, and correct each group's residuals for the fit."""
        x, y, labels = np.asarray(fit.model.exog), np.asarray(fit.model.endog), np.asarray(fit.model.groups)
        noise, between = float(fit.scale), float(np.asarray(fit.cov_re)[0, 0])
        groups = [np.flatnonzero(labels == name) for name in pd.unique(labels)]
        white_x, white_y = np.empty(x.shape), np.empty(y.shape)
        for rows in groups:  # the inverse root of σ²I + τ²11' takes away a share of the group's mean
            share = 1.0 - np.sqrt(noise / (noise + len(rows) * between))
            white_x[rows] = x[rows] - share * x[rows].mean(axis=0)
            white_y[rows] = y[rows] - share * y[rows].mean()
        spread = np.asarray(np.linalg.pinv(white_x.T @ white_x), dtype=np.float64)
        residual = white_y - white_x @ np.asarray(fit.fe_params)
        errors, parts = [], []
        for rows in groups:
            leverage = white_x[rows] @ spread @ white_x[rows].T
            values, vectors = np.linalg.eigh(np.eye(len(rows)) - leverage)
            root = np.where(values > 1e-8, 1.0 / np.sqrt(np.maximum(values, 1e-8)), 0.0)
            form = spread @ white_x[rows].T @ ((vectors * root) @ vectors.T)
            errors.append(form @ residual[rows])
            whole = -form @ white_x[rows] @ spread @ white_x.T
            whole[:, rows] += form
            parts.append(whole)
        return cls(spread, np.array(errors), np.array(parts))

    def single(self, estimates: FloatArray) -> dict[str, FloatArray]:
        """T test and 95 % interval of every fixed effect."""
        error = np.sqrt(np.sum(self.errors**2, axis=0))
        gram = np.einsum("gpn,hpn->pgh", self.parts, self.parts)
        df = np.trace(gram, axis1=1, axis2=2) ** 2 / np.sum(gram**2, axis=(1, 2))
        t = estimates / error
        half = stats.t.ppf(0.975, df) * error
        bounds = {"estimate": estimates, "low": estimates - half, "high": estimates + half}
        return bounds | {"t": t, "df": df, "p": 2.0 * stats.t.sf(np.abs(t), df)}

    def joint(self, estimates: FloatArray, which: NDArray[np.intp]) -> dict[str, float]:
        """Approximate Hotelling test that the chosen effects are all zero."""
        q = len(which)
        values, vectors = np.linalg.eigh(self.spread[np.ix_(which, which)])
        root = (vectors / np.sqrt(values)) @ vectors.T
        errors = self.errors[:, which] @ root
        parts = np.einsum("st,gtn->sgn", root, self.parts[:, which])
        gram = np.einsum("sgn,thn->stgh", parts, parts)
        variance = np.einsum("ssgh,ttgh->", gram, gram) + np.einsum("stgh,tsgh->", gram, gram)
        eta = q * (q + 1) / variance * (np.einsum("ssgg->", gram) / q) ** 2
        result = {"F": np.nan, "df": float(q), "df_error": float(eta - q + 1), "p": np.nan}
        # With as many contrasts as groups less one the sandwich is singular: nothing is left to judge them by.
        if len(errors) - 1 < q or result["df_error"] <= 0.5:
            return result | {"df_error": np.nan}
        scaled = root @ estimates[which]
        wald = float(scaled @ np.linalg.solve(errors.T @ errors, scaled))
        result["F"] = result["df_error"] / (eta * q) * wald
        return result | {"p": float(stats.f.sf(result["F"], q, result["df_error"]))}


@dataclass(frozen=True, eq=False)
class LevelTest:
    """Whether a score differs between levels, or differs between levels more in some areas than in others.

    Attributes
    ----------
    kind : {"t", "F"}
        Which statistic.
    statistic : float
        Its value.
    df : tuple of float
        Its degrees of freedom.
    p : float
        P value.
    effect : tuple of float, optional
        Estimate and interval (low, high) of the change from each level to the next, where levels have an order.
    model : FactorModel, optional
        The mixed model behind it.
    """

    kind: Literal["t", "F"]
    statistic: float
    df: tuple[float, ...]
    p: float
    effect: tuple[float, float, float] | None = None
    model: FactorModel | None = None


def compare_levels(table: pd.DataFrame, *, ordered: bool) -> LevelTest | None:
    """Test whether a score depends on the level, with a mixed model of the scores of subjects.

    Parameters
    ----------
    table : pandas.DataFrame
        ``level``, ``subject``, ``r``: one row per level and subject.
    ordered : bool
        Levels with an order (sizes) are tested for a trend from each to the next, which few subjects can show; others
        for any difference, which takes more subjects than levels.

    Returns
    -------
    LevelTest or None
        None for fewer than two levels or too few subjects.
    """
    known = table.dropna(subset=["r"])
    levels = list(dict.fromkeys(known["level"]))
    if len(levels) < 2 or known["subject"].nunique() < 2:
        return None
    rows = known.assign(level=pd.Categorical(known["level"], levels))
    rows["rank"] = rows["level"].cat.codes.astype(float)
    try:
        model = factor_model(rows, "r ~ rank" if ordered else "r ~ level")
    except InputError:  # no variance left: scores that do not differ between subjects
        return None
    if ordered:
        row = model.effects[model.effects["term"] == "rank"].iloc[0]
        effect = (float(row["estimate"]), float(row["low"]), float(row["high"]))
        test = LevelTest("t", float(row["t"]), (float(row["df"]),), float(row["p"]), effect, model)
    else:
        row = model.tests[model.tests["term"] == "level"].iloc[0]
        df = (float(row["df"]), float(row["df_error"]))
        test = LevelTest("F", float(row["F"]), df, float(row["p"]), model=model)
    return test if np.isfinite(test.p) else None


def compare_areas(scores: xr.DataArray, *, ordered: bool) -> LevelTest | None:
    """Test whether the effect of the level depends on the area: the interaction of a repeated-measures ANOVA.

    A mixed model tested over subjects needs more of them than the interaction has contrasts, which no study has; here
    the contrasts' covariance is summarised by Huynh and Feldt's ε, which lowers the degrees of freedom. (Greenhouse and
    Geisser's is far too small with fewer subjects than contrasts and finds next to nothing.) Of 1,000 simulated tables
    without an effect, 15 areas and a nominal .05, it calls .04 to .07 where neighbouring areas differ independently or
    correlate at .5, and .08 (eight subjects) to .11 (three) where they correlate at .95.

    Parameters
    ----------
    scores : xr.DataArray
        From :func:`area_scores`; areas with a missing value do not count.
    ordered : bool
        Compare the trend over levels between areas, not the levels one by one.

    Returns
    -------
    LevelTest or None
        None for fewer than two subjects, levels or areas, or where nothing varies.
    """
    values = scores.transpose("subject", "level", "area").dropna("area").values
    n, n_levels, n_areas = values.shape
    if min(n, n_levels, n_areas) < 2:
        return None
    trend = np.arange(n_levels) - (n_levels - 1) / 2
    over_levels = (trend / np.linalg.norm(trend))[None] if ordered else helmert(n_levels)
    each = np.einsum("kl,ma,nla->nkm", over_levels, helmert(n_areas), values).reshape(n, -1)
    covariance = np.atleast_2d(np.cov(each, rowvar=False))
    k, total = each.shape[1], float(np.trace(covariance))
    if total <= 0:
        return None
    f = n * float(np.sum(each.mean(axis=0) ** 2)) / total
    share = total**2 / float(np.sum(covariance**2))  # k times Greenhouse and Geisser's ε
    room = k * (n - 1 - share)
    epsilon = min(1.0, max(share / k, (n * share - 2) / room)) if room > 0 else 1.0
    df = (k * epsilon, (n - 1) * k * epsilon)
    p = float(stats.f.sf(f, *df))
    return LevelTest("F", f, df, p)
