"""What an objective is, and how one is registered."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.models.image_batch import ImageBatch

if TYPE_CHECKING:
    from brainmap.models.vision_model import VisionModel

Exactness = Literal[
    "exact",
    "exact (batch-coupled)",
    "exact loss, default settings",
    "exact loss, default settings (batch-coupled)",
    "exact loss, simplified views",
    "exact loss, simplified views (batch-coupled)",
    "exact loss, default settings, simplified views",
    "exact loss, default settings, simplified views (batch-coupled)",
    "native similarity",
    "surrogate",
]


def exact_label(*, views: bool, stated: bool = True, batch_coupled: bool = False) -> Exactness:
    """The label of a model's own training loss.

    ``exact`` means: on the same views and masks, and networks in evaluation mode, number and gradient are those of the
    authors' code (relative difference at most 1e-9 in float64, 1e-5 in float32). What differs in the views is named.

    Parameters
    ----------
    views : bool
        Whether views are drawn as the checkpoint's recipe says; else they are simplified.
    stated : bool
        Whether the checkpoint states temperatures and weights; else the defaults of the authors' code are taken.
    batch_coupled : bool
        Whether images of a batch influence each other: the loss is then exact in the company that was planned.
    """
    differs = [] if stated else ["default settings"]
    differs += [] if views else ["simplified views"]
    label = f"exact loss, {', '.join(differs)}" if differs else "exact"
    return f"{label} (batch-coupled)" if batch_coupled else label  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class Passes:
    """What an objective costs for each image, in forward passes of the model on the plain image.

    Attributes
    ----------
    forward : float
        Passes forward, those of a teacher, decoder or text tower included, in proportion to tokens and parameters.
    backward : float
        Passes backward: with parameters frozen one costs about as much as its forward pass.
    """

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Forward and backward together."""
        return self.forward + self.backward


def relative_weight(model: VisionModel, module: nn.Module) -> float:
    """Cost of a token in another network, such as a decoder, relative to one in the vision network: parameters."""
    own, other = (sum(p.numel() for p in part.parameters()) for part in (model.network(), module))
    return other / own


