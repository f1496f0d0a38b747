"""Find and read the manifests that travel with brainmap."""

from __future__ import annotations

import functools
from pathlib import Path

from pydantic import ValidationError

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.yaml_text import read_yaml
from brainmap.data.manifests.file_entries import FileEntry, all_entries
from brainmap.data.manifests.manifest import Manifest

PACKAGE = Path(__file__).resolve().parents[2]


def manifest_folder() -> Path:
    """Folder of the manifests: inside the installed package, or beside it in a checkout.

    Raises
    ------
    MissingFileError
        If the installation lacks them.
    """
    for folder in (PACKAGE / "data_manifests", PACKAGE.parent / "data_manifests"):
        if folder.is_dir():
            return folder
    raise MissingFileError("This installation of brainmap has no data_manifests; reinstall brainmap.")


def list_manifests() -> list[str]:
    """Names of the datasets that have a manifest, sorted.

    Examples
    --------
    >>> from brainmap.data.manifests import list_manifests
    >>> "nsd" in list_manifests()
    True
    """
    return sorted(file.stem for file in manifest_folder().glob("*.yaml"))


def load_manifest(name: str) -> Manifest:
    """Read and check a manifest.

    Parameters
    ----------
    name : str
        Name of a dataset, such as ``nsd``; or the path of a ``.yaml`` file of one's own.

    Raises
    ------
    InputError
        If there is no such dataset, or the file breaks the schema; the sentence names key and value.

    Examples
    --------
    >>> from brainmap.data.manifests import load_manifest
    >>> load_manifest("nsd").modality
    'fmri'
    """
    if name.endswith((".yaml", ".yml")):
        return read_manifest(Path(name))
    if name not in list_manifests():
        raise InputError(f"There is no dataset {name!r}; there are {', '.join(list_manifests())}.")
    return read_manifest(manifest_folder() / f"{name}.yaml")


def read_manifest(file: Path) -> Manifest:
    """Read and check one manifest file."""
    if not file.is_file():
        raise MissingFileError(f"There is no manifest {file}; give the path of a .yaml file.")
    return _read(file.resolve(), file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _read(file: Path, changed: int) -> Manifest:
    values = read_yaml(file)
    try:
        return Manifest(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{file}: '{where}' = {_shortened(first['input'])}: {message}") from None


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def dataset_files(manifest: Manifest, folder: Path | None = None) -> list[FileEntry]:
    """Every file of a dataset; ``folder`` is where the manifest and its list lie (the package's own by default)."""
    return all_entries(manifest, folder or manifest_folder())
