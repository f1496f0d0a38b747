"""Readers of public datasets and of anyone's BIDS folders: from files as they are on disk to :class:`Responses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "DatasetReader": "brainmap.data.readers.base",
    "Findings": "brainmap.data.readers.findings",
    "open_dataset": "brainmap.data.readers.registry",
    "reader_names": "brainmap.data.readers.registry",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.data.readers.base import DatasetReader
    from brainmap.data.readers.findings import Findings
    from brainmap.data.readers.registry import open_dataset, reader_names

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
