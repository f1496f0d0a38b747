"""Small BIDS folders whose responses are known, written in many equivalent ways."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from nilearn.glm.first_level import compute_regressor
from PIL import Image

TR, N_SCANS, SHAPE, N_IMAGES = 2.0, 64, (4, 3, 3), 8
AFFINE = np.array([[3.0, 0, 0, -5], [0, 3, 0, -4], [0, 0, 3, 2], [0, 0, 0, 1]])
ONSETS = 4.0 + 14.0 * np.arange(N_IMAGES)


def amplitudes(n_images: int = N_IMAGES) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((n_images, *SHAPE))


def bold(onsets: np.ndarray, amplitude: np.ndarray, *, duration: float = 2.0, start: float = 0.0) -> np.ndarray:
    """Noiseless BOLD, (x, y, z, n_scans), around a mean of 1000."""
    times = start + TR * np.arange(N_SCANS)
    series = np.full((*SHAPE, N_SCANS), 1000.0)
    for onset, pattern in zip(onsets, amplitude, strict=True):
        event = np.array([[onset], [duration], [1.0]])
        series += pattern[..., None] * compute_regressor(event, "glover", times)[0][:, 0]
    return series


def save(
    path: Path, data: np.ndarray, *, orientation: str = "RAS", units: str = "sec", tr: float = TR,
    storage: str = "float32",
) -> None:  # fmt: skip
    """Save the same brain with its axes stored in another order and direction, or in another type of numbers."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    affine = AFFINE @ inv_ornt_aff(turn, data.shape[:3])
    kind = {"NIfTI-2": nibabel.Nifti2Image}.get(storage, nibabel.Nifti1Image)
    image: Any = kind(apply_orientation(data, turn).astype(np.float32), affine)
    if storage in ("float64", "int16"):
        image = kind(apply_orientation(data, turn), affine)
        image.header.set_data_dtype(storage)
    elif storage == "big-endian":
        header = nibabel.Nifti1Header(endianness=">")
        header.set_data_dtype(">f4")
        image = kind(apply_orientation(data, turn).astype(">f4"), affine, header)
    elif storage == "quaternions only":
        image.set_sform(None, code=0)
        image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", units)
    if data.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def pictures(root: Path, n_images: int = N_IMAGES) -> None:
    (root / "stimuli").mkdir(parents=True, exist_ok=True)
    for number in range(n_images):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"stimuli/im{number:02d}.png")


def write_table(path: Path, table: pd.DataFrame, *, dialect: str = "tab") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = {"comma": ",", "semicolon": ";", "decimal comma": ";"}.get(dialect, "\t")
    if dialect == "columns turned":
        table = table[table.columns[::-1]]
    if dialect == "capitals":
        table = table.rename(columns={"onset": "Onset", "duration": "DURATION"})
    text = table.to_csv(
        sep=mark, index=False, na_rep="n/a", decimal="," if dialect == "decimal comma" else ".",
        quoting=csv.QUOTE_ALL if dialect == "quoted" else csv.QUOTE_MINIMAL,
    )  # fmt: skip
    if dialect == "crlf":
        text = text.replace("\n", "\r\n")
    if dialect == "trailing":
        text = text.replace("\n", "\t\n")
    path.write_bytes(text.encode({"bom": "utf-8-sig", "utf16": "utf-16"}.get(dialect, "utf-8")))


@dataclass
class Dialect:
    """One way of writing the same two runs."""

    runs: tuple[int, ...] = (1, 2)
    padding: int = 1
    order: tuple[str, ...] = ("sub", "task", "run")
    orientation: tuple[str, str] = ("RAS", "RAS")
    mask_orientation: str = "RAS"
    extension: str = ".nii.gz"
    in_ms: bool = False
    header_units: str = "sec"
    sidecar: bool = True
    table: str = "tab"
    extra: dict[str, str] = field(default_factory=dict)
    storage: str = "float32"
    session: str | None = None
    names: str = "im{:02d}.png"
    last_run_first: bool = False
    volume_timing: bool = False

    def write(self, root: Path) -> None:
        pictures(root)
        everything = amplitudes()
        runs = list(enumerate(self.runs))
        for place, run in reversed(runs) if self.last_run_first else runs:
            shown = np.random.default_rng(run).permutation(N_IMAGES)
            values = {"sub": "01", "task": "x", "run": f"{run:0{self.padding}d}", **self.extra}
            order = self.order if self.session is None else (self.order[0], "ses", *self.order[1:])
            values["ses"] = self.session or ""
            stem = "_".join(f"{key}-{values[key]}" for key in (*order, *self.extra))
            folder = root / ("sub-01/func" if self.session is None else f"sub-01/ses-{self.session}/func")
            factor = 1000.0 if self.in_ms else 1.0
            events = pd.DataFrame({"onset": ONSETS * factor, "duration": 2.0 * factor})
            write_table(
                folder / f"{stem}_events.tsv", events.assign(stim_file=[self.names.format(i) for i in shown]),
                dialect=self.table,
            )  # fmt: skip
            save(
                folder / f"{stem}_bold{self.extension}", bold(ONSETS, everything[shown]),
                orientation=self.orientation[place], units=self.header_units,
                tr=TR * {"sec": 1, "msec": 1e3, "usec": 1e6}[self.header_units], storage=self.storage,
            )  # fmt: skip
        if self.in_ms:
            note(root / "task-x_events.json", onset={"Units": "ms"}, duration={"Units": "ms"})
        if self.volume_timing:
            note(root / "task-x_bold.json", VolumeTiming=(TR * np.arange(N_SCANS)).tolist())
        elif self.sidecar:
            note(root / "task-x_bold.json", RepetitionTime=TR)
            note(root / "task-rest_bold.json", RepetitionTime=3.0)
        mask = np.zeros(SHAPE)
        mask[1:, :2] = 1
        save(root / "mask.nii.gz", mask, orientation=self.mask_orientation)


def note(path: Path, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
