"""Outputs of a model's sites, and the gradients of a loss with respect to them, for one batch.

Gradients take one backward pass of the *sum* of the per-image losses, with all parameters frozen: as long as images
of a batch don't influence each other, row i of ``∂ Σ_j L_j / ∂ h`` is ``∂ L_i / ∂ h_i``. The first site's output is
turned into a leaf, so the graph starts there and nothing before it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import BrainmapError, InputError
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives import Objective
from brainmap.models.objectives.objective import total
from brainmap.models.vision_model import VisionModel

Views = list[Tensor]  # each (v, n, T, d)
LOSS_SCALES = (2.0**12, 2.0**6, 1.0)  # for float16


class SiteRecorder:
    """Context manager that collects the outputs of one site of several layers of a branch.

    Parameters
    ----------
    model : VisionModel
        Whose layers are meant.
    layers : sequence of str
        Logical names.
    site, branch : str
        Which output, of which branch.
    gradients : bool
        Record only passes that build a graph, so that a teacher's pass through the same network is left out.
    inputs : bool
        Record the site's inputs too, which gradients of weights are made of.

    Attributes
    ----------
    outputs, inputs : dict of str to list of Tensor
        For each layer the site's raw outputs and inputs, one per forward pass.
    """

    def __init__(
        self,
        model: VisionModel,
        layers: Sequence[str],
        *,
        site: str,
        branch: str | None = None,
        gradients: bool = False,
        inputs: bool = False,
    ) -> None:
        self._modules = model.site_modules(layers, site, branch)
        self._gradients = gradients
        self._inputs = inputs
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self.outputs: dict[str, list[Tensor]] = {name: [] for name in layers}
        self.inputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def __enter__(self) -> SiteRecorder:
        """Attach the hooks."""
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def collect(_module: nn.Module, inputs: Any, output: Any) -> Any:
            if self._gradients and not torch.is_grad_enabled():
                return None
            if self._inputs:
                self.inputs[name].append(inputs[0].detach())
            tensor = output[0] if isinstance(output, tuple | list) else output
            if not self._gradients or tensor.requires_grad:
                self.outputs[name].append(tensor)
                return None
            leaf = tensor.detach().requires_grad_(True)
            self.outputs[name].append(leaf)
            return (leaf, *output[1:]) if isinstance(output, tuple | list) else leaf

        return collect


@dataclass(frozen=True)
class Signals:
    """What one batch gives.

    Attributes
    ----------
    activations, gradients : dict of str to list of Tensor
        For each layer the tokens (v, n, T, d) of its views; activations have one view, the plain one.
    losses : Tensor or None, (n,)
    inputs : dict of str to list of Tensor
        Inputs of the sites (v, n, T, c), token by token with ``gradients``, where asked for.
    by_term : dict of str to dict of str to list of Tensor
        For each term of the loss what ``gradients`` holds for their sum, where asked for.
    """

    activations: dict[str, Views]
    gradients: dict[str, Views]
    losses: Tensor | None = None
    inputs: dict[str, Views] = field(default_factory=dict)
    by_term: dict[str, dict[str, Views]] = field(default_factory=dict)


def activations(model: VisionModel, batch: ImageBatch, layers: Sequence[str], site: str) -> Signals:
    """Activations of the plain view, without gradient."""
    with torch.no_grad(), model.autocast(), SiteRecorder(model, layers, site=site) as recorder:
        model.forward(batch.pixels)
    return Signals(_plain(model, recorder, site, len(batch)), {})


def gradients(
    model: VisionModel,
    batch: ImageBatch,
    layers: Sequence[str],
    site: str,
    objective: Objective,
    *,
    inputs: bool = False,
    by_term: bool = False,
) -> Signals:
    """Gradients of each image's loss, and the activations where the objective's only view is the plain one.

    With ``by_term`` also those of every term of the loss: one more backward pass each, through the same forward pass.

    Raises
    ------
    InputError
        If the objective does not return one loss per image, or does not reach the model's sites.
    """
    branch = objective.branch(model)
    with (
        torch.enable_grad(),
        SiteRecorder(model, layers, site=site, branch=branch, gradients=True, inputs=inputs) as recorder,
    ):
        with model.autocast():
            terms = objective.by_term(model, batch) if by_term else {}
            losses = total(terms) if terms else objective(model, batch)
        _check_losses(losses, objective, len(batch))
        flat = [output for layer in layers for output in recorder.outputs[layer]]
        if not flat:
            raise InputError(f"Objective '{objective.name}' does not run branch '{branch}' of '{model.name}'.")
        raw = _differentiate(losses.sum(), flat, model, keep=bool(terms))
        grads = _by_layer(raw, recorder, model, site, len(batch))
        of_terms = {}
        for name, values in terms.items():  # a term that reaches no site has no gradient there
            own = values.requires_grad
            raw = _differentiate(values.sum(), flat, model, keep=True) if own else [None] * len(flat)
            of_terms[name] = _by_layer(raw, recorder, model, site, len(batch))
    seen = {
        layer: [_by_image(model.as_tokens(raw, site), len(batch)) for raw in raws]
        for layer, raws in recorder.inputs.items()
    }
    shown = _plain(model, recorder, site, len(batch)) if objective.plain_view else {}
    return Signals(shown, grads, losses.detach(), seen, of_terms)


def _by_layer(
    raw: Sequence[Tensor | None], recorder: SiteRecorder, model: VisionModel, site: str, count: int
) -> dict[str, Views]:
    """Gradients of all recorded outputs, in their order, as tokens of images; zero where an output is not reached."""
    pieces = iter(raw)
    grads: dict[str, Views] = {}
    for layer, outputs in recorder.outputs.items():
        grads[layer] = []
        for output in outputs:
            gradient = next(pieces)
            reached = torch.zeros_like(output) if gradient is None else gradient
            grads[layer].append(_by_image(model.as_tokens(reached, site), count))
    return grads


def _differentiate(
    loss: Tensor, outputs: Sequence[Tensor], model: VisionModel, *, keep: bool = False
) -> list[Tensor | None]:
    """Gradients of the summed loss; in float16 the loss is scaled up, lest small gradients vanish, and they back.

    A scale that overflows is lowered. Scales are powers of two: they change nothing but what under- or overflows.
    ``keep`` leaves the graph for another pass.
    """
    if model.precision != "float16":
        return list(torch.autograd.grad(loss, outputs, allow_unused=True, retain_graph=keep))
    gradients_of: list[Tensor | None] = []
    for scale in LOSS_SCALES:
        parts = torch.autograd.grad(loss.float() * scale, outputs, allow_unused=True, retain_graph=True)
        gradients_of = [None if part is None else part.float() / scale for part in parts]
        if all(part is None or bool(part.isfinite().all()) for part in gradients_of):
            break
    return gradients_of


def _plain(model: VisionModel, recorder: SiteRecorder, site: str, count: int) -> dict[str, Views]:
    views = {}
    for layer, outputs in recorder.outputs.items():
        if len(outputs) != 1:
            raise BrainmapError(f"Layer '{layer}' ran {len(outputs)} times in one forward pass; it must run once.")
        views[layer] = [_by_image(model.as_tokens(outputs[0].detach(), site), count)]
    return views


def _by_image(tokens: Tensor, count: int) -> Tensor:
    """View-major rows (v·n, T, d) to (v, n, T, d)."""
    if tokens.shape[0] % count:
        raise InputError(f"A forward pass had {tokens.shape[0]} rows for {count} images; rows must be view-major.")
    return tokens.unflatten(0, (-1, count))


def _check_losses(losses: Any, objective: Objective, count: int) -> None:
    if not isinstance(losses, Tensor) or losses.shape != (count,):
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise InputError(f"Objective '{objective.name}' must return one loss per image, ({count},), not {given}.")
    if not losses.requires_grad:
        raise InputError(f"Objective '{objective.name}' does not depend on the model's layers at this site.")
