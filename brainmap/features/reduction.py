"""From a site's tokens to the row that is kept: pooling, projection, and gradients of weights.

Only data-independent reduction happens here; whatever is fitted (scaling, PCA) belongs to :mod:`brainmap.encoding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.common.names import term_signal
from brainmap.features.pooling import ROLE_OF, line_up, pool
from brainmap.features.projection import RandomProjection
from brainmap.models.objectives import OBJECTIVES, Objective
from brainmap.models.vision_model import VisionModel

Terms = Literal["together", "split", "split-by-role"]
MATRIX_BYTES = 64 * 2**20  # weight gradients formed at a time


def signal_at(signal: str, pooling: str, poolings: Sequence[str]) -> str:
    """Name of a signal's array: plain for the first pooling, ``signal@pooling`` for others."""
    return signal if pooling == poolings[0] else f"{signal}@{pooling}"


def plain_name(signal: str) -> str:
    """Name of a signal without its pooling."""
    return signal.partition("@")[0]


def term_arrays(
    model: VisionModel, objective: Objective | None, terms: str, poolings: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Term and pooling of every array of the gradients of a loss's terms, by the array's name.

    Raises
    ------
    InputError
        If the word is unknown, there are no gradients of outputs, or the loss has one term only.
    """
    if terms not in get_args(Terms):
        raise InputError(f"terms must be one of {', '.join(get_args(Terms))}, got '{terms}'.")
    if terms == "together":
        return {}
    if objective is None:
        raise InputError("Terms of the loss split gradients of a site's output; extract those, or leave terms out.")
    names = objective.terms(model)
    if len(names) < 2:
        able = [name for name in model.objectives if len(OBJECTIVES[name].terms(model)) > 1]
        choice = f"choose {' or '.join(able)}, or add" if able else "add"
        raise InputError(
            f"Loss '{objective.name}' of '{model.name}' has one term; {choice} losses up, such as 'headless+koleo'."
        )
    if terms == "split":
        return {signal_at(term_signal(term), name, poolings): (term, name) for term in names for name in poolings}
    own = model.role_slices(0)
    roles = {pooling: role for pooling, role in ROLE_OF.items() if role in own}
    return {term_signal(term, role): (term, name) for term in names for name, role in roles.items()}


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
