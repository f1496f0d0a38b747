"""Terms of DINO, iBOT, DINOv2 and DINOv3 against the papers' formulas written out in loops, on fixed tensors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.models import load_model, model_card
from brainmap.models.augmentation import blurred, resized_crop
from brainmap.models.distillation_losses import dino_loss, gram_loss, ibot_loss, koleo_loss, pooled_ibot_loss
from brainmap.models.model_cards import ViewSpec
from brainmap.models.objectives import OBJECTIVES
from brainmap.models.objectives.objective import exact_label
from brainmap.models.self_distillation import Branch, DINOHead, untied
from brainmap.models.training_recipe import recipe_views, training_recipe
from brainmap.models.views import patch_masks

CROPS, IMAGES, PATCHES, K = 2, 3, 9, 7


def fixed(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def entropy(student: Tensor, target: Tensor) -> float:
    return -float((target * torch.log_softmax(student / 0.1, -1)).sum())


@pytest.fixture
def masks() -> Tensor:
    """First image: both crops masked, unequally; second: one crop; third: none."""
    found = torch.zeros(CROPS, IMAGES, PATCHES, dtype=torch.bool)
    found[0, 0, :5] = found[1, 0, 7] = found[1, 1, 2:6] = True
    return found


def test_ibot_averages_per_crop_and_unmasked_crops_count_zero(masks: Tensor) -> None:
    student, target = fixed(CROPS, IMAGES, PATCHES, K), fixed(CROPS, IMAGES, PATCHES, K, seed=1).softmax(-1)
    found = ibot_loss(student[masks].requires_grad_(), target[masks], masks)
    for image in range(IMAGES):
        crops = []
        for crop in range(CROPS):
            places = masks[crop, image].nonzero()[:, 0].tolist()
            terms = [entropy(student[crop, image, p], target[crop, image, p]) for p in places]
            crops.append(sum(terms) / max(1, len(terms)))
        assert float(found[image].detach()) == pytest.approx(sum(crops) / CROPS, rel=1e-12)
    pooled = pooled_ibot_loss(student[masks], target[masks], masks)
    every = [entropy(student[tuple(at)], target[tuple(at)]) for at in masks.nonzero()]
    assert float(pooled.mean()) == pytest.approx(sum(every) / len(every), rel=1e-12)
    empty = torch.zeros_like(masks)
    assert torch.equal(ibot_loss(student[empty], target[empty], empty), torch.zeros(IMAGES, dtype=torch.float64))


@pytest.mark.parametrize(
    ("locals_", "same", "weight", "least"), [(3, False, 1.0, 0), (2, True, 0.5, 0), (0, False, 1, 1)]
)
def test_dino_is_the_mean_over_pairs(locals_: int, same: bool, weight: float, least: int) -> None:
    student, local = fixed(2, IMAGES, K), fixed(locals_, IMAGES, K, seed=1)
    target = fixed(2, IMAGES, K, seed=2).softmax(-1)
    found = dino_loss(student, local, target, same_view=same, local_weight=weight, least_local_pairs=least)
    for i in range(IMAGES):
        pairs = [(s, t) for s, t in itertools.product(range(2), range(2)) if same or s != t]
        total = sum(entropy(student[s, i], target[t, i]) for s, t in pairs)
        total += weight * sum(
            entropy(local[s, i], target[t, i]) for s, t in itertools.product(range(locals_), range(2))
        )
        assert float(found[i]) == pytest.approx(total / (len(pairs) + max(2 * locals_, least)), rel=1e-12)


def test_koleo_of_neighbours_and_groups() -> None:
    z = fixed(6, 5)
    unit = z / z.norm(dim=1, keepdim=True)
    distances = torch.cdist(unit, unit).fill_diagonal_(9)
    wanted = -torch.log(distances.sort(1).values[:, :2]).mean(1)
    torch.testing.assert_close(koleo_loss(z, neighbours=2), wanted, rtol=1e-6, atol=0)
    halves = torch.cat([-torch.log(distances[a:b, a:b].min(1).values) for a, b in ((0, 3), (3, 6))])
    torch.testing.assert_close(koleo_loss(z, group=3), halves, rtol=1e-6, atol=0)
    with pytest.raises(InputError, match="batch_size that leaves no image alone"):
        koleo_loss(z[:1])


@pytest.mark.parametrize("negatives", ["kept", "zeroed", "zeroed where the teacher's are"])
def test_gram_is_the_distance_of_similarities(negatives: str, masks: Tensor) -> None:
    student, teacher = fixed(CROPS, IMAGES, PATCHES, 4), fixed(CROPS, IMAGES, PATCHES, 4, seed=1)

    def similarities(tokens: Tensor) -> Tensor:
        unit = tokens / tokens.norm(dim=-1, keepdim=True)
        return torch.stack([torch.stack([a @ b for b in unit]) for a in unit])

    def wanted(s: Tensor, t: Tensor) -> float:
        s, t = similarities(s), similarities(t)
        t = t if negatives == "kept" else t.clamp(min=0)
        s = s.clamp(min=0) if negatives == "zeroed" else s
        return float((s - t).square().mean())

    found = gram_loss(student, teacher, negatives=negatives)
    for i in range(IMAGES):
        terms = [wanted(student[c, i], teacher[c, i]) for c in range(CROPS)]
        assert float(found[i]) == pytest.approx(sum(terms) / 2, rel=1e-10)
    whole = gram_loss(student, teacher, negatives=negatives, image_level=False, selected=masks)
    assert float(whole.mean()) == pytest.approx(wanted(student[masks], teacher[masks]), rel=1e-10)


DINOV3: dict[str, Any] = {
    "dino": {"reweight_dino_local_loss": True, "global_ignore_diagonal": False, "koleo_loss_weight": 0.2,
             "local_loss_weight_schedule": {"start": 1, "peak": 1, "end": 0.5, "warmup_epochs": 1, "cosine_epochs": 2}},
    "ibot": {"mask_sample_probability": 1.0, "mask_ratio_min_max": [0.2, 0.4]},
    "crops": {"global_crops_size": 64, "local_crops_size": 32, "local_crops_number": 5, "horizontal_flips": False},
    "gram": {"use_loss": True, "ema_teacher": True, "img_level": True, "loss_weight": 2.0},
    "schedules": {"teacher_temp": {"start": 0.04, "peak": 0.07, "end": 0.07, "warmup_epochs": 10}},
    "train": {"OFFICIAL_EPOCH_LENGTH": 100}, "optim": {"epochs": 20},
}  # fmt: skip


def test_recipes_are_read_from_the_checkpoint_s_arguments() -> None:
    dinov3, dinov2, ibot = (model_card(name) for name in ("dinov3-vits16", "dinov2-small", "ibot-vits16"))
    recipe = training_recipe({"config": DINOV3, "iteration": 149}, dinov3)
    assert recipe.centring == "sinkhorn" and recipe.stated and recipe.same_view and recipe.koleo_weight == 0.2
    assert recipe.teacher_temperature == pytest.approx(0.04 + 0.03 * 150 / 1000)
    assert recipe.local_weight == pytest.approx(0.5 + 0.25 * (1 + math.cos(math.pi * 50 / 199)))
    assert recipe.gram is not None and recipe.gram.weight == 2.0 and not recipe.gram.own_teacher
    views = recipe_views({"config": DINOV3}, dinov3)
    assert views.stated and views.local_crops == 5 and not views.flips and views.masking == "full blocks"
    plain = {"dino": {}, "ibot": {}, "crops": {}, "train": {"OFFICIAL_EPOCH_LENGTH": 10}}
    centred = training_recipe({"config": plain, "iteration": 99}, dinov2)
    assert centred.centring == "centre" and centred.teacher_temperature == pytest.approx(0.04 + 0.03 * 100 / 299)
    assert training_recipe({}, dinov2, centres_used=False).centring == "sinkhorn"
    with pytest.raises(InputError, match="centering 'mean'; known are"):
        training_recipe({"config": {**plain, "train": {"centering": "mean"}}}, dinov2)
    args = {"teacher_temp": 0.06, "teacher_patch_temp": 0.08, "warmup_teacher_temp_epochs": 5, "lambda2": 0.5,
            "pred_ratio": [0.0, 0.3], "pred_ratio_var": [0.0, 0.2], "local_crops_number": 10}  # fmt: skip
    found = training_recipe({"args": args, "epoch": 2}, ibot)
    assert found.teacher_temperature == pytest.approx(0.05) and found.patch_temperature == pytest.approx(0.06)
    assert found.ibot_weight == 0.5 and found.koleo_weight == 0
    drawn = recipe_views({"args": args}, ibot)
    assert drawn.mask_probability == 0.5 and drawn.mask_ratios == (pytest.approx((0.1, 0.5)),)


def test_masks_of_a_recipe() -> None:
    """DINOv3's rectangles are completed to the share that was drawn; DINOv2's and iBOT's stay below it."""
    ids = [f"{i:016x}" for i in range(60)]
    for masking, exact in (("full blocks", True), ("blocks", False), ("ibot blocks", False)):
        spec = ViewSpec(masking=masking, mask_probability=1.0, mask_ratios=((0.4, 0.4),), stated=True)
        counts = patch_masks(ids, 14, spec, seed=0).sum(1)
        assert (counts == int(196 * 0.4)).all() if exact else (counts <= 79).all() and counts.float().mean() > 60


