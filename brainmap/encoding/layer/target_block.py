"""Responses of some targets, ready for any layer: rows sorted by atom, in units in which float32 holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import check_finite
from brainmap.common.errors import InputError
from brainmap.encoding.backend import Backend
from brainmap.encoding.layer.layer_factors import LayerFactors
from brainmap.encoding.layer.z_scores import column_power, cross_product, power_of_two
from brainmap.encoding.settings import Problem

Float64 = NDArray[np.float64]
HEAVY = 1e3  # largest power of an atom over the median one, beyond which float32 sums over atoms are not subtracted
WIDE = 1e15  # largest deviation over the median one, beyond which float32 cannot hold the squares
FLOAT32_EXPONENT = 100  # beyond this power of two numbers are scaled in float64


@dataclass(frozen=True)
class TargetBlock:
    """A batch of responses, shifted and scaled per target, rows sorted by atom.

    Scores do not depend on either; they keep float32 accurate for large means (fMRI intensities) and any units (tesla
    squared). Both are medians over atoms, so that a few wild values take no digits from the rest; the scale is a power
    of two, which costs none.

    Attributes
    ----------
    values : ndarray, shape (n_rows, n_targets)
    shift, scale : ndarray, shape (n_targets,)
        ``original = values * scale + shift``.
    total, power : ndarray, shape (n_atoms, n_targets)
        Sums and sums of squares of `values` per atom, float64.
    low, high : ndarray, shape (n_atoms, n_targets)
        Smallest and largest of `values` per atom.
    first : int
        Number of the first of these targets among all.
    """

    values: NDArray[Any]
    shift: Float64
    scale: Float64
    total: Float64
    power: Float64
    low: NDArray[Any]
    high: NDArray[Any]
    first: int = 0

    @classmethod
    def of(cls, block: NDArray[Any], problem: Problem, *, name: str, first_column: int = 0) -> TargetBlock:
        """Sort, shift and scale a block of columns (all rows).

        Raises
        ------
        InputError
            If a value is NaN or infinite.
        """
        check_finite(block, name, first_column=first_column)
        values = np.take(block, problem.order, axis=0)  # C order whatever the storage: the same sums everywhere
        slices = problem.slices
        values, low, high = _float_range(values, slices)
        shift = np.zeros(values.shape[1])
        if problem.settings.fit_intercept:
            # any constant is exact, so quick means will do; without intercept the level of the responses matters
            shares = [np.full(rows.stop - rows.start, 1.0 / (rows.stop - rows.start), values.dtype) for rows in slices]
            means = np.stack([share @ values[rows] for share, rows in zip(shares, slices, strict=True)])
            shift = np.median(means, axis=0).astype(np.float64)
            values -= shift.astype(values.dtype)
            low, high = low - shift.astype(values.dtype), high - shift.astype(values.dtype)
        deviation = np.maximum(high, -low).astype(np.float64)
        typical, largest = np.median(deviation, axis=0), deviation.max(axis=0)
        typical = np.where(typical > 0, typical, largest)
        scale = power_of_two(typical)
        values *= (1.0 / scale).astype(values.dtype)
        precision = problem.backend.precision
        if np.any(largest > WIDE * typical):
            if problem.backend.uses_torch:
                column = first_column + int(np.argmax(largest / np.where(typical > 0, typical, 1.0)))
                raise InputError(f"{name} holds values of more than 15 decades in column {column}; use device='cpu'.")
            precision = "float64"
        return cls.sorted(values.astype(precision, copy=False), shift, scale, problem, first_column)

    @classmethod
    def sorted(
        cls, values: NDArray[Any], shift: Float64, scale: Float64, problem: Problem, first: int = 0
    ) -> TargetBlock:
        """Build from shifted and scaled values whose rows are sorted by atom already."""
        slices = problem.slices
        total = np.stack([values[rows].sum(axis=0, dtype=np.float64) for rows in slices])
        power = np.stack([column_power(values[rows]) for rows in slices])
        low, high = (np.stack([end(values[rows], axis=0) for rows in slices]) for end in (np.min, np.max))
        return cls(values, shift, scale, total, power, low, high, first)


def _float_range(values: NDArray[Any], slices: Sequence[slice]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return floating-point values that can be squared after scaling, and their smallest and largest per atom."""
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    low, high = (np.stack([end(values[rows], axis=0) for rows in slices]) for end in (np.min, np.max))
    if values.dtype == np.float32:
        size = np.maximum(np.abs(low), np.abs(high)).max(axis=0)
        smallest, largest = np.min(size, where=size > 0, initial=1.0), size.max()
        if smallest < 2.0**-FLOAT32_EXPONENT or largest > 2.0**FLOAT32_EXPONENT:
            return values.astype(np.float64), low.astype(np.float64), high.astype(np.float64)
    return values, low, high


