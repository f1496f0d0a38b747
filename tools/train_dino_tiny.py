"""Train ``dino-tiny``: DINO + iBOT + KoLeo from scratch on a zip of photographs, on a CPU or a GPU.

    python tools/train_dino_tiny.py photographs.zip run/ --steps 8000

The zip holds ``<class>/<image>.jpg``; classes are used for evaluation only. The run folder receives
``state.pt`` (to resume: run the same command again), one ``step_NNNNNN.safetensors`` per kept step with the
key layout of the DINOv2 training checkpoints, and ``log.jsonl``. Every random number of step *s* derives from
(seed, s), so an interrupted run ends with the same weights as an uninterrupted one.

``--width`` makes a smaller one; ``--until`` stops early, on the schedule of ``--steps``. Images that aren't
photographs (``tools/make_image_types.py``) are trained on in the same way, and ``--evaluate-on photographs.zip`` says
what the model knows about photographs then.

To train on your own photographs, change ``Recipe``: the losses and the architecture are the package's own.

The weights that come with the package were trained by an earlier version of this script, which averaged iBOT over all
masked patches of the batch and KoLeo over the two crops; their files lack ``ibot_mean``, and the package reads them so.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import os
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from brainmap.models.adapters.dino_tiny import build_self_distillation
from brainmap.models.distillation_losses import dino_loss, ibot_loss, koleo_loss
from brainmap.models.self_distillation import SelfDistillation
from brainmap.models.views import random_crop

STATE_EVERY = 250  # steps between two states to resume from
MERGED_CLASSES = {"Faces_easy": "Faces"}  # Caltech-101: the same photographs twice, once cropped


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the photographs."""

    seed: int = 0
    width: int = 96
    batch: int = 64
    steps: int = 8000
    until: int = 0  # the last step, where a run ends before its schedule does; 0: with it
    global_pixels: int = 64
    local_pixels: int = 32
    local_crops: int = 2
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 300
    weight_decay: float = 0.04
    clip_norm: float = 3.0
    teacher_momentum: float = 0.99
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = 0.3
    frozen_head_steps: int = 100
    ibot_weight: float = 1.0
    koleo_weight: float = 0.1
    ibot_mean: str = "crops"  # masked patches are averaged within a crop; the first version averaged over the batch
    masked_images: float = 0.5
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    held_out: float = 0.15


@dataclasses.dataclass
class Photographs:
    """Decoded photographs (short side 96 px, uint8) with class and split."""

    images: list[Tensor]
    labels: np.ndarray
    held_out: np.ndarray
    classes: list[str]


