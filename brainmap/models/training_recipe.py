"""What a self-distillation checkpoint says about its training: temperatures, weights, schedules, centring, views.

Read from the arguments the authors' scripts keep: ``args`` in the files of DINO and iBOT, ``config.yaml`` in the output
folder of DINOv2 and DINOv3, the file's metadata for ``dino-tiny``. What is not stated takes the default of the authors'
code, and the recipe says that it is not stated. A checkpoint's loss is that of the next step of its training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from brainmap.common.errors import InputError
from brainmap.models.model_cards import ModelCard, ViewSpec

Centring = Literal["centre", "sinkhorn"]
# The temperature is that of the trainings that were released; the script's own default is 0.04.
DINO_DEFAULTS: dict[str, Any] = {
    "teacher_temp": 0.07, "warmup_teacher_temp": 0.04, "warmup_teacher_temp_epochs": 0, "epochs": 100,
    "global_crops_scale": (0.4, 1.0), "local_crops_scale": (0.05, 0.4), "local_crops_number": 8,
}  # fmt: skip
IBOT_DEFAULTS: dict[str, Any] = {
    **DINO_DEFAULTS, "teacher_temp": 0.04, "warmup_teacher_temp_epochs": 30,
    "teacher_patch_temp": 0.07, "warmup_teacher_patch_temp": 0.04,
    "lambda1": 1.0, "lambda2": 1.0, "pred_start_epoch": 0, "pred_ratio": 0.3, "pred_ratio_var": 0.0,
    "pred_shape": "block", "global_crops_scale": (0.14, 1.0), "local_crops_number": 0, "global_crops_number": 2,
}  # fmt: skip
DINOV2_DEFAULTS: dict[str, dict[str, Any]] = {
    "dino": {"loss_weight": 1.0, "koleo_loss_weight": 0.1, "global_ignore_diagonal": True, "koleo_topk": 1},
    "ibot": {"loss_weight": 1.0, "mask_sample_probability": 0.5, "mask_ratio_min_max": (0.1, 0.5)},
    "teacher": {"warmup_teacher_temp": 0.04, "teacher_temp": 0.07, "warmup_teacher_temp_epochs": 30},
    "train": {"OFFICIAL_EPOCH_LENGTH": 1250, "centering": "centering"},
    "optim": {"epochs": 100},
    "crops": {
        "global_crops_scale": (0.32, 1.0), "local_crops_scale": (0.05, 0.32), "local_crops_number": 8,
        "global_crops_size": 224, "local_crops_size": 96,
    },
    "gram": {
        "use_loss": False, "loss_weight": 1.0, "ema_teacher": False, "normalized": True, "img_level": False,
        "remove_neg": False, "remove_only_teacher_neg": False, "tokens_used": "all",
        "global_teacher_resize_method": "bicubic", "global_teacher_resize_antialias": False,
    },
}  # fmt: skip


@dataclass(frozen=True)
class GramRecipe:
    """Settings of DINOv3's Gram anchoring.

    Attributes
    ----------
    weight : float
        At the checkpoint's step.
    own_teacher : bool
        Whether an earlier teacher of its own is used, instead of the moving average.
    normalised, image_level, negatives, tokens
        See :func:`brainmap.models.distillation_losses.gram_loss`; tokens are ``all``, ``masked`` or ``unmasked``.
    resize, antialias : str, bool
        How the teacher's larger grid is brought to the student's.
    """

    weight: float = 1.0
    own_teacher: bool = False
    normalised: bool = True
    image_level: bool = False
    negatives: str = "kept"
    tokens: str = "all"
    resize: str = "bicubic"
    antialias: bool = False


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything besides weights and views that decides the training loss.

    Attributes
    ----------
    stated : bool
        Whether the checkpoint states its settings; else they are the defaults of the authors' code.
    centring : {"centre", "sinkhorn"}
        How the teacher is kept from collapsing: a stored running mean, or Sinkhorn–Knopp over the batch.
    teacher_temperature, patch_temperature : float
        Of the teacher's CLS and patch distributions at the checkpoint's step.
    dino_weight, ibot_weight, koleo_weight, local_weight : float
        Of the terms; KoLeo's is that of one crop, and crops are summed.
    same_view, least_local_pairs
        See :func:`brainmap.models.distillation_losses.dino_loss`.
    koleo_neighbours, koleo_group
        See :func:`brainmap.models.distillation_losses.koleo_loss`.
    pooled_ibot : bool
        Whether masked patches were averaged over the batch instead of per crop, as ``dino-tiny``'s were.
    gram : GramRecipe, optional
        Of DINOv3's later phases.
    """

    stated: bool
    centring: Centring
    teacher_temperature: float
    patch_temperature: float
    dino_weight: float = 1.0
    ibot_weight: float = 1.0
    koleo_weight: float = 0.0
    local_weight: float = 1.0
    same_view: bool = False
    least_local_pairs: int = 0
    koleo_neighbours: int = 1
    koleo_group: int | None = None
    pooled_ibot: bool = False
    gram: GramRecipe | None = None


