"""Cards for ``transformers`` vision models without one: layers, tokens and preprocessing found by probing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models.block_probing import ProbedNetwork, probe
from brainmap.models.checkpoints.weight_files import quiet_transformers
from brainmap.models.model_cards import ModelCard

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
CONVNEXT_SQUASHES_FROM = 384  # its processor cuts no margin off from this size on


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
        If it is not a model of single images, has no repeated blocks, or can be read in two ways.
    """
    try:
        return _probed_card(name)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"'{name}': {where} in its preprocessor_config.json is not usable ({first['msg']}).") from None


def _probed_card(name: str) -> ModelCard:
    kind, config = _class_and_config(name)
    classifier = kind.__name__.endswith("ForImageClassification")
    preprocessing = _preprocessing(name, config)
    size = preprocessing["crop"]
    network = _backbone(_built(kind, config, name, "meta"))
    settings = _probed(kind, config, size, name)
    single = {"add_pooling_layer": False} if _optional_pooling(kind) else {}
    return ModelCard(
        name=Path(name).name if Path(name).is_dir() else name,
        family="probed",
        adapter="classifier" if classifier else "transformers",
        architecture=kind.__name__,
        config=config.to_dict(),
        network=network,
        build_options=single,
        hub=None if Path(name).is_dir() else name,
        layers=settings.patterns,
        sites=settings.sites,  # type: ignore[arg-type]
        tokens=settings.tokens,  # type: ignore[arg-type]
        patch=settings.patch,
        embedding="cls" if settings.tokens.get("cls") else "mean",
        sizes="fixed",
        preprocessing=preprocessing,  # type: ignore[arg-type]
        objective="cross-entropy-top1" if classifier else "feature-energy",
        notes="Found by probing: check layers, tokens and preprocessing.",
    )


def _class_and_config(name: str) -> tuple[Any, Any]:
    """The class to load: the classifier a folder is of, else the base model of its (vision) configuration."""
    import transformers

    with quiet_transformers():
        try:
            config = transformers.AutoConfig.from_pretrained(name)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise MissingFileError(
                f"'{name}' is neither a known model (brainmap models) nor a repository or folder that opens ({reason})."
            ) from None
    saved = (getattr(config, "architectures", None) or [""])[0]
    own = getattr(transformers, saved, None)
    if own is not None and saved.endswith("ForImageClassification") and "Teacher" not in saved:
        return own, config
    config = getattr(config, "vision_config", config)  # of an image–text model, the vision tower
    kinds: Any = transformers.MODEL_MAPPING
    if type(config) not in kinds:
        raise InputError(
            f"'{name}' is a {type(config).__name__}, for which transformers has no base model of images; load the "
            "network yourself and wrap it with from_module."
        )
    kind = kinds[type(config)]
    return (kind[0] if isinstance(kind, tuple) else kind), config


def _optional_pooling(kind: Any) -> bool:
    """Whether the class can do without its pooler, which many files do not hold and no layer needs."""
    import inspect

    return "add_pooling_layer" in inspect.signature(kind.__init__).parameters


def _built(kind: Any, config: Any, name: str, device: str) -> Any:
    options = {"add_pooling_layer": False} if _optional_pooling(kind) else {}
    try:
        with torch.device(device):
            return kind(config, **options).eval()
    except Exception as error:  # whatever a class of others does with settings that do not fit together
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"'{name}' ({kind.__name__}) cannot be built here ({reason}).") from None


def _probed(kind: Any, config: Any, size: int, name: str) -> ProbedNetwork:
    """Probe without numbers first (no memory, no time), then with, where a network needs them."""
    try:
        return _run(_built(kind, config, name, "meta"), size, name)
    except InputError as error:
        if "does not run" not in str(error):
            raise
    with torch.random.fork_rng(devices=[]):
        return _run(_built(kind, config, name, "cpu"), size, name)


