"""Data manifests: what a public dataset consists of, under which terms, and which files an analysis needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "FileEntry": "brainmap.data.manifests.entries",
    "Manifest": "brainmap.data.manifests.schema",
    "list_manifests": "brainmap.data.manifests.catalog",
    "load_manifest": "brainmap.data.manifests.catalog",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.data.manifests.catalog import list_manifests, load_manifest
    from brainmap.data.manifests.entries import FileEntry
    from brainmap.data.manifests.schema import Manifest

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
