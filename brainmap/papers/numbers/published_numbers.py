"""Published numbers beside the measured ones: ``quantity | paper | here | n | data``."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from brainmap.common.errors import InputError
from brainmap.papers.numbers.convergence_numbers import convergence_numbers
from brainmap.papers.numbers.misalignment_numbers import misalignment_numbers
from brainmap.papers.numbers.number_rows import COLUMNS
from brainmap.results import collection_tables
from brainmap.results.collection import Collection


def paper_numbers(
    study: str, collection: Collection, properties: Mapping[str, pd.Series] | None = None
) -> pd.DataFrame:
    """Return the table of published and measured numbers.

    Parameters
    ----------
    study : {'misalignment', 'convergence'}
        Which paper.
    collection : Collection
        Studies of the preset of that name.
    properties : mapping of str to pandas.Series, optional
        Cortical properties by area.

    Returns
    -------
    pandas.DataFrame
        ``panel``, ``quantity``, ``paper``, ``here``, ``n``, ``data`` (``simulated``, ``real``, or which are absent).

    Examples
    --------
    >>> from brainmap.papers import paper_numbers
    >>> from brainmap.results.collection import Collection
    >>> paper_numbers("misalignment", Collection([])).columns.tolist()
    ['panel', 'quantity', 'paper', 'here', 'n', 'data']
    """
    training = collection_tables.ordered_by_step(collection.part("training"))
    if study == "misalignment":
        rows = list(misalignment_numbers(collection, training))
    elif study == "convergence":
        rows = list(convergence_numbers(collection, training, properties or {}))
    else:
        raise InputError(f"there is no table of numbers for '{study}'; choose misalignment or convergence")
    return pd.DataFrame(rows, columns=list(COLUMNS))