def _run(whole: Any, size: int, name: str) -> ProbedNetwork:
    network: Any = whole.get_submodule(_backbone(whole))
    return probe(network, lambda pixels: network(pixel_values=pixels), size, name)


def _backbone(whole: Any) -> str:
    """Path from a classifier to its backbone; empty for a backbone."""
    if not type(whole).__name__.endswith("ForImageClassification"):
        return ""
    return next((path for path in (whole.base_model_prefix, "vision_model") if path and hasattr(whole, path)), "")


def _preprocessing(name: str, config: Any) -> dict[str, Any]:
    """From ``preprocessor_config.json``, with the arithmetic of the hub's processors; ImageNet's where it is silent."""
    file = _preprocessor_file(name)
    settings = {} if file is None else _settings(Path(file))
    size = settings.get("size", {})
    size = {"shortest_edge": size} if isinstance(size, int) else size
    _check_processor(settings, size, name)
    side = _side(settings, size, config)
    result: dict[str, Any] = {"crop": side, "centre": "down"}
    resize = size.get("shortest_edge") or size.get("height")
    result["squash"] = "shortest_edge" not in size and "height" in size
    cropped = settings.get("crop_size") is not None and settings.get("do_center_crop", True)
    if resize and resize != side and cropped:
        result["resize"] = int(resize)
    share = settings.get("crop_pct")
    if isinstance(share, float) and not cropped and share < 1:  # ConvNeXt's and its kin's
        result["resize"] = int(side / share) if side < CONVNEXT_SQUASHES_FROM else None
        result["squash"] = side >= CONVNEXT_SQUASHES_FROM
    result["interpolation"] = FILTERS[_filter(settings)]
    if settings.get("do_normalize") is False:
        result |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    else:
        for key, field in (("image_mean", "mean"), ("image_std", "std")):
            if settings.get(key):
                value = settings[key]
                result[field] = tuple(value) if isinstance(value, list) else (value,) * 3
    return result


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        return dict(settings.get("image_processor", settings))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not the settings of an image processor ({error}); copy it again.") from None


def _filter(settings: dict[str, Any]) -> Any:
    given = settings.get("resample")
    return 3 if given is None else given


def _check_processor(settings: dict[str, Any], size: Any, name: str) -> None:
    """Refuse steps that brainmap's preprocessing does not have, rather than leave them out."""
    crop = settings.get("crop_size")
    sides = [(part.get("height"), part.get("width")) for part in (size, crop) if isinstance(part, dict)]
    uneven = [pair for pair in sides if pair[0] != pair[1]]
    spread = settings.get("image_std")
    reasons = {
        "'size' is not understood": not isinstance(size, dict),
        "takes pixels from 0 to 255 (do_rescale: false)": settings.get("do_rescale") is False,
        "does not resize (do_resize: false)": settings.get("do_resize") is False,
        "resizes the longest edge only": isinstance(size, dict) and size.keys() == {"longest_edge"},
        f"takes images that are not square ({uneven[:1]})": bool(uneven),
        f"has no filter 'resample: {_filter(settings)}'": str(_filter(settings)) not in map(str, FILTERS),
        "divides by a deviation of 0": isinstance(spread, list) and 0 in spread,
    }
    for reason, applies in reasons.items():
        if applies:
            raise InputError(f"The image processor of '{name}' {reason}; register a card that says what to do.")


def _side(settings: dict[str, Any], size: dict[str, Any], config: Any) -> int:
    crop = settings.get("crop_size")
    crop = crop.get("height") if isinstance(crop, dict) else crop
    side = crop if settings.get("do_center_crop", crop is not None) else None
    side = side or size.get("height") or size.get("shortest_edge") or getattr(config, "image_size", None) or 224
    return int(side[0] if isinstance(side, list | tuple) else side)


def _preprocessor_file(name: str) -> str | None:
    from transformers.utils import cached_file

    with quiet_transformers():
        try:
            return cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        except OSError:
            return None
