"""Loss terms of DINO, iBOT, DINOv2 and DINOv3, one value per image.

Each term is the authors' batch loss, divided among the images so that the values sum to n times it: the gradient of
their sum points where the authors' gradient points. Sinkhorn–Knopp and KoLeo couple the images of a batch.

References
----------
.. [1] Caron et al. 2021, *Emerging properties in self-supervised vision transformers* (DINO), eq. 3.
.. [2] Zhou et al. 2022, *iBOT: image BERT pre-training with online tokenizer*, eq. 2.
.. [3] Oquab et al. 2023, *DINOv2*; Siméoni et al. 2025, *DINOv3*, section 4 (Gram anchoring).
.. [4] Sablayrolles et al. 2019, *Spreading vectors for similarity search* (KoLeo).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.common.errors import InputError

STUDENT_TEMPERATURE = 0.1  # of all four trainings


def cross_entropy(student_logits: Tensor, teacher_probabilities: Tensor) -> Tensor:
    """Cross-entropy −Σ_k p_t[k] log softmax(s / τ_s)[k] along the last axis, without reduction."""
    return -(teacher_probabilities * F.log_softmax(student_logits / STUDENT_TEMPERATURE, dim=-1)).sum(-1)


def dino_loss(
    student_global: Tensor,
    student_local: Tensor,
    teacher_global: Tensor,
    *,
    same_view: bool = False,
    local_weight: float = 1.0,
    least_local_pairs: int = 0,
) -> Tensor:
    """DINO loss of each image: student views against teacher views.

    Parameters
    ----------
    student_global : Tensor, (2, n, K)
        Student logits of the global crops.
    student_local : Tensor, (v, n, K)
        Student logits of the local crops; v may be 0.
    teacher_global : Tensor, (2, n, K)
        Teacher probabilities of the global crops.
    same_view : bool
        Whether a global crop is also compared with itself (DINOv3's ``global_ignore_diagonal: false``).
    local_weight : float
        Of the pairs with a local crop (DINOv3 lowers it late in training).
    least_local_pairs : int
        What the number of local pairs counts at least in the mean; DINOv2 counts one where there is none.

    Returns
    -------
    Tensor, (n,)
        Mean over the 2 (or 4) + 2 v pairs of views.
    """
    losses = cross_entropy(student_global, teacher_global.flip(0)).sum(0)
    pairs = 2
    if same_view:
        losses = losses + cross_entropy(student_global, teacher_global).sum(0)
        pairs = 4
    if len(student_local):
        # Σ_t CE(s, p_t) = CE(s, Σ_t p_t): one log-softmax a local crop
        losses = losses + local_weight * cross_entropy(student_local, teacher_global.sum(0)).sum(0)
    return losses / (pairs + max(2 * len(student_local), least_local_pairs))


def ibot_loss(student_logits: Tensor, teacher_probabilities: Tensor, masks: Tensor) -> Tensor:
    """Masked-patch loss of each image: mean over the masked patches of each crop, then over all its global crops.

    Parameters
    ----------
    student_logits, teacher_probabilities : Tensor, (m, K)
        Of the masked patches, in the order of ``masks``.
    masks : Tensor of bool, (crops, n, patches)
        Patches the student did not see.

    Returns
    -------
    Tensor, (n,)
        A crop without a masked patch counts as zero, so that an image without any has no loss and no gradient.
    """
    counts = masks.sum(-1, keepdim=True).clamp(min=1).expand_as(masks)[masks]
    return _per_image(cross_entropy(student_logits, teacher_probabilities) / counts, masks) / len(masks)


def pooled_ibot_loss(student_logits: Tensor, teacher_probabilities: Tensor, masks: Tensor) -> Tensor:
    """Masked-patch loss that ``dino-tiny`` was trained with: mean over all masked patches of the batch.

    Parameters and result are those of :func:`ibot_loss`; the number of masked patches couples the images.
    """
    share = masks.shape[1] / max(1, len(student_logits))
    return _per_image(cross_entropy(student_logits, teacher_probabilities) * share, masks)


def _per_image(values: Tensor, masks: Tensor) -> Tensor:
    """Sums over the masked patches of each image; ``values`` (m,) in the order of ``masks`` (crops, n, patches)."""
    image = masks.nonzero()[:, 1]
    return values.new_zeros(masks.shape[1]).index_add(0, image, values)


def nearest_distances(embeddings: Tensor, others: Tensor | None = None, *, neighbours: int = 1) -> Tensor:
    """Distances (n, k) of embeddings (n, d), at unit length, to their k nearest in the batch, or in a bank (m, d).

    Raises
    ------
    InputError
        If the batch or the bank has fewer than k others.
    """
    eps = 1e-8  # the authors'
    normed = F.normalize(embeddings, dim=-1, eps=eps)
    candidates = normed if others is None else F.normalize(others, dim=-1, eps=eps)
    if len(candidates) - (others is None) < neighbours:
        raise InputError(
            f"KoLeo needs {neighbours} other image(s) for each image, and a batch or bank holds {len(candidates)}: "
            "choose a batch_size that leaves no image alone."
        )
    with torch.no_grad():
        similarity = normed @ candidates.T
        if others is None:
            similarity.fill_diagonal_(-2.0)
        nearest = similarity.topk(neighbours, dim=1).indices
    return F.pairwise_distance(normed[:, None], candidates[nearest], eps=eps)


def koleo_loss(
    embeddings: Tensor, others: Tensor | None = None, *, neighbours: int = 1, group: int | None = None
) -> Tensor:
    """KoLeo regulariser of each image, −log of the distance to its nearest neighbours on the unit sphere.

    Parameters
    ----------
    embeddings : Tensor, (n, d)
        One view of each image.
    others : Tensor, (m, d), optional
        Neighbours are sought here instead of in the batch.
    neighbours : int
        How many nearest ones are averaged over.
    group : int, optional
        Neighbours are sought among so many images that follow each other in the batch; in the whole batch by default.

    Returns
    -------
    Tensor, (n,)
        Images of the batch influence each other, unless ``others`` are given.
    """
    if others is not None or group is None or group >= len(embeddings):
        return -torch.log(nearest_distances(embeddings, others, neighbours=neighbours) + 1e-8).mean(1)
    return torch.cat([koleo_loss(part, neighbours=neighbours) for part in embeddings.split(group)])


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Teacher distributions by Sinkhorn–Knopp, as DINOv2 and DINOv3 centre: prototypes used equally over the batch.

    Parameters
    ----------
    logits : Tensor, (m, K)
        Teacher logits of all views of all images of the batch, which thereby influence each other; m may be 0.
    temperature : float
        Of the teacher.
    iterations : int
        Rounds of normalising prototypes, then views.

    Returns
    -------
    Tensor, (m, K)
        Rows sum to one.
    """
    if not len(logits):
        return logits
    # The largest logit is taken off first: a constant factor, which the first normalisation removes.
    scaled = logits.double() / temperature
    table = (scaled - scaled.max()).exp()
    for _ in range(iterations):
        table = table / table.sum(0, keepdim=True).clamp(min=1e-300) / table.shape[1]
        table = table / table.sum(1, keepdim=True) / table.shape[0]
    return (table * table.shape[0]).to(logits.dtype)


def gram_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    normalised: bool = True,
    image_level: bool = True,
    negatives: str = "kept",
    selected: Tensor | None = None,
) -> Tensor:
    """Gram anchoring of each image: mean square difference of patch similarities of student and an earlier teacher.

    Parameters
    ----------
    student, teacher : Tensor, (2, n, P, d)
        Patch tokens of the global crops.
    normalised : bool
        Compare cosines instead of inner products.
    image_level : bool
        Similarities within each crop; else among all patches of the batch, which couples its images.
    negatives : {"kept", "zeroed", "zeroed where the teacher's are"}
        What happens to negative similarities.
    selected : Tensor of bool, (2, n, P), optional
        Patches that count, where similarities are taken over the batch; all by default.

    Returns
    -------
    Tensor, (n,)
    """
    if normalised:
        student, teacher = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
    if image_level:
        return _gram_errors(student, teacher, negatives).mean((0, 2, 3))
    shape = student.shape[:3]
    chosen = torch.ones(shape, dtype=torch.bool, device=student.device) if selected is None else selected
    errors = _gram_errors(student[chosen], teacher[chosen], negatives).mean(1)
    return _per_image(errors * (shape[1] / max(1, len(errors))), chosen)


def _gram_errors(student: Tensor, teacher: Tensor, negatives: str) -> Tensor:
    wanted, similar = teacher @ teacher.mT, student @ student.mT
    if negatives == "zeroed":
        wanted, similar = wanted.clamp(min=0.0), similar.masked_fill(similar < 0, 0.0)
    elif negatives == "zeroed where the teacher's are":
        # The authors zero the teacher's first and then ask where both are negative: none is left, the student's stay.
        wanted = wanted.clamp(min=0.0)
    return (similar - wanted).square()
