"""A study file without Dask: a list of its studies, a share of them, and the script that hands shares to a queue."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import parse_memory
from brainmap.study.declared.job_settings import job_settings
from brainmap.study.declared.study_file import GridConfig

if TYPE_CHECKING:
    from brainmap.study.declared.cells import Cell
    from brainmap.study.grid import Grid


def share_of(cells: Sequence[Cell], share: str) -> list[Cell]:
    """Return the studies of one share.

    Parameters
    ----------
    cells : sequence of Cell
        All studies.
    share : str
        ``17/64``: the 17th of 64 shares. With more shares than studies, several shares hold the same study and work on
        its parts together.

    Raises
    ------
    InputError
        If it is no such fraction.

    Examples
    --------
    >>> from brainmap.study import GridConfig, share_of
    >>> [len(share_of(GridConfig.from_yaml("study.yaml").cells(), f"{share}/2")) for share in (1, 2)]
    [2, 2]
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", share.strip())
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise InputError(f"--only {share!r} must be a share such as 17/64, from 1/64 to 64/64")
    if of >= len(cells):
        return [cells[(number - 1) % len(cells)]]
    return list(cells[number - 1 :: of])


def listed(grid: Grid) -> list[dict[str, str]]:
    """Return a row for each study: its number, name, what is done of it, and its folder.

    Examples
    --------
    >>> from brainmap.study import Grid, GridConfig, listed
    >>> rows = listed(Grid(GridConfig.from_yaml("study.yaml"), out="brainmap_runs/grid"))
    >>> [row["state"] for row in rows]
    ['0 of 6 parts', '0 of 6 parts', '0 of 6 parts', '0 of 6 parts']
    """
    rows = []
    for number, cell in enumerate(grid.cells, 1):
        study = grid.study(cell)
        if study.folder.results.is_dir():
            state = "finished"
        else:
            parts = study.parts() if not grid.missing(cell) else []
            done = sum(study.finished(part) for part in parts)
            state = f"{done} of {len(parts)} parts" if parts else "something is missing (--dry-run)"
        rows.append({"": str(number), "study": cell.label, "state": state, "folder": str(study.out)})
    return rows


def queue_script(file: Path, out: Path, jobs: int) -> str:
    """Return a SLURM script that runs a study file in an array of jobs.

    Parameters
    ----------
    file : Path
        Study file.
    out : Path
        Folder of all studies, seen by all machines.
    jobs : int
        Jobs in the array.

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.study import queue_script
    >>> queue_script(Path("study.yaml"), Path("runs"), 64).splitlines()[0]
    '#!/bin/bash'
    """
    settings = job_settings(GridConfig.from_yaml(file).cluster)
    options = {
        "partition": settings.partition,
        "account": settings.account,
        "cpus-per-task": settings.cores,
        "mem": f"{-(-parse_memory(settings.memory) // 2**20)}M",
        "time": settings.walltime,
        "gpus": settings.gpus or None,
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    command = f"brainmap run {shlex.quote(str(file.absolute()))} --out {shlex.quote(str(out.absolute()))}"
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=brainmap",
        f"#SBATCH --array=1-{jobs}",
        *(f"#SBATCH {option}" for option in [*given, *settings.directives]),
        *settings.prologue,
        f"cd {shlex.quote(str(Path.cwd()))}",
        f"{command} --only ${{SLURM_ARRAY_TASK_ID}}/{jobs}",
        "",
        "# When all jobs have ended, this writes the page (and computes what a lost job left):",
        f"#   {command}",
    ]
    return "\n".join(lines)
