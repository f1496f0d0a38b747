"""One file of weights → the network, in the authors' layout or the library's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from brainmap.models.adapters.adapter import Adapter
from brainmap.models.adapters.ijepa import IJEPAAdapter, is_ijepa_checkpoint
from brainmap.models.adapters.training_checkpoints import TrainingCheckpointAdapter, is_training_checkpoint
from brainmap.models.checkpoints.weight_files import read_tensors


def from_file(adapter: Adapter, path: Path, source: str) -> tuple[Adapter, nn.Module, dict[str, Any]]:
    """Build a card's network from a file.

    Parameters
    ----------
    adapter : Adapter
        Of the card.
    path : Path
        File, or folder of shards.
    source : str
        What messages call it.

    Returns
    -------
    adapter : Adapter
        Another one where the file holds more than the card's network (a student, a teacher and heads; a predictor) or
        less (an encoder alone).
    module : nn.Module
    settings : dict
        Of the training, where the file states them.
    """
    tensors, settings = read_tensors(path)
    card = adapter.card
    if is_training_checkpoint(tensors) and card.adapter == "transformers":
        adapter = TrainingCheckpointAdapter(card, settings)
    elif is_ijepa_checkpoint(tensors, card):
        adapter = IJEPAAdapter(card.model_copy(update={"objective": "ijepa-latent"}))
    else:
        adapter = adapter.suited(tensors, settings)
    return adapter, adapter.from_tensors(tensors, source), settings