def training_recipe(
    settings: Mapping[str, Any], card: ModelCard, *, centres_used: bool = True, patch_head: bool = True
) -> TrainingRecipe:
    """Recipe of a checkpoint.

    Parameters
    ----------
    settings : mapping
        What was found with the weights: ``args``, ``config``, ``epoch``, ``iteration``, or ``dino-tiny``'s own.
    card : ModelCard
        Of the model; its architecture decides whose defaults are taken.
    centres_used : bool
        False where the checkpoint's centres are still zero, as they stay in a run with Sinkhorn–Knopp; decides for
        DINOv2 where nothing is stated.
    patch_head : bool
        Whether the checkpoint holds a head for patches; tells iBOT from DINO.

    Raises
    ------
    InputError
        Naming a setting that cannot be followed.
    """
    if card.family == "dino-tiny":
        return _of_dino_tiny(settings)
    if _authors(settings, card) in ("dino", "ibot"):
        return _of_dino(settings, "ibot" if patch_head else "dino")
    return _of_dinov2(settings, card, centres_used)


def recipe_views(settings: Mapping[str, Any], card: ModelCard) -> ViewSpec:
    """Views of a checkpoint's recipe; the card's, marked as not stated, where it states none that can be followed."""
    if card.family == "dino-tiny":
        return _views_of_dino_tiny(settings, card.views)
    authors = _authors(settings, card)
    if authors in ("dino", "ibot") and "args" in settings:
        return _views_of_dino(settings["args"], card.views, authors)
    if authors in ("dinov2", "dinov3") and "config" in settings:
        return _views_of_dinov2(settings["config"], card.views, authors)
    return card.views


def _authors(settings: Mapping[str, Any], card: ModelCard) -> str:
    """Whose code trained it: ``dino``, ``ibot``, ``dinov2`` or ``dinov3``."""
    if "config" in settings:
        return "dinov3" if "gram" in settings["config"] or card.architecture.startswith("DINOv3") else "dinov2"
    if "args" in settings:
        return "ibot" if "lambda2" in settings["args"] or "pred_ratio" in settings["args"] else "dino"
    if card.architecture.startswith("DINOv3"):
        return "dinov3"
    if card.architecture.startswith("Dinov2"):
        return "dinov2"
    return "ibot" if card.family == "ibot" else "dino"


# --- dino-tiny ------------------------------------------------------------------------------------------------------


def _of_dino_tiny(settings: Mapping[str, Any]) -> TrainingRecipe:
    low, high = settings.get("teacher_temperature", (0.04, 0.07))
    steps = settings.get("steps", 8000)
    progress = settings.get("step", steps) / steps / settings.get("temperature_warmup", 0.3)
    temperature = low + (high - low) * min(1.0, progress)
    pooled = settings.get("ibot_mean") != "crops"  # as the weights that come with this package were trained
    koleo = float(settings.get("koleo_weight", 0.1))
    return TrainingRecipe(
        stated=True,
        centring="centre",
        teacher_temperature=temperature,
        patch_temperature=temperature,
        ibot_weight=float(settings.get("ibot_weight", 1.0)),
        koleo_weight=koleo / 2 if pooled else koleo,  # the first version of its tool averaged KoLeo over the two crops
        pooled_ibot=pooled,
    )


def _views_of_dino_tiny(settings: Mapping[str, Any], views: ViewSpec) -> ViewSpec:
    low, high = settings.get("mask_ratio", views.mask_ratios[0])
    changes = {
        "masking": "random",
        "mask_probability": float(settings.get("masked_images", 0.5)),
        "mask_ratios": ((float(low), float(high)),),
        "stated": True,
    }
    return views.model_copy(update=changes)


