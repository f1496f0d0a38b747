"""What a spreadsheet would take for a formula is text; numbers stay numbers."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd

from brainmap.common.tables import spreadsheet_safe
from brainmap.report.page.page_parts import csv_link, t_max


def test_formulas_are_quoted_and_numbers_are_not() -> None:
    table = pd.DataFrame(
        {
            "unit": ["=1+1", "+cmd", "-x", "@SUM(A1)", " =2", "\tx", "V1", "-0.5", None],
            "r": [-0.5, np.nan, *np.arange(7.0)],
            "=name": pd.Categorical(["-y"] * 9),
        }
    )
    safe = spreadsheet_safe(table)
    assert safe["unit"].tolist()[:8] == ["'=1+1", "'+cmd", "'-x", "'@SUM(A1)", "' =2", "'\tx", "V1", "-0.5"]
    assert safe["r"].dtype == float and list(safe.columns) == ["unit", "r", "'=name"]
    assert safe["'=name"].iloc[0] == "'-y" and table["unit"].iloc[0] == "=1+1"
    link = csv_link(table[["unit", "r"]])[0]
    lines = base64.b64decode(link.partition(",")[2]).decode().splitlines()
    assert lines[1] == "'=1+1,-0.5" and lines[8] == "-0.5,5"


def test_t_max_is_set_as_a_symbol_and_nothing_else_is_markup() -> None:
    assert t_max("Tmax of <b> and T_max") == "T<sub>max</sub> of &lt;b&gt; and T<sub>max</sub>"
    assert t_max("Tmaximal") == "Tmaximal"
