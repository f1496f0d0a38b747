"""Hashes of files as archives publish them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from brainmap.data.manifests.schema import HashKind
from brainmap.errors import InputError

BLOCK = 4 * 2**20


def file_hash(path: Path, kind: HashKind) -> str:
    """Hash of a file's content.

    Parameters
    ----------
    path : Path
        File.
    kind : {"sha256", "md5", "git-sha1"}
        ``git-sha1`` is the hash git gives a file: SHA-1 over ``blob``, the size, a zero byte and the content.
        OpenNeuro publishes it for small files.
    """
    if kind == "git-sha1":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    elif kind == "md5":
        digest = hashlib.md5(usedforsecurity=False)
    elif kind == "sha256":
        digest = hashlib.sha256()
    else:
        raise InputError(f"The hash {kind!r} is unknown; manifests use sha256, md5 and git-sha1.")
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
