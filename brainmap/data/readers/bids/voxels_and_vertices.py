"""Images of BIDS runs: which voxels or vertices are used, and their time series."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError


class Places:
    """Voxels or vertices that are used, and how to read them: one volume, or two surfaces."""

    def __init__(
        self, kept: np.ndarray, shape: tuple[int, ...] = (), affine: np.ndarray | None = None, n_left: int = 0
    ) -> None:
        self.kept, self.volume, self.affine, self.n_left = kept, shape, affine, n_left
        self.count = int(kept.sum())
        self.mesh = "voxels" if affine is not None else "fsaverage"

    @property
    def digest(self) -> str:
        """Changes when other places are used."""
        return hashlib.sha256(np.packbits(self.kept).tobytes()).hexdigest()[:16]

    @classmethod
    def of(cls, images: list[Path], mask: Path | None) -> Places:
        """Decide what to use from the first run."""
        import nibabel

        if images[0].name.endswith(".gii"):
            sides = [np.asarray(_gifti(image)) for image in images]
            moving = np.concatenate([side.std(axis=0) > 0 for side in sides])
            return cls(moving, n_left=sides[0].shape[1])
        first: Any = nibabel.load(images[0])
        if mask is not None:
            chosen: Any = nibabel.load(mask)
            if chosen.shape[:3] != first.shape[:3]:
                raise InputError(
                    f"{mask} is {chosen.shape[:3]}, the runs are {first.shape[:3]}; give a mask in their space."
                )
            return cls(np.asarray(chosen.dataobj).ravel() != 0, first.shape[:3], first.affine)
        from nilearn.masking import compute_epi_mask

        found: Any = compute_epi_mask(first)
        return cls(np.asarray(found.dataobj).ravel() != 0, first.shape[:3], first.affine)

    def series(self, images: list[Path]) -> np.ndarray:
        """Time series of the places used, (n_scans, count) float32."""
        import nibabel

        if self.affine is None:
            return np.concatenate([_gifti(image) for image in images], axis=1)[:, self.kept]
        image: Any = nibabel.load(images[0])
        n_scans = image.shape[3]
        if int(np.prod(image.shape[:3])) != len(self.kept):
            raise InputError(
                f"{images[0]} is {image.shape[:3]}, unlike the first run; use preprocessed runs in one space."
            )
        out = np.empty((n_scans, self.count), dtype=np.float32)
        for start in range(0, n_scans, 50):
            block = np.asarray(image.dataobj[..., start : start + 50], dtype=np.float32)
            out[start : start + 50] = block.reshape(-1, block.shape[-1])[self.kept].T
        return out

    def targets(self) -> pd.DataFrame:
        """One row per place, with the columns of fMRI targets; ``vertex`` counts within the volume or hemisphere."""
        places = np.flatnonzero(self.kept)
        if self.affine is None:
            left = places < self.n_left
            table = pd.DataFrame({"roi": "cortex", "hemisphere": np.where(left, "L", "R")})
            table[["x", "y", "z"]] = np.nan
            return table.assign(vertex=np.where(left, places, places - self.n_left))
        ijk = np.stack(np.unravel_index(places, self.volume), axis=1)
        table = pd.DataFrame({"roi": ["brain"] * len(places), "hemisphere": ""})
        table[["x", "y", "z"]] = ijk @ self.affine[:3, :3].T + self.affine[:3, 3]
        return table.assign(vertex=places)


def _gifti(path: Path) -> np.ndarray:
    import nibabel

    image: Any = nibabel.load(path)
    return np.stack([array.data for array in image.darrays]).astype(np.float32)
