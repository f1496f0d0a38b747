"""Terms of use: shown, agreed to once, and remembered for this user."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path

from brainmap.common.errors import InputError
from brainmap.common.storage.files import write_atomically
from brainmap.data.manifests.manifest import Manifest


def terms_file() -> Path:
    """File in which this user's agreements are kept (below ``XDG_CONFIG_HOME``)."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "brainmap" / "terms.json"


def terms_accepted(manifest: Manifest) -> bool:
    """Whether nothing needs to be agreed to, or this user has agreed to these very terms.

    Examples
    --------
    >>> from brainmap.data.fetching import terms_accepted
    >>> from brainmap.data.manifests import load_manifest
    >>> isinstance(terms_accepted(load_manifest("nsd")), bool)
    True
    """
    if not manifest.terms.confirm:
        return True
    entry = _agreements().get(manifest.name)
    return isinstance(entry, dict) and entry.get("terms") == _fingerprint(manifest)


def accept_terms(manifest: Manifest) -> Path:
    """Remember that this user agrees; returns the file. Changed terms have to be agreed to again.

    Examples
    --------
    >>> from brainmap.data.fetching import accept_terms, terms_accepted
    >>> from brainmap.data.manifests import load_manifest
    >>> accept_terms(load_manifest("nsd")).name  # after reading them: brainmap data show nsd
    'terms.json'
    >>> terms_accepted(load_manifest("nsd"))
    True
    """
    file = terms_file()
    agreed = _agreements()
    agreed[manifest.name] = {
        "terms": _fingerprint(manifest),
        "licence": manifest.terms.licence,
        "url": manifest.terms.url,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_atomically(file, json.dumps(agreed, indent=2, sort_keys=True))
    return file


def require_terms(manifest: Manifest) -> None:
    """Refuse to go on without agreement.

    Raises
    ------
    InputError
        With the terms and how to agree.
    """
    if not terms_accepted(manifest):
        where = f" ({manifest.terms.url})" if manifest.terms.url else ""
        raise InputError(
            f"{manifest.title} has terms of use{where}: {' '.join(manifest.terms.text.split())} "
            f"If you agree, say so once: brainmap data fetch {manifest.name} --accept-terms"
        )


def _fingerprint(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.terms.model_dump_json().encode()).hexdigest()[:16]


def _agreements() -> dict[str, object]:
    file = terms_file()
    if not file.is_file():
        return {}
    try:
        agreements = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is damaged ({error}); remove it and agree to the terms again.") from error
    return agreements if isinstance(agreements, dict) else {}
