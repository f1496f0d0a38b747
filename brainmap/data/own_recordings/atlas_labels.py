"""The table of an atlas: which number in a labels image is which area."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.common.tables import as_numbers, read_table, rename_columns

INDEX_NAMES = ("id", "value", "number", "label_id", "roi_id", "intensity", "no", "label_index")
AREA_NAMES = ("label", "region", "roi", "area", "labels", "regionname", "structure", "abbreviation")
_COLOURED = re.compile(r"^\s*(\d+)\s+(\S.*?)((?:\s+\d+){3,7})\s*$")  # FreeSurfer, Schaefer: number, name, colour
_BACKGROUND = ("background", "unknown", "???", "")


def atlas_names(atlas: Any, labels: Any, where: str) -> dict[int, str] | None:
    """Area by number; None where there is no table.

    Parameters
    ----------
    atlas : Path, or object of nilearn with ``lut`` or ``labels``
        The atlas.
    labels : str, Path, DataFrame, sequence of str or None
        Its table, if it was given; else the file of the same name beside the image is looked for.
    where : str
        What sentences call the atlas.

    Raises
    ------
    InputError
        If the table is none.
    """
    if labels is None and not isinstance(atlas, str | Path):
        labels = getattr(atlas, "lut", None)
        labels = getattr(atlas, "labels", None) if labels is None else labels
    if labels is None and isinstance(atlas, str | Path):
        labels = _beside(Path(atlas))
    if labels is None:
        return None
    if isinstance(labels, str | Path):
        return _read(Path(labels))
    if isinstance(labels, pd.DataFrame):
        table = labels.copy()
        table.attrs = {"file": f"the table of {where}"}
        return _names(table, where)
    names = [label.decode() if isinstance(label, bytes) else str(label) for label in labels]
    first = (
        0 if names and names[0].casefold() in _BACKGROUND else 1
    )  # nilearn lists the background first, or not at all
    return {number: name for number, name in enumerate(names, start=first) if number}


def _beside(image: Path) -> Path | None:
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    for ending in (".tsv", ".csv", ".txt", ".lut", "_labels.tsv", "_labels.csv", "_labels.txt"):
        if (image.parent / f"{stem}{ending}").is_file():
            return image.parent / f"{stem}{ending}"
    return None


def _read(path: Path) -> dict[int, str]:
    with reading(path):
        if path.suffix.lower() in (".txt", ".lut") and path.is_file():
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
            matches = [_COLOURED.match(line) for line in lines]
            if lines and all(matches):
                return {int(match[1]): match[2].strip() for match in matches if match is not None and int(match[1])}
    return _names(read_table(path), str(path))


def _names(table: pd.DataFrame, where: str) -> dict[int, str]:
    table = rename_columns(table, {"index": INDEX_NAMES})
    if "index" not in table:  # a column 'label' may hold the numbers, beside the names
        counted = [column for column in table if str(column).casefold() == "label" and _all_whole(table[column])]
        table = table.rename(columns=dict.fromkeys(counted, "index"))
    table = rename_columns(table, {"name": AREA_NAMES})
    lacking = [name for name in ("index", "name") if name not in table]
    if lacking:
        raise InputError(
            f"{where} has no column {lacking[0]!r}; the table of an atlas has the number ('index') and 'name' of each "
            f"area, this one has {list(table.columns)}."
        )
    numbers = as_numbers(table, ["index"])["index"].to_numpy(dtype=float)
    wrong = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.round(numbers)))
    if len(wrong):
        raise InputError(f"Row {wrong[0]} of {where} has no whole number in the column 'index'.")
    repeated = pd.Series(numbers).duplicated().to_numpy()
    if repeated.any():
        raise InputError(f"{where} gives the number {int(numbers[np.flatnonzero(repeated)[0]])} two names; keep one.")
    names = ["" if pd.isna(name) else str(name) for name in table["name"]]
    return {int(number): name for number, name in zip(numbers, names, strict=True) if number}


def _all_whole(column: pd.Series) -> bool:
    return bool(column.astype(str).str.fullmatch(r"\d+").all())


def named_areas(numbers: np.ndarray, names: dict[int, str] | None, where: str) -> np.ndarray:
    """Name of the area of each number, (n,) object; numbers are names where there is no table."""
    present = np.unique(numbers)
    if names is not None:
        unknown = [int(number) for number in present if int(number) not in names]
        if unknown:
            raise InputError(
                f"{where} has the label {unknown[0]}, which its table does not name; add a row for it, or give the "
                "atlas's own table (labels)."
            )
    lookup = {number: str(int(number)) if names is None else names[int(number)] for number in present}
    return np.array([lookup[number] for number in numbers], dtype=object)
