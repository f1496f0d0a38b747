"""Where NSD's betas live: fsaverage (``.mgh``), the subject's own surface or the functional volume (int16 / 300)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.numeric_tables import read_number_column
from brainmap.data.readers.dataset_reader import Options
from brainmap.data.readers.nsd.nsd_areas import (
    ATLASES,
    FSAVERAGE,
    merged,
    named_areas,
    read_labels,
    surface_areas,
    surface_coordinates,
)
from brainmap.data.recordings.brain_images import image_values, load_image
from brainmap.data.recordings.single_trials import signal_at_delay

SCALE = 300.0  # betas in the volume are stored as integers, 300 per percent signal change
FRAMES = 25  # trials read at once
REPETITION_TIME = 4 / 3  # s, of the time series at 1.8 mm and of what is made from them


class Space(ABC):
    """Targets of one subject in one space, and the files that hold their betas."""

    mesh: str

    def __init__(self, root: Path, code: str, options: NSDOptions) -> None:
        self.root, self.code, self.options = root, code, options
        self.folder = root / "nsddata_betas/ppdata" / code / options.space / options.betas

    @cached_property
    @abstractmethod
    def targets(self) -> pd.DataFrame:
        """One row per target, with the columns of fMRI targets and ``ncsnr``."""

    @abstractmethod
    def files(self, session: int) -> list[Path]:
        """Files of a session's betas."""

    @abstractmethod
    def read(self, session: int, start: int, stop: int) -> np.ndarray:
        """Betas of targets ``start`` to ``stop`` in % signal change, (n_trials, k) float."""

    @property
    def digest(self) -> str:
        """Changes when other targets are kept."""
        places = self.targets[["hemisphere", "vertex"]].to_csv(index=False)
        return hashlib.sha256(places.encode()).hexdigest()[:16]


class Surface(Space):
    """Vertices of fsaverage."""

    mesh = "fsaverage"

    @property
    def anatomy(self) -> str:
        """Whose surface: the folder of its labels and meshes."""
        return FSAVERAGE

    @cached_property
    def targets(self) -> pd.DataFrame:
        """Vertices in the mask, left hemisphere first."""
        tables = []
        for side in ("L", "R"):
            names = merged(surface_areas(self.root, side, self.options.atlas, self.anatomy))
            kept = np.arange(len(names))
            if self.options.mask != "all":
                kept = np.flatnonzero(surface_areas(self.root, side, self.options.mask, self.anatomy) != "")
            xyz = surface_coordinates(self.root, side, len(names), self.anatomy)[kept]
            table = pd.DataFrame({"roi": names[kept], "hemisphere": side})
            table[["x", "y", "z"]] = xyz
            table["vertex"] = kept
            table["ncsnr"] = self._ncsnr(side, len(names))[kept]
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def files(self, session: int) -> list[Path]:
        """Left and right ``.mgh`` of a session."""
        return [self.folder / f"{side}h.betas_session{session:02d}.mgh" for side in "lr"]

    def read(self, session: int, start: int, stop: int) -> np.ndarray:
        """Betas of some vertices; a file is read a few trials at a time."""
        chosen = self.targets.iloc[start:stop]
        parts = []
        for side, file in zip("LR", self.files(session), strict=True):
            vertices = chosen.loc[chosen["hemisphere"] == side, "vertex"].to_numpy()
            parts.append(self._read_vertices(file, vertices))
        if parts[0].shape[0] != parts[1].shape[0]:
            raise InputError(
                f"The hemispheres of session {session} have {parts[0].shape[0]} and {parts[1].shape[0]} trials."
            )
        return np.concatenate(parts, axis=1)

    def _read_vertices(self, file: Path, vertices: np.ndarray) -> np.ndarray:
        """All trials of some vertices of a hemisphere, (n_trials, k)."""
        return _read_frames(file, vertices)

    def _ncsnr(self, side: str, n_vertices: int) -> np.ndarray:
        file = self.folder / f"{side.lower()}h.ncsnr.mgh"
        if not file.is_file():
            return np.full(n_vertices, np.nan)

        image: Any = load_image(file)
        values = np.asarray(image_values(image), dtype=np.float32).ravel()
        if len(values) != n_vertices:
            raise InputError(f"{file} has {len(values)} vertices, the label files {n_vertices}; fetch them anew.")
        return values


class NativeSurface(Surface):
    """Vertices of the subject's own surface: HDF5, ``betas`` (trials × vertices), int16, 300 per percent."""

    mesh = "nativesurface"

    @property
    def anatomy(self) -> str:
        """The subject."""
        return self.code

    def files(self, session: int) -> list[Path]:
        """Left and right HDF5 file of a session."""
        return [self.folder / f"{side}h.betas_session{session:02d}.hdf5" for side in "lr"]

    def _read_vertices(self, file: Path, vertices: np.ndarray) -> np.ndarray:
        import h5py

        with h5py.File(file, "r") as opened:
            betas = _betas(opened, file)
            if betas.ndim != 2 or (len(vertices) and vertices.max() >= betas.shape[1]):
                raise InputError(f"{file} has betas of shape {betas.shape}, the label files more vertices; fetch anew.")
            out = np.empty((betas.shape[0], len(vertices)), dtype=np.float32)
            for first in range(0, betas.shape[0], FRAMES):
                out[first : first + FRAMES] = _percent(betas[first : first + FRAMES][:, vertices])
        return out