def test_crops_and_blur_of_the_authors() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    sizes = [resized_crop(image, 32, (0.3, 1.0), rng).size for _ in range(20)]
    assert set(sizes) == {(32, 32)}
    wide = Image.fromarray(np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 20, 0).repeat(3, 2))
    central = np.asarray(resized_crop(wide, 8, (1.0, 1.0), rng))  # no crop fits: the central 4:3
    assert central.mean() == pytest.approx(99.5, abs=1)
    from scipy.ndimage import gaussian_filter

    wanted = gaussian_filter(np.asarray(image, float), (1.1, 1.1, 0), mode="mirror", radius=(4, 4, 0))
    assert np.abs(np.asarray(blurred(image, 1.1), float) - wanted).max() <= 0.51


def test_norms_of_their_own_for_cls_and_local_crops() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm: nn.Module = nn.LayerNorm(4, dtype=torch.float64)
            self.config = type("Config", (), {"num_register_tokens": 1})()

        def forward(self, images: Tensor) -> Any:
            return type("Output", (), {"last_hidden_state": self.norm(images)})()

    weights = {f"{name}.{leaf}": fixed(4, seed=i) for i, (name, leaf) in
               enumerate(itertools.product(("cls_norm", "local_cls_norm"), ("weight", "bias")))}  # fmt: skip
    backbone: Any = untied(Backbone(), weights).double()
    local = nn.LayerNorm(4, dtype=torch.float64)
    local.load_state_dict({leaf: weights[f"local_cls_norm.{leaf}"] for leaf in ("weight", "bias")})
    branch = Branch(backbone, DINOHead(4, hidden=4, bottleneck=2, prototypes=3), None, local_cls_norm=local)
    tokens = fixed(2, 6, 4)
    plain = torch.nn.functional.layer_norm(tokens, (4,), eps=1e-5)
    cls, patches = branch.tokens(tokens)
    torch.testing.assert_close(cls, plain[:, 0] * weights["cls_norm.weight"] + weights["cls_norm.bias"])
    torch.testing.assert_close(patches, plain[:, 2:])
    wanted = plain[:, 0] * weights["local_cls_norm.weight"] + weights["local_cls_norm.bias"]
    torch.testing.assert_close(branch.local_cls(tokens), wanted)


def test_exact_is_defined_once() -> None:
    assert exact_label(views=True) == "exact"
    assert exact_label(views=True, batch_coupled=True) == "exact (batch-coupled)"
    assert exact_label(views=False) == "exact loss, simplified views"


def test_passes_are_counted() -> None:
    model = load_model("dino-tiny", weights="untrained")
    crops = 2 + 2 * (4 + 5) / (16 + 5)  # tokens: 64 px are 4 × 4 patches, 32 px 2 × 2, with CLS and 4 registers
    headless = OBJECTIVES["headless"].passes(model)
    assert headless is not None and headless.forward == headless.backward == pytest.approx(crops)
    trained = OBJECTIVES["dino-ibot"].passes(model)
    assert trained is not None and trained.total == pytest.approx(2 * crops + 2)
    assert OBJECTIVES["feature-energy"].passes(model).total == 2  # type: ignore[union-attr]
