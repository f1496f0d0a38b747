"""What is wrong with settings, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError


def first_complaint(error: ValidationError, known: Mapping[str, type[BaseModel]]) -> str:
    """Turn pydantic's first complaint into one sentence with key, value and what would do.

    Parameters
    ----------
    error : pydantic.ValidationError
        What pydantic says.
    known : mapping of str to type
        The settings (under the empty name) and those within one of them, by its name.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).isdigit())
    if first["type"] == "extra_forbidden":
        owner = known.get(str(first["loc"][0]) if len(first["loc"]) > 1 else "", known[""])
        return f"unknown setting '{where}' = {first['input']!r}; known settings: {', '.join(owner.model_fields)}"
    if first["type"] == "missing":
        *above, name = first["loc"]
        option = f" (on the command line --{name} FILE)" if above == ["own"] else ""
        return f"setting '{where}' is missing{option}; it goes together with {', '.join(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    return f"setting '{where}' = {first['input']!r}: {message}" if where else message
