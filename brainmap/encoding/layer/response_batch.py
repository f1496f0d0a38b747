"""A batch of responses, in the two forms in which factorised layers take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import check_finite
from brainmap.common.errors import InputError
from brainmap.encoding.backend import Backend
from brainmap.encoding.layer.layer_factors import LayerFactors
from brainmap.encoding.layer.spectrum import Train
from brainmap.encoding.layer.z_scores import column_power, cross_product, power_of_two
from brainmap.encoding.settings import Problem

Float64 = NDArray[np.float64]
CONSTANT = 1e-12  # share of a target's power that rounding leaves when nuisance regressors explain all of it
HEAVY = 1e3  # largest power of an atom over the median one, beyond which float32 sums over atoms are not subtracted
WIDE = 1e15  # largest deviation over the median one, beyond which float32 cannot hold the squares
FLOAT32_EXPONENT = 100  # beyond this power of two numbers are scaled in float64


@dataclass(frozen=True)
class Responses:
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
    """

    values: NDArray[Any]
    shift: Float64
    scale: Float64
    total: Float64
    power: Float64
    low: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def of(cls, block: NDArray[Any], problem: Problem, *, name: str, first_column: int = 0) -> Responses:
        """Sort, shift and scale a block of columns (all rows).

        Raises
        ------
        InputError
            If a value is NaN or infinite.
        """
        check_finite(block, name, first_column=first_column)
        values = np.take(block, problem.order, axis=0)  # C order whatever the storage: the same sums everywhere
        slices = problem.atom_slices()
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
        return cls.sorted(values.astype(precision, copy=False), shift, scale, problem)

    @classmethod
    def sorted(cls, values: NDArray[Any], shift: Float64, scale: Float64, problem: Problem) -> Responses:
        """Build from shifted and scaled values whose rows are sorted by atom already."""
        slices = problem.atom_slices()
        total = np.stack([values[rows].sum(axis=0, dtype=np.float64) for rows in slices])
        power = np.stack([column_power(values[rows]) for rows in slices])
        low, high = (np.stack([end(values[rows], axis=0) for rows in slices]) for end in (np.min, np.max))
        return cls(values, shift, scale, total, power, low, high)


