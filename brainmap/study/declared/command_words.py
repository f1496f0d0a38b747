"""One vocabulary: the words of the command line in a study file, and where each goes in the settings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError, MissingFileError

OWN = ("responses", "targets", "events", "table", "mask", "atlas", "confounds", "surface")
PLACE = ("data_root", "cache")
WORDS = (*OWN, *PLACE, "stimuli", "subject", "test", "checkpoint", "set")
"""Words that are no settings themselves."""
SEVERAL = ("subjects", "layers", "signals", "modality", "nuisance", "controls", "bands")
BY_SET = (
    *("bridge_weights", "method", "bands", "retrieval", "residual", "residual_layers", "residual_control"),
    "terms",
    *("fmri_test", "meg_test", "fmri_level", "top_areas", "order_over", "normalise", "flips", "tails", "thin"),
)
"""Settings without an option of their own: ``--set flips=1000``."""


def settings_of_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with every word of the command line in its place.

    ``subject`` is ``subjects``, ``test`` that of all modalities, ``checkpoint`` the ``weights``; files of one's own go
    to ``own``, those of a public dataset to ``place``, ``set`` to the reader, whichever it is. Names may stand with
    commas between them.

    Parameters
    ----------
    values : mapping
        Settings of a study, words of the command line among them.

    Raises
    ------
    InputError
        If two words say the same.
    """
    settings = {name: value for name, value in values.items() if name not in WORDS}
    given = {name: value for name, value in values.items() if name in WORDS and value is not None}
    if "subject" in given:
        _put(settings, "subjects", given["subject"], "subject")
    for name in ("fmri_test", "meg_test"):
        if "test" in given:
            _put(settings, name, given["test"], "test")
    if "checkpoint" in given:
        if not Path(given["checkpoint"]).exists():
            raise MissingFileError(f"--checkpoint {given['checkpoint']}: there is no such file or folder")
        _put(settings, "weights", str(given["checkpoint"]), "checkpoint")
    for name in SEVERAL:
        if isinstance(settings.get(name), str):
            settings[name] = split_names(settings[name])
    if settings.get("batch_size") == 0 and not isinstance(settings["batch_size"], bool):
        settings["batch_size"] = None
    reading = given.get("set", {})
    if not isinstance(reading, Mapping):
        raise InputError(f"'set' holds settings by name, not {reading!r}")
    for name in BY_SET:
        if name in reading:
            _put(settings, name, reading[name], f"set {name}")
    return _with_data(settings, given, {name: value for name, value in reading.items() if name not in BY_SET})


def split_names(text: str) -> tuple[str, ...]:
    """Split ``a,b,c``; nothing between the commas is nothing."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _put(settings: dict[str, Any], name: str, value: Any, word: str) -> None:
    if settings.get(name) is not None:
        raise InputError(f"'{word}' and '{name}' say the same; give one of them")
    settings[name] = value


def _with_data(settings: dict[str, Any], given: Mapping[str, Any], reading: Mapping[str, Any]) -> dict[str, Any]:
    """Put where the data lie, and how they are read, into ``own`` or ``place`` and ``reading``."""
    own = {name: given[name] for name in OWN if name in given}
    place = {name: given[name] for name in PLACE if name in given}
    public = settings.get("dataset") not in (None, "sample", "own")
    if "stimuli" in given:
        (place if public else own)["stimuli"] = given["stimuli"]
    if own:
        settings["own"] = _merged(settings.get("own"), own, "own")
    if settings.get("own") is not None:
        settings.setdefault("dataset", "own")
    if place:
        settings["place"] = _merged(settings.get("place"), place, "place")
    if reading:
        where = "own" if settings.get("own") is not None and not public else "reading"
        settings[where] = _merged(settings.get(where), reading, where)
    return settings


def _merged(there: Any, more: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = dict(there or {})
    twice = [name for name in more if name in known]
    if twice:
        raise InputError(f"'{twice[0]}' is given twice, by itself and in '{where}'; keep one")
    return {**known, **more}
