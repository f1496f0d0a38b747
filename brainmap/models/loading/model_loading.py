"""``load_model``: a model by name, its weights from a local path, this installation, the local cache or the hub."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brainmap.common.errors import InputError
from brainmap.models.adapters.adapter import Adapter
from brainmap.models.adapters.adapters_by_name import ADAPTERS
from brainmap.models.adapters.double_precision import compute_in_double
from brainmap.models.adapters.positions import interpolate_as_authors, stored_periods
from brainmap.models.adapters.training_checkpoints import checkpoint_card
from brainmap.models.adapters.user_packages import installed_version
from brainmap.models.checkpoints.tensor_archives import is_sharded
from brainmap.models.checkpoints.weight_files import SUFFIXES, check_finite, check_weights_folder, read_tensors
from brainmap.models.loading.authors_file import from_file
from brainmap.models.loading.hub import from_hub, hub_tokenizer
from brainmap.models.loading.weight_sources import embedded_file, find_card
from brainmap.models.model_cards import ModelCard
from brainmap.models.objectives import OBJECTIVES
from brainmap.models.preprocessing import Preprocessing
from brainmap.models.self_distillation import SelfDistillation
from brainmap.models.tokenizers import HashedWords, Tokenizer
from brainmap.models.vision_model import AUTOCAST, Loaded, VisionModel, tensors_digest

UNTRAINED_DINO_TINY = "b9d39f3f1512e4ad"


def load_model(
    name: str,
    *,
    weights: str | Path = "trained",
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    input_size: int | None = None,
    margin: bool = True,
) -> VisionModel:
    """Load a vision model by name.

    Parameters
    ----------
    name : str
        A name from :func:`list_models`, a family (``dinov3``) or another name of a model (``DINOv3-S``), in any case
        and spelling; a hub repository; a folder as ``save_pretrained`` writes it; or the id of any ``transformers``
        vision model (its layers and tokens are then found by probing). Where the package is installed, also
        ``timm:NAME``, ``torchvision:NAME`` and ``open_clip:NAME/TAG``.
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
    margin : bool
        Whether the margin is cut off that many evaluation protocols leave out around the centre (16 of 256 pixels on
        each side). False suits brains that saw the whole photograph.

    Returns
    -------
    VisionModel

    Raises
    ------
    InputError
        For an unknown name, dtype or device, or weights that do not fit.
    MissingFileError
        If weights cannot be had; the message says how to get them.

    Examples
    --------
    >>> import brainmap
    >>> model = brainmap.load_model("dino-tiny")
    >>> model.name, len(model.layers)
    ('dino-tiny', 12)
    """
    if dtype not in {"float32", "float64", *AUTOCAST}:
        raise InputError(f"dtype '{dtype}' is not one of float32, float64, bfloat16, float16.")
    target = _device(device)
    card = find_card(name)
    if str(weights) == "trained" and Path(name).is_dir():
        weights = Path(name)
    preprocessing = _sized(card, input_size, margin)
    adapter = ADAPTERS[card.adapter](card)
    adapter, module, loaded = _obtain(adapter, weights, seed)
    card = adapter.card
    _check_patch(card, module)
    tokenizer = _tokenizer(card, module, loaded) if adapter.has_text else None
    module.to(device=target, dtype=torch.float64 if dtype == "float64" else torch.float32)
    if dtype == "float64" and compute_in_double(module):
        loaded = dataclasses.replace(loaded, code=f"{loaded.code}, float64 throughout")
    return VisionModel(
        card,
        module,
        adapter,
        preprocessing=preprocessing,
        loaded=loaded,
        tokenizer=tokenizer,
        dtype=dtype,
        register=OBJECTIVES,
    )


def skeleton(name: str) -> VisionModel:
    """A model without weights, for its layers, sites and objectives: nothing is drawn, loaded or fetched.

    Parameters
    ----------
    name : str
        As for :func:`load_model`.

    Returns
    -------
    VisionModel
        On torch's ``meta`` device: it knows its shape, takes no memory, and cannot compute.

    Examples
    --------
    >>> from brainmap.models import skeleton
    >>> len(skeleton("dinov2-small").layers)
    12
    """
    card = find_card(name)
    adapter = ADAPTERS[card.adapter](card)
    with torch.device("meta"):
        module = adapter.build(0)
    loaded = Loaded("none", "meta device")
    return VisionModel(card, module, adapter, preprocessing=card.preprocessing, loaded=loaded, register=OBJECTIVES)


def _sized(card: ModelCard, input_size: int | None, margin: bool) -> Preprocessing:
    preprocessing = card.preprocessing if input_size is None else card.preprocessing.with_size(input_size)
    if not margin:
        preprocessing = preprocessing.model_copy(update={"resize": None})
    if card.sizes == "fixed" and preprocessing.crop != card.preprocessing.crop:
        raise InputError(f"'{card.name}' takes images of {card.preprocessing.crop} px only; leave input_size out.")
    if card.patch and preprocessing.crop % card.patch:
        raise InputError(f"input_size {preprocessing.crop} is not a multiple of the patch size, {card.patch} px.")
    return preprocessing


def _obtain(adapter: Adapter, weights: str | Path, seed: int) -> tuple[Adapter, nn.Module, Loaded]:
    """Untrained, from a file, from a folder, from this installation, or from the hub.

    A file that holds a student, a teacher and heads brings an adapter of its own.
    """
    if not str(weights):
        raise InputError("weights is empty: give 'trained', 'untrained', the name of a checkpoint, or a path.")
    card, path = adapter.card, Path(weights)
    recipe: dict[str, Any] = {}
    if str(weights) == "untrained":
        module, source = adapter.build(seed), f"seed {seed}"
        if card.adapter == "dino-tiny" and seed == 0:
            _check_untrained(module)
    elif (path.suffix in SUFFIXES and not path.is_dir()) or (path.is_dir() and is_sharded(path)):
        source = str(path)
        adapter, module, recipe = from_file(adapter, path, source)
    elif path.is_dir():
        adapter, module, recipe = _from_folder(adapter, path)
        source = str(path)
    elif path.is_file():
        raise InputError(f"{path} is no file of weights: its name must end in one of {', '.join(sorted(SUFFIXES))}.")
    elif card.package is not None and str(weights) == "trained":
        module, source = adapter.from_package()
    elif card.hub is not None and str(weights) == "trained":
        adapter, module, source = from_hub(adapter)
    else:
        file = embedded_file(card, str(weights))
        tensors, recipe = read_tensors(file)
        module, source = adapter.from_tensors(tensors, file.name), f"embedded {file.name}"
    if str(weights) != "untrained":
        check_finite(module, source)
    if adapter.card.position_offset is not None:
        interpolate_as_authors(module, adapter.card.position_offset)
    if isinstance(module, SelfDistillation):  # its card follows the checkpoint: views, default objective, registers
        adapter = type(adapter)(checkpoint_card(adapter.card, module, recipe))
    return adapter, module, Loaded(str(weights), source, recipe, code_identity(adapter.card, module))


def _from_folder(adapter: Adapter, folder: Path) -> tuple[Adapter, nn.Module, dict[str, Any]]:
    """Load what ``save_pretrained`` wrote; without a configuration, the only file of weights in the folder."""
    files = check_weights_folder(folder)
    if adapter.card.adapter != "dinotxt" and not (folder / "config.json").is_file():  # dino.txt is two files
        if len(files) == 1:
            return from_file(adapter, files[0], str(files[0]))
        raise InputError(
            f"The folder {folder} has no config.json and {len(files)} files of weights "
            f"({', '.join(file.name for file in files[:3])}{' …' if len(files) > 3 else ''}): name one of them."
        )
    try:
        return adapter, adapter.pretrained(folder), {}
    except OSError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(f"The folder {folder} is not complete, or is damaged ({reason}); copy it again.") from None


def code_identity(card: ModelCard, module: nn.Module) -> str:
    """Architecture and configuration, which decide what is computed from the weights."""
    if card.package is not None and not card.config:
        named = f"{card.name}, " if card.adapter == "user-package" else ""
        return f"{named}{card.architecture} of {card.package}{installed_version(card)}"
    config: Any = getattr(module, "config", None)
    if config is None:  # student and teacher of DINO and its kin
        config = module.get_submodule("teacher.backbone").config
    values = config.to_dict()
    for name in ("transformers_version", "_name_or_path", "dtype", "architectures", "id2label", "label2id"):
        values.pop(name, None)
    if card.position_offset is not None:
        values["position_offset"] = card.position_offset
    if (periods := stored_periods(module)) is not None:
        values["rotary_frequencies"] = periods
    text = json.dumps(values, sort_keys=True, default=str)
    return f"{card.architecture} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _check_patch(card: ModelCard, module: Any) -> None:
    """Roles of tokens follow from the card's patch size: weights of another one must not pass."""
    config = getattr(getattr(module, "config", None), "vision_config", None) or getattr(module, "config", None)
    patch = getattr(config, "patch_size", None)
    if card.patch and isinstance(patch, int) and patch != card.patch:
        raise InputError(
            f"The weights of '{card.name}' have patches of {patch} px, its card says {card.patch}: register a "
            "corrected card with register_model."
        )


def _tokenizer(card: ModelCard, module: Any, loaded: Loaded) -> Tokenizer:
    """The model's own tokenizer; words are hashed for untrained towers."""
    if loaded.weights == "untrained":
        return HashedWords(module.config.text_config, card.caption_length)
    return hub_tokenizer(card, loaded.source)


def _check_untrained(module: nn.Module) -> None:
    """Compare the seeded initial weights with the recorded digest.

    Random numbers can differ in their last bits between kinds of processors, and altogether between versions of torch
    or transformers. Either is harmless for one study, but comparisons across machines must know.
    """
    digest = tensors_digest(module.state_dict())
    if digest != UNTRAINED_DINO_TINY:
        warnings.warn(
            f"The untrained weights of dino-tiny (digest {digest}) are not the reference ones ({UNTRAINED_DINO_TINY}): "
            "this processor or this version of torch or transformers draws other numbers.",
            stacklevel=4,
        )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Device '{name}' cannot be used ({reason}); use device='cpu'.") from None
    return device
