"""What people call a model → its card: family names, names in papers, hub repositories, in any case and spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from brainmap.common.errors import InputError

SIZES = {"tiny": "t", "small": "s", "base": "b", "large": "l", "huge": "h", "giant": "g"}
SPELLED_OUT = {"+": " plus ", "ω": " omega ", "Ω": " omega "}  # Ω twice: the letter, and the sign of the unit

PACKAGES = {"timm": "timm", "torchvision": "torchvision", "open_clip": "open_clip_torch"}
"""Prefix of the names of a package's models, such as ``timm:``, and what to install for it."""


def is_package_name(name: str) -> bool:
    """Whether a name means a model of one of the packages (``timm:NAME``)."""
    return name.partition(":")[0] in PACKAGES and ":" in name


ELSEWHERE = {
    ("perception encoder", "pe core", "pe lang", "pe spatial"): (
        "Perception Encoder's network is not in transformers: timm has it (timm:vit_pe_core_base_patch16_224 and "
        "others), or build it with the authors' code and wrap it with brainmap.from_module"
    ),
    ("rvm", "vito", "lcl v2"): (
        "no weights of it are known to be public in a format that could be checked: build it with its authors' code "
        "and wrap it with brainmap.from_module(network, name=…, layers=…)"
    ),
    ("e-radio",): (
        "E-RADIO's network is not in transformers: build it with its authors' code and wrap it by from_module"
    ),
}
"""Models that people ask for and no installed package can build, and what to do."""


def said_elsewhere(name: str) -> str | None:
    """What to do about a model that no installed package can build; None for all others."""
    key = spelling_key(name.rpartition("/")[2])
    for names, advice in ELSEWHERE.items():
        known = [spelling_key(other) for other in names]
        if key in known or any(len(other) > 4 and key.startswith(other) for other in known):
            return advice
    return None


def spelling_key(name: str) -> str:
    """Reduce a name to what does not depend on spelling: ``ViT-L/16`` and ``vit-large-patch16`` are both ``vitl16``.

    Case, separators and the word *patch* do not count, a size may be a word or its first letter. A repository keeps
    its owner (``someone/vit-large-patch16`` is not Google's model).

    Parameters
    ----------
    name : str
        A name, alias or hub repository.

    Returns
    -------
    str
        Lower-case letters and digits only.
    """
    text = name.strip()
    for sign, word in SPELLED_OUT.items():
        text = text.replace(sign, word)
    words = re.findall(r"[a-z0-9]+", text.casefold())
    return "".join(SIZES.get(word, re.sub(r"^patch(?=\d)", "", word)) for word in words if word != "patch")


def find_name(name: str, *kinds: Mapping[str, Iterable[str]]) -> str | None:
    """Return what a name means, None if nothing.

    Parameters
    ----------
    name : str
        As a person writes it.
    *kinds : mapping of str to names
        What there is → all that it is called. The exact key wins, then the first kind in which something is called so.

    Raises
    ------
    InputError
        If the name means several; all are named.
    """
    if any(name in kind for kind in kinds):
        return name
    key = spelling_key(name)
    for kind in kinds:
        meant = [known for known, names in kind.items() if key and key in map(spelling_key, names)]
        if len(meant) > 1:
            raise InputError(f"'{name}' can mean {_either(meant)}; give one of these names")
        if meant:
            return meant[0]
    return None


def _either(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
