"""The studies of a study file: one folder a cell, one store of features, one page that compares them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.progress import track
from brainmap.common.storage.file_errors import is_writable
from brainmap.study.declared.cells import Cell
from brainmap.study.declared.study_config import StudyConfig
from brainmap.study.declared.study_file import GridConfig
from brainmap.study.encoding_stage import HeldElsewhereError
from brainmap.study.lent import Lent
from brainmap.study.plan import lines_of_sizes, lines_of_tests
from brainmap.study.resources import everything_missing
from brainmap.study.run import Study
from brainmap.study.run_folder import check_out, shared_features

if TYPE_CHECKING:
    from brainmap.results import StudyResults
    from brainmap.results.collection import Collection


class Grid:
    """A study file and the folder it runs in.

    Parameters
    ----------
    config : GridConfig
        What to compute.
    out : str or Path, optional
        Folder; by default ``brainmap_runs/grid-<digest of all cells>``. Every cell is a run of its own in ``cells/``;
        all share one feature store in ``features/``. What is finished is not computed again.

    Examples
    --------
    >>> from brainmap.study import Grid, GridConfig
    >>> grid = Grid(GridConfig.from_yaml("study.yaml"), out="brainmap_runs/grid")
    >>> len(grid.config.cells())
    4
    """

    def __init__(self, config: GridConfig, out: str | Path | None = None) -> None:
        self.config = config
        self.cells = config.cells()
        registered = sum(cell.config.hypotheses is not None for cell in self.cells)
        if registered > 1:
            raise InputError(
                f"'hypotheses' are corrected within one study, and this file makes {registered}; register them for one "
                "study, in a file of its own"
            )
        digest = hashlib.sha256("".join(cell.config.digest() for cell in self.cells).encode()).hexdigest()[:10]
        self.out = check_out(Path(out) if out is not None else Path("brainmap_runs") / f"grid-{digest}")
        self._lent = Lent()

    @property
    def models(self) -> list[str]:
        """Models that the file names by another name than their card's: ``dinov3 → dinov3-vits16``."""
        pairs = {(name, cell.config.model) for cell in self.cells for name in cell.spellings}
        return [f"{name} → {model}" for name, model in sorted(pairs) if name != model]

    def study(self, cell: Cell) -> Study:
        """Return one cell as a study in its own folder."""
        study = Study(cell.config, self.out / "cells" / cell.name)
        study.folder.features = shared_features() or self.out / "features"
        study.folder.studies = self.out / "cells"
        study.lent = self._lent
        return study

    def missing(self, cell: Cell) -> list[str]:
        """Return what stands in the way of a cell, a sentence each."""
        return [*self.study(cell).plan().missing]

    def plan(self) -> str:
        """Say what would be computed, what is finished and what is missing; nothing is computed."""
        lines = [f"{self.config.title or 'study file'}: {len(self.cells)} studies in {self.out}", *self.models, ""]
        width = max(len(cell.label) for cell in self.cells)
        plans = [self.study(cell).plan() for cell in self.cells]
        for cell, plan in zip(self.cells, plans, strict=True):
            rows = {stage: (what, state) for stage, what, state in plan.rows}
            finished = [state for stage, (_, state) in rows.items() if stage.endswith("encoding")]
            state = "finished" if self.study(cell).folder.results.is_dir() else ", ".join(finished) or "to do"
            state = "something is missing, see below" if plan.missing else state
            lines.append(f"  {cell.label:<{width}}  {rows['features'][0]}  [{state}]")
        lines += ["", *lines_of_sizes(self.cells, plans)]
        absent = Counter(sentence for plan in plans for sentence in plan.missing)
        if absent:
            lines += ["", "  missing:"]
            lines += [f"    - in {count} of {len(plans)} studies: {sentence}" for sentence, count in absent.items()]
            lacking = [cell.needs for cell, plan in zip(self.cells, plans, strict=True) if plan.missing and cell.needs]
            lines += [f"    - besides: {needs}" for needs in dict.fromkeys(lacking)]
        if tests := lines_of_tests(plans):
            lines += ["", "  tests of what is above chance:", *(f"    - {line}" for line in tests)]
        if self.config.deviations:
            lines += ["", "  deviations from the sound default, or from the paper:"]
            lines += [f"    - {item.what}: paper {item.paper}; default {item.default}; here {item.here}"
                      for item in self.config.deviations]  # fmt: skip
        return "\n".join(lines)

    def run(self, *, skip_missing: bool = False, reports: bool = False) -> Collection:
        """Compute what is not finished yet, beside any other processes that run the same file in the same folder.

        A study, or a part of one, that another process holds is left to it and looked at again later.

        Parameters
        ----------
        skip_missing : bool
            Leave out cells whose model or data are not here and say so in ``Collection.absent``; an error otherwise.
        reports : bool
            Write the HTML report of every cell as well.

        Returns
        -------
        Collection
            The results of all cells.
        """
        from brainmap.results.collection import Collection, Member

        absent = {}
        if not skip_missing:
            self.refuse_missing()
        for cell in self.cells:
            sentences = self.missing(cell) if skip_missing else []
            if sentences:
                absent[cell.label] = " ".join(filter(None, (sentences[0].rstrip(".") + ".", cell.needs)))
        here = [cell for cell in self.cells if cell.label not in absent]
        finished = self.run_all(here, reports=reports)
        members = []
        for cell in here:
            parts = {name: dict(varied) for name, varied in cell.parts.items()}
            settings, step = cell.config.describe(), training_step(cell.config)
            members.append(Member(cell.label, settings, finished[cell.label], parts, step, dict(cell.places)))
        return Collection(tuple(members), title=self.config.title, absent=absent)

    def run_all(self, cells: Sequence[Cell], *, reports: bool = False) -> dict[str, StudyResults]:
        """Run studies in turn; those that other processes hold come again, and are waited for at the end.

        Parameters
        ----------
        cells : sequence of Cell
            Some or all of ``cells``.
        reports : bool
            Write their HTML reports as well.

        Returns
        -------
        dict of str to StudyResults
            By the cells' labels.
        """
        finished: dict[str, StudyResults] = {}
        left, wait = list(cells), False
        while left:
            held = []
            for cell in track(left, "studies", unit="studies"):
                try:
                    finished[cell.label] = self.study(cell).run(report=reports, wait=wait)
                    wait = False
                except HeldElsewhereError:
                    held.append(cell)
            wait = len(held) == len(left)  # nothing else is left to do
            left = held
        return finished

    def refuse_missing(self) -> None:
        """Name all that is missing for any study before the first is computed."""
        sentences = dict.fromkeys(sentence for cell in self.cells for sentence in self.missing(cell))
        if sentences:
            raise everything_missing(MissingFileError(next(iter(sentences))), list(sentences))

    def write(self, *, skip_missing: bool = False, reports: bool = False) -> Path:
        """Compute what is not finished yet, and write the page that compares all studies.

        Parameters
        ----------
        skip_missing, reports
            As in :meth:`run`.

        Returns
        -------
        Path
            The page, ``comparison.html`` in the grid's folder.
        """
        from brainmap.report.page.comparison_page import write_comparison

        collection = self.run(skip_missing=skip_missing, reports=reports)
        page = self.out / "comparison.html"
        if page.is_file() and not is_writable(self.out):  # a finished grid on a read-only disk
            return page
        files = {cell.label: self.study(cell).folder.report for cell in self.cells}
        links = {name: file.relative_to(self.out).as_posix() for name, file in files.items() if file.is_file()}
        deviations = [item.model_dump() for item in self.config.deviations]
        notes = {"citation": self.config.citation, "deviations": deviations}
        return write_comparison(collection, page, links=links, notes=notes)


def training_step(config: StudyConfig) -> int | None:
    """Return the training step of a study's weights: 0 for untrained, None where nothing says it."""
    return step_of_weights(config.model, config.weights)


def step_of_weights(model: str, name: str) -> int | None:
    """Return the training step of a model's weights: 0 for untrained, None where nothing says it."""
    from brainmap.common.errors import BrainmapError
    from brainmap.models import available_weights, checkpoint_step

    if Path(name).suffix or Path(name).parent.name:  # a file or folder of one's own
        return checkpoint_step(name)
    if name == "untrained":
        return 0
    if name == "trained":  # the last of the checkpoints, where a model has some
        try:
            name = next(iter(reversed(available_weights(model))), "")
        except BrainmapError:
            return None
    number = name.removeprefix("step_")
    return int(number) if name.startswith("step_") and number.isdigit() else None
