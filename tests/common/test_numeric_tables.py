"""Tables of published datasets: numbers are numbers by the rules of all tables, whichever way they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmap.common import numeric_tables
from brainmap.common.errors import InputError
from brainmap.common.numeric_tables import read_number_column, read_numeric_table

TEXT = 'name,run,x,"V1\n(left)",note,flag\n007,1,0.5,1,a,True\nNA,2,,0,NA,False\n1.10,3,nan,1,n/a,True\n'


@pytest.fixture(params=["row by row", "at once"])
def way(request, monkeypatch):
    monkeypatch.setattr(numeric_tables, "LARGE", 0 if request.param == "at once" else 10**9)
    return request.param


def write(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def read(file: Path) -> pd.DataFrame:
    return read_numeric_table(file, required=("note",), numbers=("x",), whole=("run",), text=("name",))


def test_numbers_are_numbers_and_names_stay_text(tmp_path, way):
    table = read(write(tmp_path, TEXT))
    assert table["name"].tolist() == ["007", "NA", "1.10"] and table["run"].tolist() == [1, 2, 3]
    assert table["x"].iloc[0] == 0.5 and table["x"].isna().tolist() == [False, True, True]
    assert table["V1\n(left)"].tolist() == [1, 0, 1] and table["flag"].tolist() == [1, 0, 1]
    assert table["run"].dtype == np.int64 == table["V1\n(left)"].dtype
    assert table["note"].iloc[0] == "a" and pd.isna(table["note"].iloc[2])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("NA,2,", "NA,two,"), "Row 1 of .*t.csv has 'two' in the column 'run'"),
        (("NA,2,", "NA,,"), "Row 1 of .*t.csv has no value in 'run'"),
        (("NA,2,", "NA,2.5,"), "Row 1 of .*t.csv has 2.5 in 'run'; it must be a whole number"),
        (("0.5", "half"), "Row 0 of .*t.csv has 'half' in the column 'x'"),
        (("0.5", "inf"), "Row 0 of .*t.csv has (an infinite number in 'x'|'inf' in the column 'x')"),
        (("1,a", "yes,a"), "Row 0 of .*t.csv has 'yes' in the column 'V1"),  # an area's column, by its other cells
        (("1,a", "1,a,b"), "Row 0 .line 3. of .*t.csv has 7 fields for 6 columns"),
        ((",True\nNA", "\nNA"), "Row 0 .line 3. of .*t.csv has 5 fields for 6 columns"),
        (("run", "Run2"), "has no column 'run'"),
        (("note", "x"), "two columns 'x'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, way, change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read(write(tmp_path, TEXT.replace(*change)))
    assert "\n" not in str(caught.value).replace("V1\n", "V1")


def test_a_column_that_counts_the_rows_is_left_out(tmp_path, way):
    counted = "\n".join(f"{'' if n == 0 else n - 1},{line}" for n, line in enumerate(["run,x", "1,2", "3,4"]))
    table = read_numeric_table(write(tmp_path, counted), whole=("run", "x"))
    assert table.columns.tolist() == ["run", "x"] and table["run"].tolist() == [1, 3]


def test_one_number_a_line(tmp_path):
    file = write(tmp_path, "0\r\n12\r\n 7 \r\n\r\n")
    assert read_number_column(file).tolist() == [0, 12, 7]
    with pytest.raises(InputError, match=r"Line 2 of .*t\.csv is '1,2', not one number"):
        read_number_column(write(tmp_path, "0\n1,2\n"))
