"""What the jobs of a queue ask for: partition, account, walltime, cores, memory, GPUs, environment."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.common.yaml_text import read_yaml

FILE = Path("~/.config/brainmap/cluster.yaml")
WALLTIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d)(?::([0-5]\d))?")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLAIN = re.compile(r"[^\s\"'`$;&|<>\\]+")  # goes into a line that a scheduler or a shell reads


class JobSettings(BaseModel):
    """What one job asks for.

    Attributes
    ----------
    partition, account : str, optional
        Where jobs wait, and who pays; the queue's own defaults otherwise.
    walltime : str, optional
        ``HH:MM:SS``, or ``D-HH:MM:SS``, after which the queue ends a job. Tasks that would not be finished by then are
        not started. Without it the queue's own limit holds, and is not known here.
    cores : int
        Of a job, which does a task at a time; also the threads of that task.
    memory : str
        Of a job.
    gpus : int
        Of a job.
    environment : list of str, or dict of str to str
        Lines of shell that come first in a job (``module load cuda``), or variables that are set in it.
    directives : tuple of str
        Any other options of the queue, as its script takes them: ``--qos=long``.
    interface : str, optional
        Network interface of the scheduler and the workers, as ``ib0``; ``lo`` where all jobs run on this machine.
    gpu : dict, optional
        Settings of jobs for tasks that need a GPU, over those above, where these are no jobs for the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = None
    account: str | None = None
    walltime: str | None = None
    cores: int = Field(default=1, ge=1, le=4096)
    memory: str = "8GB"
    gpus: int = Field(default=0, ge=0, le=64)
    environment: tuple[str, ...] | dict[str, str] = ()
    directives: tuple[str, ...] = ()
    interface: str | None = None
    gpu: dict[str, Any] | None = None

    @field_validator("partition", "account", "interface")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not PLAIN.fullmatch(value):
            raise ValueError(f"{value!r} must be one plain word")
        return value

    @field_validator("directives")
    @classmethod
    def _one_line(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not line.strip() or len(line.splitlines()) != 1 for line in value):
            raise ValueError("each directive must be one line, as --qos=long")
        return value

    @field_validator("memory")
    @classmethod
    def _size(cls, value: str) -> str:
        parse_memory(value)
        return value

    @field_validator("walltime")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        if value is not None and (not (match := WALLTIME.fullmatch(value)) or match[4] is None):
            raise ValueError(
                f"{value!r} must be hours, minutes and seconds, as 08:00:00, or 2-00:00:00 with days (two numbers "
                "could be hours and minutes, or minutes and seconds)"
            )
        if value is not None and not _seconds(value):
            raise ValueError(f"{value!r} leaves no time")
        return value

    @field_validator("environment", mode="before")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("environment")
    @classmethod
    def _variables(cls, value: Any) -> Any:
        if isinstance(value, dict):
            wrong = [name for name in value if not NAME.fullmatch(name)]
            if wrong:
                raise ValueError(f"{wrong[0]!r} is no name of a variable")
        return value

    @model_validator(mode="after")
    def _gpu_jobs(self) -> JobSettings:
        if self.gpu is not None:
            if "gpu" in self.gpu:
                raise ValueError("the settings under 'gpu' have no 'gpu' of their own")
            if self.gpus:
                raise ValueError("give gpus for all jobs, or for those of GPU tasks under 'gpu', not both")
            if not JobSettings(**{**self.model_dump(exclude={"gpu"}), "gpus": 1, **self.gpu}).gpus:
                raise ValueError("the jobs under 'gpu' ask for no GPU (gpus: 0)")
        return self

    @property
    def for_gpu_tasks(self) -> JobSettings | None:
        """Settings of jobs that have a GPU; None where no job has."""
        if self.gpu is None:
            return self if self.gpus else None
        return JobSettings(**{**self.model_dump(exclude={"gpu"}), "gpus": 1, **self.gpu})

    @property
    def seconds(self) -> float | None:
        """Walltime in seconds."""
        return None if self.walltime is None else _seconds(self.walltime)

    @property
    def prologue(self) -> list[str]:
        """Lines of shell that come first in a job."""
        if isinstance(self.environment, dict):
            return [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return list(self.environment)


def job_settings(declared: Mapping[str, Any] | None = None) -> JobSettings:
    """Return what jobs ask for: of the user's ``cluster.yaml``, and over it of a study file's ``cluster:`` block.

    Parameters
    ----------
    declared : mapping, optional
        The block.

    Raises
    ------
    InputError
        If a setting is unknown or cannot be read; names it, and where it stands.
    """
    file = Path(os.environ.get("BRAINMAP_CLUSTER", FILE)).expanduser()
    own = read_yaml(file) if file.is_file() else {}
    if "BRAINMAP_CLUSTER" in os.environ and not file.is_file():
        raise InputError(f"BRAINMAP_CLUSTER names {file}, and there is no such file.")
    checked_jobs(own, str(file))
    return checked_jobs({**own, **(declared or {})}, "cluster")


def checked_jobs(values: Mapping[str, Any], where: str) -> JobSettings:
    """Check plain values.

    Raises
    ------
    InputError
        One sentence that names the first wrong one.
    """
    try:
        return JobSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("tuple[", "dict[")))
        if first["type"] == "extra_forbidden":
            known = ", ".join(JobSettings.model_fields)
            raise InputError(f"{where}: unknown setting '{name}'; known: {known}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}, '{name}': {message}" if name else f"{where}: {message}") from None
    except TypeError as error:
        raise InputError(f"{where}: {error}") from None


def _seconds(walltime: str) -> float:
    match = WALLTIME.fullmatch(walltime)
    assert match is not None
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
