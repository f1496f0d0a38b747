"""``brainmap fit``: from photographs and responses to a report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from brainmap.cli.console import (
    EXIT_USER_ERROR,
    console,
    interruptible,
    names,
    print_table,
    refuse_renamed,
    settings_table,
)

DEFAULT_SIGNALS = "activation,gradient"


class OutSpaceChoice(StrEnum):
    """What ``--out-space`` takes."""

    nifti = "nifti"
    gifti = "gifti"
    cifti = "cifti"


class ModalityChoice(StrEnum):
    """What ``--modality`` takes."""

    fmri = "fmri"
    meg = "meg"
    both = "both"


def fit(
    model: Annotated[
        str, typer.Option(help="Model, by any of its names: dinov3, DINOv3-S (`brainmap models`).")
    ] = "dino-tiny",
    weights: Annotated[str, typer.Option(help="trained, untrained, or a named checkpoint.")] = "trained",
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
        ModalityChoice | None, typer.Option(help="What to predict.", show_default="all there is")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="sample, own, or a public one (`brainmap data`).")] = None,
    subject: Annotated[str | None, typer.Option(help="Subjects, comma-separated.", show_default="all")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers, comma-separated.", show_default="all")] = None,
    signals: Annotated[str, typer.Option(help="Signals, comma-separated.")] = DEFAULT_SIGNALS,
    site: Annotated[str, typer.Option(help="block (residual stream), mlp or attn (their last projection).")] = "block",
    pooling: Annotated[str, typer.Option(help="cls, register-mean, patch-mean, all-mean or flatten.")] = "patch-mean",
    objective: Annotated[
        str | None, typer.Option(help="Loss to backpropagate.", show_default="the model's own")
    ] = None,
    wrt: Annotated[
        str, typer.Option(help="Gradients of the site's output, or of its weights (site mlp or attn, --projection).")
    ] = "output",
    projection: Annotated[
        int | None, typer.Option(help="Dimensions gradients are projected to at random.", show_default="none")
    ] = None,
    bridge: Annotated[
        str, typer.Option(help="Image–text model whose caption space --objective clip-bridge maps into.")
    ] = "clip-vit-base-patch32",
    split: Annotated[
        str, typer.Option(help="folds, or test: score on the test photographs that the dataset names.")
    ] = "folds",
    cv: Annotated[int, typer.Option(help="Outer folds, grouped by source photograph.")] = 5,
    pca: Annotated[int | None, typer.Option(help="Principal components, fitted on the train split.")] = None,
    test: Annotated[
        str,
        typer.Option(help="Yardstick of 'above chance': folds, subjects, wilcoxon, or permutation (see --dry-run)."),
    ] = "folds",
    permutations: Annotated[int, typer.Option(help="Permutations of photographs, for --test permutation.")] = 1000,
    shuffles: Annotated[int | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds, permutations and simulation.")] = 0,
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
    surface: Annotated[str | None, typer.Option(help="Own surfaces: mesh, as fsaverage or fsLR-32k.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Public dataset: its folder.", show_default="$BRAINMAP_DATA")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Public dataset: prepared responses.", show_default="in its folder")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting of the reader, as atlas=streams (public) or catch=blank (own)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="brainmap_runs/...")] = None,
    out_space: Annotated[
        OutSpaceChoice | None, typer.Option(help="Also write maps of the scores, to maps/ in the run folder.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    memory: Annotated[str, typer.Option(help="Bound on memory, as 8GB.")] = "4GB",
    batch_size: Annotated[
        int, typer.Option(min=0, help="Images per forward and backward pass; 0: the largest that --memory holds.")
    ] = 32,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Predict brain responses from a model's activations and gradients, and write a report.

    Without options: the embedded sample. The same command again finds its finished parts; after Ctrl-C it continues.
    """
    from brainmap.study import Study, StudyConfig
    from brainmap.study.inputs import dataset_choices

    refuse_renamed("--shuffles", "--permutations", shuffles)
    own = {
        "stimuli": stimuli, "responses": responses, "targets": targets, "events": events, "table": table,
        "mask": mask, "atlas": atlas, "surface": surface,
    }  # fmt: skip
    public = dataset not in (None, "sample", "own")
    given: dict[str, Any] = {
        name: path for name, path in own.items() if path is not None and not (public and name == "stimuli")
    }
    reading = settings_table(set_ or [])
    if given and not public:  # --set reaches the reader, whichever it is
        given, reading = {**given, **reading}, {}
    values: dict[str, Any] = {
        "model": model, "weights": _weights(weights, checkpoint, checkpoints),
        "subjects": names(subject), "layers": names(layers),
        "signals": names(signals), "site": site, "pooling": pooling, "objective": objective, "split": split,
        "wrt": wrt, "projection": projection, "bridge": bridge,
        "cv": cv, "pca": pca, "fmri_test": test, "meg_test": test, "permutations": permutations,
        "seed": seed, "device": device, "memory": memory, "batch_size": batch_size or None,
        "dataset": dataset or ("own" if given else "sample"), "own": given or None,
        "place": {"data_root": data_root, "cache": cache, "stimuli": stimuli if public else None},
        "reading": reading,
        "features": features,
        "modality": None if modality in (None, ModalityChoice.both) else (modality.value,),
    }  # fmt: skip
    if features is not None and signals == DEFAULT_SIGNALS:
        del values["signals"]  # what the file holds, unless one asks for it
    if checkpoints is not None:
        _over_training(values, checkpoints, out, dry_run)
        return
    with interruptible():
        study = Study(StudyConfig.from_dict(values), out, out_space=None if out_space is None else out_space.value)
        if study.config.model != model:
            console().print(f"{model} → {study.config.model}")
        if public and not study.plan().missing:
            for sentence in dataset_choices(study.config):
                console().print(sentence)
        if dry_run:
            plan = study.plan()
            console().print(plan.to_text())
            if plan.missing:
                raise typer.Exit(EXIT_USER_ERROR)
        else:
            _finish(study.run(), study.out)


def _weights(weights: str, checkpoint: Path | None, checkpoints: Path | None) -> str:
    """One of three ways to say which weights."""
    from brainmap.common.errors import InputError, MissingFileError

    given = [weights != "trained", checkpoint is not None, checkpoints is not None]
    if sum(given) > 1:
        raise InputError("--weights, --checkpoint and --checkpoints exclude one another; give one of them")
    if checkpoint is None:
        return weights
    if not checkpoint.exists():
        raise MissingFileError(f"--checkpoint {checkpoint}: there is no such file or folder")
    return str(checkpoint)


def _over_training(values: dict[str, Any], folder: Path, out: Path | None, dry_run: bool) -> None:
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
        series = run_series(grid)
    for modality, halves in series.half_times.items():
        table = series.table(modality).pivot(index="unit", columns="step", values="r").round(3)
        if len(halves):
            table["half time"] = halves.set_index("unit")["half_time"].round(0)
        screen.print(f"\n{modality}: mean r over targets at each training step")
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
