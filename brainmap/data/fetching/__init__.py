"""Bring a dataset onto the disk: plan, terms, download, verification, adoption of files that are there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap import lazy

_PUBLIC = {
    "Dataset": "brainmap.data.fetching.dataset",
    "FetchPlan": "brainmap.data.fetching.dataset",
    "Verification": "brainmap.data.fetching.verification",
    "accept_terms": "brainmap.data.fetching.terms",
    "adopt": "brainmap.data.fetching.adoption",
    "fetch": "brainmap.data.fetching.download",
    "terms_accepted": "brainmap.data.fetching.terms",
    "verify": "brainmap.data.fetching.verification",
}

__all__ = sorted(_PUBLIC)

if TYPE_CHECKING:
    from brainmap.data.fetching.adoption import adopt
    from brainmap.data.fetching.dataset import Dataset, FetchPlan
    from brainmap.data.fetching.download import fetch
    from brainmap.data.fetching.terms import accept_terms, terms_accepted
    from brainmap.data.fetching.verification import Verification, verify

__getattr__, __dir__ = lazy.attach(__name__, _PUBLIC)
