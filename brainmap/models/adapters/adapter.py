"""How a network is built, filled with weights and called: the base of all adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models.adapters.positions import use_stored_periods
from brainmap.models.checkpoints.tensor_names import WRAPPERS, expected_layouts, to_library_names, without_wrappers
from brainmap.models.checkpoints.weight_files import quiet_transformers
from brainmap.models.model_cards import ModelCard
from brainmap.models.self_distillation import untied

UNNORMED = ("CLIPVision", "OwlViTVision", "Owlv2Vision")  # towers whose last_hidden_state lacks the last norm


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

    def suited(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Adapter:
        """The adapter for what a file holds: another one where it holds less, or more, than the card's model."""
        return self

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Build from the card's configuration and fill with a file's tensors, in any layout that is understood."""
        named = to_library_names(tensors, self.card)
        if any(name.startswith(WRAPPERS) for name in named):
            with torch.device("meta"):
                named = without_wrappers(named, set(self.build(0).state_dict()))
        module = self.pretrained(None, source=source, config=transformers_config(self.card), state_dict=named)
        use_stored_periods(module, tensors)
        return untied(module, tensors)

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
        options = {**self.card.build_options, "dtype": torch.float32, "ignore_mismatched_sizes": True, **options}
        with quiet_transformers():
            try:
                module, report = kind.from_pretrained(location, output_loading_info=True, **options)
            except OSError:
                raise
            except Exception as error:  # a cut file, a config that is no mapping: whatever the library meets
                reason = (str(error).splitlines() or [""])[0][:200]
                raise InputError(
                    f"Weights {source or location} of '{self.card.name}' are damaged, or not written by "
                    f"save_pretrained ({type(error).__name__}: {reason}); copy or fetch them again."
                ) from None
        self._check_filled(module, report, options.get("state_dict"), source or str(location))
        return module

    def _check_filled(self, module: nn.Module, report: Mapping[str, Any], given: Any, source: str) -> None:
        """Refuse weights that leave a part of the network random, or that hold layers the network has not."""
        for name, theirs, ours in sorted(report["mismatched_keys"]):
            raise InputError(
                f"Weights {source} do not fit '{self.card.name}': {name} is {tuple(theirs)} in them and {tuple(ours)} "
                "in the network; they are of another model, or of another size of it."
            )
        missing = sorted(report["missing_keys"])
        wanted = len(module.state_dict())
        if len(missing) > wanted / 2 and given is not None:
            raise InputError(
                f"Weights {source}: the authors' layout is not understood. Expected of '{self.card.name}' is one of: "
                f"{expected_layouts(self.card)}; the file has {', '.join(list(given)[:3])} …"
            )
        if missing:
            raise InputError(
                f"Weights {source} do not fill '{self.card.name}': {len(missing)} of its {wanted} tensors are not in "
                f"the file, such as {missing[0]}; it is cut short, or of another model."
            )
        extra = sorted(name for name in report["unexpected_keys"] if re.search(r"\.\d+\.", name))
        network = re.sub(r"\d+", "*", " ".join(module.state_dict()))
        deeper = [name for name in extra if re.sub(r"\d+", "*", name) in network]
        if deeper and given is not None:
            raise InputError(
                f"Weights {source} hold more layers than '{self.card.name}' has, such as {deeper[0]}: they are of "
                "another size of the model."
            )

    def from_package(self) -> tuple[nn.Module, str]:
        """Build with the weights of the card's package; returns the module and where they came from."""
        raise InputError(f"Model '{self.card.name}' does not come in a package.")

    # -- calling --------------------------------------------------------------------------------------------------

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Networks that take pixels, by name; the first gives the activations."""
        return {"main": module.get_submodule(self.card.network)}

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Run a branch on preprocessed pixels (n, 3, h, w)."""
        return with_final_norm(network, network(pixel_values=pixels, **self._sizes(), **options))

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

    architecture = getattr(transformers, card.architecture, None)
    if architecture is None:
        version = transformers.__version__
        raise InputError(f"transformers {version} has no class {card.architecture}; '{card.name}' needs a newer one.")
    return architecture


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


def with_final_norm(network: Any, output: Any) -> Any:
    """The output of an image tower with its last norm applied to all tokens, where it normalises the CLS token only."""
    if type(network).__name__.startswith(UNNORMED) and hasattr(network, "post_layernorm"):
        output.last_hidden_state = network.post_layernorm(output.last_hidden_state)
    return output
