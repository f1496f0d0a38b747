"""Models of ``timm``, ``torchvision`` and ``open_clip``, where the user has those packages; never a dependency.

Names are ``timm:NAME``, ``torchvision:NAME`` and ``open_clip:NAME/TAG``. Blocks and token roles are found by probing,
preprocessing is what the package itself states for the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models.adapters.adapter import Adapter
from brainmap.models.block_probing import probe
from brainmap.models.checkpoints.weight_files import fill
from brainmap.models.model_cards import ModelCard
from brainmap.models.model_names import PACKAGES


def packaged_card(name: str) -> ModelCard:
    """Make a card for a model of a package.

    Parameters
    ----------
    name : str
        ``timm:NAME``, ``torchvision:NAME`` or ``open_clip:NAME/TAG``.

    Raises
    ------
    MissingFileError
        If the package is not installed, or does not import.
    InputError
        If it knows no such model, or the model is no network of single images.
    """
    package, _, model = name.partition(":")
    network = _build(name, pretrained=False)
    with torch.random.fork_rng(devices=[]):
        preprocessing = _PREPROCESSING[package](network, model)
    network = _tower(package, network)
    size, leading = preprocessing["crop"], getattr(network, "num_prefix_tokens", None)
    probed = probe(network, network, size, name, leading=leading if isinstance(leading, int) else None)
    classes = isinstance(_head_width(network), int)
    return ModelCard(
        name=name,
        family="package",
        adapter="user-package",
        architecture=type(network).__name__,
        package=PACKAGES[package],
        layers=probed.patterns,
        sites=probed.sites,  # type: ignore[arg-type]
        tokens=probed.tokens,  # type: ignore[arg-type]
        patch=probed.patch,
        embedding="cls" if probed.tokens.get("cls") else "mean",
        sizes="fixed",
        output="logits" if classes else "tokens",
        preprocessing=preprocessing,  # type: ignore[arg-type]
        objective="cross-entropy-top1" if classes else "feature-energy",
        licence=f"see {PACKAGES[package]}",
        notes=f"Of the installed package {package}. Found by probing: check layers and tokens.",
    )


def installed_version(card: ModelCard) -> str:
    """Version of the package that computes a model's numbers; empty for models whose code is brainmap's own."""
    if card.adapter != "user-package":
        return ""
    return f" {import_module(card.name.partition(':')[0]).__version__}"


class UserPackageAdapter(Adapter):
    """A network that one of the packages builds."""

    @property
    def has_logits(self) -> bool:  # type: ignore[override]
        """Whether the network's output is class logits."""
        return self.card.output == "logits"

    def build(self, seed: int) -> nn.Module:
        """Build with the package's initial weights, drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _tower(self.card.name.partition(":")[0], _build(self.card.name, pretrained=False)).float()

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Fill strictly with a file of the package's own names."""
        return fill(self.build(0), tensors, source)

    def pretrained(self, location: str | Path | None, *, source: str = "", **options: Any) -> nn.Module:
        """Refuse a folder: the packages keep weights in single files."""
        raise InputError(f"Weights of '{self.card.name}' are one file; name it instead of the folder {location}.")

    def from_package(self) -> tuple[nn.Module, str]:
        """Weights that the package itself fetches, or has in its cache."""
        package = self.card.name.partition(":")[0]
        network = _tower(package, _build(self.card.name, pretrained=True)).float()
        return network, f"package {PACKAGES[package]} {import_module(package).__version__}"

    def forward(self, network: nn.Module, pixels: Tensor, **options: Any) -> Any:
        """Call the network."""
        return network(pixels, **options)

    def tokens(self, output: Any) -> Tensor:
        """The network's output, or the first of several."""
        return output[0] if isinstance(output, tuple | list) else output

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """Class logits (n, classes)."""
        return module(pixels)


def _build(name: str, *, pretrained: bool) -> Any:
    package, _, model = name.partition(":")
    try:
        library = import_module(package)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingFileError(
            f"'{name}' needs the package {PACKAGES[package]}, which does not import here ({reason}); install it: "
            f"pip install {PACKAGES[package]}."
        ) from None
    try:
        return _BUILDERS[package](library, model, pretrained).eval()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{package} cannot build '{model}' ({reason}); see the names it lists.") from None


def _open_clip(library: Any, model: str, pretrained: bool) -> Any:
    architecture, _, tag = model.partition("/")
    if pretrained and not tag:
        raise ValueError(f"no tag of weights is named: open_clip:{architecture}/TAG")
    return library.create_model(architecture, pretrained=tag if pretrained else None)


_BUILDERS: dict[str, Callable[[Any, str, bool], Any]] = {
    "timm": lambda library, model, pretrained: library.create_model(model, pretrained=pretrained),
    "torchvision": lambda library, model, pretrained: library.models.get_model(
        model, weights="DEFAULT" if pretrained else None
    ),
    "open_clip": _open_clip,
}


def _tower(package: str, network: Any) -> Any:
    """The vision tower: of CLIP, the half that sees."""
    return network.visual if package == "open_clip" else network


def _head_width(network: Any) -> Any:
    classes = getattr(network, "num_classes", None)
    last = [part for part in network.modules() if isinstance(part, nn.Linear)]
    return classes or (last[-1].out_features if last and last[-1].out_features == 1000 else None)


def _timm_preprocessing(network: Any, _: str) -> dict[str, Any]:
    stated = import_module("timm.data").resolve_model_data_config(network)
    crop = int(stated["input_size"][-1])
    mode = stated.get("crop_mode", "center")
    resize = int(crop / stated["crop_pct"])
    return {
        "crop": crop,
        "resize": resize,
        "squash": mode == "squash",
        "interpolation": stated["interpolation"] if stated["interpolation"] != "random" else "bicubic",
        "mean": tuple(stated["mean"]),
        "std": tuple(stated["std"]),
    }


def _torchvision_preprocessing(_: Any, model: str) -> dict[str, Any]:
    stated = import_module("torchvision.models").get_model_weights(model).DEFAULT.transforms()
    return {
        "crop": int(stated.crop_size[0]),
        "resize": int(stated.resize_size[0]),
        "interpolation": stated.interpolation.value,
        "mean": tuple(stated.mean),
        "std": tuple(stated.std),
    }


def _open_clip_preprocessing(network: Any, _: str) -> dict[str, Any]:
    stated = dict(network.visual.preprocess_cfg)
    size = stated["size"]
    return {
        "crop": int(size[0] if isinstance(size, tuple | list) else size),
        "squash": stated.get("resize_mode") == "squash",
        "interpolation": stated.get("interpolation", "bicubic"),
        "mean": tuple(stated["mean"]),
        "std": tuple(stated["std"]),
    }


_PREPROCESSING: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "timm": _timm_preprocessing,
    "torchvision": _torchvision_preprocessing,
    "open_clip": _open_clip_preprocessing,
}
