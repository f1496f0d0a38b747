"""Trees of results on disk: JSON for what is small, CSV for tables, Zarr for arrays; nothing that can execute code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.files import inside
from brainmap.common.storage.lazy_arrays import verified
from brainmap.common.storage.zarr_stores import in_order_of_names, write_checked

KIND = "study's results"
_TREE = "results.json"
_INLINE_VALUES = 64


def save_tree(tree: Mapping[str, Any], folder: Path) -> None:
    """Write nested dicts, lists, numbers, strings, arrays, tables and xarray objects into a folder.

    Parameters
    ----------
    tree : mapping
        What to write. Keys may be anything hashable that itself can be written.
    folder : Path
        An existing, empty folder. ``results.json`` holds the tree; leaves too large for it lie beside it under readable
        names.

    Raises
    ------
    InputError
        If a value has a type that cannot be written, with its place in the tree.
    """
    text = json.dumps(_encode(tree, folder, ()), indent=1, allow_nan=True)
    (folder / _TREE).write_text(text, encoding="utf-8")


def load_tree(folder: Path, *, largest: float = np.inf) -> dict[str, Any]:
    """Read what :func:`save_tree` wrote.

    Parameters
    ----------
    folder : Path
        The folder.
    largest : float
        Bytes of a dataset that is read whole; the arrays of a larger one stay on disk until their values are asked for,
        and nothing that was read is kept.

    Raises
    ------
    MissingFileError
        If the folder holds no results.
    """
    path = folder / _TREE
    if not path.is_file():
        raise MissingFileError(f"{folder} holds no results ({_TREE} is missing): run the study first")
    return _decode(json.loads(path.read_text(encoding="utf-8")), folder, largest)


def is_tree(folder: Path) -> bool:
    """Return whether a folder was written by :func:`save_tree`."""
    return (folder / _TREE).is_file()


def plain(value: Any) -> Any:
    """Turn numpy scalars, paths and dates into plain JSON values; everything else is returned as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Path, datetime, date)):
        return str(value)
    return value


