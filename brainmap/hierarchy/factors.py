"""Comparison of models, training sets or other factors: tables, and mixed models with subjects as random effect."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.errors import InputError


@dataclass(frozen=True, eq=False)
class FactorModel:
    """A mixed model of scores.

    Parameters
    ----------
    effects : pandas.DataFrame
        Fixed effects: ``term``, ``estimate``, ``low``, ``high``, ``z``, ``p``.
    tests : pandas.DataFrame
        Joint Wald test of each factor and interaction: ``term``, ``chi2``, ``df``, ``p``.
    formula : str
        Of the fixed effects.
    n, n_groups : int
        Observations and levels of the random effect.
    warning : str
        Empty, or why the fit should not be trusted (no convergence, variance of zero).
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
    """
    absent = [name for name in ("subject", *factors) if name not in scores.dims]
    if absent:
        raise InputError(f"Scores have no dimension {absent[0]!r}; they have {tuple(scores.dims)}.")
    rest = [d for d in scores.dims if d not in ("subject", *factors)]
    kept = scores.mean(rest, skipna=True)
    columns = {"mean": kept.mean("subject"), "n": kept.notnull().sum("subject")}
    columns["sem"] = kept.std("subject", ddof=1) / np.sqrt(columns["n"])
    return xr.Dataset(columns).to_dataframe().reset_index()[[*factors, "mean", "sem", "n"]]


def factor_model(table: pd.DataFrame, formula: str, *, groups: str = "subject") -> FactorModel:
    """Fit a linear mixed model with a random intercept per subject (``statsmodels``).

    Parameters
    ----------
    table : pandas.DataFrame
        One row per score: the score, the factors and the groups as columns.
    formula : str
        Fixed effects, such as ``r ~ size * data``; ``a * b`` includes the interaction.
    groups : str
        Column of the random intercept.

    Returns
    -------
    FactorModel

    Raises
    ------
    InputError
        If a column is missing or the model cannot be fitted.
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
            wald = fit.wald_test_terms(scalar=True).table
    except (PatsyError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"The model {formula!r} cannot be fitted: {str(error).splitlines()[0]}.") from error
    doubts = [str(w.message).split(".")[0] for w in caught if issubclass(w.category, ConvergenceWarning)]
    names = list(fit.fe_params.index)
    bounds = fit.conf_int().loc[names]
    effects = pd.DataFrame({"term": names, "estimate": fit.fe_params.to_numpy()})
    effects = effects.assign(low=bounds[0].to_numpy(), high=bounds[1].to_numpy())
    effects = effects.assign(z=fit.tvalues[names].to_numpy(), p=fit.pvalues[names].to_numpy())
    kept = wald.drop(index=[name for name in ("Intercept",) if name in wald.index])
    tests = pd.DataFrame({"term": kept.index, "chi2": kept["statistic"].to_numpy(dtype=float)})
    tests = tests.assign(df=kept["df_constraint"].to_numpy(dtype=float), p=kept["pvalue"].to_numpy(dtype=float))
    warning = "; ".join(dict.fromkeys(doubts))
    return FactorModel(effects, tests, formula, len(table), int(table[groups].nunique()), warning)
