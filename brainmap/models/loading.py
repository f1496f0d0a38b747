"""``load_model``: a model by name, its weights from a local path, this installation, the local cache or the hub."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.errors import InputError, MissingFileError
from brainmap.models.adapters import ADAPTERS, transformers_config
from brainmap.models.cards import ModelCard, SiteSpec, model_card
from brainmap.models.preprocessing import Preprocessing
from brainmap.models.vision_model import AUTOCAST, Loaded, VisionModel

EMBEDDED = Path(__file__).parent / "weights"
UNTRAINED_DINO_TINY = "b9d39f3f1512e4ad"


def load_model(
    name: str,
    *,
    weights: str | Path = "trained",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    input_size: int | None = None,
) -> VisionModel:
    """Load a vision model by name.

    Parameters
    ----------
    name : str
        A name from :func:`list_models`, an alias, a hub repository, or any ``transformers`` vision model.
    weights : str or Path
        ``trained``; ``untrained`` (drawn from ``seed``); a named checkpoint such as ``step_000400``; or the path of a
        ``.safetensors`` or ``.pt`` file, or of a folder as ``save_pretrained`` writes it.
    seed : int
        Of untrained weights.
    device : str
        ``cpu``, ``cuda``, ``mps`` …
    dtype : {"float32", "float64", "bfloat16", "float16"}
        Half precision means autocast with float32 weights and float32 features.
    input_size : int, optional
        Side of the input in pixels, where it should differ from the card's.

    Returns
    -------
    VisionModel

    Raises
    ------
    InputError
        For an unknown name, dtype or device.
    MissingFileError
        If weights cannot be had; the message says how to get them.
    """
    card = model_card(name)
    if dtype not in {"float32", "float64", *AUTOCAST}:
        raise InputError(f"dtype '{dtype}' is not one of float32, float64, bfloat16, float16.")
    adapter = ADAPTERS[card.adapter]
    module = adapter.build(card, seed)
    if str(weights) == "untrained":
        loaded = Loaded("untrained", f"seed {seed}", code=code_identity(card))
        if card.adapter == "dino-tiny" and seed == 0:
            _check_untrained(module)
    else:
        tensors, loaded = _read_weights(card, weights)
        _fill(module, tensors, loaded.source)
    preprocessing = card.preprocessing if input_size is None else card.preprocessing.with_size(input_size)
    if card.patch and preprocessing.crop % card.patch:
        raise InputError(f"input_size {preprocessing.crop} is not a multiple of the patch size, {card.patch} px.")
    module.to(device=_device(device), dtype=torch.float64 if dtype == "float64" else torch.float32)
    return VisionModel(card, module, adapter, preprocessing=preprocessing, loaded=loaded, dtype=dtype)


def from_module(
    module: nn.Module,
    *,
    name: str,
    layers: Sequence[str],
    preprocessing: Preprocessing | None = None,
    code_version: str | None = None,
    **card_fields: Any,
) -> VisionModel:
    """Wrap a ``torch.nn.Module`` of one's own.

    Parameters
    ----------
    module : nn.Module
        Takes a batch (n, 3, h, w) as its only argument.
    name : str
        Shown in results.
    layers : sequence of str
        Paths of the modules that are layers, in order; ``*`` stands for a number (``features.*``).
    preprocessing : Preprocessing, optional
        Resize 224, ImageNet normalisation by default.
    code_version : str, optional
        Your name for this version of the module's code. Without it features of the model are not cached on disk,
        because a change of the code could not be noticed.
    **card_fields
        Further fields of :class:`ModelCard`: ``tokens={"cls": 1}``, ``sites={"mlp": "mlp.fc2"}``, ``patch=16`` …

    Returns
    -------
    VisionModel
    """
    fields = {"sites": {"block": SiteSpec()}, **card_fields}
    fields["preprocessing"] = preprocessing or Preprocessing()
    card = ModelCard(
        name=name, adapter="module", layers=tuple(layers), architecture=type(module).__qualname__, **fields
    )
    code = None if code_version is None else f"{type(module).__qualname__} {code_version}"
    loaded = Loaded("own", "module in memory", code=code)
    return VisionModel(card, module, ADAPTERS["module"], preprocessing=card.preprocessing, loaded=loaded)


def code_identity(card: ModelCard) -> str:
    """Architecture and configuration, which decide what is computed from the weights."""
    if card.adapter == "dino-tiny":
        from brainmap.models.dino_tiny import dino_tiny_config

        config = dino_tiny_config().to_dict()
    else:
        config = transformers_config(card).to_dict()
    config.pop("transformers_version", None)
    text = json.dumps(config, sort_keys=True, default=str)
    return f"{card.architecture} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def available_weights(name: str) -> list[str]:
    """Names of the checkpoints of a model that come with this installation, in order of training."""
    folder = EMBEDDED / model_card(name).name.replace("-", "_")
    return sorted(file.stem for file in folder.glob("step_*.safetensors"))


def _read_weights(card: ModelCard, weights: str | Path) -> tuple[dict[str, Tensor], Loaded]:
    path = Path(weights)
    if path.suffix in {".safetensors", ".pt", ".pth", ".bin"}:
        tensors, recipe = read_tensors(path)
        return tensors, Loaded(str(weights), str(path), recipe, code_identity(card))
    names = available_weights(card.name)
    chosen = names[-1] if names and str(weights) == "trained" else str(weights)
    if chosen not in names:
        have = ", ".join(names) if names else "none"
        raise MissingFileError(
            f"There are no weights '{weights}' for '{card.name}'; this installation holds {have}. "
            "Use weights='untrained', or the path of a .safetensors file."
        )
    file = EMBEDDED / card.name.replace("-", "_") / f"{chosen}.safetensors"
    tensors, recipe = read_tensors(file)
    return tensors, Loaded(str(weights), f"embedded {file.name}", recipe, code_identity(card))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint file without executing anything in it.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a torch file that holds tensors only.

    Returns
    -------
    tensors : dict of str to Tensor
    recipe : dict
        ``step`` and the training settings, where the file's metadata has them.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no checkpoint file {path}.")
    if path.suffix != ".safetensors":
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{path} cannot be read safely: it holds more than tensors, or is damaged ({reason}); "
                "save its state_dict as .safetensors."
            ) from None
        for wrapper in ("state_dict", "model"):
            if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
                found = found[wrapper]
        return dict(found), {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}); download or copy it again.") from None
    recipe = json.loads(metadata["recipe"]) if "recipe" in metadata else {}
    if "step" in metadata:
        recipe["step"] = int(metadata["step"])
    return tensors, recipe


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load strictly: a missing, unexpected or misshapen tensor is an error that names it."""
    wanted = module.state_dict()
    missing, unexpected = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"{what} {', '.join(names[:3])}" for what, names in (("lacks", missing), ("has", unexpected)) if names]
        raise InputError(f"Weights {source} do not fit: the file {' and '.join(parts)} (in all {len(missing)} missing, "
                         f"{len(unexpected)} unexpected).")  # fmt: skip
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise InputError(f"Weights {source} do not fit: {name} is {shapes}.")
    module.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})


def _check_untrained(module: nn.Module) -> None:
    """Compare the seeded initial weights with the recorded digest.

    Random numbers can differ in their last bits between kinds of processors, and altogether between versions of torch
    or transformers. Either is harmless for one study, but comparisons across machines must know.
    """
    from brainmap.models.vision_model import tensors_digest

    found = tensors_digest(module.state_dict())
    if found != UNTRAINED_DINO_TINY:
        warnings.warn(
            f"The untrained weights of dino-tiny (digest {found}) are not the reference ones ({UNTRAINED_DINO_TINY}): "
            "this processor or this version of torch or transformers draws other numbers.",
            stacklevel=3,
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device '{name}' cannot be used ({reason}); use device='cpu'.") from None
    return device
