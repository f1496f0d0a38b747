"""How each kind of network is built, filled with weights and called. A card names its adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from brainmap.errors import InputError
from brainmap.models.cards import ModelCard


class Adapter:
    """A ``transformers`` vision model that takes ``pixel_values``; the base of all others."""

    def build(self, card: ModelCard, seed: int) -> nn.Module:
        """Build the network from the card's configuration with initial weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return transformers_class(card)(transformers_config(card)).float()

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Networks that take pixels, by name; the first gives the activations."""
        return {"main": module}

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Run a branch on preprocessed pixels (n, 3, h, w)."""
        return network(pixel_values=pixels, **options)

    def tokens(self, output: Any) -> Tensor:
        """Final tokens (n, T, d) or grid (n, c, h, w) in the output of ``forward``."""
        if isinstance(output, Tensor):
            return output
        return output.last_hidden_state


class DinoTinyAdapter(Adapter):
    """Student, teacher and heads of ``dino-tiny``; activations are the teacher's, as in every DINO release."""

    def build(self, card: ModelCard, seed: int) -> nn.Module:
        """Build from the project's own configuration."""
        from brainmap.models.dino_tiny import build_self_distillation

        return build_self_distillation(seed)

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Backbones of teacher and student."""
        return {
            "teacher": module.get_submodule("teacher.backbone"),
            "student": module.get_submodule("student.backbone"),
        }


class ModuleAdapter(Adapter):
    """Any ``nn.Module`` that takes a batch of pixels as its only argument."""

    def build(self, card: ModelCard, seed: int) -> nn.Module:
        """Refuse: the module is the user's."""
        raise InputError(f"Model '{card.name}' is a module of your own; build it yourself and pass it to from_module.")

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Call the module."""
        return network(pixels, **options)


ADAPTERS: dict[str, Adapter] = {
    "transformers": Adapter(),
    "dino-tiny": DinoTinyAdapter(),
    "module": ModuleAdapter(),
}


def transformers_class(card: ModelCard) -> type[Any]:
    """Class of the card's architecture.

    Raises
    ------
    InputError
        If the installed ``transformers`` doesn't have it.
    """
    import transformers

    found = getattr(transformers, card.architecture, None)
    if found is None:
        version = transformers.__version__
        raise InputError(f"transformers {version} has no class {card.architecture}; '{card.name}' needs a newer one.")
    return found


def transformers_config(card: ModelCard) -> Any:
    """Configuration object of the card's architecture with the card's parameters."""
    return transformers_class(card).config_class(**card.config)
