"""From tokens to one row per image, by role.

The mean over a role's tokens, for gradients as for activations: for a gradient this is the derivative of the loss with
respect to a shift shared by all tokens of that role, divided by their number. Where a loss looks at several views of an
image, the mean runs over the tokens of all its views, and ``flatten`` lines them up in the order the views were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from brainmap.common.errors import InputError

Pooling = Literal["cls", "register-mean", "patch-mean", "all-mean", "flatten"]
ROLE_OF = {"cls": "cls", "register-mean": "register", "patch-mean": "patch"}
POOLINGS: tuple[str, ...] = (*ROLE_OF, "all-mean", "flatten")


def check_pooling(pooling: str, roles: Sequence[str], model: str) -> None:
    """Check that a pooling exists and the model has tokens of its role.

    Raises
    ------
    InputError
        Naming what can be used instead.
    """
    able = [name for name in POOLINGS if ROLE_OF.get(name, "patch") in roles]
    if pooling not in able:
        raise InputError(f"Model '{model}' cannot be pooled with '{pooling}'; use one of {', '.join(able)}.")


def pool(views: Sequence[Tensor], role_slices: Callable[[int], dict[str, slice]], pooling: str) -> Tensor:
    """Pool the tokens of a site to one row per image.

    Parameters
    ----------
    views : sequence of Tensor, (v, n, T, d)
        Tokens of v views of n images; T may differ between entries (global and local crops).
    role_slices : callable
        Token roles of a sequence of T tokens.
    pooling : {"cls", "register-mean", "patch-mean", "all-mean", "flatten"}
        Which tokens, and whether they are averaged or kept side by side.

    Returns
    -------
    Tensor, (n, d) or (n, Σ v T d) for ``flatten``
    """
    if pooling == "flatten":
        return torch.cat([view.transpose(0, 1).flatten(1) for view in views], dim=1)
    chosen = []
    for view in views:
        tokens = view.shape[2]
        role = slice(None) if pooling == "all-mean" else role_slices(tokens)[ROLE_OF[pooling]]
        chosen.append(view[:, :, role].transpose(0, 1).flatten(1, 2))
    together = chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)
    return together.mean(1)


def norms(views: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all tokens of all views, for each image (n,)."""
    wide = [view.to(torch.promote_types(view.dtype, torch.float32)) for view in views]
    squares = torch.stack([view.square().sum((0, 2, 3)) for view in wide])
    return squares.sum(0).sqrt()


def line_up(views: Sequence[Tensor]) -> Tensor:
    """All tokens of all views of each image, (n, Σ v T, d), in the order of ``flatten``."""
    return torch.cat([view.transpose(0, 1).flatten(1, 2) for view in views], dim=1)