def _encode(value: Any, folder: Path, place: tuple[str, ...]) -> Any:
    value = plain(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, pd.DataFrame):
        return {"$table": _save_table(value, folder, place)}
    if isinstance(value, xr.Dataset):
        return {"$dataset": _save_dataset(value, folder, place)}
    if isinstance(value, xr.DataArray):
        return {"$array": _save_dataset(value.to_dataset(name="values"), folder, place), "name": value.name}
    if isinstance(value, np.ndarray):
        return _encode_array(value, folder, place)
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item, folder, (*place, key)) for key, item in value.items()}
        pairs = [
            [_encode(key, folder, (*place, f"key{i}")), _encode(item, folder, (*place, str(i)))]
            for i, (key, item) in enumerate(value.items())
        ]
        return {"$pairs": pairs}
    if isinstance(value, (list, tuple, set, frozenset)):
        ordered = sorted(value) if isinstance(value, (set, frozenset)) else value
        items = [_encode(item, folder, (*place, str(i))) for i, item in enumerate(ordered)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    raise InputError(
        f"cannot save {'.'.join(place)}: {type(value).__name__} is not a number, string, list, dict, array or table"
    )


def _encode_array(value: np.ndarray, folder: Path, place: tuple[str, ...]) -> Any:
    if value.dtype == object:
        return _encode(value.tolist(), folder, place)
    if value.size <= _INLINE_VALUES:
        return {"$numpy": value.tolist(), "dtype": value.dtype.str}
    dims = [f"axis_{i}" for i in range(value.ndim)]
    return {"$dense": _save_dataset(xr.Dataset({"values": (dims, value)}), folder, place)}


def _decode(value: Any, folder: Path, largest: float = np.inf) -> Any:
    if isinstance(value, list):
        return [_decode(item, folder, largest) for item in value]
    if not isinstance(value, dict):
        return value
    if "$table" in value:
        return _load_table(folder, value["$table"])
    if "$dataset" in value:
        return _load_dataset(folder, value["$dataset"], largest)
    if "$array" in value:
        return _load_dataset(folder, value["$array"], largest)["values"].rename(value["name"])
    if "$dense" in value:
        return _load_dataset(folder, value["$dense"])["values"].values
    if "$numpy" in value:
        return np.array(value["$numpy"], dtype=value["dtype"])
    if "$tuple" in value:
        return tuple(_decode(item, folder, largest) for item in value["$tuple"])
    if "$pairs" in value:
        return {_decode(key, folder): _decode(item, folder, largest) for key, item in value["$pairs"]}
    return {key: _decode(item, folder, largest) for key, item in value.items()}


def _file(folder: Path, place: tuple[str, ...], suffix: str) -> str:
    name = "/".join(re.sub(r"[^A-Za-z0-9_.-]+", "_", part) or "_" for part in place) or "values"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return name + suffix


def _save_table(table: pd.DataFrame, folder: Path, place: tuple[str, ...]) -> str:
    name = _file(folder, place, ".csv")
    plain_index = isinstance(table.index, pd.RangeIndex)
    flat = table if plain_index else table.reset_index()
    kinds = {str(column): _kind(flat[column]) for column in flat.columns}
    flat.to_csv(folder / name, index=False)
    sidecar = {
        "kinds": kinds,
        "index": [] if plain_index else [str(level) for level in flat.columns[: table.index.nlevels]],
        "attrs": _encode(dict(table.attrs), folder, (*place, "attrs")),
    }
    (folder / name).with_suffix(".csv.json").write_text(json.dumps(sidecar, indent=1), encoding="utf-8")
    return name


def _kind(column: pd.Series) -> str:
    # Areas are called "44" or "NA": without the kind, reading a table back would turn names into numbers.
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    if pd.api.types.is_integer_dtype(column):
        return "int64"
    if pd.api.types.is_float_dtype(column):
        return "float64"
    return "str"


def _load_table(folder: Path, name: str) -> pd.DataFrame:
    path = inside(folder, name)
    sidecar = json.loads(path.with_suffix(".csv.json").read_text(encoding="utf-8"))
    kinds: dict[str, str] = sidecar["kinds"]
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns: dict[str, Any] = {}
    for column, kind in kinds.items():
        values = text[column]
        if kind == "str":
            columns[column] = values
        elif kind == "bool":
            columns[column] = (values == "True").to_numpy()
        elif kind == "int64":
            columns[column] = values.astype("int64").to_numpy()
        else:
            columns[column] = np.array([float(item) if item else np.nan for item in values])
    table = pd.DataFrame(columns, columns=list(kinds))
    if sidecar["index"]:
        table = table.set_index(sidecar["index"])
    table.attrs = _decode(sidecar["attrs"], folder)
    return table


def _save_dataset(dataset: xr.Dataset, folder: Path, place: tuple[str, ...]) -> str:
    name = _file(folder, place, ".zarr")
    coded = dataset.copy()  # of what stays on disk nothing is read here
    categories: dict[str, list[str]] = {}
    for key in sorted(coded.variables, key=str):  # in an order that does not change from run to run
        if coded[key].dtype.kind in "OUST":
            # Zarr 3 has no agreed string type yet: store codes, keep the names as an attribute.
            codes, names = pd.factorize(np.asarray(coded[key].values, dtype=object).ravel())
            categories[str(key)] = [str(item) for item in names]
            coded = _replace(coded, str(key), codes.astype("int32").reshape(coded[key].shape))
    encoded = {str(key): _encode(item, folder, (*place, f"attrs_{key}")) for key, item in dataset.attrs.items()}
    coded.attrs = {"brainmap_categories": json.dumps(categories), "brainmap_attrs": json.dumps(encoded)}
    for key in list(coded.variables):
        coded[key].encoding.clear()
        coded[key].attrs = {}
    write_checked(coded, folder / name)
    return name


def _replace(dataset: xr.Dataset, key: str, values: np.ndarray) -> xr.Dataset:
    if key in dataset.dims:  # an index coordinate cannot be stored under its own name as codes without rebuilding it
        return dataset.assign_coords({key: (key, values)})
    dims = dataset[key].dims
    if key in dataset.coords:
        return dataset.assign_coords({key: (dims, values)})
    return dataset.assign({key: (dims, values)})


def _load_dataset(folder: Path, name: str, largest: float = np.inf) -> xr.Dataset:
    path = inside(folder, name)
    stored = xr.open_dataset(path, engine="zarr", consolidated=False, chunks=None, cache=False)
    lazy = stored.nbytes > largest
    stored = stored.assign_coords({key: stored[key].load() for key in stored.coords})
    dataset = verified(stored, folder, KIND) if lazy else stored.load()
    categories = json.loads(dataset.attrs.pop("brainmap_categories"))
    attrs = json.loads(dataset.attrs.pop("brainmap_attrs"))
    for key, names in categories.items():
        codes = dataset[key].values
        text = np.array([*names, ""], dtype=object if lazy else str)[codes]  # one object a name, however many targets
        dataset = _replace(dataset, key, text)
    dataset = in_order_of_names(dataset)
    dataset.attrs = {key: _decode(item, folder) for key, item in attrs.items()}
    return dataset
