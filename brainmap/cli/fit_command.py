"""``brainmap fit``: from photographs and responses to a report."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from brainmap.cli.console import (
    EXIT_USER_ERROR,
    Cluster,
    FeaturesRoot,
    Jobs,
    console,
    interruptible,
    on_workers,
    print_table,
    refuse_renamed,
    settings_table,
    use_features_root,
)
from brainmap.common.names import MODALITY_NAMES

NOT_SETTINGS = ("checkpoints", "shuffles", "set_", "out", "out_space", "jobs", "cluster", "features_root", "dry_run")


class OutSpaceChoice(StrEnum):
    """What ``--out-space`` takes."""

    nifti = "nifti"
    gifti = "gifti"
    cifti = "cifti"


class StudyCommand(TyperCommand):
    """A command whose help shows the defaults of a study; the study itself fills them in."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Look the defaults up when somebody asks for help, not before: their module loads pydantic."""
        from brainmap.study import StudyConfig

        fields = StudyConfig.model_fields
        for option in self.params:
            default = fields[option.name].default if option.name in fields else None
            if isinstance(option, TyperOption) and default is not None:
                option.default = ",".join(default) if isinstance(default, tuple) else default
        super().format_help(ctx, formatter)


def fit(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="Model, by any of its names: dinov3, DINOv3-S (`brainmap models`).")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="trained, untrained, or a named checkpoint.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights of your own: a file, or a folder as save_pretrained writes it.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of a training's checkpoints, named by step: one study for each.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Features that are there already, .npz: one array (images x d) a layer.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="fMRI, MEG or EEG, in any case.", show_default="all there is")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="sample, own, or a public one (`brainmap data`).")] = None,
    subject: Annotated[str | None, typer.Option(help="Subjects, comma-separated.", show_default="all")] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers, comma-separated, or evenly:10.", show_default="all")
    ] = None,
    signals: Annotated[str | None, typer.Option(help="Signals, comma-separated.")] = None,
    site: Annotated[
        str | None, typer.Option(help="block (residual stream), mlp or attn (their last projection).")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="cls, register-mean, patch-mean, all-mean or flatten.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="Loss to backpropagate.", show_default="the model's own")
    ] = None,
    wrt: Annotated[
        str | None,
        typer.Option(help="Gradients of the site's output, or of its weights (site mlp or attn, --projection)."),
    ] = None,
    projection: Annotated[
        int | None, typer.Option(help="Dimensions gradients are projected to at random.", show_default="none")
    ] = None,
    bridge: Annotated[
        str | None, typer.Option(help="Image–text model whose caption space --objective clip-bridge maps into.")
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            help="Control feature spaces, comma-separated: pixels, gabor, texture, category, gradient norm, loss.",
            show_default="all but texture",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="folds, or test: score on the test photographs that the dataset names.")
    ] = None,
    cv: Annotated[int | None, typer.Option(help="Outer folds, of whole groups of photographs.")] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Held out together: source, folder, a column (concept, run), or blocks:10 in time."),
    ] = None,
    gap: Annotated[
        int | None, typer.Option(min=0, help="With blocks: photographs left out around each test block.")
    ] = None,
    pca: Annotated[int | None, typer.Option(help="Principal components, fitted on the train split.")] = None,
    alphas: Annotated[
        str | None,
        typer.Option(
            help="Ridge penalties: low:high:count, as 1e-2:1e8:15, or numbers with commas.",
            show_default="by the scale of the features",
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Yardstick of 'above chance': folds, subjects, wilcoxon, or permutation (see --dry-run).",
            show_default="folds",
        ),
    ] = None,
    permutations: Annotated[
        int | None, typer.Option(help="Permutations of photographs, for --test permutation.")
    ] = None,
    shuffles: Annotated[int | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of folds, permutations and simulation.")] = None,
    stimuli: Annotated[Path | None, typer.Option(help="Folder or zip of photographs.")] = None,
    responses: Annotated[
        str | None,
        typer.Option(help="Own data: epochs, arrays (file.mat::betas), NIfTI, CIFTI, surfaces; or a folder a subject."),
    ] = None,
    targets: Annotated[
        Path | None, typer.Option(help="Own data: table, one row per target, if the file does not say it.")
    ] = None,
    events: Annotated[
        Path | None, typer.Option(help="Own data: table, one row per trial, if the file does not say it.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Own data: table of the photographs (optional).")] = None,
    mask: Annotated[Path | None, typer.Option(help="Own NIfTI: image of the voxels to use.")] = None,
    atlas: Annotated[Path | None, typer.Option(help="Own images: labels, with their table beside them.")] = None,
    confounds: Annotated[
        Path | None, typer.Option(help="Own data: table of numbers, one row per trial, projected out in each split.")
    ] = None,
    nuisance: Annotated[
        str | None, typer.Option(help="Public dataset: variables projected out, comma-separated, or all.")
    ] = None,
    surface: Annotated[str | None, typer.Option(help="Own surfaces: mesh, as fsaverage or fsLR-32k.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Public dataset: its folder.", show_default="$BRAINMAP_DATA")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Public dataset: prepared responses.", show_default="in its folder")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, of the reader (atlas=streams) or the study (flips=1000)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="brainmap_runs/...")] = None,
    out_space: Annotated[
        OutSpaceChoice | None, typer.Option(help="Also write maps of the scores, to maps/ in the run folder.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="encoders (or encoders:block.3,block.7): keep the fits, for `brainmap predict`."),
    ] = None,
    hypotheses: Annotated[
        Path | None,
        typer.Option(help="Predictions to lock before scores are there (`brainmap preset misalignment-hypotheses`)."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps, or auto: the fastest there is.")] = None,
    memory: Annotated[str | None, typer.Option(help="Bound on memory, as 8GB.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Images per pass, fewer where --memory holds no more; 0: as many as it holds.",
        ),
    ] = None,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    features_root: FeaturesRoot = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Predict brain responses from a model's activations and gradients, and write a report.

    Without options: the embedded sample. The same command again finds its finished parts; after Ctrl-C it continues.
    """
    refuse_renamed("--shuffles", "--permutations", shuffles)
    values = _settings({name: value for name, value in context.params.items() if value is not None})
    use_features_root(features_root)
    workers = on_workers(jobs, cluster, reports=checkpoints is None)
    if checkpoints is not None:
        _over_training(values, checkpoints, out, workers, dry_run)
    else:
        _one_study(values, model, (out, out_space), workers, dry_run)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Turn options that were given into settings of a study; what was not given, the study fills in."""
    from brainmap.common.errors import InputError
    from brainmap.study.declared.command_words import settings_of_words

    if len(given.keys() & {"weights", "checkpoint", "checkpoints"}) > 1:
        raise InputError("--weights, --checkpoint and --checkpoints exclude one another; give one of them")
    values = {name: value for name, value in given.items() if name not in NOT_SETTINGS}
    if given.get("set_"):
        values["set"] = settings_table(given["set_"])
    return settings_of_words(values)


def _one_study(
    values: dict[str, Any],
    asked: str | None,
    place: tuple[Path | None, OutSpaceChoice | None],
    workers: Callable[[Any], None] | None,
    dry_run: bool,
) -> None:
    """Plan or run the study; say which model and which reading were chosen."""
    out, out_space = place
    from brainmap.study.declared.study_config import StudyConfig

    config = StudyConfig.from_dict(values)  # what is wrong is said before anything heavy is imported
    from brainmap.study import Study
    from brainmap.study.inputs import dataset_choices

    with interruptible():
        study = Study(config, out, out_space=None if out_space is None else out_space.value)
        if asked not in (None, study.config.model):
            console().print(f"{asked} → {study.config.model}")
        if study.config.dataset not in ("sample", "own") and not study.plan().missing:
            for sentence in dataset_choices(study.config):
                console().print(sentence)
        if dry_run:
            plan = study.plan()
            console().print(plan.to_text())
            if plan.missing:
                raise typer.Exit(EXIT_USER_ERROR)
        else:
            if workers is not None:
                workers(study)
            _finish(study.run(), study.out)


def _over_training(
    values: dict[str, Any], folder: Path, out: Path | None, workers: Callable[[Any], None] | None, dry_run: bool
) -> None:
    """Run the study at every checkpoint; print scores of the first and last, half times, and where the tables lie."""
    from brainmap.study import checkpoint_grid, run_series

    screen = console()
    with interruptible():
        grid = checkpoint_grid(values, folder, out)
        if dry_run:
            screen.print(grid.plan())
            if any(grid.missing(cell) for cell in grid.cells):
                raise typer.Exit(EXIT_USER_ERROR)
            return
        if workers is not None:
            workers(grid)
        series = run_series(grid)
    for modality, halves in series.half_times.items():
        table = series.table(modality).pivot(index="unit", columns="step", values="r").round(3)
        if len(halves):
            table["half time"] = halves.set_index("unit")["half_time"].round(0)
        screen.print(f"\n{MODALITY_NAMES[modality]}: mean r over targets at each training step")
        print_table([{"unit": str(unit), **{str(k): str(v) for k, v in row.items()}} for unit, row in table.iterrows()])
    screen.print(f"\nTables: {grid.out}")


def _finish(results: Any, out: Path) -> None:
    """Print headline numbers and where the report lies."""
    from brainmap.report.words.answer import plain_answer

    screen = console()
    for sentence in plain_answer(results):
        screen.print(sentence)
    screen.print(f"\nReport: {out / 'report.html'}")
    screen.print(f"In Python: brainmap.open_run({str(out)!r})")
