"""Terms that tie the images of a batch together: KoLeo, Sinkhorn centring, SIGReg and contrastive negatives.

Each comes in two forms. *Coupled*: images of the batch influence each other, as in training; the objective is flagged
``batch_coupled``, the extraction plan fixes which images share a batch, and rows of the store are bound to that
company. *Frozen*: the company is a reference bank of other photographs, held constant; the loss is image-wise, and a
surrogate. :func:`freeze_reference` makes the second form from the first.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import PROJECTED_DIRECTIONS
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives.objective import OBJECTIVES, Objective, Passes, find_objective

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel
    from brainmap.stimuli import StimulusSet


Bank = Mapping[str, Tensor]


class CoupledObjective(Objective):
    """A loss whose batch-coupled part can be computed against a bank instead of the batch.

    Subclasses define :meth:`bank`, what other images contribute, and :meth:`loss`.
    """

    batch_coupled: ClassVar[bool] = True

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image in this batch."""
        return self.loss(model, batch, None)

    @abstractmethod
    def bank(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """What images of a batch contribute to the losses of others, without gradient; rows are views or images."""

    def finish(self, model: VisionModel, bank: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn the contributions of all reference images into what is kept; unchanged unless overridden."""
        return bank

    @abstractmethod
    def loss(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> Tensor:
        """Loss of each image (n,) with the batch's own company, or with that of a bank."""

    def by_term(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Terms of each image's loss in this batch."""
        return self.loss_by_term(model, batch, None)

    def loss_by_term(self, model: VisionModel, batch: ImageBatch, bank: Bank | None) -> dict[str, Tensor]:
        """Terms of :meth:`loss`; one unless overridden."""
        return {self.name: self.loss(model, batch, bank)}


@dataclass(frozen=True, eq=False)
class FrozenReference(Objective):
    """The image-wise form of a coupled objective: a bank of reference photographs takes the place of the batch.

    ``L_i = L(i | company = bank)``, the bank constant. Made by :func:`freeze_reference`.

    Parameters
    ----------
    coupled : CoupledObjective
        The loss.
    tensors : dict of str to Tensor
        Contributions of the reference photographs.
    reference : dict
        Number and hash of their ids, for provenance.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.models import freeze_reference
    >>> stimuli, model = brainmap.sample_stimuli(), brainmap.load_model("dino-tiny")
    >>> frozen = freeze_reference("koleo", model, stimuli.subset(range(4)))
    >>> frozen.reference["photographs"]
    4
    """

    exactness = "surrogate"
    version = 1

    coupled: CoupledObjective
    tensors: dict[str, Tensor]
    reference: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the coupled loss, marked frozen."""
        return f"{self.coupled.name}-frozen"

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns the coupled loss uses."""
        return self.coupled.needs

    @property
    def plain_view(self) -> bool:  # type: ignore[override]
        """Whether the coupled loss looks at the plain image only."""
        return self.coupled.plain_view

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        return self.coupled.loss(model, batch, self._bank(batch))

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """Terms of the coupled loss."""
        return self.coupled.terms(model)

    def by_term(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Terms of each image's loss."""
        return self.coupled.loss_by_term(model, batch, self._bank(batch))

    def _bank(self, batch: ImageBatch) -> Bank:
        """The bank where the batch is."""
        return {name: tensor.to(batch.pixels.device, batch.pixels.dtype) for name, tensor in self.tensors.items()}

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has the parts of the coupled loss."""
        return self.coupled.supports(model)

    def passes(self, model: VisionModel) -> Passes | None:
        """Passes of the coupled loss."""
        return self.coupled.passes(model)

    def remarks(self, model: VisionModel, ids: Sequence[str]) -> tuple[str, ...]:
        """Remarks of the coupled loss."""
        return self.coupled.remarks(model, ids)

    def branch(self, model: VisionModel) -> str:
        """Branch of the coupled loss."""
        return self.coupled.branch(model)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Identity of the coupled loss, with a digest of the bank."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            values = self.tensors[name].detach().cpu().contiguous()
            digest.update(f"{name}|{values.dtype}|{tuple(values.shape)}|".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
        inner = self.coupled.identity(model)
        bank = {"digest": digest.hexdigest()[:16], **self.reference}
        return {"name": self.name, "version": self.version, "coupled": inner, "bank": bank}


def freeze_reference(
    objective: str | Objective, model: VisionModel, stimuli: StimulusSet, *, batch_size: int = 32
) -> FrozenReference:
    """Make a batch-coupled loss image-wise: reference photographs, held constant, stand for the batch.

    Parameters
    ----------
    objective : str or Objective
        A batch-coupled one: ``koleo``, ``sigreg``, ``contrastive``, ``dino-sinkhorn``, ``dino-ibot-koleo``, ``dinov3``,
        ``lejepa``.
    model : VisionModel
        The model it will be used with.
    stimuli : StimulusSet
        Reference photographs, with captions where the loss needs them. Take others than those of the study: an image is
        its own nearest neighbour.
    batch_size : int
        Images per pass.

    Returns
    -------
    FrozenReference
        Labelled ``surrogate``; pass it as ``objective`` to the extractor.

    Raises
    ------
    InputError
        If the objective is not batch-coupled, the model lacks its parts, or there are fewer than 2 photographs.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.models import freeze_reference
    >>> stimuli, model = brainmap.sample_stimuli(), brainmap.load_model("dino-tiny")
    >>> frozen = freeze_reference("koleo", model, stimuli.subset(range(4)))
    >>> extractor = brainmap.FeatureExtractor(model, layers=["block.11"], objective=frozen)
    >>> extractor.extract(stimuli.subset(range(8, 12))).losses.shape
    (4,)
    """
    chosen = find_objective(model, objective)
    if not isinstance(chosen, CoupledObjective):
        able = ", ".join(name for name, known in OBJECTIVES.items() if isinstance(known, CoupledObjective))
        raise InputError(f"Objective '{chosen.name}' is image-wise already; {able} can be frozen.")
    if len(stimuli) < 2:
        raise InputError(f"A reference bank needs at least 2 photographs, got {len(stimuli)}; better are hundreds.")
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(stimuli), batch_size):
        rows = range(start, min(start + batch_size, len(stimuli)))
        images, ids = [stimuli.image(row) for row in rows], [str(stimuli.ids[row]) for row in rows]
        batch = ImageBatch(images, model.preprocess(images), ids, stimuli.table.iloc[start : rows.stop])
        with torch.no_grad(), model.autocast():
            parts.append({name: tensor.to(model.dtype) for name, tensor in chosen.bank(model, batch).items()})
    bank = chosen.finish(model, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    ids_hash = hashlib.sha256("".join(str(key) for key in stimuli.ids).encode()).hexdigest()[:16]
    tensors = {name: tensor.cpu() for name, tensor in bank.items()}
    return FrozenReference(chosen, tensors, {"photographs": len(stimuli), "ids": ids_hash})


def sinkhorn_scales(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Prototype scales (K,) that Sinkhorn–Knopp ends with on reference logits (m, K): a centre, in logarithms.

    Sinkhorn's result is ``q[i, k] ∝ exp(l[i, k] / τ) u[k]``; with u held constant, a new image needs no company.
    """
    scaled = logits.double() / temperature
    log_u = log_v = scaled.new_zeros(())
    for _ in range(iterations):
        log_u = -torch.logsumexp(scaled + log_v, dim=0)
        log_v = -torch.logsumexp(scaled + log_u, dim=1, keepdim=True)
    return log_u.to(logits.dtype)


def sigreg(
    projections: Tensor, directions: Tensor, bank: Tensor | None = None, *, knots: int = 17, end: float = 3.0
) -> Tensor:
    """Sketched isotropic Gaussian regularisation of each image (LeJEPA).

    ``T = N ∫ |φ̂(t) − exp(−t²/2)|² exp(−t²/2) dt``, φ̂ the empirical characteristic function of N projections on a
    direction, averaged over directions and views; trapezoidal rule on [0, 3], doubled.

    Parameters
    ----------
    projections : Tensor, (views, n, k)
        Of the images.
    directions : Tensor, (k, m)
        Unit-length columns.
    bank : Tensor, (views, r, k), optional
        Constant company of every image: then N = r + 1 and the result is image-wise.

    Returns
    -------
    Tensor, (n,)
        Coupled: the batch's statistic, divided by n, for every image, so that they sum to it. Frozen: each image's own.
    """
    t = torch.linspace(0, end, knots, dtype=projections.dtype, device=projections.device)
    weights = torch.full_like(t, 2 * end / (knots - 1))
    weights[[0, -1]] = end / (knots - 1)
    gauss = torch.exp(-t.square() / 2)
    angles = (projections @ directions)[..., None] * t  # (views, n, m, knots)
    cos, sin = angles.cos(), angles.sin()
    count = projections.shape[1]
    if bank is None:
        statistic = ((cos.mean(1) - gauss).square() + sin.mean(1).square()) @ (weights * gauss) * count
        return statistic.mean().expand(count) / count
    others = (bank @ directions)[..., None] * t
    total = bank.shape[1] + 1
    real = (others.cos().sum(1, keepdim=True) + cos) / total
    imaginary = (others.sin().sum(1, keepdim=True) + sin) / total
    statistic = ((real - gauss).square() + imaginary.square()) @ (weights * gauss) * total
    return statistic.mean((0, 2))


def random_directions(width: int, count: int, seed: int, like: Tensor) -> Tensor:
    """Unit-length columns (width, count), drawn once: training draws new ones at each step."""
    drawn = np.random.default_rng([seed, PROJECTED_DIRECTIONS, width, count]).standard_normal((width, count))
    return F.normalize(torch.from_numpy(drawn), dim=0).to(like.device, like.dtype)
