"""Errors a user can act on."""

from __future__ import annotations


class BrainmapError(Exception):
    """Base of all errors raised on purpose; the command line shows the message without a traceback."""


class InputError(BrainmapError, ValueError):
    """Input that cannot be used: one sentence that says what is wrong, where, and what to do."""


class MissingFileError(InputError, FileNotFoundError):
    """A file that must exist does not; the message says which and how to get it."""

    def __str__(self) -> str:
        """Return the sentence alone (``FileNotFoundError`` would prepend an error number)."""
        return str(self.args[0]) if self.args else ""


class ReadingNote(UserWarning):
    """Something in a file was not taken literally, and how it was read: a column by another name, axes swapped."""
