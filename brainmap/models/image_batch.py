"""The batch an objective gets: photographs, pixels, ids, table rows, and a random generator per image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from brainmap.common.errors import InputError


@dataclass(frozen=True)
class ImageBatch:
    """Images on their way through an objective.

    Attributes
    ----------
    images : sequence of (h, w, 3) uint8 arrays
        The photographs as they are, for objectives that draw their own views.
    pixels : Tensor, (n, 3, s, s)
        The same, preprocessed: the plain view.
    ids : sequence of str
        Stimulus ids; random draws of an image are seeded by its id.
    table : pandas.DataFrame
        The stimuli's rows (captions, categories), in order.

    Examples
    --------
    >>> import brainmap
    >>> import torch
    >>> from brainmap.models import ImageBatch
    >>> stimuli = brainmap.sample_stimuli().subset(range(2))
    >>> batch = ImageBatch(list(stimuli), torch.zeros(2, 3, 64, 64), list(stimuli.ids), stimuli.table)
    >>> batch.pixels.shape[0], len(batch.column("caption"))
    (2, 2)
    """

    images: Sequence[np.ndarray]
    pixels: Tensor
    ids: Sequence[str]
    table: pd.DataFrame

    def __len__(self) -> int:
        """Number of images."""
        return len(self.ids)

    def __getitem__(self, rows: slice) -> ImageBatch:
        """Part of the batch."""
        return ImageBatch(self.images[rows], self.pixels[rows], self.ids[rows], self.table.iloc[rows])

    def generators(self, seed: int, purpose: int) -> list[np.random.Generator]:
        """One random generator per image: see :func:`image_generators`."""
        return image_generators(self.ids, seed, purpose)

    def column(self, name: str) -> list[Any]:
        """Values of a column of the stimulus table.

        Raises
        ------
        InputError
            If the column is missing or has an empty cell; the row is named.
        """
        return filled_column(self.table, name, self.ids)


def filled_column(table: pd.DataFrame, name: str, ids: Sequence[str] | np.ndarray) -> list[Any]:
    """Values of a column of a stimulus table that an objective reads; refused as by :meth:`ImageBatch.column`."""
    if name not in table:
        raise InputError(f"This objective needs a column '{name}' in the stimulus table; add it.")
    values = table[name]
    empty = np.flatnonzero((values.isna() | (values.astype(str).str.strip() == "")).to_numpy())
    if len(empty):
        raise InputError(f"Column '{name}' of the stimulus table is empty for stimulus {ids[int(empty[0])]}.")
    return values.tolist()


def image_generators(ids: Sequence[str], seed: int, purpose: int) -> list[np.random.Generator]:
    """One random generator per image, seeded by (seed, purpose, id): batch size and order cannot matter."""
    return [np.random.default_rng([seed, purpose, *id_words(key)]) for key in ids]


def id_words(key: str) -> list[int]:
    """Four 32-bit words of sha256 of a stimulus id."""
    digest = hashlib.sha256(key.encode()).digest()
    return [int.from_bytes(digest[start : start + 4], "little") for start in range(0, 16, 4)]
