"""Open a dataset by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError
from brainmap.data.fetching.dataset import Dataset
from brainmap.data.manifests import list_manifests
from brainmap.data.readers.dataset_reader import DatasetReader

READERS = {
    "algonauts2023": ("brainmap.data.readers.nsd.algonauts", "AlgonautsReader"),
    "bids-fmri": ("brainmap.data.readers.bids.bids_fmri", "BIDSfMRIReader"),
    "bids-meeg": ("brainmap.data.readers.bids.bids_meeg", "BIDSMEEGReader"),
    "bold5000": ("brainmap.data.readers.nod_bold5000", "BOLD5000Reader"),
    "laion-fmri": ("brainmap.data.readers.laion_fmri", "LAIONReader"),
    "nod-fmri": ("brainmap.data.readers.nod_bold5000", "NODReader"),
    "nod-meg": ("brainmap.data.readers.bids.nod_meg", "NODMEGReader"),
    "nsd": ("brainmap.data.readers.nsd.nsd_betas", "NSDReader"),
    "things-eeg2": ("brainmap.data.readers.things.things_eeg2", "ThingsEEG2Reader"),
    "things-fmri": ("brainmap.data.readers.things.things_fmri", "ThingsFMRIReader"),
    "things-meg": ("brainmap.data.readers.things.things_meg", "ThingsMEGReader"),
    "things-meg-epochs": ("brainmap.data.readers.things.things_meg_epochs", "ThingsMEGEpochsReader"),
}
SAME_FOLDER = {"things-meg-epochs": "things-meg"}  # readers of other files of a dataset


def reader_names() -> list[str]:
    """Names that :func:`open_dataset` takes.

    Examples
    --------
    >>> from brainmap.data.readers import reader_names
    >>> "bids-fmri" in reader_names()
    True
    """
    return sorted(READERS)


def open_dataset(
    name: str,
    data_root: str | Path | None = None,
    *,
    stimuli: str | Path | None = None,
    cache: str | Path | None = None,
    options: dict[str, Any] | None = None,
    memory: int | None = None,
) -> DatasetReader:
    """Open a dataset on this disk.

    Parameters
    ----------
    name : str
        A name of :func:`reader_names`.
    data_root : str or Path, optional
        Folder of the dataset, or the one that holds its folder; by default ``$BRAINMAP_DATA``.
    stimuli : str or Path, optional
        Folder or archive of the photographs, for datasets that come without them.
    cache : str or Path, optional
        Where prepared responses go; ``.brainmap`` in the dataset's folder by default.
    options : dict, optional
        Settings of the reader.
    memory : int, optional
        Bytes that preparing may hold (4 GB by default).

    Raises
    ------
    InputError
        For an unknown name, folder or setting.

    Examples
    --------
    >>> from brainmap.data.readers import open_dataset
    >>> open_dataset("bids-fmri", "bids").modality
    'fmri'
    """
    if name not in READERS:
        raise InputError(f"There is no reader of {name!r}; there are {', '.join(reader_names())}.")
    module, attribute = READERS[name]
    reader: type[DatasetReader] = getattr(importlib.import_module(module), attribute)
    dataset = SAME_FOLDER.get(name, name)
    known = dataset in list_manifests()
    root = Dataset.open(dataset, data_root).root if known else Path(data_root or ".").expanduser()
    return reader(
        root,
        cache=None if cache is None else Path(cache).expanduser(),
        stimuli=None if stimuli is None else Path(stimuli).expanduser(),
        options=options,
        memory=memory,
    )
