"""How each kind of network is built, filled with weights and called. A card names its adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.errors import InputError
from brainmap.models.cards import ModelCard
from brainmap.models.fitting import fill, quiet_transformers
from brainmap.models.layouts import to_library_names


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


class ClassifierAdapter(Adapter):
    """A backbone with a classification head."""

    has_logits = True

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """Class logits (n, classes); runs the backbone once."""
        return module(pixel_values=pixels, **self._sizes()).logits


class ImageTextAdapter(Adapter):
    """An image tower and a text tower with a common space."""

    has_text = True

    def image_embedding(self, module: Any, pixels: Tensor) -> Tensor:
        """Projected image vectors (n, d), not normalised; runs the image tower once."""
        pooled = self.forward(module.get_submodule(self.card.network), pixels).pooler_output
        return module.visual_projection(pooled) if hasattr(module, "visual_projection") else pooled

    def text_embedding(self, module: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        """Projected caption vectors (n, d), not normalised."""
        pooled = module.text_model(**tokens).pooler_output
        return module.text_projection(pooled) if hasattr(module, "text_projection") else pooled


class MAEAdapter(Adapter):
    """ViT-MAE with its decoder; unmasked and in image order unless an objective says otherwise."""

    def forward(  # type: ignore[override]
        self, network: Any, pixels: Tensor, *, mask_ratio: float = 0.0, noise: Tensor | None = None
    ) -> Any:
        """Run the encoder.

        Parameters
        ----------
        network : nn.Module
            The encoder.
        pixels : Tensor, (n, 3, s, s)
            Preprocessed images.
        mask_ratio : float
            Share of patches hidden from the encoder.
        noise : Tensor, (n, patches), optional
            Patches with the smallest values stay visible, in order of their values; image order by default.
        """
        if noise is None:
            count = network.embeddings.patch_embeddings.num_patches
            noise = torch.arange(count, device=pixels.device, dtype=pixels.dtype).expand(len(pixels), -1)
        with _setting(network.config, "mask_ratio", mask_ratio):
            return network(pixel_values=pixels, noise=noise)


class VideoAdapter(Adapter):
    """A video encoder; a still image becomes a clip of identical frames."""

    def forward(  # type: ignore[override]
        self, network: Any, pixels: Tensor, *, keep: Tensor | None = None
    ) -> Any:
        """Run the encoder.

        Parameters
        ----------
        network : nn.Module
            The encoder.
        pixels : Tensor, (n, 3, s, s)
            Preprocessed images.
        keep : Tensor of int, (n, k), optional
            Positions of the tokens the encoder sees, as in training; all by default.
        """
        clip = pixels[:, None].expand(-1, self.card.frames or 1, -1, -1, -1)
        if keep is None:
            return network(pixel_values_videos=clip)
        hidden = network.embeddings(clip)
        hidden = hidden.gather(1, keep[..., None].expand(-1, -1, hidden.shape[-1]))
        for layer in network.layer:
            hidden = layer(hidden, keep)[0]
        return network.layernorm(hidden)


class DetectorAdapter(Adapter):
    """The convolutional backbone of a detector of the DETR family; the detector around it is loaded, but not run."""

    def tokens(self, output: Any) -> Tensor:
        """Grid (n, c, h, w) after the last stage."""
        return output.feature_maps[-1]


class DinoTinyAdapter(Adapter):
    """Student, teacher and heads of ``dino-tiny``; activations are the teacher's, as in every DINO release."""

    def build(self, seed: int) -> nn.Module:
        """Build from the project's own configuration."""
        from brainmap.models.dino_tiny import build_self_distillation

        return build_self_distillation(seed)

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Fill strictly."""
        return fill(self.build(0), tensors, source)

    def branches(self, module: nn.Module) -> dict[str, nn.Module]:
        """Backbones of teacher and student."""
        return {name: module.get_submodule(f"{name}.backbone") for name in ("teacher", "student")}


class ModuleAdapter(Adapter):
    """Any ``nn.Module`` that takes a batch of pixels as its only argument."""

    @property
    def has_logits(self) -> bool:  # type: ignore[override]
        """Whether the user declared the output to be class logits."""
        return self.card.output == "logits"

    def build(self, seed: int) -> nn.Module:
        """Refuse: the module is the user's."""
        raise InputError(f"Model '{self.card.name}' is a module of your own; build it and pass it to from_module.")

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Call the module."""
        return network(pixels, **options)

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """The module's output."""
        return module(pixels)


ADAPTERS: dict[str, type[Adapter]] = {
    "transformers": Adapter,
    "classifier": ClassifierAdapter,
    "image-text": ImageTextAdapter,
    "mae": MAEAdapter,
    "video": VideoAdapter,
    "detector": DetectorAdapter,
    "dino-tiny": DinoTinyAdapter,
    "module": ModuleAdapter,
}


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
