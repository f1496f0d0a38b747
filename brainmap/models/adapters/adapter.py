"""Adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models.checkpoints.tensor_names import to_library_names
from brainmap.models.checkpoints.weight_files import quiet_transformers
from brainmap.models.model_cards import ModelCard


class Adapter:
    """A ``transformers`` vision model that takes ``pixel_values``; the base of all others.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    """

    has_logits = False
    has_text = False

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    # -- making ---------------------------------------------------------------------------------------------------

    def build(self, seed: int) -> nn.Module:
        """Build the network from the card's configuration with initial weights drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return transformers_class(self.card)(transformers_config(self.card), **self.card.build_options).float()

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Build from the card's configuration and fill with a file's tensors, in any layout that is understood."""
        named = to_library_names(tensors, self.card)
        return self.pretrained(None, source=source, config=transformers_config(self.card), state_dict=named)

    def pretrained(self, location: str | Path | None, *, source: str = "", **options: Any) -> nn.Module:
        """Load from a folder, the cache or the hub; strict about missing weights.

        Raises
        ------
        InputError
            If the weights do not fill the network: parts of it would be random.
        OSError
            If there is nothing at ``location``.
        """
        kind = transformers_class(self.card)
        options = {**self.card.build_options, "dtype": torch.float32, **options}
        with quiet_transformers():
            try:
                module, report = kind.from_pretrained(location, output_loading_info=True, **options)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"Weights {source or location} do not fit {kind.__name__} ({reason}).") from None
        missing = sorted(report["missing_keys"])
        if missing:
            some = ", ".join(missing[:3])
            raise InputError(f"Weights {source or location} do not fit: they lack {some} ({len(missing)} in all).")
        return module

    def from_package(self) -> tuple[nn.Module, str]:
        """Build with the weights of the card's package; returns the module and where they came from."""
        raise InputError(f"Model '{self.card.name}' does not come in a package.")

    # -- calling --------------------------------------------------------------------------------------------------

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Networks that take pixels, by name; the first gives the activations."""
        return {"main": module.get_submodule(self.card.network)}

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Run a branch on preprocessed pixels (n, 3, h, w)."""
        return network(pixel_values=pixels, **self._sizes(), **options)

    def tokens(self, output: Any) -> Tensor:
        """Final tokens (n, T, d), grid (n, c, h, w) or vector (n, d) in the output of ``forward``."""
        return output if isinstance(output, Tensor) else output.last_hidden_state

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """Class logits (n, classes)."""
        raise InputError(f"Model '{self.card.name}' has no classifier.")

    def image_embedding(self, module: Any, pixels: Tensor) -> Tensor:
        """Projected image vectors (n, d) in the space shared with text."""
        raise InputError(f"Model '{self.card.name}' has no text tower.")

    def text_embedding(self, module: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        """Projected caption vectors (n, d)."""
        raise InputError(f"Model '{self.card.name}' has no text tower.")

    def _sizes(self) -> dict[str, bool]:
        return {"interpolate_pos_encoding": True} if self.card.sizes == "interpolated" else {}


def transformers_class(card: ModelCard) -> Any:
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


@contextmanager
def _setting(target: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, before)
