"""``brainmap predict``: responses to new photographs, from the encoders that a run has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmap.cli.console import console, interruptible
from brainmap.common.readable import counted


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run that has kept its encoders.")],
    photographs: Annotated[Path, typer.Argument(help="Folder or zip of photographs.")],
    out: Annotated[Path, typer.Option(help="Zarr folder of the predicted responses.")] = Path("responses.zarr"),
    modality: Annotated[str | None, typer.Option(help="fmri, meg or eeg.", show_default="the run's first")] = None,
    signal: Annotated[str, typer.Option(help="What predicts: activation or gradient.")] = "activation",
    subject: Annotated[str | None, typer.Option(help="One subject.", show_default="all")] = None,
    layer: Annotated[str | None, typer.Option(help="Of several layers that were kept, which.")] = None,
    sheets: Annotated[
        Path | None, typer.Option(help="Also write, for each area, a sheet of the photographs that drive it most.")
    ] = None,
) -> None:
    """Predict the responses to new photographs; the run must have kept its encoders (`fit --keep encoders`)."""
    from brainmap.study import open_run
    from brainmap.study.encoders.written import write_predictions, write_sheets

    with interruptible():
        finished = open_run(run)
        encoder = finished.encoder(modality or finished.modalities[0], signal=signal, subject=subject)
        screen = console()
        screen.print(encoder.describe())
        predicted, stimuli = encoder.predict_photographs(photographs, layer=layer)
        write_predictions(predicted, out)
        counts = [counted(predicted.sizes[name], name) for name in ("subject", "target")]
        sizes = f"{counts[0]} × {len(stimuli):,} stimuli × {counts[1]}"
        screen.print(f"Predicted: {sizes} ({predicted.nbytes / 1e6:,.1f} MB) in {out}")
        if sheets is not None:
            files = write_sheets(encoder, predicted, stimuli, sheets)
            screen.print(f"Sheets: {len(files)} in {sheets}, and drivers.csv")
