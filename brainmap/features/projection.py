"""Random projections of long rows on the fly: token gradients and weight gradients are never kept whole.

All three kinds preserve inner products in expectation, ``E⟨Px, Py⟩ = ⟨x, y⟩``, and depend on nothing but (kind,
dimension, seed): matrices are drawn in chunks, each from its own generator, and need not be held.

References
----------
.. [1] Johnson & Lindenstrauss 1984. Gaussian: ``Var⟨Px, Py⟩ = (⟨x, y⟩² + |x|²|y|²) / k``.
.. [2] Kane & Nelson 2014, *Sparser Johnson–Lindenstrauss transforms*: s entries ±1/√s in each column.
.. [3] Park et al. 2023, *TRAK* (projected gradients); Kronecker: P ⊗ Q applied as ``P X Qᵀ`` to a matrix X.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import PROJECTION_ROWS, PROJECTION_SIDES

CHUNK = 4096  # input coordinates drawn at a time; part of what a projection is


@dataclass(frozen=True)
class RandomProjection:
    """A seeded random linear map to fewer dimensions.

    Parameters
    ----------
    dimension : int
        Length k of a projected row.
    kind : {"sparse", "gaussian", "kronecker"}
        ``sparse``: fast for any row. ``gaussian``: the textbook map, k·D random numbers per batch. ``kronecker``: acts
        on tokens and channels (or on the two sides of a weight matrix) separately; cheapest, with a larger variance.
    seed : int
        Of the matrix.
    nonzeros : int
        Entries in each column of a sparse matrix.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.features import RandomProjection
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 64, 16, stride=16), nn.ReLU())
    >>> model = brainmap.from_module(network, name="mine", layers=["1"], code_version="1")
    >>> extractor = brainmap.FeatureExtractor(model, projection=RandomProjection(16))
    >>> extractor.extract(brainmap.sample_stimuli().subset(range(4)))["gradient", "1"].shape
    (4, 16)
    """

    dimension: int = 800
    kind: Literal["sparse", "gaussian", "kronecker"] = "sparse"
    seed: int = 0
    nonzeros: int = 4

    def __post_init__(self) -> None:
        """Check the values."""
        if self.kind not in ("sparse", "gaussian", "kronecker"):
            raise InputError(f"projection kind '{self.kind}' is not one of sparse, gaussian, kronecker.")
        if self.dimension < 1 or not 1 <= self.nonzeros <= self.dimension:
            raise InputError(f"A projection to {self.dimension} dimensions cannot have {self.nonzeros} nonzeros.")

    def identity(self) -> dict[str, Any]:
        """Parameters, for the feature store."""
        return {**dataclasses.asdict(self), "version": 1}

    def factors(self, tokens: int) -> tuple[int, int]:
        """Dimensions of the two sides of a Kronecker projection; one token is not projected."""
        if tokens == 1:
            return 1, self.dimension
        first = max(part for part in range(1, math.isqrt(self.dimension) + 1) if self.dimension % part == 0)
        return first, self.dimension // first

    def __call__(self, rows: Tensor) -> Tensor:
        """Project each image's matrix.

        Parameters
        ----------
        rows : Tensor, (n, a, b)
            Tokens × channels, or output × input channels of a weight matrix.

        Returns
        -------
        Tensor, (n, dimension)
        """
        if self.kind == "kronecker":
            return self.outer(rows, None)
        flat = rows.flatten(1)
        result = flat.new_zeros(self.dimension, len(flat))
        for start, stop, part in self._chunks(flat.shape[1]):
            piece = flat[:, start:stop].T
            if self.kind == "gaussian":
                result += _like(part, flat) @ piece
            else:
                for where, sign in zip(*part, strict=True):
                    where = torch.from_numpy(where).to(flat.device)
                    result.index_add_(0, where, piece * _like(sign, flat)[:, None])
        return result.T.contiguous()

    def outer(self, left: Tensor, right: Tensor | None) -> Tensor:
        """Kronecker projection of ``Σ_t left[t] ⊗ right[t]`` for each image, without forming it.

        Parameters
        ----------
        left : Tensor, (n, t, a)
            Or the matrices themselves (n, a, b) if ``right`` is None.
        right : Tensor or None, (n, t, b)

        Returns
        -------
        Tensor, (n, dimension)
        """
        first, second = self.factors(left.shape[1] if right is None else left.shape[2])
        if right is None:
            token_side = self._dense(left.shape[1], first, 1, left) if left.shape[1] > 1 else left.new_ones(1, 1)
            channel_side = self._dense(left.shape[2], second, 2, left)
            return torch.einsum("ka,nab,lb->nkl", token_side, left, channel_side).flatten(1)
        out_side = left @ self._dense(left.shape[2], first, 1, left).T
        in_side = right @ self._dense(right.shape[2], second, 2, right).T
        return torch.einsum("ntk,ntl->nkl", out_side, in_side).flatten(1)

    def _dense(self, length: int, dimension: int, side: int, like: Tensor) -> Tensor:
        """Gaussian matrix (dimension, length) of one side, entries of variance 1/dimension."""
        rng = np.random.default_rng([self.seed, PROJECTION_SIDES, side, dimension, length])
        return _like(rng.standard_normal((dimension, length), np.float32), like) / math.sqrt(dimension)

    def _chunks(self, length: int) -> Iterator[tuple[int, int, Any]]:
        for start in range(0, length, CHUNK):
            stop = min(length, start + CHUNK)
            rng = np.random.default_rng([self.seed, PROJECTION_ROWS, self.dimension, start // CHUNK])
            if self.kind == "gaussian":
                matrix = rng.standard_normal((CHUNK, self.dimension), np.float32)[: stop - start].T
                yield start, stop, matrix / np.float32(math.sqrt(self.dimension))
            else:
                yield start, stop, self._sparse_columns(rng, stop - start)

    def _sparse_columns(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and values of each column's entries, one in each of ``nonzeros`` bands: they never collide."""
        edges = np.linspace(0, self.dimension, self.nonzeros + 1).astype(np.int64)
        where = np.stack([rng.integers(low, high, CHUNK)[:count] for low, high in itertools.pairwise(edges)])
        signs = rng.integers(0, 2, (self.nonzeros, CHUNK))[:, :count] * 2.0 - 1.0
        return where, (signs / math.sqrt(self.nonzeros)).astype(np.float32)


def _like(values: np.ndarray, tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(tensor.device, tensor.dtype)
