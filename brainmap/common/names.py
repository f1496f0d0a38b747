"""Names that every room uses: modalities and signals, in code and in titles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Modality = Literal["fmri", "meg", "eeg", "ieeg", "fnirs"]
MODALITY_NAMES = {"fmri": "fMRI", "meg": "MEG", "eeg": "EEG", "ieeg": "iEEG", "fnirs": "fNIRS"}
TIMED: tuple[Modality, ...] = ("meg", "eeg", "ieeg", "fnirs")
"""Modalities whose targets are sensors at times."""

Signal = Literal["activation", "gradient"]
SIGNAL_NAMES = {
    "activation": "Activations",
    "gradient": "Gradients",
    "residual": "Gradients beyond activations",
}

LEVEL = 0.05  # of significance


def signal_name(signal: str) -> str:
    """Return a signal as it is written in titles."""
    return SIGNAL_NAMES.get(signal, signal[:1].upper() + signal[1:])


def term_signal(term: str, role: str | None = None) -> str:
    """Name the part of the gradient that one term of the loss gives, at the tokens of one role if given."""
    return f"gradient of {term}" + ("" if role is None else f" at {role}")


def is_term_signal(signal: str) -> bool:
    """Whether a signal is the part of the gradient that one term of the loss gives."""
    return signal.startswith("gradient of ")


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; a text is one name, not its letters."""
    return (names,) if isinstance(names, str) else tuple(names)
