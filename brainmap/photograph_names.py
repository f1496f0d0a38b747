"""Which photograph a label means: labels carry folders, suffixes, other case and other Unicode forms than files do."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from brainmap.image_readers import without_suffix

Parts = tuple[str, ...]


def photograph_path(label: str) -> str:
    r"""Path of a photograph without suffix: ``stimuli\\beach\\img_07.jpg`` → ``stimuli/beach/img_07``.

    Equal names are equal text: composed and decomposed accents (NFC, NFD) are one.
    """
    text = unicodedata.normalize("NFC", str(label).strip()).replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return without_suffix("/".join(parts))


class PhotographNames:
    """The names of some photographs, and which of them a label means.

    Parameters
    ----------
    names : sequence of str
        Paths of the photographs inside their folder, with or without suffix.

    Notes
    -----
    A label means the photograph whose path it ends with (``/home/me/stimuli/beach/img_07.jpg`` means ``beach/img_07``),
    the longest such path; or else the one photograph whose path ends with the label (``img_07``). Folders that both
    name must agree: ``dog/00`` never means ``cat/00``. Upper and lower case differ only where it makes a difference.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._exact = _Tails(photograph_path(name) for name in names)
        self._folded = _Tails(photograph_path(name).casefold() for name in names)

    def find(self, label: str) -> list[int]:
        """Positions of the photographs that a label may mean: one if it is known, several if it is ambiguous."""
        path = photograph_path(label)
        return self._exact.find(path) or self._folded.find(path.casefold())

    def explain(self, label: str) -> str:
        """Say why a label names no single photograph."""
        several = self.find(label)
        if len(several) > 1:
            return (
                f"both {self.names[several[0]]!r} and {self.names[several[1]]!r} could be meant; give the folder, too"
            )
        return f"photographs are called like {self.names[0]!r}"


class _Tails:
    """Paths by their last part."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_last: dict[str, list[tuple[Parts, int]]] = defaultdict(list)
        for position, path in enumerate(paths):
            parts = tuple(path.split("/"))
            self._by_last[parts[-1]].append((parts, position))

    def find(self, path: str) -> list[int]:
        wanted = tuple(path.split("/"))
        candidates = self._by_last.get(wanted[-1], [])
        inside = [(parts, i) for parts, i in candidates if len(parts) <= len(wanted) and _ends(wanted, parts)]
        if inside:
            longest = max(len(parts) for parts, _ in inside)
            return [i for parts, i in inside if len(parts) == longest]
        return [i for parts, i in candidates if _ends(parts, wanted)]


def _ends(longer: Parts, tail: Parts) -> bool:
    return longer[len(longer) - len(tail) :] == tail


def shared_by_several(labels: Iterable[str], names: Iterable[str | None]) -> tuple[str, str] | None:
    """Two labels that mean one photograph although their folders differ: ``cat/00`` and ``dog/00`` for ``00``.

    Parameters
    ----------
    labels : iterable of str
        Labels of trials.
    names : iterable of str or None
        Name of the photograph of each; None where it has none.

    Notes
    -----
    Only the folder right above what the name says is compared: one experiment on two computers has different paths.
    """
    first: dict[str, tuple[str, str]] = {}
    for label, name in zip(labels, names, strict=True):
        if name is None:
            continue
        parts, depth = photograph_path(label).casefold().split("/"), len(photograph_path(name).split("/"))
        if len(parts) > depth:
            above = parts[-depth - 1]
            before, its_label = first.setdefault(name, (above, label))
            if before != above:
                return its_label, label
    return None
