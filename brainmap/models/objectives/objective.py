"""What an objective is, and how one is registered."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
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

    def by_term(self, terms: int) -> Passes:
        """The same with a backward pass for each of so many terms, besides that of their sum."""
        return Passes(self.forward, self.backward * (1 + terms))

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

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """Names of the terms that the loss of a model is the sum of; one, its own name, unless overridden."""
        return (self.name,)

    def by_term(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Terms (n,) of each image's loss, weighted as in their sum, from the forward passes that all share."""
        return {self.name: self(model, batch)}

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


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum of a loss's terms, in their order."""
    return reduce(add, terms.values())


@dataclasses.dataclass(frozen=True)
class SummedObjective(Objective):
    """Several losses of one model added up, each a term: asked for as ``name+name``.

    A sum that nobody trained with, so a surrogate, whatever its parts are. Each part runs its own forward passes.

    Parameters
    ----------
    parts : tuple of Objective
        The losses.

    Examples
    --------
    >>> from brainmap.models import skeleton
    >>> from brainmap.models.objectives import find_objective
    >>> model = skeleton("dino-tiny")
    >>> find_objective(model, "headless+feature-energy").terms(model)
    ('headless', 'feature-energy')
    """

    exactness = "surrogate"
    plain_view = False

    parts: tuple[Objective, ...] = ()

    @property
    def name(self) -> str:  # type: ignore[override]
        """Names of the parts, joined."""
        return "+".join(part.name for part in self.parts)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Columns that any part uses."""
        return tuple(dict.fromkeys(column for part in self.parts for column in part.needs))

    @property
    def batch_coupled(self) -> bool:  # type: ignore[override]
        """Whether any part ties the images of a batch together."""
        return any(part.batch_coupled for part in self.parts)

    @property
    def version(self) -> int | None:  # type: ignore[override]
        """None where a part's is unknown."""
        return None if any(part.version is None for part in self.parts) else 1

    def __call__(self, model: VisionModel, batch: ImageBatch) -> Tensor:
        """Loss of each image."""
        return total(self.by_term(model, batch))

    def terms(self, model: VisionModel) -> tuple[str, ...]:
        """Terms of all parts."""
        return tuple(name for part in self.parts for name in part.terms(model))

    def by_term(self, model: VisionModel, batch: ImageBatch) -> dict[str, Tensor]:
        """Terms of all parts, for each image."""
        return {name: values for part in self.parts for name, values in part.by_term(model, batch).items()}

    def supports(self, model: VisionModel) -> bool:
        """Whether the model has the parts of every loss."""
        return all(part.supports(model) for part in self.parts)

    def remarks(self, model: VisionModel, ids: Sequence[str]) -> tuple[str, ...]:
        """Remarks of all parts."""
        return tuple(remark for part in self.parts for remark in part.remarks(model, ids))

    def passes(self, model: VisionModel) -> Passes | None:
        """Passes of all parts together."""
        each = [part.passes(model) for part in self.parts]
        known = [passes for passes in each if passes is not None]
        if len(known) < len(each):
            return None
        return Passes(sum(passes.forward for passes in known), sum(passes.backward for passes in known))

    def branch(self, model: VisionModel) -> str:
        """Branch of the first part; :func:`find_objective` takes no parts of several branches."""
        return self.parts[0].branch(model)

    def identity(self, model: VisionModel) -> dict[str, Any]:
        """Identities of the parts."""
        parts = [part.identity(model) for part in self.parts]
        return {"name": self.name, "version": self.version, "parts": parts}


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

    Names joined by ``+`` are added up (:class:`SummedObjective`).

    Raises
    ------
    InputError
        If there is none of that name, the model lacks its parts, or names that are added up share a term or differ in
        the branch whose gradient they take.
    """
    if isinstance(objective, str) and "+" in objective:
        return _summed(model, [name.strip() for name in objective.split("+")])
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


def _summed(model: VisionModel, names: Sequence[str]) -> Objective:
    """Several losses of a model as terms of one."""
    parts = [find_objective(model, name) for name in names]
    terms = [term for part in parts for term in part.terms(model)]
    twice = [term for term in terms if terms.count(term) > 1]
    if twice:
        raise InputError(f"The sum '{'+'.join(names)}' holds the term '{twice[0]}' twice; name each loss once.")
    branches = {part.name: part.branch(model) for part in parts}
    if len(set(branches.values())) > 1:
        each = ", ".join(f"'{name}' that of '{branch}'" for name, branch in branches.items())
        raise InputError(f"Losses of different branches of '{model.name}' have no gradient in common: {each}.")
    return SummedObjective(tuple(parts))
