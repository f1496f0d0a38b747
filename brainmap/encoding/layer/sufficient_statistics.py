"""Sufficient statistics: what ridge needs to know about images and responses, in a form that adds up.

Statistics of blocks of images that live on different machines, in one `Basis`, merge with ``+``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.encoding.layer.z_scores import (
    Basis,
    FeatureMoments,
    column_power,
    cross_products,
    gram_product,
    power_of_two,
)

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class SufficientStatistics:
    """Everything ridge needs, per atom of rows, in one basis. Add blocks of images with ``+``.

    Attributes
    ----------
    basis : Basis
        Coordinates of the features.
    target_shift : ndarray, shape (n_targets,)
        Constant subtracted from the responses.
    gram : ndarray, shape (n_atoms, rank + 1, rank + 1)
        Products of ``[z, 1]`` with itself, float64; the last entry of the diagonal counts rows.
    cross : ndarray, shape (n_atoms, rank + 1, n_targets)
        Products of ``[z, 1]`` with the shifted responses, float64; the last row sums them.
    power : ndarray, shape (n_atoms, n_targets)
        Sums of squared shifted responses.
    low, high : ndarray, shape (n_atoms, n_targets)
        Smallest and largest shifted response.
    features : FeatureMoments
        Of the features in their own units.
    """

    basis: Basis
    target_shift: Float64
    gram: Float64
    cross: Float64
    power: Float64
    low: Float64
    high: Float64
    features: FeatureMoments

    @classmethod
    def of(
        cls, X: NDArray[Any], Y: NDArray[Any], atoms: ArrayLike, *, n_atoms: int, basis: Basis, target_shift: ArrayLike
    ) -> SufficientStatistics:
        """Accumulate one block of rows.

        Parameters
        ----------
        X, Y : ndarray
            Features (n_rows, n_features) and responses (n_rows, n_targets) of the block.
        atoms : array-like of int, shape (n_rows,)
            Atom of each row (`SplitPlan.atoms` of these rows).
        n_atoms : int
            Number of atoms of the whole plan.
        basis, target_shift
            The same for every block (`Moments.basis` and mean response of the merged first pass).
        """
        atoms, shift = np.asarray(atoms), np.asarray(target_shift, dtype=np.float64)
        F = np.column_stack([basis.transform(X), np.ones(len(X), dtype=np.float32)])
        shifted = np.asarray(Y, dtype=np.float64) - shift
        scale = power_of_two(np.abs(shifted).max(axis=0))  # so that any unit fits float32
        small = (shifted / scale).astype(np.float32)
        size, n_targets = F.shape[1], shifted.shape[1]
        gram, cross = np.zeros((n_atoms, size, size)), np.zeros((n_atoms, size, n_targets))
        power, low, high = (np.full((n_atoms, n_targets), value) for value in (0.0, np.inf, -np.inf))
        for atom in np.unique(atoms):
            rows = atoms == atom
            gram[atom] = gram_product(F[rows])
            cross[atom] = cross_products(F[rows], small[rows], [slice(0, int(rows.sum()))])[0] * scale
            power[atom] = column_power(shifted[rows])
            low[atom], high[atom] = shifted[rows].min(axis=0), shifted[rows].max(axis=0)
        return cls(basis, shift, gram, cross, power, low, high, FeatureMoments.of(X, atoms, n_atoms))

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        if not self.basis.matches(other.basis) or not np.array_equal(self.target_shift, other.target_shift):
            raise InputError("statistics in different bases cannot be added; use one basis and one target shift.")
        return replace(
            self,
            gram=self.gram + other.gram,
            cross=self.cross + other.cross,
            power=self.power + other.power,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            features=self.features + other.features,
        )

    @property
    def n(self) -> int:
        """Number of rows accumulated."""
        return round(float(self.gram[:, -1, -1].sum()))

    def save(self, path: str | Path) -> Path:
        """Write to a Zarr directory and return its path."""
        import zarr

        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        group.attrs["kind"] = "brainmap sufficient statistics"
        for name, array in self._arrays().items():
            group.create_array(name, data=array)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> SufficientStatistics:
        """Read what `save` wrote."""
        import zarr

        if not Path(path).is_dir():
            raise InputError(f"no statistics at {path}; give the directory that `SufficientStatistics.save` wrote.")
        group = zarr.open_group(str(path), mode="r")
        parts: dict[str, Any] = {name: np.asarray(group[name]) for name in group.array_keys()}
        if "features_n" not in parts:
            raise InputError(
                f"the statistics at {path} lack the moments of each feature (an older version wrote them); "
                "accumulate them again."
            )
        basis = Basis(parts.pop("shift"), parts.pop("directions"), parts.pop("back"))
        moments = {name: parts.pop(name) for name in list(parts) if name.startswith("features_")}
        features = FeatureMoments(**{name.removeprefix("features_"): array for name, array in moments.items()})
        return cls(basis=basis, features=features, **parts)

    def _arrays(self) -> dict[str, Float64]:
        return {
            "shift": self.basis.shift,
            "directions": self.basis.directions,
            "back": self.basis.back,
            "target_shift": self.target_shift,
            "gram": self.gram,
            "cross": self.cross,
            "power": self.power,
            "low": self.low,
            "high": self.high,
            **{f"features_{item.name}": getattr(self.features, item.name) for item in fields(FeatureMoments)},
        }
