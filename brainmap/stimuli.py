"""The photographs and their table: identified by content, read lazily, grouped by source."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import DamagedError, InputError, MissingFileError
from brainmap.common.names import as_names
from brainmap.common.progress import track
from brainmap.common.readable import counted, html_table, shortened
from brainmap.common.storage.digests import load_array, save_array
from brainmap.common.tables import read_table, rename_columns
from brainmap.image_readers import (
    IMAGE_SUFFIXES,
    ArrayReader,
    FolderReader,
    HDF5Reader,
    ImageReader,
    SubsetReader,
    ZipReader,
    is_image_name,
)
from brainmap.photograph_names import PhotographNames, photograph_path


class StimulusSet:
    """A set of photographs, each known by a hash of its pixels.

    Parameters
    ----------
    reader : ImageReader
        Where pixels come from; the constructors ``from_folder``, ``from_zip``, ``from_arrays`` and ``from_hdf5`` do it.
    table : pandas.DataFrame
        One row per image in the reader's order, with at least a column ``name``. A missing column ``source`` is filled
        with the image's own id: every photograph its own group.
    allow_duplicates : bool
        Keep images whose pixels are identical instead of refusing them.

    Notes
    -----
    Images that share a ``source`` (crops of one photograph, frames of one film) are kept together by folds and
    permutations. Pixels are read when asked for; ids are computed once, when first needed.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap import StimulusSet
    >>> rng = np.random.default_rng(0)
    >>> stimuli = StimulusSet.from_arrays(rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8))
    >>> len(stimuli), stimuli.image(0).shape
    (3, (64, 64, 3))
    >>> list(stimuli.table.columns)
    ['stimulus', 'name', 'source']

    Files of a folder are known by their pixels, whatever they are called:

    >>> photographs = StimulusSet.from_folder("photos")
    >>> len(photographs), len(set(photographs.ids))
    (40, 40)
    """

    def __init__(self, reader: ImageReader, table: pd.DataFrame, *, allow_duplicates: bool = False) -> None:
        if len(table) != len(reader):
            raise InputError(f"The table has {len(table)} rows for {len(reader)} images; give it one row per image.")
        if not len(reader):
            raise InputError("There are no images; name a folder, archive or array with at least one.")
        self._reader = reader
        self._table = _checked_table(table)
        self._allow_duplicates = allow_duplicates
        self._ids: np.ndarray | None = None
        self._ids_file: Path | None = None

    # -- constructors ---------------------------------------------------------------------------------------------

    @classmethod
    def from_folder(
        cls, path: str | Path, table: pd.DataFrame | str | Path | None = None, *, allow_duplicates: bool = False
    ) -> StimulusSet:
        """All image files below a folder, in sorted order.

        Parameters
        ----------
        path : str or Path
            Folder, searched recursively; hidden files are skipped.
        table : DataFrame or path to a .tsv or .csv file, optional
            One row per file. Its column ``name`` (or ``image``, ``filename``, …) is the file's path inside the folder,
            with or without suffix (``beach/img_07`` or ``beach/img_07.jpg``); a file name alone where it is unique.
        allow_duplicates : bool
            Keep files with identical pixels.

        Raises
        ------
        InputError
            If the table and the folder disagree, or a file is not an image.
        MissingFileError
            If the folder does not exist.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise MissingFileError(f"There is no folder {folder}; give the folder that holds the photographs.")
        names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
        names = [name for name in names if is_image_name(name)]
        if not names:
            raise InputError(f"The folder {folder} holds no image files ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        reader = FolderReader(folder, names)
        return cls(reader, _table_of_files(names, table, str(folder)), allow_duplicates=allow_duplicates)

    @classmethod
    def from_zip(
        cls, path: str | Path, table: pd.DataFrame | str | Path | None = None, *, allow_duplicates: bool = False
    ) -> StimulusSet:
        """All image files of a zip archive, read without unpacking; otherwise as ``from_folder``."""
        reader = ZipReader(Path(path))
        if not len(reader):
            raise InputError(f"The archive {path} holds no image files ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        return cls(reader, _table_of_files(reader.names, table, str(path)), allow_duplicates=allow_duplicates)

    @classmethod
    def from_arrays(
        cls,
        images: Sequence[np.ndarray] | np.ndarray,
        table: pd.DataFrame | None = None,
        *,
        allow_duplicates: bool = False,
    ) -> StimulusSet:
        """Images in memory: a list of (h, w, 3) uint8 arrays or one (n, h, w, 3) array.

        ``table`` defaults to names ``image_0000``, ``image_0001``, …
        """
        reader = ArrayReader(images)
        if table is None:
            table = pd.DataFrame({"name": [f"image_{i:04d}" for i in range(len(reader))]})
        return cls(reader, table, allow_duplicates=allow_duplicates)

    @classmethod
    def from_hdf5(
        cls,
        path: str | Path,
        dataset: str = "imgBrick",
        rows: Sequence[int] | np.ndarray | None = None,
        *,
        table: pd.DataFrame | None = None,
        allow_duplicates: bool = False,
    ) -> StimulusSet:
        """Rows of an (n, h, w, 3) uint8 dataset in an HDF5 file, such as ``nsd_stimuli.hdf5``.

        Parameters
        ----------
        path : str or Path
            HDF5 file.
        dataset : str
            Name of the dataset in the file.
        rows : sequence of int, optional
            Rows to use, 0-based, in this order; all by default.
        table : DataFrame, optional
            One row per chosen image; defaults to names ``<dataset>_<row>``.
        allow_duplicates : bool
            Keep images with identical pixels.
        """
        reader = HDF5Reader(Path(path), dataset, rows)
        if table is None:
            table = pd.DataFrame({"name": [f"{dataset}_{row:05d}" for row in reader.rows]})
        return cls(reader, table, allow_duplicates=allow_duplicates)

    # -- access ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._reader)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.image(i) for i in range(len(self)))

    def __repr__(self) -> str:
        sources = f" of {counted(self.n_listed_sources, 'source')}" if "source" in self._table else ""
        return f"<StimulusSet {counted(len(self), 'image')}{sources}, such as {self._table['name'].iloc[0]!r}>"

    def _repr_html_(self) -> str:
        """Return what the set holds as a small table for notebooks; the first photograph is read for its size."""
        height, width = self.image(0).shape[:2]
        rows: dict[str, object] = {"images": f"{len(self):,}", "size of the first": f"{width} × {height} pixels"}
        if "source" in self._table:
            rows["sources"] = f"{self.n_listed_sources:,}"
        rows["columns"] = ", ".join(str(name) for name in self._table.columns)
        rows["names"] = shortened(self._table["name"])
        return html_table("Stimulus set", rows)

    def image(self, index: int) -> np.ndarray:
        """Pixels of one image, (h, w, 3) uint8 RGB."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self._reader.read(int(index) % len(self))

    @property
    def ids(self) -> np.ndarray:
        """Content ids, (n,) str: the first 16 hex digits of the SHA-256 of each image's shape and pixels."""
        if self._ids is None and self._ids_file is not None and self._ids_file.is_file():
            self._ids = _kept_ids(self._ids_file, len(self))
        if self._ids is None:
            indices = track(range(len(self)), "identifying photographs", total=len(self), unit="images")
            ids = np.array([content_id(self.image(i)) for i in indices])
            if not self._allow_duplicates:
                self._refuse_duplicates(ids)
            self._ids = ids
            if self._ids_file is not None:
                save_array(self._ids_file, ids)
        return self._ids

    def keep_ids(self, file: str | Path) -> StimulusSet:
        """Keep the content ids in a file, so that tens of thousands of photographs are read for them only once.

        Parameters
        ----------
        file : str or Path
            ``.npy`` file, written when ids are first needed. Its name must change with the content of the photographs.

        Returns
        -------
        StimulusSet
            This set.
        """
        self._ids_file = Path(file)
        return self

    @property
    def n_listed_sources(self) -> int:
        """Number of sources that the table names, or of photographs where it names none; no pixels are read."""
        return int(self._table["source"].nunique()) if "source" in self._table else len(self)

    @property
    def table(self) -> pd.DataFrame:
        """One row per image: ``stimulus`` (its id), ``name``, ``source`` and what else is known (``caption``, …)."""
        if "stimulus" not in self._table:
            table = self._table if "source" in self._table else self._table.assign(source=self.ids)
            table = table.assign(stimulus=self.ids)
            first = ["stimulus", "name", "source"]
            self._table = table[first + [column for column in table if column not in first]]
        return self._table

    @property
    def digest(self) -> str:
        """Content id of the whole set: depends on every pixel and on the order."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()[:16]

    def subset(self, indices: Iterable[int] | np.ndarray) -> StimulusSet:
        """Images at ``indices`` (or where a boolean mask is true), in that order; pixels are not copied."""
        chosen = np.arange(len(self))[np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))]
        table = self._table.iloc[chosen].drop(columns="stimulus", errors="ignore")
        part = StimulusSet(SubsetReader(self._reader, chosen), table, allow_duplicates=True)
        part._ids = None if self._ids is None else self._ids[chosen]
        return part

    def index_of(self, ids: Iterable[str] | np.ndarray) -> np.ndarray:
        """Position of each id in this set, (k,) int.

        Raises
        ------
        InputError
            Naming the first id that is not in the set.
        """
        wanted = [str(identity) for identity in as_names(ids)]
        position = {identity: i for i, identity in reversed(list(enumerate(self.ids)))}
        for row, identity in enumerate(wanted):
            if identity not in position:
                raise InputError(
                    f"The image id {identity!r} (entry {row}) is not among the {len(self)} photographs; "
                    "use the same, unchanged image files, or remove the trial."
                )
        return np.array([position[identity] for identity in wanted], dtype=np.int64)

    def _refuse_duplicates(self, ids: np.ndarray) -> None:
        first: dict[str, int] = {}
        for i, identity in enumerate(ids):
            if identity in first:
                a, b = (self._table["name"].iloc[j] for j in (first[identity], i))
                raise InputError(
                    f"The images {a!r} and {b!r} have identical pixels; remove one, or pass allow_duplicates=True."
                )
            first[identity] = i


def _kept_ids(file: Path, n_images: int) -> np.ndarray | None:
    """Content ids that were kept in a file; None if they are damaged or those of other photographs."""
    try:
        kept = load_array(file)
    except DamagedError as error:
        warnings.warn(f"{error} The photographs are identified again.", stacklevel=4)
        return None
    return kept if kept.shape == (n_images,) else None


def content_id(image: np.ndarray) -> str:
    """Identity of an image: first 16 hex digits of SHA-256 over ``"<h>x<w>x3:"`` and its RGB bytes."""
    pixels = np.ascontiguousarray(image)
    shape = "x".join(str(side) for side in pixels.shape)
    return hashlib.sha256(f"{shape}:".encode() + pixels.tobytes()).hexdigest()[:16]


# -- tables ---------------------------------------------------------------------------------------------------------


NAME_SYNONYMS = (
    *("image", "image_name", "file", "file_name", "filename", "file_path", "filepath", "path"),
    *("stim_file", "photograph"),
)


def _table_of_files(names: list[str], table: pd.DataFrame | str | Path | None, where: str) -> pd.DataFrame:
    """One row per file; a given table is brought into the order of the files."""
    labels = [photograph_path(name) for name in names]
    label, count = Counter(labels).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} files in {where} share the name {label!r} but for the suffix; rename or remove one.")
    if table is None:
        return pd.DataFrame({"name": labels})
    given = read_table(table) if isinstance(table, str | Path) else table
    given = _checked_table(rename_columns(given, {"name": NAME_SYNONYMS}))
    known = PhotographNames(labels)
    rows: dict[int, int] = {}
    for row, name in enumerate(given["name"]):
        positions = known.find(name)
        if len(positions) != 1:
            why = known.explain(name) if positions else f"which is not among the images in {where}"
            raise InputError(f"Row {row} of the table names {name!r}, {why}.")
        if positions[0] in rows:
            before = given["name"].iloc[rows[positions[0]]]
            raise InputError(f"Row {row} of the table names {name!r}, which is {before!r} of row {rows[positions[0]]}.")
        rows[positions[0]] = row
    for position, label in enumerate(labels):
        if position not in rows:
            raise InputError(f"The image {label!r} in {where} has no row in the table; add one with its name.")
    return given.iloc[[rows[position] for position in range(len(labels))]].assign(name=labels).reset_index(drop=True)


def _checked_table(table: pd.DataFrame) -> pd.DataFrame:
    if "stimulus" in table:
        raise InputError("The stimulus table's column 'stimulus' is kept for content ids; rename yours.")
    if "name" not in table:
        raise InputError(f"The stimulus table has no column 'name'; it has {list(table.columns)}.")
    table = table.reset_index(drop=True)
    for column in ("name", "source"):
        if column in table and table[column].isna().any():
            row = int(np.flatnonzero(table[column].isna())[0])
            raise InputError(f"Row {row} of the stimulus table has no {column!r}; fill the cell.")
    table = table.assign(name=table["name"].astype(str))
    repeated = table["name"].duplicated()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise InputError(
            f"The name {table['name'].iloc[row]!r} occurs twice in the stimulus table (row {row}); rename."
        )
    return table
