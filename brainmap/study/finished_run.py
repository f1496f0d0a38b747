"""A finished run opened again: its results, read when asked for, its figures and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES
from brainmap.results.study_results import StudyResults
from brainmap.study.run_folder import IDENTITY, RunFolder, config_of, finished_folder, first_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from brainmap.report import StudyFigures
    from brainmap.report.explore import Step
    from brainmap.report.figures.paper_maps import Show
    from brainmap.study.encoders.fitted_encoder import FittedEncoder


AT_ONCE = 2**30  # bytes of scores that a report reads once and keeps


@dataclass(eq=False, repr=False)
class FinishedRun(StudyResults):
    """Results of a run, with the folder they lie in; arrays stay on disk until their values are asked for.

    Attributes
    ----------
    folder : Path
        The run.

    Examples
    --------
    >>> import brainmap
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> run
    <FinishedRun brainmap_runs/demo: dino-tiny on sample · SIMULATED DATA; fMRI, MEG>
    >>> run.roi_table().columns.tolist()
    ['subject', 'signal', 'layer', 'depth', 'roi', 'r', 'n_targets']
    """

    folder: Path = field(default_factory=Path)

    def figures(self) -> StudyFigures:
        """Return the figures of the report by name; each is drawn when it is asked for.

        Examples
        --------
        >>> run.figures()["meg-curves-activation"].savefig("curves.pdf")  # doctest: +SKIP
        """
        from brainmap.report import StudyFigures

        return StudyFigures(self)

    def cortex_map(self, show: Show = "r", **options: Any) -> Figure:
        """Return a map for a paper: surfaces at 300 dpi, words as text.

        Parameters
        ----------
        show : {"r", "best layer", "gain", "ceiling"}
            What is drawn.
        **options
            ``signal``, ``layers``, ``views`` (``2x4``, ``flat``, ``2x4+flat``), ``outlines``, ``width``, ``dpi``, as
            :func:`brainmap.report.cortex_map` takes them.

        Examples
        --------
        >>> run.cortex_map(views="2x4+flat", outlines="all").savefig("map.pdf")  # doctest: +SKIP
        """
        from brainmap.report import cortex_map

        return cortex_map(self, show, **options)

    def encoder(self, modality: str, *, signal: str = "activation", subject: str | None = None) -> FittedEncoder:
        """Return the fitted encoders that the run has kept (``keep: encoders``).

        Parameters
        ----------
        modality : str
            ``fmri``, ``meg`` or ``eeg``.
        signal : {"activation", "gradient"}
            What predicts.
        subject : str, optional
            One subject; all by default.

        Raises
        ------
        MissingFileError
            If the run has kept none.

        Examples
        --------
        >>> run.encoder("fmri").predict("new_photographs").to_dataset().to_zarr("responses.zarr")  # doctest: +SKIP
        """
        from brainmap.study.encoders.fitted_encoder import open_encoder

        kept = RunFolder(self.folder).kept
        return open_encoder(kept, self.targets(self._known(modality)), modality, signal, subject)

    def report(self) -> Path:
        """Return the HTML report, which is written if it is not there."""
        report = finished_folder(self.folder).report
        return report if report.is_file() else rewrite_report(self.folder)

    def __repr__(self) -> str:
        what = ", ".join(MODALITY_NAMES[name] for name in self.modalities)
        return f"<FinishedRun {self.folder}: {self._title()}; {what}>"


def open_run(run: str | Path) -> FinishedRun:
    """Open a finished run.

    Parameters
    ----------
    run : str or Path
        Its folder, as ``brainmap fit`` prints it.

    Returns
    -------
    FinishedRun
        The results (``scores``, ``significance``, ``hierarchy`` …) with ``to_frame()``, ``roi_table()``, ``figures()``
        and ``report()``. Arrays are read when their values are asked for, each chunk compared with its checksum.

    Raises
    ------
    MissingFileError
        If the folder holds no finished run.
    DamagedError
        If a file is missing, or not what was written.

    Examples
    --------
    >>> import brainmap
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> float(run.scores["fmri"]["r"].sel(layer="block.11", signal="activation").mean()) > 0
    True
    """
    folder = finished_folder(Path(run))
    results = FinishedRun.load(folder.results, lazy=True)
    results.folder = folder.path
    return results


def rewrite_report(run: str | Path) -> Path:
    """Write the report of a finished run again.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    MissingFileError
        If the folder holds no finished run.

    Examples
    --------
    >>> from brainmap.study import rewrite_report
    >>> rewrite_report("brainmap_runs/meg").name
    'report.html'
    """
    from brainmap.report import write_report
    from brainmap.results import StudyResults
    from brainmap.study.analysis.orders_and_hypotheses import hypotheses
    from brainmap.study.analysis.provenance import model_citations

    folder = finished_folder(Path(run))
    results = StudyResults.load(folder.results, lazy=AT_ONCE)
    if results.hypotheses is None:  # runs of earlier versions stored no verdicts
        results.hypotheses = hypotheses(results)
    if "citations" not in results.provenance:
        results.provenance["citations"] = model_citations(results.provenance.get("model"))
    return write_report(results, folder.report)


def explore_run(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the page in which a finished run is explored.

    Parameters
    ----------
    run : str or Path
        Folder of a run; or of several runs of one study that differ in the training step of the weights only, which
        get a slider over training (the folder that ``brainmap fit --checkpoints`` or ``brainmap run`` filled). Of
        these, runs that are not finished are left out.
    out : str or Path, optional
        The HTML file; ``explore.html`` in the folder by default.

    Returns
    -------
    Path
        The page, see :func:`brainmap.report.write_explorer`.

    Raises
    ------
    MissingFileError
        If the folder holds no finished run.
    InputError
        If the runs differ in more than the training step, or nothing of them can be explored.

    Examples
    --------
    >>> from brainmap.study import explore_run
    >>> explore_run("brainmap_runs/meg").name
    'explore.html'
    """
    from brainmap.report import write_explorer
    from brainmap.report.explore import Step

    folder = Path(run)
    cells = sorted(file.parent for file in folder.glob(f"cells/*/{IDENTITY}"))
    if (folder / IDENTITY).is_file() or not cells:
        steps = [Step(open_run(folder))]
    else:
        steps = _training_steps(cells)
    return write_explorer(steps, folder if out is None else out)


def _training_steps(cells: list[Path]) -> list[Step]:
    """Finished runs that differ in their weights only, each with its training step."""
    from brainmap.report.explore import Step
    from brainmap.study.grid import step_of_weights

    finished = [cell for cell in cells if RunFolder(cell).results.is_dir()]
    if not finished:
        finished_folder(cells[0])  # says that it is not finished
    configs = [config_of(cell) for cell in finished]
    for cell, config in zip(finished, configs, strict=True):
        first, this = ({**one, "weights": None} for one in (configs[0], config))
        if first != this:
            raise InputError(
                f"the runs in {cells[0].parent} differ in more than the training step "
                f"({first_difference(first, this)}); give one of them, such as {cell}"
            )
    return [
        Step(open_run(cell), step_of_weights(str(config.get("model")), str(config.get("weights"))))
        for cell, config in zip(finished, configs, strict=True)
    ]