# --- DINO and iBOT --------------------------------------------------------------------------------------------------


def _of_dino(settings: Mapping[str, Any], authors: str) -> TrainingRecipe:
    stated = "teacher_temp" in settings.get("args", {})
    defaults = IBOT_DEFAULTS if authors == "ibot" else DINO_DEFAULTS
    args = {**defaults, **settings.get("args", {})}
    epoch = int(settings.get("epoch", args["epochs"]))
    warm = int(args["warmup_teacher_temp_epochs"])
    temperature = _warmed(args["warmup_teacher_temp"], args["teacher_temp"], warm, epoch)
    if authors == "dino":
        return TrainingRecipe(stated, "centre", temperature, temperature, ibot_weight=0.0)
    later = epoch - int(args["pred_start_epoch"])
    patches = _warmed(args["warmup_teacher_patch_temp"], args["teacher_patch_temp"], warm, max(0, later))
    return TrainingRecipe(
        stated, "centre", temperature, patches, dino_weight=float(args["lambda1"]), ibot_weight=float(args["lambda2"])
    )


def _warmed(start: float, end: float, steps: int, at: int) -> float:
    """Linear warm-up that reaches its end in the last of ``steps`` steps, then constant."""
    return float(np.linspace(start, end, steps)[at]) if at < steps else float(end)


def _views_of_dino(args: Mapping[str, Any], views: ViewSpec, authors: str) -> ViewSpec:
    values = {**(IBOT_DEFAULTS if authors == "ibot" else DINO_DEFAULTS), **args}
    if "local_crops_number" not in args or values.get("global_crops_number", 2) != 2:
        return views
    changes: dict[str, Any] = {
        "local_crops": int(values["local_crops_number"]),
        "global_scale": tuple(map(float, values["global_crops_scale"])),
        "local_scale": tuple(map(float, values["local_crops_scale"])),
        "augmentation": "dino",
        "stated": True,
    }
    if authors == "ibot":
        ratios, spreads = (_listed(values[name]) for name in ("pred_ratio", "pred_ratio_var"))
        spreads = spreads * len(ratios) if len(spreads) == 1 else spreads
        ranges = [(ratio - spread, ratio + spread) for ratio, spread in zip(ratios, spreads, strict=True)]
        some = tuple(pair for pair in ranges if pair[1] > 0)
        changes["masking"] = "ibot blocks" if values["pred_shape"] == "block" else "random"
        changes |= {"mask_probability": len(some) / len(ranges), "mask_ratios": some or views.mask_ratios}
    return views.model_copy(update=changes)


def _listed(value: Any) -> list[float]:
    return [float(part) for part in value] if isinstance(value, list | tuple) else [float(value)]


# --- DINOv2 and DINOv3 ----------------------------------------------------------------------------------------------


def _of_dinov2(settings: Mapping[str, Any], card: ModelCard, centres_used: bool) -> TrainingRecipe:
    authors, stated = _authors(settings, card), "config" in settings
    given = settings.get("config", {})
    config = {part: {**values, **(given.get(part) or {})} for part, values in DINOV2_DEFAULTS.items()}
    dino, ibot, epoch = config["dino"], config["ibot"], int(config["train"]["OFFICIAL_EPOCH_LENGTH"])
    step = settings.get("iteration")
    step = None if step is None else int(step) + 1  # the file is written at the end of its iteration
    total = epoch * int(config["optim"]["epochs"])
    temperature = _teacher_temperature(config["teacher"], given.get("schedules"), epoch, total, step)
    centring = str(config["train"]["centering"])
    if centring not in ("centering", "sinkhorn_knopp"):
        raise InputError(f"The checkpoint's config says centering '{centring}'; known are centering, sinkhorn_knopp.")
    sinkhorn = authors == "dinov3" or centring == "sinkhorn_knopp" or not (stated or centres_used)
    common: dict[str, Any] = {
        "stated": stated,
        "centring": "sinkhorn" if sinkhorn else "centre",
        "teacher_temperature": temperature,
        "patch_temperature": temperature,
        "dino_weight": float(dino["loss_weight"]),
        "ibot_weight": float(ibot["loss_weight"]),
        "koleo_weight": float(dino["koleo_loss_weight"]),
    }
    if authors == "dinov2":
        return TrainingRecipe(**common, least_local_pairs=1)
    local = dino.get("local_loss_weight_schedule") if dino.get("reweight_dino_local_loss") else None
    grouped = dino.get("koleo_loss_distributed") and dino.get("koleo_distributed_loss_group_size")
    return TrainingRecipe(
        **common,
        local_weight=1.0 if local is None else _scheduled(local, epoch, total, step),
        same_view=not dino["global_ignore_diagonal"],
        koleo_neighbours=int(dino["koleo_topk"]),
        koleo_group=int(grouped) if grouped else None,
        gram=_gram(config["gram"], epoch, total, step),
    )