class Volume(Space):
    """Voxels of the functional volume at 1.8 mm."""

    mesh = "func1pt8mm"

    @cached_property
    def targets(self) -> pd.DataFrame:
        """Voxels in the mask; ``vertex`` is the voxel's place in the flattened (x, y, z) volume, C order."""
        areas, sides = self._areas(self.options.atlas)
        kept = np.arange(len(areas))
        if self.options.mask != "all":
            kept = np.flatnonzero(self._areas(self.options.mask)[0] != "")
        ijk = np.stack(np.unravel_index(kept, self._volume.shape[:3]), axis=1)
        xyz = ijk @ self._volume.affine[:3, :3].T + self._volume.affine[:3, 3]
        table = pd.DataFrame({"roi": merged(areas[kept]), "hemisphere": sides[kept]})
        table[["x", "y", "z"]] = xyz
        table["vertex"] = kept
        table["ncsnr"] = self._ncsnr(kept)
        return table

    @cached_property
    def _volume(self) -> Any:

        file = self._roi_file("l", self.options.atlas)
        if not file.is_file():
            raise MissingFileError(
                f"There is no label file {file}; get it with: brainmap data fetch nsd --for fit-func1pt8mm"
            )
        return load_image(file)

    def _roi_file(self, side: str, atlas: str) -> Path:
        return self.root / "nsddata/ppdata" / self.code / "func1pt8mm/roi" / f"{side}h.{atlas}.nii.gz"

    def _areas(self, atlas: str) -> tuple[np.ndarray, np.ndarray]:
        areas = np.full(int(np.prod(self._volume.shape[:3])), "", dtype="<U16")
        sides = np.full(len(areas), "", dtype="<U1")
        for side in ("l", "r"):
            numbers = read_labels(self._roi_file(side, atlas))
            named = named_areas(numbers, atlas)
            areas[named != ""] = named[named != ""]
            sides[numbers >= 0] = side.upper()  # NSD writes -1 in the other hemisphere
        return areas, sides

    def _ncsnr(self, kept: np.ndarray) -> np.ndarray:
        file = self.folder / "ncsnr.nii.gz"
        if not file.is_file():
            return np.full(len(kept), np.nan)

        image: Any = load_image(file)
        return np.asarray(image_values(image), dtype=np.float32).ravel(order="C")[kept]

    def files(self, session: int) -> list[Path]:
        """HDF5 file of a session, or NIfTI where only this is on disk."""
        names = [self.folder / f"betas_session{session:02d}{suffix}" for suffix in (".hdf5", ".nii.gz", ".nii")]
        return [next((file for file in names if file.is_file()), names[0])]

    def read(self, session: int, start: int, stop: int) -> np.ndarray:
        """Betas of some voxels; the file is read a few trials at a time."""
        kept = self.targets["vertex"].to_numpy()[start:stop]
        i, j, k = np.unravel_index(kept, self._volume.shape[:3])
        file = self.files(session)[0]
        if file.suffix != ".hdf5":
            return self._read_nifti(file, (i, j, k))
        import h5py

        with h5py.File(file, "r") as opened:
            betas = _betas(opened, file)
            if betas.shape[1:] != tuple(reversed(self._volume.shape[:3])):
                raise InputError(
                    f"{file} has volumes of {betas.shape[1:]} (z, y, x); the areas' are {self._volume.shape}."
                )
            out = np.empty((betas.shape[0], len(kept)), dtype=np.float32)
            for first in range(0, betas.shape[0], FRAMES):
                out[first : first + FRAMES] = _percent(betas[first : first + FRAMES][:, k, j, i])
        return out

    def _read_nifti(self, file: Path, ijk: tuple[np.ndarray, ...]) -> np.ndarray:

        image: Any = load_image(file)
        if len(image.shape) != 4 or image.shape[:3] != self._volume.shape[:3]:
            raise InputError(f"{file} has shape {image.shape}; the areas' volume is {self._volume.shape}.")
        slope = image.dataobj.slope
        out = np.empty((image.shape[3], len(ijk[0])), dtype=np.float32)
        for first in range(0, image.shape[3], FRAMES):
            block = image_values(image, np.s_[..., first : first + FRAMES])[ijk].T
            # A file whose header scales its integers gives percent already.
            out[first : first + FRAMES] = _percent(block) if slope == 1 else block
        return out


