"""``brainmap models``: which vision models there are, and what each can give."""

from __future__ import annotations

from typing import Annotated

import typer

from brainmap.cli.console import console, print_table

models_app = typer.Typer(help="Vision models: which there are, and what each can give.", invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the registered models."""
    if context.invoked_subcommand is None:
        from brainmap.study import describe_models

        print_table(describe_models())
        console().print(
            "Further: any folder or repository of a transformers vision model; timm:NAME, torchvision:NAME and "
            "open_clip:NAME/TAG where those packages are installed. Networks released as code of their own "
            "(RVM, VITO, LCL-V2) go through brainmap.models.from_module(network, layers=…).",
            soft_wrap=True,
        )


@models_app.command("show")
def models_show(name: Annotated[str, typer.Argument(help="Registered model.")]) -> None:
    """Print a model's card: layers, tokens, objectives, weights, licence."""
    from brainmap.study import describe_model

    for key, value in describe_model(name):
        console().print(f"{key:<14} {value}")
