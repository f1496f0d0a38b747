"""``hypotheses.yaml``: what is predicted, in which direction, how much of it would matter, and how it is tested."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, Signal
from brainmap.common.yaml_text import parse_yaml

EffectName = Literal["score", "difference", "lag", "order in time", "order in space"]
Names = tuple[str, ...]
UNITS: dict[str, str] = {"score": "r", "difference": "r", "lag": "s", "order in time": "s", "order in space": "r"}
_PAIRS = ("difference", "lag")
_ORDERS = ("lag", "order in time", "order in space")


class Scores(BaseModel):
    """Which scores: those of a signal, of some layers, at some targets.

    Attributes
    ----------
    signal : {"activation", "gradient"}
        What predicts.
    layers, roi, sensor : tuple of str, optional
        Layers, areas or sensors by name; all by default.
    time : (float, float), optional
        First and last moment in s, both included; all by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    signal: Signal
    layers: Names | None = None
    roi: Names | None = None
    sensor: Names | None = None
    time: tuple[float, float] | None = None

    @field_validator("layers", "roi", "sensor", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Hypothesis(BaseModel):
    """One prediction.

    Attributes
    ----------
    id, statement : str
        A short name, and the prediction in words.
    effect : {"score", "difference", "lag", "order in time", "order in space"}
        Mean r of the scores ``of``; that of ``of`` minus that of ``minus``; how much later ``of`` peaks than ``minus``
        (mean over layers of T_max, s); slope of T_max over depth (s); correlation of the best layer with the distance
        from V1.
    modality : {"fmri", "meg", "eeg", "ieeg", "fnirs"}
        Of which responses.
    of, minus : Scores
        Whose effect, and against what.
    direction : {"positive", "negative"}
        Predicted sign.
    smallest : float
        Smallest effect of interest, in the unit of the effect: what lies surely within ± this is called equivalent to
        nothing.
    test : {"units", "subjects", "folds", "maps"}
        What is replicated: subjects where there are five or more, else folds (``units``); either of the two; or, of
        orders in space, and there by default, random maps that are as smooth.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id: str
    statement: str
    effect: EffectName
    modality: Modality
    of: Scores
    minus: Scores | None = None
    direction: Literal["positive", "negative"]
    smallest: Annotated[float, Field(gt=0)]
    test: Literal["units", "subjects", "folds", "maps"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Hypothesis:
        if (self.effect in _PAIRS) != (self.minus is not None):
            both = "'of' and 'minus'" if self.effect in _PAIRS else "'of' and no 'minus'"
            raise ValueError(f"the effect '{self.effect}' takes {both}")
        if self.effect in _ORDERS:
            narrowed = [name for part in self.parts for name in ("layers", "roi", "sensor", "time") if vars(part)[name]]
            if narrowed:
                raise ValueError(f"'{self.effect}' is an effect of all layers and targets; leave out '{narrowed[0]}'")
        if (self.effect == "order in space") != (self.modality == "fmri") and self.effect in _ORDERS:
            raise ValueError(f"the effect '{self.effect}' does not exist for {self.modality}")
        if self.test == "maps" and self.effect != "order in space":
            raise ValueError("random maps ('test: maps') test an 'order in space' only")
        if UNITS[self.effect] == "r" and self.smallest >= 1:
            raise ValueError(f"'smallest: {self.smallest:g}' is no correlation; it lies between 0 and 1")
        return self

    @property
    def parts(self) -> tuple[Scores, ...]:
        """Scores that the effect compares."""
        return (self.of,) if self.minus is None else (self.of, self.minus)

    @property
    def sign(self) -> int:
        """Predicted sign."""
        return 1 if self.direction == "positive" else -1

    @property
    def tested_over(self) -> str:
        """What is replicated."""
        return self.test or ("maps" if self.effect == "order in space" else "units")


class RegisteredHypotheses(BaseModel):
    """A file of hypotheses: all of them are one family of tests.

    Attributes
    ----------
    title : str
        Words for the report.
    level : float
        Of the family.
    correction : {"bonferroni", "holm", "fdr"}
        Over all claims of the file: each hypothesis may be said to have an effect, or one that is too small to matter.
        Bonferroni divides the level by the number of hypotheses, as of these two claims one at most can be false
        (Shaffer 1986); Holm and the false discovery rate (Benjamini-Hochberg) go over both claims of all hypotheses.
    hypotheses : tuple of Hypothesis
        In the order of the file.
    sha256 : str
        Of the file's bytes, as ``sha256sum`` prints it.
    text : str
        The file.

    Examples
    --------
    >>> from brainmap.hierarchy import RegisteredHypotheses
    >>> from brainmap.study import preset_text
    >>> registered = RegisteredHypotheses.from_text(preset_text("misalignment-hypotheses"))
    >>> len(registered.hypotheses), registered.correction, registered.level
    (7, 'bonferroni', 0.05)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    correction: Literal["bonferroni", "holm", "fdr"] = "bonferroni"
    hypotheses: Annotated[tuple[Hypothesis, ...], Field(min_length=1)]
    sha256: Annotated[str, Field(exclude=True)] = ""
    text: Annotated[str, Field(exclude=True, repr=False)] = ""

    @model_validator(mode="after")
    def _each_once(self) -> RegisteredHypotheses:
        names = [hypothesis.id for hypothesis in self.hypotheses]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"two hypotheses are called '{twice[0]}'")
        return self

    @classmethod
    def from_text(cls, text: str, where: str = "hypotheses.yaml") -> RegisteredHypotheses:
        """Check the text of a file.

        Raises
        ------
        InputError
            One sentence that names the first key and what is wrong with it.
        """
        values = parse_yaml(text, where)
        computed = sorted({"sha256", "text"} & set(values))
        if computed:
            raise InputError(f"{where}: '{computed[0]}' is computed of the file; leave it out.")
        try:
            return cls(**values, sha256=hashlib.sha256(text.encode()).hexdigest(), text=text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"{where}: {f'{place}: ' if place else ''}{message}") from None

    @classmethod
    def from_yaml(cls, path: str | Path) -> RegisteredHypotheses:
        """Read a file.

        Raises
        ------
        MissingFileError
            If it is not there.
        InputError
            If it is no YAML in UTF-8, holds an unknown key, or a value out of range.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except (FileNotFoundError, IsADirectoryError):
            raise MissingFileError(f"hypotheses {path}: there is no such file") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is no text in UTF-8; save the file in that encoding.") from None
        return cls.from_text(text, str(path))
