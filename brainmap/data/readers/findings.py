"""What a reader found wrong in the files it read: which file, which row, what, and what was done about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

SHOWN = 200


@dataclass(frozen=True)
class Finding:
    """One thing that was not as it should be.

    Attributes
    ----------
    file : str
        Name of the file.
    row : int, optional
        Row of its table (0 is the first under the header), where there is one.
    what : str
        What is wrong.
    done : str
        What the reader did about it.
    """

    file: str
    row: int | None
    what: str
    done: str


class Findings:
    """A list of findings that travels with the responses in ``info["findings"]``.

    Examples
    --------
    >>> from brainmap.data.readers import Findings
    >>> findings = Findings()
    >>> findings.add("events.tsv", 4, "shows no photograph", "left out")
    >>> findings.to_frame()
             file  row                 what      done
    0  events.tsv    4  shows no photograph  left out
    """

    def __init__(self) -> None:
        self.items: list[Finding] = []

    def add(self, file: str | Path, row: int | None, what: str, done: str) -> None:
        """Add one."""
        self.items.append(Finding(Path(file).name, row, what, done))

    def __len__(self) -> int:
        return len(self.items)

    def to_frame(self) -> pd.DataFrame:
        """Table with the columns ``file``, ``row``, ``what``, ``done``."""
        return pd.DataFrame([asdict(item) for item in self.items], columns=["file", "row", "what", "done"])

    def to_info(self) -> dict[str, object]:
        """JSON-able: counts by kind, and the first items in full."""
        return {
            "n": len(self.items),
            "items": [asdict(item) for item in self.items[:SHOWN]],
        }

    def extend(self, other: Findings) -> None:
        """Add all of another list."""
        self.items.extend(other.items)
