"""The public names of brainmap, from the stubs that declare them."""

from __future__ import annotations

import importlib
import inspect
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PublicName:
    """A name that a package offers, and the object behind it."""

    package: str
    name: str
    value: Any

    @property
    def path(self) -> str:
        """Return package and name."""
        return f"{self.package}.{self.name}"

    @property
    def explained(self) -> bool:
        """Whether the object has a docstring of its own; tuples and dictionaries of names have none."""
        return inspect.isclass(self.value) or callable(self.value)

    @property
    def example(self) -> str:
        """Return the docstring, or for names that have none a line that shows what is in them."""
        if self.explained:
            return inspect.getdoc(self.value) or ""
        first = next(iter(self.value))
        return f">>> from {self.package} import {self.name}\n>>> {first!r} in {self.name}\nTrue\n"


def public_packages() -> list[str]:
    """Packages of brainmap that declare public names in an ``__init__.pyi``, sorted."""
    root = Path(importlib.import_module("brainmap").__file__ or "").parent
    return sorted(".".join(("brainmap", *stub.parent.relative_to(root).parts)) for stub in root.rglob("__init__.pyi"))


def public_names(package: str) -> list[PublicName]:
    """Names that a package offers; modules that it only passes on, and texts such as the version, are left out."""
    module = importlib.import_module(package)
    names = [PublicName(package, name, getattr(module, name)) for name in sorted(module.__all__)]
    return [entry for entry in names if not isinstance(entry.value, types.ModuleType | str)]


def pages_of_names() -> dict[int, PublicName]:
    """For each object, by its id, the name its page goes by: that of a package below the top where there is one."""
    homes: dict[int, PublicName] = {}
    for package in public_packages():
        for entry in public_names(package):
            known = homes.get(id(entry.value))
            if known is None or known.package == "brainmap":
                homes[id(entry.value)] = entry
    return homes
