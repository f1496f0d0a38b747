"""Weights and tokenizers from the local cache or the hub, with one helpful message where they cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from brainmap.errors import MissingFileError
from brainmap.models.cards import ModelCard
from brainmap.models.fitting import quiet_transformers
from brainmap.models.text import HubTokenizer

if TYPE_CHECKING:
    from brainmap.models.adapters import Adapter


def from_hub(adapter: Adapter) -> tuple[nn.Module, str]:
    """Load a card's weights from the local cache, else from the hub.

    Returns
    -------
    module : nn.Module
    source : str
        Repository and commit.

    Raises
    ------
    MissingFileError
        If they are gated or the hub cannot be reached; the message names all ways to get them.
    """
    card = adapter.card
    assert card.hub is not None
    for local in (True, False):
        try:
            module = adapter.pretrained(card.hub, revision=card.revision or "main", local_files_only=local)
        except OSError as error:
            reason = str(error).splitlines()[0]
            continue
        commit = getattr(module.config, "_commit_hash", None)
        return module, f"{card.hub}@{commit or card.revision or 'unknown commit'}"
    raise MissingFileError(how_to_get(card, reason))


def how_to_get(card: ModelCard, reason: str) -> str:
    """What to do about weights that could not be loaded: which file, which licence, which ways, what works offline."""
    ways = []
    if card.gated:
        ways.append(f"accept the licence at {card.licence_url} and log in (hf auth login)")
    else:
        ways.append(f"connect to the internet once: they are then kept in the local cache ({card.hub})")
    ways.append(f"download {card.hub} elsewhere and pass the folder or its model.safetensors as weights='/path/…'")
    if card.mirror:
        ways.append(f"use the ungated copy {card.mirror}, which the licence allows")
    numbered = "; ".join(f"({number}) {way}" for number, way in enumerate(ways, 1))
    return (
        f"The weights of '{card.name}' ({card.hub}, {card.licence}) are not on this machine and could not be fetched "
        f"({reason}). Ways to get them: {numbered}. Offline, weights='untrained' and the model 'dino-tiny' work."
    )


def hub_tokenizer(card: ModelCard, source: str) -> HubTokenizer:
    """Tokenizer of an image–text model: from the folder of its weights if there is one, else its repository."""
    from transformers import AutoTokenizer

    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    local = folder if (folder / "tokenizer_config.json").exists() or (folder / "tokenizer.json").exists() else None
    with quiet_transformers():
        try:
            found = AutoTokenizer.from_pretrained(local or card.hub, revision=card.revision or "main")
        except (OSError, ValueError) as error:
            raise MissingFileError(
                f"The tokenizer of '{card.name}' could not be loaded ({str(error).splitlines()[0]}); "
                f"put the tokenizer files of {card.hub} beside the weights."
            ) from None
    return HubTokenizer(found, card.caption_length, source)
