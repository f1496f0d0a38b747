"""``VisionModel``: a torch network with logical layers, token roles, preprocessing and objectives."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.readable import html_table, shortened
from brainmap.models.block_probing import grid_order, two_readings
from brainmap.models.layer_paths import EVENLY, evenly_spaced, first_submodule, layer_paths
from brainmap.models.model_cards import ModelCard
from brainmap.models.preprocessing import Preprocessing
from brainmap.models.tokenizers import Tokenizer

if TYPE_CHECKING:
    from brainmap.models.adapters.adapter import Adapter
    from brainmap.models.objectives.objective import Objective


AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Layer:
    """A logical layer: its name (``block.0`` …) and depth k, 0 for the first block and 1 for the last.

    Examples
    --------
    >>> from brainmap.models import skeleton
    >>> layer = skeleton("dino-tiny").layers[-1]
    >>> layer
    Layer(name='block.11', depth=1.0)
    """

    name: str
    depth: float


@dataclass(frozen=True)
class Loaded:
    """What loading leaves behind besides the module.

    Attributes
    ----------
    weights : str
        Which weights were asked for.
    source : str
        File or repository they came from, with the commit where known; ``seed 0`` for untrained ones.
    recipe : dict
        Training settings saved in the checkpoint (step, teacher temperature, …), where it has any.
    code : str or None
        Identity of the code that computes the forward pass; None for a user's module, whose code is unknown.
    """

    weights: str
    source: str
    recipe: dict[str, Any] = field(default_factory=dict)
    code: str | None = None


class VisionModel:
    """A vision network behind logical names.

    Made by :func:`brainmap.models.load_model` or :func:`brainmap.models.from_module`.

    Parameters
    ----------
    card : ModelCard
        What is declared about the model.
    module : nn.Module
        The network with everything its objectives need (decoder, heads, text tower, teacher).
    adapter : Adapter
        How to call it.
    preprocessing : Preprocessing
        Of this instance; differs from the card's when another input size was asked for.
    loaded : Loaded
        Where the weights come from.
    tokenizer : Tokenizer, optional
        Of the text tower.
    dtype : str
        ``float64``, ``float32``, or ``bfloat16``/``float16`` (autocast; weights stay float32).
    register : mapping, optional
        Objectives by name, as they stand when asked; :func:`load_model` hands over all that are registered.
    layer_names : sequence of str, optional
        Names of the layers, in order; ``block.0``, ``block.1`` … by default.

    Notes
    -----
    Parameters are frozen and the module is in evaluation mode: dropout, drop path and position jitter are off.

    Examples
    --------
    >>> import brainmap
    >>> model = brainmap.load_model("dino-tiny")
    >>> pixels = model.preprocess(list(brainmap.sample_stimuli().subset(range(2))))
    >>> tuple(model.embedding(pixels).shape)
    (2, 96)
    """

    def __init__(
        self,
        card: ModelCard,
        module: nn.Module,
        adapter: Adapter,
        *,
        preprocessing: Preprocessing,
        loaded: Loaded,
        tokenizer: Tokenizer | None = None,
        dtype: str = "float32",
        register: Mapping[str, Objective] = MappingProxyType({}),
        layer_names: Sequence[str] | None = None,
    ) -> None:
        self.card = card
        self._register = register
        self.loaded = loaded
        self.preprocessing = preprocessing
        self.tokenizer = tokenizer
        self.adapter = adapter
        self.precision = dtype
        self.module = module.eval().requires_grad_(False)
        for part in self.module.modules():
            if getattr(part, "inplace", False):
                setattr(part, "inplace", False)  # noqa: B010 - in place, it would overwrite what a site hands out
        self.branches: dict[str, nn.Module] = adapter.branches(module)
        paths = layer_paths(self.network(), card.layers)
        last = max(len(paths) - 1, 1)
        names = layer_names or [f"block.{i}" for i in range(len(paths))]
        self.layers = tuple(Layer(name, i / last) for i, name in enumerate(names))
        self._paths = dict(zip((layer.name for layer in self.layers), paths, strict=True))

    def __repr__(self) -> str:
        """Name, weights, digest and size."""
        layers = shortened([layer.name for layer in self.layers], 3)
        side = self.preprocessing.crop
        return (
            f"<VisionModel {self.name}, {self.weights} weights ({self.digest}); layers {layers}; input {side} × {side}>"
        )

    def _repr_html_(self) -> str:
        """Return what the model is as a small table for notebooks."""
        side = self.preprocessing.crop
        rows = {
            "weights": f"{self.weights}, from {self.loaded.source}, digest {self.digest}",
            "parameters": f"{sum(weight.numel() for weight in self.module.parameters()) / 1e6:,.1f} million",
            "layers": shortened([layer.name for layer in self.layers]),
            "sites": ", ".join(self.sites),
            "tokens": ", ".join(self.role_slices(0)),
            "input": f"{side} × {side} pixels",
            "objectives": ", ".join(self.objectives) or "none",
        }
        return html_table(f"Vision model {self.name}", rows)

    # -- identity -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the card."""
        return self.card.name

    @property
    def weights(self) -> str:
        """Which weights were loaded."""
        return self.loaded.weights

    @property
    def recipe(self) -> dict[str, Any]:
        """Training settings found in the checkpoint."""
        return self.loaded.recipe

    @functools.cached_property
    def digest(self) -> str:
        """16 hex characters of sha256 over names, dtypes, shapes and bytes of all tensors."""
        return tensors_digest(self.module.state_dict())

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites signals can be read at."""
        return tuple(self.card.sites)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the registered objectives this model has the parts for, image-wise ones first."""
        able = [name for name, objective in self._register.items() if objective.supports(self)]
        return tuple(sorted(able, key=lambda name: self._register[name].batch_coupled))

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights; the type of the stored features too, autocast or not."""
        return next(self.module.parameters()).dtype

    # -- layers, sites, tokens ------------------------------------------------------------------------------------

    def network(self, branch: str | None = None) -> nn.Module:
        """The vision network whose layers are meant; the first branch unless named."""
        return self.branches[branch or next(iter(self.branches))]

    def layer_names(self, layers: Iterable[str] | None = None) -> tuple[str, ...]:
        """Check names of layers.

        All layers for None; for ``evenly:10`` ten at equal distances in depth, first and last included.

        Raises
        ------
        InputError
            Naming the unknown layer.
        """
        known = tuple(layer.name for layer in self.layers)
        if layers is None:
            return known
        chosen = as_names(layers)
        if len(chosen) == 1 and chosen[0].startswith(EVENLY):
            return evenly_spaced(known, chosen[0], self.name)
        for name in chosen:
            if name not in known:
                raise InputError(f"Model '{self.name}' has no layer '{name}'; it has {known[0]} … {known[-1]}.")
        if not chosen or len(set(chosen)) < len(chosen):
            raise InputError("Name at least one layer, each once.")
        return tuple(name for name in known if name in chosen)

    def site_modules(self, layers: Sequence[str], site: str, branch: str | None = None) -> dict[str, nn.Module]:
        """Modules whose output is the signal at ``site`` of the named layers.

        Raises
        ------
        InputError
            If the model has no such site.
        """
        if site not in self.card.sites:
            raise InputError(f"Model '{self.name}' has no site '{site}'; it has {', '.join(self.sites)}.")
        network = self.network(branch)
        modules = {}
        for name in layers:
            block = network.get_submodule(self._paths[name])
            modules[name] = first_submodule(block, self.card.sites[site].path.split("|"))
        return modules

    def role_slices(self, tokens: int) -> dict[str, slice]:
        """Token roles of a sequence of ``tokens`` tokens: the card's leading tokens, then patches."""
        slices, start = {}, 0
        for role, count in self.card.tokens.items():
            if count:
                slices[str(role)] = slice(start, start + count)
                start += count
        slices["patch"] = slice(start, tokens)
        return slices

    def roles(self, images_shape: Sequence[int]) -> dict[str, slice]:
        """Token roles for images of shape (…, h, w).

        Returns
        -------
        dict of str to slice
            ``cls``, ``register`` (where the model has them) and ``patch``: positions along the token axis. A
            convolutional network has no fixed token count; its ``patch`` slice is open-ended, one token per position.
        """
        if self.card.patch is None:
            return {"patch": slice(0, None)}
        height, width = images_shape[-2:]
        patches = (height // self.card.patch) * (width // self.card.patch)
        if self.card.frames:
            patches *= self.card.frames // 2
        return self.role_slices(sum(self.card.tokens.values()) + patches)

    def as_tokens(self, output: Any, site: str) -> Tensor:
        """Output of a site's module as tokens (n, T, d); a grid (n, c, h, w) becomes h·w patch tokens."""
        tensor: Tensor = output[0] if isinstance(output, tuple | list) else output
        layout: str | None = self.card.sites[site].layout
        if layout == "auto" and tensor.ndim == 4 and tensor.shape[1] * tensor.shape[3] > 1:
            layout = grid_order(tensor.shape)  # preprocessing makes square images, so a grid's sides are equal
            if layout is None:
                raise InputError(f"'{self.name}': {two_readings(tensor.shape, f'site {site}')}")
        if layout == "channels-last":
            return tensor.flatten(1, 2)
        if layout == "channels-first" or tensor.ndim == 4:
            return tensor.flatten(2).transpose(1, 2)
        return tensor if tensor.ndim == 3 else tensor[:, None]

    # -- computing ------------------------------------------------------------------------------------------------

    def preprocess(self, images: Sequence[np.ndarray]) -> Tensor:
        """Photographs (list of (h, w, 3) uint8) to (n, 3, s, s) on the model's device and in its dtype."""
        return self.preprocessing(images).to(self.device, self.dtype)

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which half-precision models compute; does nothing for float32 and float64."""
        if self.precision in AUTOCAST:
            return torch.autocast(self.device.type, dtype=AUTOCAST[self.precision])
        return nullcontext()

    def forward(self, pixels: Tensor, *, branch: str | None = None, **options: Any) -> Any:
        """Run one branch on preprocessed pixels (n, 3, h, w) and return its own output."""
        return self.adapter.forward(self.branches[branch or next(iter(self.branches))], pixels, **options)

    def tokens(self, pixels: Tensor, *, branch: str | None = None, **options: Any) -> Tensor:
        """Tokens (n, T, d) after the last layer and the final norm; a grid becomes patch tokens."""
        final = self.adapter.tokens(self.forward(pixels, branch=branch, **options))
        if final.ndim == 4:
            order = grid_order(final.shape) or self.card.sites["block"].layout
            return final.flatten(1, 2) if order == "channels-last" else final.flatten(2).transpose(1, 2)
        return final if final.ndim == 3 else final[:, None]

    def embedding(self, pixels: Tensor, *, branch: str | None = None) -> Tensor:
        """One vector per image (n, d): the CLS token or the mean over patches, as the card says."""
        tokens = self.tokens(pixels, branch=branch)
        roles = self.role_slices(tokens.shape[1])
        return tokens[:, 0] if self.card.embedding == "cls" else tokens[:, roles["patch"]].mean(1)

    def logits(self, pixels: Tensor) -> Tensor:
        """Class logits (n, classes)."""
        return self.adapter.logits(self.module, pixels)

    def text_embedding(self, captions: Sequence[str]) -> Tensor:
        """Projected caption vectors (n, d) of the text tower, not normalised, without gradient.

        Raises
        ------
        InputError
            If the model has no text tower.
        """
        if not self.adapter.has_text or self.tokenizer is None:
            raise InputError(f"Model '{self.name}' has no text tower.")
        with torch.no_grad():
            ids = {name: tensor.to(self.device) for name, tensor in self.tokenizer(as_names(captions)).items()}
            return self.adapter.text_embedding(self.module, ids)

    def similarity(self, pixels: Tensor, captions: Sequence[str]) -> Tensor:
        """The model's own similarity (n,) of each image with its caption: scaled cosine, plus the bias it learned."""
        module: Any = self.module
        text = self.text_embedding(captions)
        image = self.adapter.image_embedding(module, pixels)
        cosine = torch.nn.functional.cosine_similarity(image, text.to(image.dtype), dim=-1)
        return cosine * module.logit_scale.exp() + getattr(module, "logit_bias", 0.0)

    def identity(self) -> dict[str, Any]:
        """What decides the numbers of a forward pass, for the feature store; None marks an unknown part."""
        return {
            "name": self.name,
            "weights_digest": self.digest,
            "code": self.loaded.code,
            "layers": list(self.card.layers),
            "sites": {name: spec.model_dump() for name, spec in self.card.sites.items()},
            "tokens": dict(self.card.tokens),
            "frames": self.card.frames,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            "precision": self.precision,
            "device": self.device.type,
        }


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """16 hex characters of sha256 over names, dtypes, shapes and bytes, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
