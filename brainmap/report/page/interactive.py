"""What a page needs to draw with Plotly, compressed because reports are mailed: its 4.8 MB become 2 MB."""

from __future__ import annotations

import functools

from brainmap.report.explore.packed_arrays import pack_bytes


def pack(text: str) -> str:
    """Compress text for embedding; the browser's ``DecompressionStream`` unpacks it. Reproducible byte for byte."""
    return pack_bytes(text.encode("utf-8"))


@functools.cache
def plotly_source() -> str:
    """Return Plotly's JavaScript, packed."""
    from plotly.offline import get_plotlyjs

    return pack(get_plotlyjs())