@dataclass(frozen=True)
class TargetBatch:
    """Responses as one layer takes them.

    Attributes
    ----------
    inputs : (n_atoms, size, n_targets) or (n_rows, n_targets)
        Cross-products per atom, or rows; on the layer's device.
    fit_inputs : like `inputs`
        Weighted cross-products where rows have weights, else the same object.
    total, power, fit_total : ndarray, shape (n_atoms, n_targets)
        Sums, sums of squares and weighted sums of the responses.
    low, high : ndarray, shape (n_atoms, n_targets)
        Smallest and largest responses: constant means that they are equal.
    shift, scale : ndarray, shape (n_targets,)
        See `TargetBlock`.
    floor : ndarray, shape (n_atoms, n_targets), or None
        Power that is rounding, where nuisance regressors are projected out.
    """

    layer: LayerFactors
    problem: Problem
    inputs: Any
    fit_inputs: Any
    total: Float64
    power: Float64
    fit_total: Float64
    low: NDArray[Any]
    high: NDArray[Any]
    shift: Float64
    scale: Float64
    floor: Float64 | None = None

    @cached_property
    def heavy(self) -> bool:
        """Whether a few wild values outweigh the rest: sums without them are then not made by subtraction."""
        power = self.power / np.maximum(np.diff(self.problem.starts), 1)[:, None]
        return bool(np.any(power.max(axis=0) > HEAVY * np.median(power, axis=0)))

    @classmethod
    def of(cls, responses: TargetBlock, layer: LayerFactors, problem: Problem) -> TargetBatch:
        """Move responses to the layer's device; accumulate cross-products per atom where the layer wants them."""
        backend, weight = layer.backend, problem.design.weight
        values = backend.put(responses.values)
        fit_total = responses.total
        if weight is not None:
            fit_total = np.stack([weight[rows] @ responses.values[rows] for rows in problem.slices])
        ends = (responses.low, responses.high)
        rest = (responses.total, responses.power, fit_total, *ends, responses.shift, responses.scale)
        if layer.form == "rows":
            return cls(layer, problem, values, values, *rest)
        products = cross_products(layer.features, values, problem, backend)
        weighted = products
        if weight is not None:
            column = backend.put(weight[:, None])
            weighted = cross_products(layer.features, values * column, problem, backend)
        return cls(layer, problem, products, weighted, *rest)

    def select(self, targets: NDArray[np.int64]) -> TargetBatch:
        """Return the batch for some of its targets."""
        inputs = self.inputs[..., targets]
        return replace(
            self,
            inputs=inputs,
            fit_inputs=inputs if self.fit_inputs is self.inputs else self.fit_inputs[..., targets],
            total=self.total[:, targets],
            power=self.power[:, targets],
            fit_total=self.fit_total[:, targets],
            low=self.low[:, targets],
            high=self.high[:, targets],
            floor=None if self.floor is None else self.floor[:, targets],
            shift=self.shift[targets],
            scale=self.scale[targets],
        )


def cross_products(features: Any, values: Any, problem: Problem, backend: Backend) -> Any:
    """Return ``F' Y`` of every atom, (n_atoms, size, n_targets)."""
    if backend.uses_torch:
        return backend.stack([features[rows].T @ values[rows] for rows in problem.slices])
    products = np.empty((len(problem.starts) - 1, features.shape[1], values.shape[1]), dtype=values.dtype)
    for product, rows in zip(products, problem.slices, strict=True):
        cross_product(features[rows], values[rows], out=product)
    return products
