"""How many images fit: batch size from a memory budget, measured on one image instead of guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.common.memory_sizes import UNITS, parse_memory
from brainmap.features import capture
from brainmap.models.image_batch import ImageBatch
from brainmap.models.objectives import Objective, find_objective
from brainmap.models.vision_model import VisionModel

if TYPE_CHECKING:
    import pandas as pd

HEADROOM = 2.0  # temporaries of the largest operation, gradients of outputs, allocator


def available_memory(model: VisionModel) -> int:
    """Bytes an extraction may use by default: four fifths of what a GPU has free, with the weights, or 4 GB."""
    if model.device.type != "cuda":
        return 4 * UNITS["g"]
    held = sum(tensor.numel() * tensor.element_size() for tensor in model.module.state_dict().values())
    return int(0.8 * torch.cuda.mem_get_info(model.device)[0]) + held


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory is full; Apple's backend has no class of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)


def halved(size: int, model: VisionModel, objective: Objective | None) -> int:
    """Half the images of a batch that did not fit.

    Raises
    ------
    InputError
        If it is a single image, or the objective couples its images.
    """
    where = f"Memory of '{model.device}' is too small for"
    if objective is not None and objective.batch_coupled:
        raise InputError(
            f"{where} a batch of {size}, and objective '{objective.name}' ties its images together, so that "
            "it may not be divided: choose a smaller batch_size."
        ) from None
    if size == 1:
        raise InputError(f"{where} one image of '{model.name}'; use device='cpu' or a smaller input_size.")
    return size // 2


def batch_size_for(
    model: VisionModel,
    memory: str | int,
    *,
    objective: str | Objective | None = None,
    site: str = "block",
    table: pd.DataFrame | None = None,
    largest: int = 256,
    gradients: bool = True,
) -> int:
    """Largest power of two whose batch fits into a memory budget beside the weights.

    Parameters
    ----------
    model : VisionModel
        On its device.
    memory : str or int
        Budget, such as ``"8GB"``.
    objective : str or Objective, optional
        Whose gradient will be taken; the model's default.
    site : str
        Where signals are read.
    table : DataFrame, optional
        One stimulus row, for objectives that read captions or labels.
    largest : int
        Never more than this.
    gradients : bool
        False if only activations will be extracted.

    Returns
    -------
    int
        At least 1. Bytes per image are what one image's forward pass saves for its backward pass, doubled.

    Raises
    ------
    InputError
        If the weights alone exceed the budget.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.features import batch_size_for
    >>> batch_size_for(brainmap.load_model("dino-tiny"), "4GB", largest=64)
    64
    """
    budget = parse_memory(memory)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.module.state_dict().values())
    if weights >= budget:
        need = f"{weights / 1e9:.2f} GB"
        raise InputError(f"The weights of '{model.name}' alone take {need}; give more memory than {memory}.")
    image = bytes_per_image(model, objective=objective, site=site, table=table, gradients=gradients)
    fits = (budget - weights) / (HEADROOM * image)
    return int(min(largest, 2 ** int(np.log2(fits)))) if fits >= 1 else 1


def bytes_per_image(
    model: VisionModel,
    *,
    objective: str | Objective | None = None,
    site: str = "block",
    table: pd.DataFrame | None = None,
    gradients: bool = True,
) -> int:
    """Bytes that one image's forward pass saves for its backward pass, all views counted."""
    import pandas as pd

    side = model.preprocessing.crop
    loss = find_objective(model, objective) if gradients else None
    count = 2 if loss is not None and loss.batch_coupled else 1  # an image of a coupled loss needs company
    images = list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    row = pd.concat([table.iloc[:1]] * count) if table is not None else pd.DataFrame(index=range(count))
    batch = ImageBatch(images, model.preprocess(images), [f"probe {i}" for i in range(count)], row)
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    if loss is not None:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            capture.gradients(model, batch, model.layer_names(), site, loss)
    outputs = capture.activations(model, batch, model.layer_names(), site).activations
    kept = sum(view.numel() * view.element_size() for views in outputs.values() for view in views)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.module.parameters()}
    whole = kept + sum(size for pointer, size in saved.items() if pointer not in parameters)
    return -(-whole // count)
