"""LeJEPA: a backbone with a projector, trained without teacher by view prediction and a Gaussian regulariser.

References
----------
.. [1] Balestriero & LeCun 2025, *LeJEPA: provable and scalable self-supervised learning without the heuristics*,
   arXiv 2511.08544.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models.adapters.adapter import Adapter, transformers_class, transformers_config
from brainmap.models.checkpoints.weight_files import fill

HIDDEN = 2048


class LeJEPA(nn.Module):
    """Backbone, linear embedding of its CLS token, and projector: two hidden layers with batch normalisation.

    Parameters
    ----------
    backbone : nn.Module
        A ``ViTModel``.
    embedding, hidden, projection : int
        Widths of the embedding, of the projector's hidden layers, and of what it returns.
    """

    def __init__(self, backbone: Any, *, embedding: int = 512, hidden: int = HIDDEN, projection: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.config.hidden_size, embedding)
        # Numbered as in the authors' projector, where an inactive dropout follows each activation.
        self.proj = nn.ModuleDict(
            {
                "0": nn.Linear(embedding, hidden),
                "1": nn.BatchNorm1d(hidden),
                "4": nn.Linear(hidden, hidden),
                "5": nn.BatchNorm1d(hidden),
                "8": nn.Linear(hidden, projection),
            }
        )
        self.config: Any = backbone.config

    def project(self, cls: Tensor, *, batch_statistics: bool) -> Tensor:
        """Project CLS tokens (m, d) of all views to (m, k).

        Parameters
        ----------
        cls : Tensor, (m, d)
            Final CLS tokens.
        batch_statistics : bool
            Normalise with the batch's own mean and variance, as in training, which ties its images together; else with
            the running statistics of the checkpoint. Those are never changed.
        """
        hidden = self.head(cls)
        for linear, norm in (("0", "1"), ("4", "5")):
            hidden = F.relu(_normalise(self.proj[norm], self.proj[linear](hidden), batch_statistics))
        projected: Tensor = self.proj["8"](hidden)
        return projected


def _normalise(norm: Any, values: Tensor, batch_statistics: bool) -> Tensor:
    if batch_statistics:
        return F.batch_norm(values, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


class LeJEPAAdapter(Adapter):
    """LeJEPA's encoder with its projector."""

    def build(self, seed: int) -> nn.Module:
        """Build from the card's configuration with initial weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return LeJEPA(
                transformers_class(self.card)(transformers_config(self.card), **self.card.build_options).float()
            )

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Convert the authors' (``timm``'s) names, build as large as the file says and fill strictly."""
        stripped = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
        parts = {name.removeprefix("backbone."): t for name, t in stripped.items() if name.startswith("backbone.")}
        head = {f"head.{leaf}": parts.pop(f"head.{leaf}", stripped.get(f"head.{leaf}")) for leaf in ("weight", "bias")}
        backbone: Any = Adapter(self.card).from_tensors(parts, source)
        named = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
        named |= {name: tensor for name, tensor in stripped.items() if name.startswith("proj.")}
        given = {name: tensor for name, tensor in head.items() if tensor is not None}
        try:
            embedding, hidden = given["head.weight"].shape[0], named["proj.0.weight"].shape[0]
            projection = named["proj.8.weight"].shape[0]
        except KeyError as error:
            raise InputError(f"Weights {source} lack {error}: LeJEPA needs its embedding and projector.") from None
        with torch.random.fork_rng(devices=[]):
            module = LeJEPA(backbone, embedding=embedding, hidden=hidden, projection=projection)
        return fill(module, {**named, **given}, source)

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """The backbone."""
        return {"main": module.get_submodule("backbone")}
