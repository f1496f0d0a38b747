"""The quantities of the solver, with their shapes: definitions alone, to be read before `factors` and `scores`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.layer.z_scores import GramTable
from brainmap.encoding.settings import Backend, Problem

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Place = Callable[..., Any]  # moves an array to where, and into the precision in which, responses come


@dataclass(frozen=True)
class TrainSet:
    """Which atoms train and which sets they are scored on, before anything is factorised."""

    outer: int
    members: Mask
    validations: tuple[tuple[int, Mask], ...]
    final: bool  # an outer train set with its test set
    universe: Mask | None  # train and validation atoms together, when no atom is in two of them


@dataclass(frozen=True)
class Coupling:
    """How to get the sum of squares of the prediction for all alphas from whitened cross-products.

    Attributes
    ----------
    diagonal : (n_alphas, rank)
        ``φ² diag(H)``.
    slope, matrix : (n_alphas, rank), (rank, rank)
        ``2 (φ − τ λ)`` and M.
    near : (i, j, weights) or None
        Pairs summed directly, with weights ``2 φ_i φ_j H_ij`` of shape (n_alphas, n_pairs).
    direct : (n_rows or rank, rank) or (n_alphas, n_rows, rank) or None
        When set, a matrix B with ``H = B' B``: predictions are formed for each alpha. Used when that is cheaper (few
        alphas, few rows) or when too many eigenvalues coincide (one-hot features). In small problems ``B φ`` of all
        alphas, and nothing else.
    """

    diagonal: Any
    slope: Any
    matrix: Any
    near: tuple[Any, Any, Any] | None
    direct: Any


@dataclass(frozen=True)
class Validation:
    """One validation or test set, as seen by one train set.

    Attributes
    ----------
    outer : int
        Outer split whose scores it adds to.
    members : ndarray of bool, shape (n_atoms,)
        Atoms that make up the set.
    n : int
        Number of rows.
    map : (rank, n_inputs) or None
        Gives ``v``. None: the train set's map, minus `gap` times the sum of the responses.
    gap : (rank,)
        Mean of the whitened features over the set, about the train mean; the prediction's mean is ``φ c · gap``.
    gram : (rank, rank) or (n_rows, rank)
        H, or a matrix B with ``H = B' B``, whichever is smaller. Only for test sets.
    coupling : Coupling or None
        Only for inner validation sets.
    """

    outer: int
    members: Mask
    n: int
    map: Any
    gap: Any
    gram: Any = None
    coupling: Coupling | None = None


@dataclass(frozen=True)
class Train:
    """One factorised train set and the sets it predicts.

    Attributes
    ----------
    members : ndarray of bool, shape (n_atoms,)
        Atoms that make up the set.
    map : (rank, n_inputs)
        Gives ``c``.
    values : (rank,)
        Eigenvalues of the train Gram matrix, largest first.
    shrink : (n_alphas, rank)
        ``φ``.
    validations : tuple of Validation
    universe : ndarray of bool or None
        Atoms of the train set and all its validation sets together, when these are disjoint: the train set's statistics
        are then the universe's minus the held-out ones.
    degrees : ndarray, shape (n_alphas,)
        Effective degrees of freedom ``Σ_k φ_k`` (plus one for the intercept).
    """

    members: Mask
    map: Any
    values: Any
    shrink: Any
    validations: tuple[Validation, ...]
    universe: Mask | None
    degrees: Float64


@dataclass(frozen=True)
class LayerFactors:
    """One layer, factorised for every train set of a plan: what no response can change.

    Attributes
    ----------
    name : str
    form : {'cross', 'rows'}
        Whether responses enter as cross-products per atom or as rows.
    inner, outer : tuple of Train
        Inner train sets (empty in mode 'gcv') and outer train sets.
    backend : Backend
        Where and in which precision this layer is computed.
    features : (n_rows, size) or None
        Augmented coordinates, rows sorted by atom (form 'cross').
    table : GramTable or None
        Augmented Gram matrices per atom (form 'cross').
    weight_maps : tuple
        Per outer split, how to get weights on original features (only when asked for).
    info : dict
        ``alphas``, the penalties of each outer split, (n_splits, n_alphas); rank, number of components, and what else
        provenance and warnings say.
    candidates : tuple of LayerFactors
        For banded ridge, the same layer under each weighting of its bands (then `inner` and `outer` are the first's).
    """

    name: str
    form: str
    inner: tuple[Train, ...]
    outer: tuple[Train, ...]
    backend: Backend
    features: Any = None
    table: GramTable | None = None
    weight_maps: tuple[tuple[NDArray[Any], NDArray[Any]], ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    candidates: tuple[LayerFactors, ...] = ()


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
        Smallest and largest of `values` per atom: constant means that they are equal.
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


@dataclass(frozen=True)
class TargetBatch:
    """Responses as one layer takes them.

    Attributes
    ----------
    inputs : (n_atoms, size, n_targets) or (n_rows, n_targets)
        Cross-products per atom, or rows; on the layer's device.
    fit_inputs : like `inputs`
        Weighted cross-products where rows have weights, else the same object.
    total, power, low, high, shift, scale
        See `TargetBlock`.
    fit_total : ndarray, shape (n_atoms, n_targets)
        Weighted sums of the responses.
    floor : ndarray, shape (n_atoms, n_targets), or None
        Power that is rounding, where nuisance regressors are projected out.
    varies : bool
        Whether every target varies within every atom: none is constant anywhere.
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
    varies: bool = False

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


@dataclass(frozen=True)
class SetMoments:
    """Count, sum, mean and centred sum of squares of the responses over a set of rows, and which are constant there."""

    n: float
    total: Float64
    mean: Float64
    scatter: Float64
    constant: Mask


@dataclass(frozen=True)
class TargetScores:
    """Test scores of a batch, each of shape (n_splits, n_targets)."""

    r: Float64
    r2: Float64
    alpha: Float64
    inner: Float64  # mean inner score at the chosen alpha
    candidate: Float64  # weighting of the bands that was chosen (0 where there are no bands)
    coarse: Mask  # (n_targets,), whether the mean is so large that float32 responses hold few digits


@dataclass(frozen=True)
class SplitWeights:
    """Whitened weights ``φ c`` of some targets of a batch in one outer split, (rank, n_targets), on the device."""

    layer: LayerFactors
    targets: Any
    values: Any
