"""What a simulation planted, and how to keep it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import as_names
from brainmap.common.storage.digests import is_sealed, reading, sealed_folder
from brainmap.common.storage.files import recover_folder
from brainmap.data.simulation.latents import EARLIER, GRADIENT, UNMODELLED

KIND = "ground truth"
TABLES = ("areas", "vertices", "times")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What an analysis of the simulated responses should find.

    Parameters
    ----------
    seed : int
        Of the simulation.
    config : dict
        Its settings.
    layers : tuple of str
        Layers, shallow to deep; depths run from 0 to 1.
    gradient_areas : tuple of str
        Areas with a gradient part beyond activations; empty if none was planted.
    gradient_window : tuple of float or None
        Its time in the MEG, s.
    areas : pandas.DataFrame
        ``roi``, ``hemisphere``, ``distance_mm``, ``depth`` (planted), ``gradient_share``, centre, ``n_vertices``.
    vertices : pandas.DataFrame
        One row per fMRI target: ``roi``, ``depth``, ``layer`` (nearest), ``gradient_share``.
    times : pandas.DataFrame
        One row per MEG sample: ``time``, ``depth`` (mean of the layers' depths weighted by power, NaN where nothing is
        driven), ``layer`` (strongest), ``activation_power``, ``gradient_power``.
    arrays : dict of str to numpy.ndarray
        ``stimulus`` (n_images,) ids; ``latents`` (n_images, m) and their ``latent_layer`` (m,); for each subject
        ``fmri/S1/weights`` (m, n_vertices), ``fmri/S1/ceiling``, ``meg/S1/patterns`` (m, n_sensors), ``meg/S1/courses``
        (m, n_times), ``meg/S1/ceiling``.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.data.simulation import SimulationConfig, toy_features
    >>> features, table = toy_features()
    >>> truth = brainmap.simulate(features, table, config=SimulationConfig.small())["truth"]
    >>> depth = truth.areas.set_index("roi")["depth"]
    >>> bool(depth["V1"] < depth["IFJa"])
    True
    >>> truth.ceiling("fmri", "S1").shape
    (135,)
    """

    seed: int
    config: dict[str, Any]
    layers: tuple[str, ...]
    gradient_areas: tuple[str, ...]
    gradient_window: tuple[float, float] | None
    areas: pd.DataFrame
    vertices: pd.DataFrame
    times: pd.DataFrame
    arrays: dict[str, np.ndarray]

    def ceiling(self, modality: str, subject: str) -> np.ndarray:
        """Noise ceiling of each target: r between the mean over repeats and the noiseless response, (n_targets,)."""
        return self._array(f"{modality}/{subject}/ceiling")

    def noiseless(self, modality: str, subject: str, *, parts: tuple[str, ...] | None = None) -> np.ndarray:
        """Responses without noise, one row per image.

        Parameters
        ----------
        modality : {'fmri', 'meg'}
            Kind.
        subject : str
            Name.
        parts : tuple of {'activation', 'gradient', 'earlier gradient', 'unmodelled'}, optional
            Only these parts; all by default.

        Returns
        -------
        numpy.ndarray of float32, (n_images, n_targets)
        """
        latents, layer = self.arrays["latents"], self.arrays["latent_layer"]
        if parts is not None:
            kinds = {"activation": layer >= 0, "gradient": layer == GRADIENT, "unmodelled": layer == UNMODELLED}
            kinds["earlier gradient"] = layer == EARLIER
            keep = np.any([kinds[part] for part in as_names(parts)], axis=0)
            latents = latents * keep
        if modality == "fmri":
            return (latents @ self._array(f"fmri/{subject}/weights")).astype(np.float32)
        patterns, courses = self._array(f"meg/{subject}/patterns"), self._array(f"meg/{subject}/courses")
        return (latents @ (patterns[:, :, None] * courses[:, None, :]).reshape(len(patterns), -1)).astype(np.float32)

    def to_report(self) -> dict[str, Any]:
        """What the report marks: ``residual_areas``, ``residual_window`` (s) and ``depth_by_area``."""
        report: dict[str, Any] = {"simulated": True, "seed": self.seed, "residual_areas": list(self.gradient_areas)}
        report["residual_window"] = None if self.gradient_window is None else list(self.gradient_window)
        report["depth_by_area"] = self.areas.groupby("roi", sort=False)["depth"].mean().to_dict()
        return report

    def save(self, folder: str | Path) -> None:
        """Write ``truth.json``, one .tsv per table and ``arrays.npz`` into a folder of their own, with digests."""
        about = {
            "simulated": True,
            "seed": self.seed,
            "config": self.config,
            "layers": list(self.layers),
            "gradient_areas": list(self.gradient_areas),
            "gradient_window": None if self.gradient_window is None else list(self.gradient_window),
        }
        with sealed_folder(Path(folder), KIND) as path:
            (path / "truth.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
            for name in TABLES:
                getattr(self, name).to_csv(path / f"{name}.tsv", sep="\t", index=False)
            np.savez(path / "arrays.npz", **self.arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: str | Path) -> GroundTruth:
        """Read what ``save`` wrote.

        Raises
        ------
        MissingFileError
            If there is none.
        DamagedError
            If it is not what was written; names the file.
        """
        path = Path(folder)
        recover_folder(path)
        if not is_sealed(path) and not (path / "truth.json").is_file():
            raise MissingFileError(
                f"There is no ground truth in {path}; simulate again, or give the folder it was saved in."
            )
        with reading(path, KIND):
            return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> GroundTruth:
        about = json.loads((path / "truth.json").read_text(encoding="utf-8"))
        text = {"roi": str, "layer": str, "hemisphere": str}
        tables = {
            name: pd.read_csv(
                path / f"{name}.tsv", sep="\t", dtype=text, keep_default_na=False, na_values={"depth": [""]}
            )
            for name in TABLES
        }
        with np.load(path / "arrays.npz", allow_pickle=False) as file:
            arrays = dict(file)
        window = about["gradient_window"]
        return cls(
            seed=about["seed"],
            config=about["config"],
            layers=tuple(about["layers"]),
            gradient_areas=tuple(about["gradient_areas"]),
            gradient_window=None if window is None else (window[0], window[1]),
            arrays=arrays,
            **tables,
        )

    def __repr__(self) -> str:
        subjects = ", ".join(self.config.get("subjects", ()))
        areas = ", ".join(self.gradient_areas) or "no area"
        return f"GroundTruth(simulated, seed {self.seed}, subjects {subjects}; gradients beyond activations in {areas})"

    def _array(self, key: str) -> np.ndarray:
        if key not in self.arrays:
            known = sorted({name.rsplit("/", 1)[0] for name in self.arrays if "/" in name})
            raise InputError(f"The ground truth has no {key}; it holds {', '.join(known)}.")
        return self.arrays[key]
