"""From a site's tokens to the row that is kept: pooling, projection, and gradients of weights.

Only data-independent reduction happens here; whatever is fitted (scaling, PCA) belongs to :mod:`brainmap.encoding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from brainmap.features.pooling import line_up, pool
from brainmap.features.projection import RandomProjection
from brainmap.models.vision_model import VisionModel

MATRIX_BYTES = 64 * 2**20  # weight gradients formed at a time


def reduce_tokens(
    model: VisionModel, views: Sequence[Tensor], pooling: str, projection: RandomProjection | None
) -> Tensor:
    """Pool a site's tokens and project what is left.

    Parameters
    ----------
    model : VisionModel
        Knows the roles of tokens.
    views : sequence of Tensor, (v, n, T, d)
        Tokens of all views.
    pooling : str
        See :func:`brainmap.features.pooling.pool`.
    projection : RandomProjection, optional
        Applied to tokens × channels for ``flatten``, else to the pooled channels.

    Returns
    -------
    Tensor, (n, d'), in the dtype of the model's weights
    """
    views = [view.to(model.dtype) for view in views]
    if projection is None:
        return pool(views, model.role_slices, pooling)
    if pooling == "flatten":
        return projection(line_up(views))
    return projection(pool(views, model.role_slices, pooling)[:, None])


def weight_gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor], projection: RandomProjection) -> Tensor:
    """Projected gradient of each image's loss with respect to a linear layer's weights.

    ``∂L_i/∂W = Σ_t δ_{i,t} x_{i,t}ᵀ`` over all tokens t of all views, with δ the gradient of the layer's output and x
    its input. A Kronecker projection never forms it; the others form it for a few images at a time.

    Parameters
    ----------
    outputs : sequence of Tensor, (v, n, T, out)
        Gradients of the layer's output.
    inputs : sequence of Tensor, (v, n, T, in)
        The layer's inputs.
    projection : RandomProjection
        To (n, dimension).
    """
    deltas, seen = _wide(outputs), _wide(inputs)
    if projection.kind == "kronecker":
        return projection.outer(deltas, seen)
    return torch.cat([projection(matrix) for matrix in _matrices(deltas, seen)])


def weight_gradient_norms(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Frobenius norm of each image's weight gradient (n,), from the tokens' Gram matrices."""
    deltas, seen = _wide(outputs), _wide(inputs)
    squares = ((deltas @ deltas.mT) * (seen @ seen.mT)).sum((1, 2))
    return squares.clamp(min=0.0).sqrt()


def _wide(views: Sequence[Tensor]) -> Tensor:
    """All tokens of all views, in single precision at least: sums over tokens must not be made in half precision."""
    together = line_up(views)
    return together.to(torch.promote_types(together.dtype, torch.float32))


def _matrices(deltas: Tensor, seen: Tensor) -> Iterator[Tensor]:
    """Weight gradients (m, out, in) of a few images at a time."""
    step = max(1, MATRIX_BYTES // (deltas.shape[2] * seen.shape[2] * deltas.element_size()))
    for start in range(0, len(deltas), step):
        yield torch.einsum("nto,nti->noi", deltas[start : start + step], seen[start : start + step])
