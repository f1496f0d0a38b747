"""Levels of a factor, such as model sizes or image types: which model and which of its checkpoints each one is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import as_names

LEVEL = "level"
"""What a part of a study file calls the level of a study, beside the settings that vary."""


class Level(BaseModel):
    """One level of a factor.

    Attributes
    ----------
    model : str, optional
        Registered model: the architecture of the checkpoints. By default that of the study, or what a folder written by
        ``save_pretrained`` says of itself.
    checkpoints : Path, optional
        Folder with the checkpoints of one training, as for :func:`brainmap.models.checkpoint_series`.
    weights : tuple of str, optional
        Weights by hand instead: names such as ``trained``, or paths.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    checkpoints: Path | None = None
    weights: tuple[str, ...] = ()

    @field_validator("weights", mode="before")
    @classmethod
    def _text_is_one_name(cls, value: Any) -> Any:
        return as_names(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> Level:
        if self.checkpoints is not None and self.weights:
            raise ValueError("'checkpoints' and 'weights' exclude one another; give one of them")
        if self.model is None and self.checkpoints is None and not self.weights:
            raise ValueError("a level needs 'checkpoints' (a folder), 'weights' (a list) or 'model' (trained weights)")
        return self

    def settings(self) -> Iterator[dict[str, Any]]:
        """Yield ``weights``, and where it is known ``model``, of each study.

        Raises
        ------
        InputError
            If there is no such folder, or it holds no checkpoints.
        """
        if self.checkpoints is None:
            known = {} if self.model is None else {"model": self.model}
            yield from ({**known, "weights": name} for name in self.weights or ("trained",))
            return
        from brainmap.models import checkpoint_series

        if not self.checkpoints.is_dir():
            raise MissingFileError(f"there is no folder {self.checkpoints} with checkpoints")
        for path in checkpoint_series(self.checkpoints).values():
            model = self.model or (str(path) if (path / "config.json").is_file() else None)
            yield {**({} if model is None else {"model": model}), "weights": str(path)}


def level_settings(levels: Mapping[str, Level], part: str) -> Iterator[dict[str, Any]]:
    """Yield the settings of every study of a part, its level included.

    Raises
    ------
    InputError
        For fewer than two levels, or a level whose checkpoints are not there.
    """
    if len(levels) < 2:
        raise InputError(f"'{part}' needs at least two levels to compare, got only {', '.join(levels)}")
    for name, level in levels.items():
        try:
            yield from ({LEVEL: name, **settings} for settings in level.settings())
        except InputError as error:
            raise type(error)(f"level '{name}' of '{part}': {error}") from None


def read_levels(pairs: Sequence[str], option: str) -> dict[str, Level]:
    """Read levels as the command line takes them.

    Parameters
    ----------
    pairs : sequence of str
        ``NAME=FOLDER`` (checkpoints of the study's model, or folders as ``save_pretrained`` writes them),
        ``NAME=MODEL:FOLDER`` (checkpoints of a registered model) or ``NAME=MODEL`` (its trained weights).
    option : str
        For messages, such as ``--sizes``.

    Raises
    ------
    InputError
        For a pair without ``=``, a name given twice, or what is neither a folder nor a model.
    """
    levels: dict[str, Level] = {}
    for pair in as_names(pairs):
        name, equals, value = (text.strip() for text in pair.partition("="))
        if not (name and equals and value):
            raise InputError(f"{option} {pair!r} must be a name and a folder of checkpoints, such as {option} S=runs/S")
        if name in levels:
            raise InputError(f"{option} names {name!r} twice; every level needs a name of its own")
        levels[name] = _read_level(value, f"{option} {pair}")
    return levels


def _read_level(value: str, where: str) -> Level:
    if Path(value).is_dir():
        return Level(checkpoints=Path(value))
    model, _, folder = value.partition(":")
    if not _is_model(model):
        raise MissingFileError(
            f"{where}: there is no folder {value}, and no model of that name; give a folder of checkpoints, "
            "MODEL:FOLDER, or a model of `brainmap models`"
        )
    return Level(model=model, checkpoints=Path(folder)) if folder else Level(model=model)


def _is_model(name: str) -> bool:
    from brainmap.models import model_card

    try:
        model_card(name)
    except InputError:
        return False
    return True
