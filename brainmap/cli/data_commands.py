"""``brainmap data``: which datasets there are, what is on disk, what an analysis needs, how to get and check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainmap.cli.console import EXIT_USER_ERROR, console, interruptible, names, print_table, settings_table

if TYPE_CHECKING:
    from brainmap.data.fetching import FetchPlan


data_app = typer.Typer(
    help="Data: what there is, what is on disk, how to get it and check it.", invoke_without_command=True
)

Name = Annotated[str, typer.Argument(help="Dataset (see `brainmap data list`), or a manifest's path.")]
Root = Annotated[Path | None, typer.Option("--data-root", help="Folder of the data.", show_default="$BRAINMAP_DATA")]
Subject = Annotated[str | None, typer.Option(help="Subjects, comma-separated.", show_default="all")]
Purpose = Annotated[str | None, typer.Option("--for", help="What for, such as fit.", show_default="everything")]

SHOWN = 40


@data_app.callback()
def data(context: typer.Context) -> None:
    """List the datasets that `brainmap fit --dataset` takes."""
    if context.invoked_subcommand is None:
        data_list()


@data_app.command("list")
def data_list() -> None:
    """List the datasets that `brainmap fit --dataset` takes."""
    from brainmap.study import list_datasets

    print_table(list_datasets())


@data_app.command("show")
def data_show(name: Name, data_root: Root = None) -> None:
    """Show a dataset: size, licence, photographs, what is on disk and what is missing per subject."""
    from brainmap.study.inspection.listing import dataset_state, describe_dataset

    for key, value in describe_dataset(name):
        console().print(f"{key:<12} {value}", markup=False)
    rows = dataset_state(name, data_root)
    if rows:
        console().print()
        print_table(rows)


@data_app.command("plan")
def data_plan(
    name: Name,
    subject: Subject = None,
    purpose: Purpose = "fit",
    data_root: Root = None,
    everything: Annotated[bool, typer.Option("--all", help="Name every file, however many there are.")] = False,
) -> None:
    """Name the files an analysis needs, and the total; fetches nothing. Without a folder all are missing."""
    import os

    from brainmap.data.fetching.dataset import ROOT_VARIABLE, Dataset

    dataset = Dataset.open(name, data_root or os.environ.get(ROOT_VARIABLE) or Path.cwd())
    plan = dataset.plan(purpose, names(subject))
    absent = {entry.path for entry in [*plan.missing, *plan.wrong]}
    screen = console()
    shown = plan.wanted if everything or len(plan.wanted) <= SHOWN + 1 else plan.wanted[:SHOWN]
    for entry in shown:
        about = "" if entry.bytes is not None else "about "
        size = f"{about}{entry.expected_bytes:,}" if entry.expected_bytes else "size not published"
        screen.print(f"{'missing' if entry.path in absent else 'there  '}  {size:>22}  {entry.path}", markup=False)
    if folded := plan.wanted[len(shown) :]:
        rest = sum(entry.expected_bytes or 0 for entry in folded) / 1e9
        screen.print(f"… and {len(folded):,} more files ({rest:,.1f} GB); --all names them", markup=False)
    _print_totals(plan)


@data_app.command("fetch")
def data_fetch(
    name: Name,
    subject: Subject = None,
    purpose: Purpose = "fit",
    data_root: Root = None,
    jobs: Annotated[int, typer.Option(help="Files at once.")] = 4,
    accept: Annotated[bool, typer.Option("--accept-terms", help="Agree to the dataset's terms of use.")] = False,
) -> None:
    """Download what is missing: resumable, checked by size and hash, only after agreeing to the terms."""
    from brainmap.data.fetching import Dataset, accept_terms, fetch

    dataset = Dataset.open(name, data_root)
    if accept:
        where = accept_terms(dataset.manifest)
        console().print(f"Agreed to the terms of {dataset.manifest.title}; remembered in {where}")
    with interruptible():
        plan = fetch(dataset, purpose=purpose, subjects=names(subject), jobs=jobs)
    fetched = len(plan.missing) + len(plan.wrong)
    console().print(f"{fetched} files fetched, {len(plan.wanted) - fetched} were there, in {dataset.root}")


@data_app.command("verify")
def data_verify(
    name: Name,
    subject: Subject = None,
    purpose: Purpose = None,
    data_root: Root = None,
    full: Annotated[bool, typer.Option("--full", help="Compare hashes, not only sizes.")] = False,
    only: Annotated[str | None, typer.Option(help="Pattern of paths to look at.")] = None,
) -> None:
    """Compare what is on disk with the manifest and name each bad file; exit code 2 if there is one."""
    from brainmap.data.fetching import Dataset, verify

    dataset = Dataset.open(name, data_root)
    with interruptible():
        report = verify(dataset, purpose=purpose, subjects=names(subject), full=full, only=only)
    screen = console()
    for what, path in report.problems():
        screen.print(f"{what:<11} {path}", markup=False)
    if report.unhashed:
        screen.print(f"{len(report.unhashed)} files have no published hash: only their size was compared")
    verdict = "all right" if report.ok else "not all right"
    screen.print(f"{report.checked:,} files compared by {'hash' if full else 'size'}, {verdict}")
    if not report.ok:
        raise typer.Exit(EXIT_USER_ERROR)


@data_app.command("import")
def data_import(
    name: Name,
    source: Annotated[Path, typer.Argument(help="Folder that holds files of the dataset.")],
    data_root: Root = None,
    check: Annotated[bool, typer.Option("--hash", help="Compare published hashes too.")] = False,
) -> None:
    """Adopt files that are already somewhere on this machine, by link."""
    from brainmap.data.fetching import Dataset, adopt

    dataset = Dataset.open(name, data_root)
    result = adopt(dataset, source, check_hashes=check)
    screen = console()
    for path, why in list(result.refused.items())[:SHOWN]:
        screen.print(f"refused  {path}: {why}", markup=False)
    screen.print(
        f"{len(result.linked)} files linked, {len(result.present)} were there, {len(result.refused)} refused, "
        f"in {dataset.root}"
    )


def _print_totals(plan: FetchPlan) -> None:
    about = "" if plan.exact else "about "
    console().print(
        f"\n{len(plan.wanted):,} files, {about}{plan.bytes:,} bytes ({plan.bytes / 1e9:.1f} GB); "
        f"missing: {len(plan.missing) + len(plan.wrong):,} files, {about}{plan.missing_bytes:,} bytes "
        f"({plan.missing_bytes / 1e9:.1f} GB)"
    )


@data_app.command("check")
def data_check(
    name: Name,
    subject: Annotated[str, typer.Option(help="Subject.")],
    data_root: Root = None,
    stimuli: Annotated[Path | None, typer.Option(help="Folder or zip of photographs.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for figure and tables.")] = Path("brainmap_quality"),
    set_: Annotated[list[str] | None, typer.Option("--set", help="Setting of the reader, as atlas=streams.")] = None,
) -> None:
    """Draw what to look at before believing a recording: trials, repeats, evoked response, lags, ceilings, sessions."""
    from brainmap.study.inspection.recording_check import check_dataset

    with interruptible():
        sentences, files = check_dataset(
            name, subject, out, data_root=data_root, stimuli=stimuli, options=settings_table(set_ or [])
        )
    screen = console()
    for sentence in sentences:
        screen.print(sentence, markup=False)
    screen.print(f"\nFigure: {files[0]}")
