"""``brainmap models``: which vision models there are, and what each can give."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from brainmap.cli.console import console, print_table

WIDTH = 100

_FURTHER = (
    "Architecture, source and licence of each: brainmap models show NAME. Further: any folder or repository of a "
    "transformers vision model; timm:NAME, torchvision:NAME and open_clip:NAME/TAG where those packages are installed. "
    "Networks released as code of their own (RVM, VITO, LCL-V2) go through brainmap.from_module(network, layers=…)."
)

models_app = typer.Typer(help="Vision models: which there are, and what each can give.", invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the registered models."""
    if context.invoked_subcommand is None:
        from brainmap.study import describe_models

        print_table(_fitting([_short(row) for row in describe_models()]))
        console().print(textwrap.fill(_FURTHER, WIDTH))


def _short(row: dict[str, str]) -> dict[str, str]:
    """Columns of the listing; ``models show`` says the rest."""
    where = row["weights"].removeprefix("not here: ").partition(" from ")[0].partition(",")[0].partition(":")[0]
    words = {"fetched": "to fetch", "download": "to download", "installed package": "installed"}
    return {
        **{name: row[name] for name in ("model", "parameters", "objective")},
        "weights": words.get(where, where),
        "licence": row["licence"].partition(" (")[0].partition(";")[0],
    }


def _fitting(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Cut licences so that every row fits the width."""
    others = [name for name in rows[0] if name != "licence"]
    room = WIDTH - sum(2 + max(len(name), *(len(row[name]) for row in rows)) for name in others)
    return [row | {"licence": text if len(text := row["licence"]) <= room else text[: room - 1] + "…"} for row in rows]


@models_app.command("show")
def models_show(name: Annotated[str, typer.Argument(help="Registered model.")]) -> None:
    """Print a model's card: layers, tokens, objectives, weights, licence."""
    from brainmap.study import describe_model

    for key, value in describe_model(name):
        console().print(f"{key:<14} {value}")
