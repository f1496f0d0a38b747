"""Predicted responses, and the photographs that drive each area, as files."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

from brainmap.common.storage.digests import sealed_folder
from brainmap.stimuli import StimulusSet
from brainmap.study.encoders.fitted_encoder import FittedEncoder

KIND = "predicted responses"


def write_predictions(predicted: xr.DataArray, path: str | Path) -> Path:
    """Write predictions to a Zarr folder, with digests; ``xarray.open_zarr`` reads it.

    Raises
    ------
    InputError
        If the folder holds anything else than predictions.
    """
    texts = [name for name, values in predicted.coords.items() if values.dtype.kind in "UO"]
    plain = {  # Zarr has no specification of texts of one width
        name: (predicted[name].dims, np.array(predicted[name].values.tolist(), dtype=np.dtypes.StringDType()))
        for name in texts
    }
    predicted = predicted.assign_coords(plain)
    # Consolidated, so that readers do not list the folder and wonder at the digests.
    with sealed_folder(Path(path), KIND) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        predicted.to_dataset().to_zarr(partial, mode="w", zarr_format=3, consolidated=True)
    return Path(path)


def write_sheets(encoder: FittedEncoder, predicted: xr.DataArray, stimuli: StimulusSet, folder: Path) -> list[Path]:
    """Write ``drivers.csv`` and one PNG an area: the photographs that drive it most."""
    from brainmap.report.figures import driver_sheet

    folder.mkdir(parents=True, exist_ok=True)
    table = encoder.drivers(predicted)
    table.to_csv(folder / "drivers.csv", index=False)
    files = []
    simulated = "SIMULATED " if encoder.about["simulated"] else ""
    for area, rows in table.groupby(table.columns[0], sort=False):
        figure = driver_sheet(
            rows,
            [stimuli.image(row) for row in rows["row"]],
            title=f"Largest predicted {simulated}{encoder.modality} responses of {len(stimuli):,} photographs",
        )
        files.append(folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', str(area))}.png")
        figure.savefig(files[-1], dpi=150)
    return files