def _float_range(values: NDArray[Any], slices: list[slice]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
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
class SetMoments:
    """Count, sum and centred sum of squares of the responses over a set of rows."""

    n: float
    total: Float64
    scatter: Float64
    constant: NDArray[np.bool_]

    @property
    def mean(self) -> Float64:
        """Mean response."""
        return self.total / self.n


@dataclass(frozen=True)
class Batch:
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
        See `Responses`.
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
    def of(cls, responses: Responses, layer: LayerFactors, problem: Problem) -> Batch:
        """Move responses to the layer's device; accumulate cross-products per atom where the layer wants them."""
        backend, weight = layer.backend, problem.design.weight
        values = backend.put(responses.values)
        fit_total = responses.total
        if weight is not None:
            fit_total = np.stack([weight[rows] @ responses.values[rows] for rows in problem.atom_slices()])
        ends = (responses.low, responses.high)
        rest = (responses.total, responses.power, fit_total, *ends, responses.shift, responses.scale)
        if layer.form == "rows":
            return cls(layer, problem, values, values, *rest)
        products = _cross(layer.features, values, problem, backend)
        weighted = products
        if weight is not None:
            column = backend.put(weight[:, None])
            weighted = _cross(layer.features, values * column, problem, backend)
        return cls(layer, problem, products, weighted, *rest)

    def inputs_of(self, members: NDArray[np.bool_], *, fit: bool = False) -> Any:
        """Return what a map acts on for a set of atoms: summed cross-products, or rows."""
        source = self.fit_inputs if fit else self.inputs
        if self.layer.form == "rows":
            rows = self.problem.rows(members)
            if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
                return source[int(rows[0]) : int(rows[-1]) + 1]
            return source[rows]
        chosen = np.flatnonzero(members)
        total = source[int(chosen[0])]
        if len(chosen) > 1:
            total = total + source[int(chosen[1])]
            for atom in chosen[2:]:
                total += source[int(atom)]
        return total

    def moments(self, members: NDArray[np.bool_], *, fit: bool = False) -> SetMoments:
        """Return count, sum and scatter of the responses over a set of atoms (weighted mean where `fit`)."""
        n = float(np.diff(self.problem.starts)[members].sum())
        total, power = self.total[members].sum(axis=0), self.power[members].sum(axis=0)
        scatter = np.maximum(power - total**2 / n, 0.0)
        constant = self.low[members].min(axis=0) == self.high[members].max(axis=0)
        if self.floor is not None:
            constant = constant | (scatter <= self.floor[members].sum(axis=0))
        weight = self.problem.design.weight
        if fit and weight is not None:
            mass = float(weight[self.problem.rows(members)].sum())
            return SetMoments(mass, self.fit_total[members].sum(axis=0), scatter, constant)
        return SetMoments(n, total, scatter, constant)

    def select(self, targets: NDArray[np.int64]) -> Batch:
        """Return the batch for some of its targets."""
        index = self.layer.backend.put(targets)
        inputs = self.inputs[..., index]
        return replace(
            self,
            inputs=inputs,
            fit_inputs=inputs if self.fit_inputs is self.inputs else self.fit_inputs[..., index],
            total=self.total[:, targets],
            power=self.power[:, targets],
            fit_total=self.fit_total[:, targets],
            low=self.low[:, targets],
            high=self.high[:, targets],
            floor=None if self.floor is None else self.floor[:, targets],
            shift=self.shift[targets],
            scale=self.scale[targets],
        )

    def without_nuisance(self, train: Train) -> Batch:
        """Return the batch with nuisance regressors projected out as fitted on an outer train set."""
        if not self.problem.n_nuisance:
            return self
        if self.layer.form == "rows":
            return self._project_rows(train)
        return self._project_products(train)

    def _project_rows(self, train: Train) -> Batch:
        nuisance = self.problem.design.nuisance
        assert nuisance is not None
        regressors = np.column_stack([nuisance, np.ones(len(nuisance))])
        values = self.layer.backend.get(self.inputs).astype(np.float64)
        rows = self.problem.rows(train.members)
        values = values - regressors @ np.linalg.lstsq(regressors[rows], values[rows], rcond=None)[0]
        slices, weight = self.problem.atom_slices(), self.problem.design.weight
        total = np.stack([values[part].sum(axis=0) for part in slices])
        power = np.stack([column_power(values[part]) for part in slices])
        fit_total = total if weight is None else np.stack([weight[part] @ values[part] for part in slices])
        moved = self.layer.backend.put(values)
        floor = CONSTANT * self.power
        return replace(self, inputs=moved, fit_inputs=moved, total=total, power=power, fit_total=fit_total, floor=floor)

    def _project_products(self, train: Train) -> Batch:
        table, backend = self.layer.table, self.layer.backend
        assert table is not None
        size = self.problem.n_nuisance + 1
        outside = slice(table.plain.shape[1] - size, None)
        mine = backend.get(self.inputs_of(train.members)).astype(np.float64)
        gram = table.of(train.members, fit=False)[outside, outside]
        weights = np.linalg.lstsq(gram, mine[outside], rcond=None)[0]
        own = np.stack([backend.get(product)[outside].astype(np.float64) for product in self.inputs])
        block = table.plain[:, outside, outside]
        power = self.power - 2 * np.einsum("apt,pt->at", own, weights)
        power += np.einsum("pt,apq,qt->at", weights, block, weights, optimize=True)
        inputs = self.inputs - backend.put(table.plain[:, :, outside]) @ backend.put(weights)
        fit_inputs, fit_table = inputs, table.plain
        if table.weighted is not None:
            fit_table = table.weighted
            fit_inputs = self.fit_inputs - backend.put(fit_table[:, :, outside]) @ backend.put(weights)
        total = self.total - table.plain[:, -1, outside] @ weights
        fit_total = self.fit_total - fit_table[:, -1, outside] @ weights
        kept = {"inputs": inputs, "fit_inputs": fit_inputs, "floor": CONSTANT * self.power}
        return replace(self, **kept, total=total, power=power, fit_total=fit_total)


def _cross(features: Any, values: Any, problem: Problem, backend: Backend) -> Any:
    if backend.uses_torch:
        return backend.stack([features[rows].T @ values[rows] for rows in problem.atom_slices()])
    products = np.empty((len(problem.starts) - 1, features.shape[1], values.shape[1]), dtype=values.dtype)
    for product, rows in zip(products, problem.atom_slices(), strict=True):
        cross_product(features[rows], values[rows], out=product)
    return products
