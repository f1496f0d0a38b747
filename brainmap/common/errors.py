"""Errors a user can act on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class BrainmapError(Exception):
    """Base of all errors raised on purpose; the command line shows the message without a traceback.

    Examples
    --------
    >>> from brainmap.common import BrainmapError
    >>> import brainmap
    >>> try:
    ...     brainmap.load_model("resnet-of-my-dreams")
    ... except BrainmapError as error:
    ...     print(type(error).__name__)
    InputError
    """

    def __str__(self) -> str:
        """Return the sentence; what a file or a server put into it cannot steer the terminal it is printed on."""
        return printable(super().__str__())


class InputError(BrainmapError, ValueError):
    """Input that cannot be used: one sentence that says what is wrong, where, and what to do.

    Examples
    --------
    >>> import brainmap
    >>> try:
    ...     brainmap.cross_val_encode([[0.0], [1.0]], [[1.0]])
    ... except brainmap.InputError as error:
    ...     print(type(error).__name__)
    InputError
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file that must exist does not; the message says which and how to get it."""

    def __str__(self) -> str:
        """Return the sentence alone (``FileNotFoundError`` would prepend an error number)."""
        return printable(str(self.args[0])) if self.args else ""


class _Note(UserWarning):
    def __str__(self) -> str:
        return printable(super().__str__())


class ReadingNote(_Note):
    """Something in a file was not taken literally, and how it was read: a column by another name, axes swapped."""


class DependentRowsWarning(_Note):
    """Rows resemble their neighbours, or others of their kind, so that tests and ceilings promise too much."""


class DamagedError(InputError):
    """Stored numbers are not those that were written; ``file`` is the first that differs."""

    def __init__(self, message: str, file: Path) -> None:
        super().__init__(message)
        self.file = file


class NotVerifiedWarning(_Note):
    """Stored numbers carry no digests: what was written before they existed can be read, but not verified."""


def printable(text: str) -> str:
    """Text without control characters, which a terminal would obey: each is shown as its escape."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _escaped(letter) for letter in text)


def printable_names(names: pd.Series) -> pd.Series:
    """Names without control characters, which break figures; the series itself where there are none."""
    known = {name: printable(name) for name in names.unique() if isinstance(name, str) and not name.isprintable()}
    return names.replace(known) if known else names


def _escaped(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape").decode("ascii")
