"""Recording quality."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainmap.common.names import TIMED
from brainmap.data.session_consistency import Consistency

if TYPE_CHECKING:
    from brainmap.data import Responses


@dataclass
class Quality:
    """Numbers behind the quality figures of one subject.

    Attributes
    ----------
    responses : Responses
        What was looked at.
    trials : pandas.DataFrame
        Trials by ``session`` and ``run``.
    repeats : pandas.Series
        Number of photographs by number of showings.
    mean : numpy.ndarray, (n_targets,)
        Mean over trials; for MEG the evoked response.
    deviation : numpy.ndarray, (n_targets,)
        Standard deviation over trials.
    ceiling : numpy.ndarray, (n_chosen,), optional
        Noise ceiling of r, for ``ceiling_targets``; None where nothing was repeated.
    ceiling_source : str
        How it was made.
    consistency : Consistency, optional
        Whether sessions fit each other by their repeated photographs.
    """

    responses: Responses
    trials: pd.DataFrame
    repeats: pd.Series
    mean: np.ndarray
    deviation: np.ndarray
    ceiling: np.ndarray | None
    ceiling_targets: np.ndarray
    ceiling_source: str
    consistency: Consistency | None
    notes: list[str] = field(default_factory=list)

    def field_power(self) -> pd.Series:
        """Global field power of MEG: deviation over sensors of the evoked response, by time in s."""
        targets = self.responses.targets.assign(mean=self.mean)
        power: pd.Series = targets.groupby("time")["mean"].std(ddof=0)
        return power

    def onset(self) -> float | None:
        """First time after 0 s at which the field power leaves its range before 0 s (mean + 4 deviations), in s."""
        power = self.field_power()
        before, after = power[power.index < 0], power[power.index >= 0]
        if len(before) < 3:
            return None
        above = after[after > before.mean() + 4 * before.std(ddof=0)]
        return float(above.index[0]) if len(above) else None

    def sentences(self) -> list[str]:
        """What the numbers say, in words."""
        responses = self.responses
        showings = ", ".join(f"{count:,} shown {times}×" for times, count in self.repeats.items())
        lines = [
            f"{responses.n_trials:,} trials, {responses.n_targets:,} targets, {len(self.trials)} runs or sessions",
            f"photographs: {showings}",
        ]
        if responses.modality in TIMED:
            onset = self.onset()
            when = "does not leave its baseline" if onset is None else f"leaves its baseline at {1000 * onset:.0f} ms"
            lines.append(f"global field power {when}")
            lag = responses.info.get("lag_ms")
            if lag:
                spread = f"{lag['low']:.0f} to {lag['high']:.0f}"
                lines.append(f"events tables are {lag['median']:.0f} ms later than triggers ({spread})")
        else:
            areas = responses.targets["roi"].replace("", "(none)").value_counts()
            lines.append("areas: " + ", ".join(f"{name} {count:,}" for name, count in areas.head(12).items()))
        if self.ceiling is not None:
            lines.append(
                f"noise ceiling of r ({self.ceiling_source}): median {np.nanmedian(self.ceiling):.3f}, "
                f"largest {np.nanmax(self.ceiling):.3f}"
            )
        if self.consistency is not None:
            suspicious = self.consistency.suspicious
            lines.append("repeats fit across sessions" if suspicious.empty else "repeats do NOT fit across sessions:")
            lines += [f"  session {row.session}: {row.verdict}" for row in suspicious.itertuples()]
        constant = int((self.deviation == 0).sum())
        if constant:
            lines.append(f"{constant:,} targets never change")
        return [*lines, *self.notes]
