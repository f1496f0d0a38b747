"""Tables: whatever dialect one table is written in, the same cells come back, or one sentence says why not."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.tables import as_numbers, read_table, rename_columns

CELLS = {"stimulus": ["007", "1.10", "NA", "null"], "onset": ["0", "1.5", "n/a", "-2"], "session": ["1", "1", "", "02"]}


def written(file: Path, text: str, encoding: str = "utf-8") -> Path:
    file.write_bytes(text.encode(encoding))
    return file


def test_cells_stay_text_and_only_empty_ones_and_bids_na_are_missing(tmp_path: Path):
    rows = zip(*CELLS.values(), strict=True)
    text = "\n".join(["\t".join(CELLS), *("\t".join(row) for row in rows)])
    table = read_table(written(tmp_path / "e.tsv", text), numbers=["onset"])
    assert table["stimulus"].tolist() == CELLS["stimulus"]
    np.testing.assert_array_equal(table["onset"], [0, 1.5, np.nan, -2])
    assert table["session"].isna().tolist() == [False, False, True, False]
    assert table["session"].iloc[3] == "02"


@settings(max_examples=60, deadline=None)
@given(
    delimiter=st.sampled_from("\t;,"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom"]),
    suffix=st.sampled_from([".tsv", ".csv", ".txt", ".tsv.gz"]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    trailing=st.booleans(),
    index=st.booleans(),
    blank=st.booleans(),
    upper=st.booleans(),
)
def test_every_dialect_gives_the_same_table(
    tmp_path_factory, delimiter, encoding, suffix, newline, trailing, index, blank, upper
):
    comma = delimiter == ";"
    names = ["stimulus", "note", "x"]
    body = [["007", "one; two, three", "1.5"], ["ü", 'says "no"', "-0.25"], ["1.10", "", "3"]]
    rows = [[name.upper() if upper else name for name in names]]
    rows += [[a, b, c.replace(".", ",") if comma else c] for a, b, c in body]
    lines = []
    for number, row in enumerate(rows):
        cells = [*([""] if index and not number else [str(number - 1)] if index else []), *row]
        quoted = [f'"{cell.replace(chr(34), 2 * chr(34))}"' if set(cell) & set(';,\t"') else cell for cell in cells]
        lines.append(delimiter.join(quoted) + (delimiter if trailing and number else ""))
    text = newline.join(lines) + newline + (newline * 2 if blank else "")
    data = b"\xfe\xff" + text.encode("utf-16-be") if encoding == "utf-16-be-bom" else text.encode(encoding)
    file = tmp_path_factory.mktemp("t") / f"table{suffix}"
    file.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    table = read_table(file, numbers=["x"], synonyms=dict.fromkeys(names, ()))
    assert list(table.columns) == names
    assert table["stimulus"].tolist() == ["007", "ü", "1.10"]
    assert table["note"].fillna("").tolist() == ["one; two, three", 'says "no"', ""]
    assert table["x"].tolist() == [1.5, -0.25, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"a\tb\n1\t2\t3\n", r"Row 0 \(line 2\) of .*a\.tsv has 3 fields for 2 columns \(a, b\)"),
        ("a.tsv", b"a\tb\n1\t2\n\n3\n", r"Row 1 \(line 4\) of .* has 1 fields for 2 columns .*; write n/a"),
        ("a.csv", b"a\n1,2\n", r"Row 0 \(line 2\) of .* has 2 fields for 1 columns"),
        ("a.tsv", b"a\ta\n1\t2\n", "has two columns 'a'; rename one"),
        ("a.tsv", b"", "is empty; a table needs a header line"),
        ("a.tsv", b"name\n\xff\xfe\xfa", r"is not UTF-8 text \(byte 5\); save it as UTF-8"),
        ("a.csv", "name\nMüller\n".encode("latin-1"), "is not UTF-8 text"),
        ("a.csv", "name\nx\n".encode("utf-16-le"), "holds zero bytes"),
        ("a.xlsx", b"PK\x03\x04rest", "is a workbook, not text; save the sheet as 'CSV UTF-8'"),
        ("a.csv", b'a,b\n"1,2\n3,4\n', "a quotation mark may be open"),
        ("a.tsv.gz", gzip.compress(b"a\tb\n1\t2\n" * 50, mtime=0)[:30], "cannot be unpacked"),
        ("a.txt", b"a,b;c\n1,2;3\n", "could be separated by semicolons or commas"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, message: str):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(file)
    assert "\n" not in str(caught.value)


def test_absent_files_and_folders_are_refused(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"There is no table .*none\.tsv"):
        read_table(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="is a folder; give a table"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="the name is too long"):
        read_table(tmp_path / f"{'x' * 300}.tsv")


def test_row_names_of_r_are_refused_and_trailing_delimiters_are_not(tmp_path: Path):
    with pytest.raises(InputError, match="has 3 fields for 2 columns"):
        read_table(written(tmp_path / "r.tsv", "roi\tx\n1\tV1\t10\n2\tV2\t20\n"))
    table = read_table(written(tmp_path / "t.tsv", "roi\tx\t\nV1\t10\t\nV2\t20\t\n"))
    assert table.to_dict("list") == {"roi": ["V1", "V2"], "x": ["10", "20"]}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0,5", "1,25"], [0.5, 1.25]),
        (["0,125", "2,500"], [0.125, 2.5]),  # a nought before the comma separates no thousands
        (["1,234", "0,5"], [1.234, 0.5]),
        (["-,5", "1e3"], [-0.5, 1000]),
        (["1.5", "n/a", "NaN"], [1.5, np.nan, np.nan]),
        (["\N{MINUS SIGN}2"], [-2]),
    ],
)
def test_decimal_commas_are_read_where_they_can_be_nothing_else(cells, expected):
    table = as_numbers(pd.DataFrame({"x": pd.Series(cells, dtype=object)}), ["x"])
    np.testing.assert_array_equal(table["x"], expected)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1,234", "5,678"], "its comma may be a decimal sign or separate thousands"),
        (["0,5", "1.5"], "has the number '0,5' beside '1.5'"),
        (["1", "1O"], "Row 1 of the table has '1O' in the column 'x', which is no number"),
        (["1_000"], "which is no number"),
    ],
)
def test_numbers_that_could_be_two_are_refused(cells, message):
    with pytest.raises(InputError, match=message):
        as_numbers(pd.DataFrame({"x": pd.Series(cells, dtype=object)}), ["x"])


def test_other_names_of_columns_are_taken_and_said():
    names = {"stimulus": ("image", "stim_file"), "roi": ("label",)}
    table = rename_columns(pd.DataFrame({"Stim File": ["a"], "ROI ": ["V1"]}), names)
    assert list(table.columns) == ["stimulus", "roi"]
    assert table.attrs["notes"] == [
        "column 'Stim File' of the table is read as 'stimulus'", "column 'ROI ' of the table is read as 'roi'"
    ]  # fmt: skip
    assert list(rename_columns(pd.DataFrame({"stimulus": ["a"], "image": ["b"]}), names)) == ["stimulus", "image"]
    with pytest.raises(InputError, match="'image' and 'stim_file' of the table could both be 'stimulus'"):
        rename_columns(pd.DataFrame({"image": ["a"], "stim_file": ["b"]}), names)


def test_tables_agree_with_pythons_own_csv_module(tmp_path: Path):
    rng = np.random.default_rng(0)
    rows = [[f"a{n}", str(rng.integers(9)), f"x, {n}"] for n in range(50)]
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["a", "b", "c"], *rows])
    assert read_table(tmp_path / "t.csv").to_numpy().tolist() == rows
