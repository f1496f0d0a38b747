"""Features that are there already: a file with one array (images × d) a layer, from whatever software made them."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError, MissingFileError, ReadingNote
from brainmap.common.names import as_names
from brainmap.common.storage.file_errors import reading
from brainmap.common.storage.files import file_hash
from brainmap.common.storage.unpacked import refuse_large_member
from brainmap.features.extracted_features import Features
from brainmap.photograph_names import PhotographNames
from brainmap.stimuli import StimulusSet

NAMES = ("names", "images", "stimuli", "stimulus", "filenames", "files")
SIGNALS = ("activation", "gradient")
GIVEN_DEPTH = "order in the file"


@dataclass(frozen=True)
class GivenModel:
    """Stands for the model that made the features: its name, and a digest of the file."""

    name: str
    digest: str


class GivenFeatures:
    """Features from a file, handed out as :class:`brainmap.FeatureExtractor` hands out its own.

    Parameters
    ----------
    path : Path
        ``.npz``: one array a layer, images × d, from the first layer to the last. Further axes are flattened. An array
        of text ``names`` says which photograph each row is; without it rows are the photographs in sorted order.
        Arrays called ``gradient/<layer>`` are gradients; all others activations.
    layers : sequence of str, optional
        Which; all by default.
    signals : sequence of {"activation", "gradient"}
        Which.

    Raises
    ------
    InputError, MissingFileError
        If the file is none, or lacks a layer or signal that was asked for.

    Examples
    --------
    >>> numpy.savez("alexnet.npz", conv1=conv1, conv2=conv2, fc6=fc6, names=file_names)  # doctest: +SKIP
    """

    def __init__(
        self, path: Path, *, layers: tuple[str, ...] | None = None, signals: tuple[str, ...] = ("activation",)
    ) -> None:
        self.path, self.signals = path, as_names(signals)
        layers = None if layers is None else as_names(layers)
        if not path.is_file():
            raise MissingFileError(f"There is no file {path}; give the .npz file with one array of features a layer.")
        self._members, self.shapes = _members(path)
        known = list(dict.fromkeys(layer for _, layer in self.shapes))
        for layer in layers or ():
            if layer not in known:
                raise InputError(f"{path} has no layer {layer!r}; it has {', '.join(known)}.")
        self.layers = tuple(layer for layer in known if layers is None or layer in layers)
        for signal in self.signals:
            lacking = [layer for layer in self.layers if (signal, layer) not in self.shapes]
            if lacking:
                raise InputError(
                    f"{path} has no {signal}s of the layer {lacking[0]!r}; choose --signals, or add the array "
                    f"{signal}/{lacking[0]}."
                )
        self.model = GivenModel(path.stem, file_hash(path))

    @property
    def width(self) -> int:
        """Dimensions of the widest layer."""
        return max(int(np.prod(shape[1:])) for shape in self.shapes.values())

    def extract_share(self, stimuli: StimulusSet, share: tuple[int, int]) -> None:
        """Nothing is to do: the features are given."""

    def extract(self, stimuli: StimulusSet) -> Features:
        """Features of some photographs, rows in their order.

        Raises
        ------
        InputError
            If a photograph has no row, rows and photographs cannot be told to belong together, or a value is no number.
        """
        with np.load(self.path, allow_pickle=False) as file:
            order = self._order(file, stimuli)
            arrays = {}
            for signal in self.signals:
                for layer in self.layers:
                    values = file[self._members[signal, layer]][order]
                    values = values.reshape(len(order), -1).astype(np.float32)
                    wrong = ~np.isfinite(values).all(axis=1)
                    if wrong.any():
                        name = stimuli.table["name"].iloc[int(np.flatnonzero(wrong)[0])]
                        raise InputError(f"The {signal}s of {layer!r} in {self.path} are no numbers for {name!r}.")
                    arrays[signal, layer] = values
        steps = max(1, len(self.layers) - 1)
        return Features(
            arrays,
            ids=stimuli.ids,
            depths={layer: number / steps for number, layer in enumerate(self.layers)},
            provenance={
                "model": self.model.name,
                "weights_digest": self.model.digest,
                "file": self.path.name,
                "signals": list(self.signals),
                "layers": list(self.layers),
                "depth": GIVEN_DEPTH,
                "n_images": len(stimuli),
            },
        )

    def _order(self, file: Any, stimuli: StimulusSet) -> np.ndarray:
        """Row of the file for each photograph."""
        named = next((name for name in file.files if name.casefold() in NAMES and file[name].dtype.kind in "US"), None)
        counts = {self.shapes[key][0] for key in self.shapes}
        if len(counts) > 1:
            raise InputError(
                f"The layers of {self.path} have {min(counts)} to {max(counts)} rows; one row a photograph."
            )
        count = counts.pop()
        if named is None:
            if count != len(stimuli):
                raise InputError(
                    f"{self.path} has {count} rows for {len(stimuli)} photographs; add an array 'names' with the file "
                    "name of each row, or one row for each photograph in sorted order."
                )
            warnings.warn(
                f"{self.path.name} does not name its rows: they are taken for the photographs in sorted order, from "
                f"{stimuli.table['name'].iloc[0]!r} on",
                ReadingNote,
                stacklevel=3,
            )
            return np.arange(count)
        labels = [label.decode() if isinstance(label, bytes) else str(label) for label in file[named].ravel()]
        if len(labels) != count:
            raise InputError(f"{self.path} has {len(labels)} {named} for {count} rows; give one a row.")
        rows = PhotographNames(labels)
        order = []
        for name in stimuli.table["name"]:
            places = rows.find(str(name))
            if len(places) != 1:
                why = "several rows" if places else "no row"
                raise InputError(f"The photograph {name!r} has {why} in {self.path} (array {named!r}).")
            order.append(places[0])
        return np.array(order)


def _members(path: Path) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], tuple[int, ...]]]:
    """Name and shape of the array of each signal and layer, in the order of the file."""
    members, shapes = {}, {}
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as stream:
                    version = np.lib.format.read_magic(stream)
                    read = (
                        np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read(stream)
                name = entry.filename.removesuffix(".npy")
                if dtype.kind == "O":
                    raise InputError(f"The array {name!r} of {path} holds Python objects, which are never unpickled.")
                if dtype.kind not in "fiu" or len(shape) < 2:
                    continue
                refuse_large_member(entry, path)
                signal, slash, layer = name.partition("/")
                key = (signal, layer) if slash and signal in SIGNALS else ("activation", name)
                members[key], shapes[key] = name, shape
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read as an archive of arrays ({error}); write it with numpy.savez."
        ) from error
    if not shapes:
        raise InputError(f"{path} holds no array of images × features.")
    return members, shapes
