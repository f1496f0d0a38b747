"""``from_module``: a torch module of one's own as a vision model, its layers under their own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.models.adapters.transformers_library import ModuleAdapter
from brainmap.models.layer_paths import layer_paths
from brainmap.models.model_cards import ModelCard
from brainmap.models.objectives import OBJECTIVES
from brainmap.models.preprocessing import Preprocessing
from brainmap.models.vision_model import Loaded, VisionModel


def from_module(
    module: nn.Module,
    *,
    name: str,
    layers: str | Sequence[str] | Mapping[str, str],
    preprocessing: Preprocessing | None = None,
    code_version: str | None = None,
    **card_fields: Any,
) -> VisionModel:
    """Wrap a ``torch.nn.Module`` of one's own.

    Parameters
    ----------
    module : nn.Module
        Takes a batch (n, 3, h, w) as its only argument.
    name : str
        Shown in results.
    layers : sequence of str, or mapping of str to str
        Paths of the modules that are layers, in order; ``*`` stands for a number (``features.*``). The layers are
        called by their paths (``features.0``), or by the names of a mapping from name to path.
    preprocessing : Preprocessing, optional
        Resize 224, ImageNet normalisation by default.
    code_version : str, optional
        Your name for this version of the module's code. Without it features of the model are not cached on disk,
        because a change of the code could not be noticed.
    **card_fields
        Further fields of :class:`ModelCard`: ``tokens={"cls": 1}``, ``sites={"block": "", "mlp": "mlp.fc2"}``,
        ``patch=16``, ``output="logits"`` …

    Returns
    -------
    VisionModel

    Raises
    ------
    InputError
        If a path names no module, or two layers are the same module.

    Examples
    --------
    >>> import brainmap
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU())
    >>> model = brainmap.from_module(network, name="mine", layers={"early": "1", "late": "3"})
    >>> model.layer_names()
    ('early', 'late')
    """
    fields = {**card_fields, "preprocessing": preprocessing or Preprocessing()}
    wanted = tuple(layers.values()) if isinstance(layers, Mapping) else as_names(layers)
    paths = [path for pattern in wanted for path in layer_paths(module, [pattern])]
    if len(set(paths)) < len(paths) or (isinstance(layers, Mapping) and len(paths) > len(layers)):
        raise InputError(
            f"Each layer needs one module and each module one layer; {', '.join(wanted)} mean {', '.join(paths)}."
        )
    card = ModelCard(name=name, adapter="module", layers=wanted, architecture=type(module).__qualname__, **fields)
    code = None if code_version is None else f"{type(module).__qualname__} {code_version}"
    loaded = Loaded("own", "module in memory", code=code)
    adapter = ModuleAdapter(card)
    return VisionModel(
        card,
        module,
        adapter,
        preprocessing=card.preprocessing,
        loaded=loaded,
        register=OBJECTIVES,
        layer_names=list(layers) if isinstance(layers, Mapping) else paths,
    )