def read_photographs(path: Path, recipe: Recipe, short_side: int = 96) -> Photographs:
    """Read the zip; the split is by photograph, so that two versions of one photograph stay on one side."""
    images, names, photographs = [], [], []
    with zipfile.ZipFile(path) as archive:
        for entry in sorted(archive.namelist()):
            match = re.fullmatch(r"(?:.*/)?([^/]+)/([^/]+)\.jpe?g", entry, re.IGNORECASE)
            if not match:
                continue
            name = MERGED_CLASSES.get(match[1], match[1])
            image = Image.open(io.BytesIO(archive.read(entry))).convert("RGB")
            scale = short_side / min(image.size)
            size = (max(short_side, round(image.width * scale)), max(short_side, round(image.height * scale)))
            images.append(torch.from_numpy(np.array(image.resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1))
            names.append(name)
            photographs.append(f"{name}/{match[2]}")
    classes = sorted(set(names))
    unique = sorted(set(photographs))
    drawn = np.random.default_rng([recipe.seed, 1]).random(len(unique)) < recipe.held_out
    held = dict(zip(unique, drawn, strict=True))
    return Photographs(
        images,
        np.array([classes.index(name) for name in names]),
        np.array([held[photograph] for photograph in photographs]),
        classes,
    )


# --- views ----------------------------------------------------------------------------------------------------------


def photometric(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation, grey and blur, drawn per image, on a batch (n × 3 × h × w)."""
    n = len(crops)

    def draw(low: float, high: float, probability: float, neutral: float) -> Tensor:
        value = np.where(rng.random(n) < probability, rng.uniform(low, high, n), neutral)
        return torch.from_numpy(value.astype(np.float32)).view(n, 1, 1, 1)

    crops = crops * draw(0.6, 1.4, 0.8, 1.0)
    mean = crops.mean((1, 2, 3), keepdim=True)
    crops = mean + (crops - mean) * draw(0.6, 1.4, 0.8, 1.0)
    grey = (crops * crops.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    crops = grey + (crops - grey) * draw(0.4, 1.6, 0.8, 1.0) * draw(0.0, 0.0, 0.2, 1.0)
    blurred = F.avg_pool2d(F.pad(crops, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    crops = crops + (blurred - crops) * draw(0.3, 1.0, 0.3, 0.0)
    return crops.clamp_(0.0, 1.0)


def normalise(crops: Tensor) -> Tensor:
    """ImageNet mean and standard deviation, the model's preprocessing."""
    mean, std = crops.new_tensor([0.485, 0.456, 0.406]), crops.new_tensor([0.229, 0.224, 0.225])
    return (crops - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def make_views(images: list[Tensor], recipe: Recipe, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Global views (2 n × 3 × g × g), local views (v n × 3 × l × l), masks (2 n × patches)."""
    large = [random_crop(im, recipe.global_pixels, (0.32, 1.0), rng) for _ in range(2) for im in images]
    small = [
        random_crop(im, recipe.local_pixels, (0.05, 0.32), rng) for _ in range(recipe.local_crops) for im in images
    ]
    patches = (recipe.global_pixels // 16) ** 2
    masks = np.zeros((len(large), patches), bool)
    for row in np.flatnonzero(rng.random(len(large)) < recipe.masked_images):
        count = max(1, round(patches * rng.uniform(*recipe.mask_ratio)))
        masks[row, rng.permutation(patches)[:count]] = True
    views = [normalise(photometric(torch.stack(crops), rng)) for crops in (large, small)]
    return views[0], views[1], torch.from_numpy(masks)


# --- training -------------------------------------------------------------------------------------------------------


def cosine(start: float, end: float, progress: float) -> float:
    """Cosine from ``start`` (progress 0) to ``end`` (progress 1)."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(1.0, progress)))


def step_losses(
    model: SelfDistillation, views: tuple[Tensor, Tensor, Tensor], recipe: Recipe, progress: float
) -> dict[str, Tensor]:
    """DINO, iBOT and KoLeo losses of one batch; updates both centres with this batch's teacher logits."""
    large, small, masks = views
    if model.dino_loss is None or model.ibot_patch_loss is None:
        raise ValueError("this recipe centres both losses; the model has no centres")
    low, high = recipe.teacher_temperature
    temperature = low + (high - low) * min(1.0, progress / recipe.temperature_warmup)
    with torch.no_grad():
        teacher_cls, teacher_patches = model.teacher.tokens(large)
        cls_logits = model.teacher.dino_head(teacher_cls)
        patch_logits = model.teacher.ibot_head(teacher_patches[masks])
        cls_targets = model.dino_loss.probabilities(cls_logits, temperature).unflatten(0, (2, -1))
        patch_targets = model.ibot_patch_loss.probabilities(patch_logits, temperature)
        model.dino_loss.update(cls_logits)
        model.ibot_patch_loss.update(patch_logits)
    cls, patches = model.student.tokens(large, masks)
    local_cls, _ = model.student.tokens(small)
    student_global = model.student.dino_head(cls).unflatten(0, (2, -1))
    student_local = model.student.dino_head(local_cls).unflatten(0, (recipe.local_crops, -1))
    masked = model.student.ibot_head(patches[masks])
    return {
        "dino": dino_loss(student_global, student_local, cls_targets).mean(),
        "ibot": ibot_loss(masked, patch_targets, masks.unflatten(0, (2, -1))).mean(),
        "koleo": torch.stack([koleo_loss(view).mean() for view in cls.unflatten(0, (2, -1))]).sum(),
    }


def parameter_groups(model: SelfDistillation, recipe: Recipe) -> list[dict[str, object]]:
    """Weight decay on matrices only."""
    named = [(n, p) for n, p in model.student.named_parameters() if p.requires_grad]
    return [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train_step(
    model: SelfDistillation, optimiser: torch.optim.Optimizer, photographs: Photographs, recipe: Recipe, step: int
) -> dict[str, float]:
    """One optimiser step; everything random derives from (seed, step)."""
    train = np.flatnonzero(~photographs.held_out)
    per_epoch = len(train) // recipe.batch
    order = np.random.default_rng([recipe.seed, 2, step // per_epoch]).permutation(train)
    chosen = order[(step % per_epoch) * recipe.batch :][: recipe.batch]
    rng = np.random.default_rng([recipe.seed, 3, step])
    torch.manual_seed(int(rng.integers(2**31)))  # DINOv3's position rescaling draws from the global generator
    device = next(model.parameters()).device
    large, small, masks = make_views([photographs.images[i] for i in chosen], recipe, rng)
    progress = step / recipe.steps
    rate = cosine(recipe.learning_rate, recipe.final_learning_rate, progress) * min(
        1.0, (step + 1) / recipe.warmup_steps
    )
    for group in optimiser.param_groups:
        group["lr"] = rate
    losses = step_losses(model, (large.to(device), small.to(device), masks.to(device)), recipe, progress)
    total = losses["dino"] + recipe.ibot_weight * losses["ibot"] + recipe.koleo_weight * losses["koleo"]
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    if step < recipe.frozen_head_steps:
        for head in (model.student.dino_head, model.student.ibot_head):
            head.last_layer.weight.grad = None
    torch.nn.utils.clip_grad_norm_(model.student.parameters(), recipe.clip_norm)
    optimiser.step()
    model.update_teacher(cosine(recipe.teacher_momentum, 1.0, progress))
    return {"lr": rate, **{name: float(value.detach()) for name, value in losses.items()}}


# --- evaluation -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def embed(model: SelfDistillation, photographs: Photographs, pixels: int = 64) -> Tensor:
    """Teacher CLS embeddings of all photographs (n × width), centre crop, unit length."""
    model.teacher.eval()
    device = next(model.parameters()).device
    rows = []
    for start in range(0, len(photographs.images), 256):
        batch = []
        for image in photographs.images[start : start + 256]:
            side = min(image.shape[1:])
            top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
            square = image[None, :, top : top + side, left : left + side].float() / 255.0
            batch.append(F.interpolate(square, (pixels, pixels), mode="bilinear", antialias=True, align_corners=False))
        rows.append(model.teacher.tokens(normalise(torch.cat(batch)).to(device))[0].cpu())
    model.teacher.train()
    return F.normalize(torch.cat(rows), dim=1)


def balanced_knn(features: Tensor, photographs: Photographs, k: int = 20, temperature: float = 0.07) -> float:
    """Mean over classes of weighted k-NN accuracy on held-out photographs (DINO's protocol)."""
    labels, held = torch.from_numpy(photographs.labels), torch.from_numpy(photographs.held_out)
    similarity, index = (features[held] @ features[~held].T).topk(k, dim=1)
    votes = F.one_hot(labels[~held][index], len(photographs.classes)) * (similarity / temperature).exp()[..., None]
    hit = (votes.sum(1).argmax(1) == labels[held]).float()
    truth = labels[held]
    return float(np.mean([hit[truth == c].mean() for c in truth.unique()]))


# --- the run --------------------------------------------------------------------------------------------------------


def kept_steps(steps: int) -> set[int]:
    """Log-spaced steps whose weights are kept: 0, 100, 200, 400 … and the last."""
    return {0, steps} | {100 * 2**i for i in range(20) if 100 * 2**i < steps}


def save_weights(model: SelfDistillation, folder: Path, step: int, recipe: Recipe) -> None:
    """Student, teacher, heads and centres in float16."""
    tensors = {name: value.detach().cpu().half().contiguous().clone() for name, value in model.state_dict().items()}
    # One metadata entry only: safetensors writes several in an order that differs from call to call, and the same
    # weights would not be the same file.
    metadata = {"recipe": json.dumps({**dataclasses.asdict(recipe), "step": step})}
    save_file(tensors, folder / f"step_{step:06d}.safetensors", metadata=metadata)


def save_state(model: SelfDistillation, optimiser: torch.optim.Optimizer, folder: Path, step: int) -> None:
    """Write the resumable state atomically: a killed write leaves the previous one."""
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, folder / "state.tmp")
    os.replace(folder / "state.tmp", folder / "state.pt")


def log(folder: Path, entry: dict[str, float]) -> None:
    """Append one JSON line and print it."""
    line = json.dumps({key: round(value, 5) for key, value in entry.items()})
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def evaluate_and_keep(
    model: SelfDistillation, photographs: Photographs, folder: Path, step: int, recipe: Recipe
) -> None:
    """Log balanced k-NN accuracy and keep the weights of this step."""
    log(folder, {"step": step, "balanced_knn": balanced_knn(embed(model, photographs), photographs)})
    save_weights(model, folder, step, recipe)


def run(photographs_path: Path, folder: Path, recipe: Recipe, device: str, evaluate_on: Path | None = None) -> None:
    """Train from scratch, or from the last saved state of ``folder``; k-NN is of ``evaluate_on``, if other images."""
    folder.mkdir(parents=True, exist_ok=True)
    photographs = read_photographs(photographs_path, recipe)
    evaluated = photographs if evaluate_on is None else read_photographs(evaluate_on, recipe)
    model = build_self_distillation(recipe.seed, recipe.width).to(device).train()
    optimiser = torch.optim.AdamW(parameter_groups(model, recipe), lr=recipe.learning_rate, betas=(0.9, 0.95))
    start = 0
    if (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        start = int(state["step"])
    clock = time.monotonic()
    mean: dict[str, float] = {}
    end = recipe.until or recipe.steps
    for step in range(start, end):
        if step in kept_steps(recipe.steps):
            evaluate_and_keep(model, evaluated, folder, step, recipe)
        losses = train_step(model, optimiser, photographs, recipe, step)
        mean = {name: 0.98 * mean.get(name, value) + 0.02 * value for name, value in losses.items()}
        if (step + 1) % 50 == 0:
            log(folder, {"step": step + 1, **mean, "images_per_s": 50 * recipe.batch / (time.monotonic() - clock)})
            clock = time.monotonic()
        if (step + 1) % STATE_EVERY == 0:
            save_state(model, optimiser, folder, step + 1)
    save_state(model, optimiser, folder, end)
    evaluate_and_keep(model, evaluated, folder, end, recipe)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="zip with <class>/<image>.jpg")
    parser.add_argument("folder", type=Path, help="run folder; an interrupted run continues here")
    parser.add_argument("--evaluate-on", type=Path, help="another zip whose classes k-NN tells apart")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    for field in ("seed", "width", "batch", "steps", "until", "learning_rate"):
        kind = type(getattr(Recipe, field))
        parser.add_argument(f"--{field.replace('_', '-')}", type=kind, default=getattr(Recipe, field))
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = Recipe(
        seed=arguments.seed,
        width=arguments.width,
        batch=arguments.batch,
        steps=arguments.steps,
        until=arguments.until,
        learning_rate=arguments.learning_rate,
    )
    run(arguments.photographs, arguments.folder, recipe, arguments.device, arguments.evaluate_on)


if __name__ == "__main__":
    main()