def _teacher_temperature(
    teacher: Mapping[str, Any], schedules: Mapping[str, Any] | None, epoch: int, total: int, step: int | None
) -> float:
    if schedules:
        return _scheduled(schedules["teacher_temp"], epoch, total, step)
    if step is None:
        return float(teacher["teacher_temp"])
    warm = int(teacher["warmup_teacher_temp_epochs"]) * epoch
    return _warmed(teacher["warmup_teacher_temp"], teacher["teacher_temp"], warm, step)


def _scheduled(schedule: Mapping[str, Any], epoch: int, total: int, step: int | None) -> float:
    """Linear from start to peak, cosine to the end, constant; the end where the step is not known."""
    start, peak, end = (float(schedule[name]) for name in ("start", "peak", "end"))
    warm = int(schedule.get("warmup_epochs") or 0) * epoch
    given = schedule.get("cosine_epochs")
    falling = total - warm if given is None else int(given) * epoch
    if step is None or step >= warm + falling:
        return end
    if step < warm:
        return start + (peak - start) * step / warm
    return end + (peak - end) * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, falling - 1))))


def _gram(gram: Mapping[str, Any], epoch: int, total: int, step: int | None) -> GramRecipe | None:
    if not gram["use_loss"]:
        return None
    schedule = gram.get("loss_weight_schedule")
    negatives = "zeroed where the teacher's are" if gram["remove_only_teacher_neg"] else "kept"
    return GramRecipe(
        weight=_scheduled(schedule, epoch, total, step) if schedule else float(gram["loss_weight"]),
        own_teacher=not gram["ema_teacher"],
        normalised=bool(gram["normalized"]),
        image_level=bool(gram["img_level"]),
        negatives="zeroed" if gram["remove_neg"] else negatives,
        tokens=str(gram["tokens_used"]),
        resize=str(gram["global_teacher_resize_method"]),
        antialias=bool(gram["global_teacher_resize_antialias"]),
    )


def _views_of_dinov2(config: Mapping[str, Any], views: ViewSpec, authors: str) -> ViewSpec:
    crops = {**DINOV2_DEFAULTS["crops"], **(config.get("crops") or {})}
    ibot = {**DINOV2_DEFAULTS["ibot"], **(config.get("ibot") or {})}
    sizes = [crops[name] for name in ("global_crops_size", "local_crops_size")] + [crops.get("gram_teacher_crops_size")]
    if crops.get("localcrops_subset_of_globalcrops") or any(isinstance(size, list | tuple) for size in sizes):
        return views  # several sizes in one run, or local crops cut from global ones: not followed, and labelled so
    return views.model_copy(
        update={
            "global_pixels": int(sizes[0]),
            "local_pixels": int(sizes[1]),
            "local_crops": int(crops["local_crops_number"]),
            "global_scale": tuple(map(float, crops["global_crops_scale"])),
            "local_scale": tuple(map(float, crops["local_crops_scale"])),
            "augmentation": "dinov2",
            "flips": bool(crops.get("horizontal_flips", True)),
            "shared_colour": bool(crops.get("share_color_jitter", False)),
            "masking": "full blocks" if authors == "dinov3" else "blocks",
            "mask_probability": float(ibot["mask_sample_probability"]),
            "mask_ratios": (tuple(map(float, ibot["mask_ratio_min_max"])),),
            "mask_shift": bool(ibot.get("mask_random_circular_shift", False)),
            "gram_pixels": None if sizes[2] is None else int(sizes[2]),
            "gram_distorted": not crops.get("gram_teacher_no_distortions", False),
            "stated": True,
        }
    )