class SurfaceSeries(Surface):
    """Vertices of fsaverage, with the BOLD signal some seconds after each onset instead of betas.

    Time series on fsaverage are not in the public bucket: they are made from the volumes with NSD's own mapping tools
    and expected as ``nsddata_timeseries/ppdata/subj01/fsaverage/timeseries/lh.timeseries_session01_run01.mgh``, with
    the published designs (``func1pt8mm/design/design_session01_run01.tsv``, one row per volume: 0, or the photograph).
    """

    def _run_files(self, session: int) -> list[tuple[Path, Path, Path]]:
        """Design, left and right series of each run of a session."""
        base = self.root / "nsddata_timeseries/ppdata" / self.code
        files = []
        for design in sorted((base / "func1pt8mm/design").glob(f"design_session{session:02d}_run*.tsv")):
            run = design.stem.removeprefix("design_")
            sides = [base / f"fsaverage/timeseries/{side}h.timeseries_{run}.mgh" for side in "lr"]
            files.append((design, sides[0], sides[1]))
        return files

    def files(self, session: int) -> list[Path]:
        """Designs and series of a session."""
        files = [file for run in self._run_files(session) for file in run]
        return files or [self.root / "nsddata_timeseries/ppdata" / self.code / f"session {session}"]

    def read(self, session: int, start: int, stop: int) -> np.ndarray:
        """Signal at the delay of some vertices, run after run."""
        chosen = self.targets.iloc[start:stop]
        vertices = [chosen.loc[chosen["hemisphere"] == side, "vertex"].to_numpy() for side in "LR"]
        parts = []
        for design, left, right in self._run_files(session):
            shown = read_number_column(design)
            series = np.concatenate(
                [_read_frames(file, kept) for file, kept in zip((left, right), vertices, strict=True)], axis=1
            )
            if len(series) != len(shown):
                raise InputError(f"{left} has {len(series)} volumes, {design} {len(shown)} rows; make the series anew.")
            scans = np.arange(len(series)) * REPETITION_TIME
            onsets = scans[shown > 0]
            blocks = list(signal_at_delay(series, onsets, scans, delay=self.options.delay))
            parts.append(np.concatenate(blocks, axis=1))
        return np.concatenate(parts)

    def order(self, session: int) -> np.ndarray:
        """Photographs (rows of the stimulus brick) in the order of the designs."""
        shown = [read_number_column(design) for design, _, _ in self._run_files(session)]
        everything = np.concatenate(shown)
        rows: np.ndarray = everything[everything > 0].astype(np.int64) - 1
        return rows


def open_space(root: Path, code: str, options: NSDOptions) -> Space:
    """Open the space that the options name."""
    if options.estimate == "bold":
        if options.space != "fsaverage":
            raise InputError("The signal at a delay is read from surface time series: space must be fsaverage.")
        return SurfaceSeries(root, code, options)
    spaces: dict[str, type[Space]] = {"fsaverage": Surface, "nativesurface": NativeSurface, "func1pt8mm": Volume}
    return spaces[options.space](root, code, options)


def _betas(opened: Any, file: Path) -> Any:
    if "betas" not in opened:
        raise InputError(f"{file} has no dataset 'betas'; it has {sorted(opened)}.")
    return opened["betas"]


def _percent(block: np.ndarray) -> np.ndarray:
    """Percent signal change, float32: integers are stored as 300 per percent."""
    percent: np.ndarray = block / np.float32(SCALE) if block.dtype.kind in "iu" else block.astype(np.float32)
    return percent


def _read_frames(file: Path, vertices: np.ndarray) -> np.ndarray:

    image: Any = load_image(file)
    n_vertices = int(np.prod(image.shape[:3]))
    if len(vertices) and vertices.max() >= n_vertices:
        raise InputError(f"{file} has {n_vertices} vertices, the label files more; fetch them anew.")
    n_frames = image.shape[3] if len(image.shape) > 3 else 1
    out = np.empty((n_frames, len(vertices)), dtype=np.float32)
    for first in range(0, n_frames, FRAMES):
        frames = image_values(image, np.s_[..., first : first + FRAMES])
        out[first : first + FRAMES] = frames.reshape(n_vertices, -1, order="F")[vertices].T
    return out


class NSDOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    space : {"fsaverage", "nativesurface", "func1pt8mm"}
        Vertices of fsaverage or of the subject's own surface, or voxels of the functional volume.
    mask : str
        Keep targets that this atlas labels; ``all`` keeps everything that was measured.
    atlas : str
        Whose names become the targets' ``roi``.
    zscore : {"session", "none"}
        Standardise every target within each session, as NSD's authors advise, or leave betas in percent signal change.
    sessions : tuple of int, optional
        Sessions to use; all the subject has by default.
    betas : str
        Version of the betas.
    estimate : {"betas", "bold"}
        Published betas, or the BOLD signal ``delay`` seconds after onset from time series on fsaverage.
    delay : float
        In s.
    block : int
        Bytes of betas held at once while preparing.
    """

    space: Literal["fsaverage", "nativesurface", "func1pt8mm"] = "fsaverage"
    mask: Literal["all", *ATLASES] = "nsdgeneral"  # type: ignore[valid-type]
    atlas: Literal[ATLASES] = "HCP_MMP1"  # type: ignore[valid-type]
    zscore: Literal["session", "none"] = "session"
    sessions: tuple[int, ...] | None = None
    betas: str = "betas_fithrf_GLMdenoise_RR"
    estimate: Literal["betas", "bold"] = "betas"
    delay: float = 5.5
    block: int = 256 * 2**20
