"""Variables of a reader's nuisance table become confounds of the trials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.data import Responses
from brainmap.data.readers.nuisance_columns import with_nuisance

TRIALS = pd.DataFrame({"stimulus": list("abcdef"), "session": ["1", "1", "2", "2", "3", "3"], "run": 1})
TARGETS = pd.DataFrame({"sensor": ["s"], "time": [0.1]})
TABLE = pd.DataFrame({"session": [1, 1, 2, 2, 3, 3], "run": 1, "gaze": [0.1, 0.2, 0.3, 0.2, 0.1, 0.0]})


def reader(table: pd.DataFrame) -> Any:
    return SimpleNamespace(name="things-meg", nuisance=lambda subject: table)


def responses() -> Responses:
    return Responses(np.zeros((6, 1)), TRIALS, TARGETS, "meg", "01")


def test_numbers_stay_and_categories_become_a_column_a_value() -> None:
    confounds = with_nuisance(reader(TABLE), "01", responses(), ("all",)).confounds
    assert confounds is not None and list(confounds) == ["session 2", "session 3", "gaze"]  # run never changes
    np.testing.assert_array_equal(confounds["session 3"], [0, 0, 0, 0, 1, 1])
    alone = with_nuisance(reader(TABLE), "01", responses(), ("gaze",)).confounds
    assert alone is not None and list(alone) == ["gaze"]


def test_confounds_are_averaged_over_showings_as_responses_are() -> None:
    twice = Responses(
        np.arange(6.0)[:, None], TRIALS.assign(stimulus=list("abcabc")), TARGETS, "meg", "01"
    ).average_repeats()
    assert twice.confounds is None
    shown = Responses(np.arange(6.0)[:, None], TRIALS.assign(stimulus=list("abcabc")), TARGETS, "meg", "01")
    averaged = with_nuisance(reader(TABLE), "01", shown, ("gaze",)).average_repeats()
    assert averaged.confounds is not None
    np.testing.assert_allclose(averaged.confounds["gaze"], [0.15, 0.15, 0.15])
    np.testing.assert_allclose(averaged.block()[:, 0], [1.5, 2.5, 3.5])


@pytest.mark.parametrize(
    ("table", "names", "sentence"),
    [
        (TABLE, ("gase",), "no nuisance variable 'gase'.*session, run, gaze"),
        (TABLE.iloc[:5], ("gaze",), "5 recorded trials"),
        (TABLE.assign(gaze=[0.1, np.nan, 0.3, 0.2, 0.1, 0.0]), ("gaze",), "missing in 1 of 6 trials"),
        (TABLE.assign(session=[1, 1, 2, 3, 3, 3]), ("gaze",), "trial 3 is of another session"),
        (TABLE, ("run",), "changes from trial to trial"),
        (TABLE.assign(gaze=np.inf), ("gaze",), "infinite"),
    ],
)
def test_tables_of_other_trials_are_refused(table: pd.DataFrame, names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        with_nuisance(reader(table), "01", responses(), names)
