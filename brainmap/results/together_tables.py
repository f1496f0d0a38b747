"""What bands and stacks of a study explain, as tables by area or time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainmap.results.study_results import StudyResults


def bands_table(results: StudyResults, modality: str) -> pd.DataFrame:
    """Unique, shared and total variance by area or time, mean over subjects.

    Returns
    -------
    pandas.DataFrame
        ``kind`` (a band, ``shared`` or ``total``), ``unit`` (area, or time in s), ``r2``, ``low``, ``high``.
    """
    together = results.together[modality]
    columns = {"explained": "r2", "explained_low": "low", "explained_high": "high"}
    table = together[list(columns)].to_dataframe().rename(columns=columns).reset_index()
    order = {str(kind): number for number, kind in enumerate(together["kind"].values)}
    return table.sort_values("kind", key=lambda kind: kind.map(order), kind="stable", ignore_index=True)


def stack_table(results: StudyResults, modality: str, signal: str) -> pd.DataFrame:
    """Weights of layers by area or time, mean over subjects and targets.

    Returns
    -------
    pandas.DataFrame
        ``unit`` (area, or time in s), ``r`` (of the stack), ``depth`` (mean under the weights, 0 to 1), ``best_depth``
        (of the layer whose mean r is highest), and a column with the weight of each layer.
    """
    together = results.together[modality].sel(signal=signal)
    column = "roi" if modality == "fmri" else "time"
    units = results.scores[modality][column].values
    single = results.group_r(modality, signal).values
    weights = together["weight"].mean("subject").transpose("layer", "target").values
    r = together["r"].mean(("split", "subject")).values
    depths = results.depths(modality)
    rows = []
    for unit in np.unique(units):
        chosen = units == unit
        weight = weights[:, chosen].mean(axis=1)
        best = depths[int(np.nanargmax(np.nanmean(single[:, chosen], axis=1)))]
        layers = dict(zip(map(str, together["layer"].values), weight, strict=True))
        rows.append({"unit": unit, "r": np.nanmean(r[chosen]), "depth": depths @ weight, "best_depth": best, **layers})
    return pd.DataFrame(rows)
