"""The command line: parses, calls the public API, prints. No analysis lives here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainmap.errors import BrainmapError

if TYPE_CHECKING:
    from rich.console import Console

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Brain encoding with the activations and gradients of vision models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="Vision models: which there are, and what each can give.", invoke_without_command=True)
data_app = typer.Typer(help="Data: what is embedded, and how to bring your own.", invoke_without_command=True)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")


class ModalityChoice(StrEnum):
    """What ``--modality`` takes."""

    fmri = "fmri"
    meg = "meg"
    both = "both"


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def _interruptible() -> Iterator[None]:
    """End with exit code 130 and a sentence on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("brainmap: interrupted; what was finished is kept, the same command continues", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _names(text: str | None) -> tuple[str, ...] | None:
    """Split ``a,b,c``; ``None`` stays ``None``."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


@app.command()
def fit(
    model: Annotated[str, typer.Option(help="Registered model (see `brainmap models`).")] = "dino-tiny",
    weights: Annotated[str, typer.Option(help="trained, untrained, or a named checkpoint.")] = "trained",
    modality: Annotated[
        ModalityChoice | None, typer.Option(help="What to predict.", show_default="all there is")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="sample (embedded, simulated brains) or own.")] = None,
    subject: Annotated[str | None, typer.Option(help="Subjects, comma-separated.", show_default="all")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers, comma-separated.", show_default="all")] = None,
    signals: Annotated[str, typer.Option(help="Signals, comma-separated.")] = "activation,gradient",
    site: Annotated[str, typer.Option(help="block (residual stream) or mlp (last projection).")] = "block",
    pooling: Annotated[str, typer.Option(help="cls, register-mean, patch-mean, all-mean or flatten.")] = "patch-mean",
    objective: Annotated[
        str | None, typer.Option(help="Loss to backpropagate.", show_default="the model's own")
    ] = None,
    cv: Annotated[int, typer.Option(help="Outer folds, grouped by source photograph.")] = 5,
    pca: Annotated[int | None, typer.Option(help="Principal components, fitted on the train split.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds, permutations and simulation.")] = 0,
    stimuli: Annotated[Path | None, typer.Option(help="Own data: folder or zip of photographs.")] = None,
    responses: Annotated[Path | None, typer.Option(help="Own data: trials x targets, .npy.")] = None,
    targets: Annotated[Path | None, typer.Option(help="Own data: table, one row per target.")] = None,
    events: Annotated[Path | None, typer.Option(help="Own data: table, one row per trial.")] = None,
    table: Annotated[Path | None, typer.Option(help="Own data: table of the photographs (optional).")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="brainmap_runs/...")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    memory: Annotated[str, typer.Option(help="Bound on memory, as 8GB.")] = "4GB",
    batch_size: Annotated[int, typer.Option(help="Images per forward and backward pass.")] = 32,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Predict brain responses from a model's activations and gradients, and write a report.

    Without options: the embedded sample. The same command again finds its finished parts; after Ctrl-C it continues.
    """
    from brainmap.study import Study, StudyConfig

    own = {"stimuli": stimuli, "responses": responses, "targets": targets, "events": events, "table": table}
    given = {name: path for name, path in own.items() if path is not None}
    values: dict[str, Any] = {
        "model": model, "weights": weights, "subjects": _names(subject), "layers": _names(layers),
        "signals": _names(signals), "site": site, "pooling": pooling, "objective": objective, "cv": cv, "pca": pca,
        "seed": seed, "device": device, "memory": memory, "batch_size": batch_size,
        "dataset": dataset or ("own" if given else "sample"), "own": given or None,
        "modality": None if modality in (None, ModalityChoice.both) else (modality.value,),
    }  # fmt: skip
    with _interruptible():
        study = Study(StudyConfig.from_dict(values), out)
        if dry_run:
            _console().print(study.plan().to_text())
        else:
            _finish(study.run(), study.out)


def _finish(results: Any, out: Path) -> None:
    """Print headline numbers and where the report lies."""
    from brainmap.report.methods import plain_answer

    console = _console()
    for sentence in plain_answer(results):
        console.print(sentence)
    console.print(f"\nReport: {out / 'report.html'}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Write the HTML report of a finished run again."""
    from brainmap.study import rewrite_report

    with _interruptible():
        _console().print(f"Report: {rewrite_report(run)}")


@app.command()
def doctor() -> None:
    """Check this machine: Python, packages, devices, embedded data. Exit code 2 when something is missing."""
    from brainmap.study import examine

    checks = examine()
    console = _console()
    for check in checks:
        console.print(f"{'ok     ' if check.ok else 'MISSING'} {check.name}: {check.found}")
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_USER_ERROR)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the registered models."""
    if context.invoked_subcommand is None:
        from brainmap.study import list_models

        _print_table(list_models())


@models_app.command("show")
def models_show(name: Annotated[str, typer.Argument(help="Registered model.")]) -> None:
    """Print a model's card: layers, tokens, objectives, weights, licence."""
    from brainmap.study import describe_model

    for key, value in describe_model(name):
        _console().print(f"{key:<14} {value}")


@data_app.callback()
def data(context: typer.Context) -> None:
    """List the datasets that `brainmap fit --dataset` takes."""
    if context.invoked_subcommand is None:
        from brainmap.study import list_datasets

        _print_table(list_datasets())


def _print_table(rows: list[dict[str, str]]) -> None:
    """Print dictionaries with equal keys as a table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    _console().print(table)


def main() -> None:
    """Run the command line: a user error is one sentence and exit code 2, an interrupt is exit code 130."""
    try:
        app()
    except BrainmapError as error:
        typer.echo(f"brainmap: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)
