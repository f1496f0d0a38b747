"""A batch of responses, in the two forms in which factorised layers take them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import check_finite
from brainmap.encoding.backend import Backend
from brainmap.encoding.layer.layer_factors import LayerFactors
from brainmap.encoding.layer.spectrum import Train
from brainmap.encoding.layer.sufficient_statistics import column_power, cross_product
from brainmap.encoding.settings import Problem

Float64 = NDArray[np.float64]
CONSTANT = 1e-12  # share of a set's raw power below which its variance is rounding


@dataclass(frozen=True)
class Responses:
    """A batch of responses, shifted and scaled per target, rows sorted by atom.

    Scores do not depend on either; they keep float32 accurate for large means (fMRI intensities) and tiny units
    (tesla). The scale is a power of two, which costs no digits.

    Attributes
    ----------
    values : ndarray, shape (n_rows, n_targets)
    shift, scale : ndarray, shape (n_targets,)
        ``original = values * scale + shift``.
    total, power : ndarray, shape (n_atoms, n_targets)
        Sums and sums of squares of `values` per atom, float64.
    """

    values: NDArray[Any]
    shift: Float64
    scale: Float64
    total: Float64
    power: Float64

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
        shift = np.zeros(values.shape[1])
        if problem.settings.fit_intercept:
            # any constant is exact, so a quick mean will do; without intercept the level of the responses matters
            shift = (np.full(len(values), 1.0 / len(values), values.dtype) @ values).astype(np.float64)
            values -= shift.astype(values.dtype)
        values = values.astype(problem.backend.precision, copy=False)
        _, exponent = np.frexp(np.sqrt(np.einsum("ij,ij->j", values, values) / len(values)))
        scale = np.ldexp(1.0, exponent)
        values *= (1.0 / scale).astype(values.dtype)
        return cls.sorted(values, shift, scale, problem)

    @classmethod
    def sorted(cls, values: NDArray[Any], shift: Float64, scale: Float64, problem: Problem) -> Responses:
        """Build from shifted and scaled values whose rows are sorted by atom already."""
        slices = problem.atom_slices()
        total = np.stack([values[rows].sum(axis=0, dtype=np.float64) for rows in slices])
        power = np.stack([column_power(values[rows]) for rows in slices])
        return cls(values, shift, scale, total, power)


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
    shift, scale : ndarray, shape (n_targets,)
        See `Responses`.
    """

    layer: LayerFactors
    problem: Problem
    inputs: Any
    fit_inputs: Any
    total: Float64
    power: Float64
    fit_total: Float64
    shift: Float64
    scale: Float64

    @classmethod
    def of(cls, responses: Responses, layer: LayerFactors, problem: Problem) -> Batch:
        """Move responses to the layer's device; accumulate cross-products per atom where the layer wants them."""
        backend, weight = layer.backend, problem.design.weight
        values = backend.put(responses.values)
        fit_total = responses.total
        if weight is not None:
            fit_total = np.stack([weight[rows] @ responses.values[rows] for rows in problem.atom_slices()])
        rest = (responses.total, responses.power, fit_total, responses.shift, responses.scale)
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
        scatter = power - total**2 / n
        constant, scatter = scatter <= CONSTANT * power, np.maximum(scatter, 0.0)
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
        return replace(self, inputs=moved, fit_inputs=moved, total=total, power=power, fit_total=fit_total)

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
        return replace(self, inputs=inputs, fit_inputs=fit_inputs, total=total, power=power, fit_total=fit_total)


def _cross(features: Any, values: Any, problem: Problem, backend: Backend) -> Any:
    if backend.uses_torch:
        return backend.stack([features[rows].T @ values[rows] for rows in problem.atom_slices()])
    products = np.empty((len(problem.starts) - 1, features.shape[1], values.shape[1]), dtype=values.dtype)
    for product, rows in zip(products, problem.atom_slices(), strict=True):
        cross_product(features[rows], values[rows], out=product)
    return products