def caption_cost(model: VisionModel) -> float:
    """Cost of a caption's way through the text tower, in passes of the plain image."""
    patches = (model.preprocessing.crop // (model.card.patch or 32)) ** 2 + sum(model.card.tokens.values())
    vision = sum(p.numel() for p in model.network().parameters())
    named = model.module.named_parameters()
    text = sum(p.numel() for name, p in named if name.startswith("text_model") and "embedding" not in name)
    return text / vision * model.card.caption_length / patches


def relative_cost(model: VisionModel, side: int) -> float:
    """Cost of a square image of ``side`` pixels, in passes of the model's plain input: tokens over tokens."""
    leading = sum(model.card.tokens.values())
    patch = model.card.patch or 1
    leading = leading if model.card.patch else 0
    tokens = [(pixels // patch) ** 2 + leading for pixels in (side, model.preprocessing.crop)]
    return tokens[0] / tokens[1]


class Objective(ABC):
    """A loss for each image, whose gradient says what the model would learn from it.

    Subclasses are frozen dataclasses; their fields are their parameters, and go into the store's key.

    Attributes
    ----------
    name : str
        Registered name.
    exactness : {"exact", "native similarity", "surrogate"}
        Whether this is the model's own training loss; :meth:`label` says so for a model, in full.
    needs : tuple of str
        Columns of the stimulus table that are used (``caption``, ``category``).
    plain_view : bool
        True if the loss runs the network once, on ``batch.pixels``: activations then come from the same forward pass.
        Otherwise its views need a forward pass of their own.
    batch_coupled : bool
        True if images of a batch influence each other. The gradient of an image is then that of the batch's summed
        loss, and rows of the store are bound to the batch they were computed in.
    version : int or None
        Raise it when the numbers change. None: unknown, so that nothing is cached on disk.

    Notes
    -----
    Every forward of the differentiated branch must be *view-major*: with v views of n images, row ``j·n + i`` is view j
    of image i. That is what assigns rows of a site's output to images.

    Examples
    --------
    >>> from brainmap.models import OBJECTIVES, skeleton
    >>> objective = OBJECTIVES["koleo"]
    >>> objective.batch_coupled
    True
    >>> objective.name in skeleton("dino-tiny").objectives
    True
    """

    name: ClassVar[str]
    exactness: ClassVar[Exactness]
    needs: ClassVar[tuple[str, ...]] = ()
    plain_view: ClassVar[bool] = False
    batch_coupled: ClassVar[bool] = False
    version: ClassVar[int | None] = 1

    @abstractmethod
    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image (n,), differentiable with respect to the branch's sites."""

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has the parts this loss is made of."""
        return True

    def label(self, model: VisionModel) -> Exactness:
        """Exactness for a model; the class's, unless it differs between models."""
        return self.exactness

    def remarks(self, model: VisionModel, ids: Sequence[str]) -> tuple[str, ...]:
        """What should be said of this loss with these images, in sentences for the provenance."""
        return ()

    def passes(self, model: VisionModel) -> Passes | None:
        """What the loss of one image costs, the plain view that activations share included; None where unknown."""
        return Passes(1.0, 1.0) if self.plain_view else None

    def branch(self, model: VisionModel) -> str:
        """Branch of the model whose sites the gradient is taken at; the first one unless overridden."""
        return next(iter(model.branches))

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """What decides the numbers, for the feature store."""
        parameters: dict[str, Any] = dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}
        return {"name": self.name, "version": self.version, "parameters": parameters}


OBJECTIVES: dict[str, Objective] = {}


def add_objective(objective: Objective) -> Objective:
    """Register an objective instance under its name; one of the same name is replaced."""
    OBJECTIVES[objective.name] = objective
    return objective


def register_objective(
    name: str, *, needs: Sequence[str] = (), plain_view: bool = False, version: int | None = None
) -> Callable[[Callable[[VisionModel, ImageBatch], Tensor]], Callable[[VisionModel, ImageBatch], Tensor]]:
    """Register a loss of one's own, as a decorator of ``function(model, batch) -> Tensor (n,)``.

    Parameters
    ----------
    name : str
        How it is asked for.
    needs : sequence of str
        Columns of the stimulus table it uses.
    plain_view : bool
        Declare that it runs the model exactly once, on ``batch.pixels``: saves one forward pass.
    version : int, optional
        Raise it when the function changes. Without it gradients are not cached on disk.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.models import register_objective
    >>> @register_objective("contrast", plain_view=True, version=1)
    ... def contrast(model, batch):
    ...     return model.tokens(batch.pixels).var((1, 2))
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU())
    >>> model = brainmap.from_module(network, name="mine", layers=["1"], code_version="1")
    >>> extractor = brainmap.FeatureExtractor(model, objective="contrast")
    >>> extractor.extract(brainmap.sample_stimuli().subset(range(2))).losses.shape
    (2,)
    """

    def decorate(function: Callable[[VisionModel, ImageBatch], Tensor]) -> Callable[[VisionModel, ImageBatch], Tensor]:
        attributes = {
            "name": name,
            "exactness": "surrogate",
            "needs": as_names(needs),
            "plain_view": plain_view,
            "version": version,
            "__call__": lambda self, model, batch: function(model, batch),
            "__doc__": function.__doc__,
        }
        add_objective(type(f"Own_{name}", (Objective,), attributes)())
        return function

    return decorate


def find_objective(model: VisionModel, objective: str | Objective | None) -> Objective:
    """The objective to use with a model: an instance, a registered name, or None for the card's default.

    Raises
    ------
    InputError
        If there is none of that name, or the model lacks its parts.
    """
    if objective is None:
        objective = model.card.objective
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise InputError(
                f"There is no objective '{objective}'; '{model.name}' can use {', '.join(model.objectives)}."
            )
        objective = OBJECTIVES[objective]
    if not objective.supports(model):
        able = ", ".join(model.objectives)
        raise InputError(f"Model '{model.name}' lacks the parts of objective '{objective.name}'; it can use {able}.")
    return objective
