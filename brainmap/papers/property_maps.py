"""Cortical maps for Study B's figure 8: each is asked for by its kind, and averaged over areas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError

PROPERTIES = {
    "developmental-expansion": "Developmental expansion",
    "thickness": "Thickness (mm)",
    "timescale": "Intrinsic timescale",
    "myelin": "Myelin (T1w/T2w)",
}
"""Kinds of map that Study B's figure 8 shows, in its order, and their labels."""
BESIDE = {"evolutionary-expansion": "Evolutionary expansion"}
"""Kinds that the paper does not show; drawn where they are given."""
KINDS = PROPERTIES | BESIDE
WORDS = {
    "developmental-expansion": ("developmentalexpansion", "expansiondevelopmental"),
    "evolutionary-expansion": ("evolutionaryexpansion", "evolutionexpansion", "expansionevolution"),
    "thickness": ("thickness",),
    "timescale": ("timescale",),
    "myelin": ("t1t2", "t1wt2w", "myelin"),
}
"""What names the kind in the name of a file of a folder; the word expansion alone does not."""
WITH_MAPS = "convergence"  # the one study with a panel of cortical properties, figure 8
MAP_FILES = (".dscalar.nii", ".gii", ".mgh", ".npy", ".txt")


def read_maps(name: str, maps: str | Path | Sequence[str | Path] | None) -> dict[str, pd.Series]:
    """Read the cortical maps for a study's panels.

    Parameters
    ----------
    name : str
        Study; only ``convergence`` shows maps.
    maps : str, Path or sequence of them, optional
        Each is ``KIND=FILE``, such as ``developmental-expansion=maps/hill2010.dscalar.nii``, with a kind of
        :data:`KINDS`, or a folder whose files are named after their kinds, see :func:`read_properties`.

    Returns
    -------
    dict of str to pandas.Series
        Kind → mean by HCP-MMP1 area of the left hemisphere.

    Raises
    ------
    InputError
        If no panel of the study shows maps, a kind is unknown or given twice, or a file is no map on fsLR-32k.
    """
    if maps is None:
        return {}
    if name != WITH_MAPS:
        raise InputError(f"--maps is of no use to '{name}', which has no panel of cortical maps; '{WITH_MAPS}' has one")
    properties: dict[str, pd.Series] = {}
    for item in [maps] if isinstance(maps, str | Path) else maps:
        for kind, values in _read(str(item)).items():
            if kind in properties:
                raise InputError(f"--maps gives {kind} twice, the second time by {item}; give one map of each kind")
            properties[kind] = values
    return properties


def _read(item: str) -> dict[str, pd.Series]:
    """Read ``KIND=FILE`` or a folder."""
    kind, equals, file = item.partition("=")
    if not equals or Path(item).exists():
        return read_properties(item)
    if kind not in KINDS:
        more = ", of which kind: developmental or evolutionary" if kind == "expansion" else ""
        raise InputError(f"--maps {item}: '{kind}' is no kind of map{more}; the kinds are {', '.join(KINDS)}")
    if not Path(file).is_file():
        raise MissingFileError(f"--maps {item}: there is no file {file}")
    return {kind: _by_area(Path(file))}


def read_properties(folder: str | Path) -> dict[str, pd.Series]:
    """Read cortical maps from a folder and average them over HCP-MMP1 areas of the left hemisphere.

    Parameters
    ----------
    folder : str or Path
        Files on the fsLR-32k mesh whose names contain ``developmental expansion``, ``evolutionary expansion``,
        ``thickness``, ``timescale``, or ``T1T2`` (or ``myelin``); blanks, dots and letter case do not matter.

    Returns
    -------
    dict of str to pandas.Series
        Kind → mean by area; only those that have a file.

    Raises
    ------
    InputError
        If there is no such folder, it holds no such map, several of one kind or an expansion of no kind, or one is not
        on the fsLR-32k mesh.
    """
    path = Path(folder)
    if not path.is_dir():
        raise MissingFileError(f"there is no folder {path} with cortical maps")
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(MAP_FILES))
    named: dict[str, Path] = {}
    for file, kind in _kinds_of(files):
        if kind in named:
            raise InputError(
                f"{path} holds two maps of {kind}, {named[kind].name} and {file.name}; give one by --maps {kind}=FILE"
            )
        named[kind] = file
    if not named:
        raise MissingFileError(
            f"{path} holds no cortical map: a file's name says its property ({', '.join(KINDS)}) and ends in "
            f"{', '.join(MAP_FILES)}; or give each by --maps KIND=FILE"
        )
    return {kind: _by_area(named[kind]) for kind in KINDS if kind in named}


def _kinds_of(files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files that name their kind; one that says expansion and not which is refused."""
    for file in files:
        plain = "".join(c for c in file.name.lower() if c.isalnum())
        kinds = [kind for kind, words in WORDS.items() if any(word in plain for word in words)]
        if len(kinds) > 1:
            raise InputError(f"{file} is named after {' and '.join(kinds)}; give it by --maps KIND={file}")
        if not kinds and "expansion" in plain:
            raise InputError(
                f"{file} says expansion, but not which: give it by --maps developmental-expansion={file} (of childhood "
                f"and youth, as in the paper) or --maps evolutionary-expansion={file} (from other primates to humans)"
            )
        if kinds:
            yield file, kinds[0]


def _by_area(file: Path) -> pd.Series:
    """Mean of a map in each area."""
    from brainmap.data.atlas import load_atlas
    from brainmap.hierarchy import parcel_means, read_map

    means = parcel_means(read_map(file, "L"), load_atlas()["L"])
    known: pd.Series = means[np.isfinite(means)]
    return known
