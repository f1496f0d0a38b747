"""Fixed splits that the field reports on: NSD's shared 1,000 photographs, THINGS' repeated ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

TEST_COLUMNS = ("test", "shared")


def fixed_split(
    responses: Responses, stimuli: StimulusSet, test: np.ndarray | None = None, *, groups: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train and to test on, as ``cross_val_encode(..., cv=...)`` takes them.

    Parameters
    ----------
    responses : Responses
        Trials, or means over the showings of each photograph.
    stimuli : StimulusSet
        The photographs.
    test : numpy.ndarray of bool, (n_images,), optional
        Which photographs to test on; by default the column ``test`` or ``shared`` of the table, as readers write it.

    groups : numpy.ndarray, (n_rows,), optional
        Group of each row of ``responses``; the source of its photograph by default.

    Returns
    -------
    list of one tuple
        Train rows and test rows of ``responses``. Showings of one photograph, and photographs of one group, are on
        the same side: whatever shares a group with a test photograph is not trained on.

    Raises
    ------
    InputError
        If no test photographs are known, or one side is empty.
    """
    if test is None:
        test = test_photographs(stimuli)
    chosen = np.asarray(test, dtype=bool)
    if chosen.shape != (len(stimuli),):
        raise InputError(f"The mask of test photographs has shape {chosen.shape} for {len(stimuli)} photographs.")
    rows = stimuli.index_of(responses.trials["stimulus"])
    labels = stimuli.table["source"].to_numpy()[rows] if groups is None else groups
    tested = chosen[rows]
    tied = np.isin(labels, labels[tested])
    train, held_out = np.flatnonzero(~tied), np.flatnonzero(tested)
    if not len(train) or not len(held_out):
        raise InputError(f"A fixed split needs both sides; here are {len(train)} train and {len(held_out)} test rows.")
    return [(train, held_out)]


def test_photographs(stimuli: StimulusSet) -> np.ndarray:
    """Test photographs by the column ``test`` or ``shared`` of their table, (n,) bool."""
    known = [column for column in TEST_COLUMNS if column in stimuli.table]
    if not known:
        raise InputError("The photographs have no column 'test' or 'shared'; pass the test photographs as a mask.")
    return _truth(stimuli.table[known[0]])


def _truth(column: pd.Series) -> np.ndarray:
    """Read a column of yes and no, which tables on disk hold as text."""
    words = column.astype(str).str.strip().str.lower()
    yes, no = words.isin(("1", "1.0", "true", "yes")), words.isin(("0", "0.0", "false", "no"))
    if not (yes | no).all():
        row = int(np.flatnonzero(~(yes | no))[0])
        raise InputError(f"Row {row} of the photographs has {column.name} = {column.iloc[row]!r}; write true or false.")
    return yes.to_numpy()
