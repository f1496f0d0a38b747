from .catalog import list_manifests as list_manifests
from .catalog import load_manifest as load_manifest
from .file_entries import FileEntry as FileEntry
from .manifest import Manifest as Manifest
