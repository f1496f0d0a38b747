"""Cards for ``transformers`` vision models without one: layers, tokens and preprocessing found by probing."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models.checkpoints.weight_files import quiet_transformers
from brainmap.models.model_cards import ModelCard

MLP_NAMES = ("mlp.fc2", "mlp.down_proj", "output.dense", "mlp.weights_out", "pwconv2", "mlp.2")
ATTENTION_NAMES = ("attention.o_proj", "attention.output.dense", "self_attn.out_proj", "attention.proj", "attn.proj")
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def probed_card(name: str) -> ModelCard:
    """Make a card for a repository or folder.

    Parameters
    ----------
    name : str
        Repository id, or folder as ``save_pretrained`` writes it.

    Raises
    ------
    MissingFileError
        If there is nothing of that name.
    InputError
        If it is not a model of single images, or has no repeated blocks.
    """
    import transformers

    with quiet_transformers():
        try:
            config = transformers.AutoConfig.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise MissingFileError(
                f"'{name}' is neither a known model (brainmap models) nor a repository or folder that opens ({reason})."
            ) from None
    config = getattr(config, "vision_config", config)  # of an image–text model, the vision tower
    kinds: Any = transformers.MODEL_MAPPING
    if type(config) not in kinds:
        raise InputError(f"'{name}' is a {type(config).__name__}, for which transformers has no base model.")
    kind = kinds[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    preprocessing = _preprocessing(name, config)
    size, found = preprocessing["crop"], config.to_dict()
    with torch.random.fork_rng(devices=[]):
        network = kind(config).eval()
    pattern = repeated_blocks(network)
    shape = _block_shape(network, pattern, size, name)
    patch = found.get("patch_size") if len(shape) == 3 else None
    special = shape[1] - (size // patch) ** 2 if isinstance(patch, int) else 0
    tokens: dict[Any, int] = {"cls": 1, "register": special - 1} if special > 0 else {}
    sites = {"block": "", **_projections(network, pattern)}
    return ModelCard(
        name=Path(name).name if Path(name).is_dir() else name,
        family="probed",
        architecture=kind.__name__,
        config=found,
        hub=None if Path(name).is_dir() else name,
        layers=(pattern,),
        sites=sites,
        tokens=tokens,
        patch=patch if isinstance(patch, int) and special >= 0 else None,
        embedding="cls" if tokens else "mean",
        sizes="fixed",
        preprocessing=preprocessing,  # type: ignore[arg-type]
        notes="Found by probing: check layers, tokens and preprocessing.",
    )


def repeated_blocks(network: nn.Module) -> str:
    """Pattern of the longest run of modules of one class, such as ``encoder.layer.*``.

    Raises
    ------
    InputError
        If nothing is repeated.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for path, module in network.named_modules():
        if re.search(r"\.\d+$", path) and any(True for _ in module.parameters()):
            counts[re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path), type(module).__name__] += 1
    if not counts:
        raise InputError(
            f"{type(network).__name__} has no repeated blocks; wrap it with from_module and name its layers."
        )
    most = max(counts.values())
    # Of equally frequent patterns the outermost is the block.
    return min((pattern for (pattern, _), count in counts.items() if count == most), key=lambda p: (p.count("."), p))


def _block_shape(network: nn.Module, pattern: str, size: int, name: str) -> tuple[int, ...]:
    from brainmap.models.vision_model import layer_paths

    caught: list[torch.Tensor] = []
    block = network.get_submodule(layer_paths(network, (pattern,))[0])
    handle = block.register_forward_hook(lambda _m, _i, out: caught.append(out[0] if isinstance(out, tuple) else out))
    try:
        with torch.no_grad():
            network(pixel_values=torch.zeros(1, 3, size, size))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"'{name}' does not run on a single image of {size} px ({reason}).") from None
    finally:
        handle.remove()
    return tuple(caught[0].shape)


def _projections(network: nn.Module, pattern: str) -> dict[str, Any]:
    """Last projections of the MLP and of the attention, where a block has them under a usual name."""
    from brainmap.models.vision_model import layer_paths

    block = network.get_submodule(layer_paths(network, (pattern,))[0])
    names = {path for path, _ in block.named_modules()}
    found: dict[str, Any] = {}
    for site, usual in (("mlp", MLP_NAMES), ("attn", ATTENTION_NAMES)):
        path = next((path for path in usual if path in names), None)
        if path is not None:
            found[site] = {"path": path, "layout": "channels-last" if path == "pwconv2" else "auto"}
    return found


def _preprocessing(name: str, config: Any) -> dict[str, Any]:
    """From ``preprocessor_config.json``; ImageNet's values where it says nothing."""
    settings: dict[str, Any] = {}
    file = _preprocessor_file(name)
    if file is not None:
        settings = json.loads(Path(file).read_text(encoding="utf-8"))
    size, crop = settings.get("size", {}), settings.get("crop_size", {})
    size = {"shortest_edge": size} if isinstance(size, int) else size
    side = crop.get("height") if isinstance(crop, dict) and settings.get("do_center_crop") else None
    side = side or size.get("height") or size.get("shortest_edge") or getattr(config, "image_size", None) or 224
    result: dict[str, Any] = {"crop": int(side[0] if isinstance(side, list | tuple) else side)}
    if "shortest_edge" in size:
        result["resize"] = int(size["shortest_edge"])
    result["squash"] = "height" in size and not settings.get("do_center_crop", False)
    result["interpolation"] = FILTERS.get(settings.get("resample", 3), "bicubic")
    for key, field in (("image_mean", "mean"), ("image_std", "std")):
        if settings.get(key):
            result[field] = tuple(settings[key])
    return result


def _preprocessor_file(name: str) -> str | None:
    from transformers.utils import cached_file

    with quiet_transformers():
        try:
            return cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        except OSError:
            return None
