"""What a listing says of a model beyond its card, counted on its network and kept as data.

Counting takes ``torch``, the model's library and the network itself, which together need five seconds; a listing should
need none. ``tools/summarise_cards.py`` writes the file, and a test counts every model again.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from brainmap.models.loading.weight_sources import find_card
from brainmap.models.model_cards import is_shipped

if TYPE_CHECKING:
    from brainmap.models.objectives import Objective
    from brainmap.models.vision_model import VisionModel


class CardSummary(BaseModel):
    """Counts of a model's network, and what it can be asked for.

    Attributes
    ----------
    layers : int
        Number of logical layers.
    vision_parameters, loaded_parameters : int
        Of the vision network, and of everything that is loaded with it (text tower, decoder, predictor).
    objectives : dict of str to str
        Objectives by name, with their label where nothing is known of the training, what they need, and whether they
        couple the images of a batch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int
    vision_parameters: int
    loaded_parameters: int
    objectives: dict[str, str]


def card_summary(name: str) -> CardSummary:
    """The summary of a model: as kept for models of this package, else counted.

    Parameters
    ----------
    name : str
        As for :func:`brainmap.load_model`.

    Raises
    ------
    InputError, MissingFileError
        If there is no such model.
    """
    card = find_card(name)
    kept = _kept().get(card.name) if is_shipped(card) else None
    return summarise(name) if kept is None else kept


def summarise(name: str) -> CardSummary:
    """Count a model's layers and parameters and ask it for its objectives; on torch's ``meta`` device."""
    from brainmap.models.loading.model_loading import skeleton
    from brainmap.models.objectives import OBJECTIVES

    model = skeleton(name)
    vision, loaded = (sum(p.numel() for p in part.parameters()) for part in (model.network(), model.module))
    return CardSummary(
        layers=len(model.layers),
        vision_parameters=vision,
        loaded_parameters=loaded,
        objectives={objective: _label(OBJECTIVES[objective], model) for objective in model.objectives},
    )


def _label(objective: Objective, model: VisionModel) -> str:
    needs = f", needs {' and '.join(objective.needs)}" if objective.needs else ""
    label = objective.label(model)
    return label + needs + (", batch-coupled" if objective.batch_coupled and "batch-coupled" not in label else "")


@functools.cache
def _kept() -> dict[str, CardSummary]:
    text = (resources.files("brainmap.models.loading") / "card_summaries.json").read_text(encoding="utf-8")
    return {name: CardSummary(**summary) for name, summary in json.loads(text).items()}
