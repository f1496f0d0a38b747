"""Weights and tokenizers from the local cache or the hub, with one helpful message where they cannot be had."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from brainmap.common.errors import MissingFileError
from brainmap.models.checkpoints.weight_files import quiet_transformers, read_tensors
from brainmap.models.loading.hub_cache import cached_commit, how_to_get, other_commits, unreachable
from brainmap.models.model_cards import ModelCard
from brainmap.models.tokenizers import HubTokenizer

if TYPE_CHECKING:
    from brainmap.models.adapters.adapter import Adapter


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
    reason = ""
    for local in (True, False):
        if not local and (refusal := unreachable()):
            reason = refusal  # the hub's client would try again and again, and say so each time
            break
        try:
            if card.file is not None:
                return _from_file(adapter, local)
            module = adapter.pretrained(card.hub, revision=card.revision or "main", local_files_only=local)
        except OSError as error:
            reason = reason if reason and not str(error) else str(error).splitlines()[0]
            continue
        return module, f"{card.hub}@{cached_commit(card.hub, card.revision) or card.revision or 'unknown commit'}"
    for commit in other_commits(card):
        try:
            if card.file is not None:
                loaded = _from_file(adapter, True, commit)
            else:
                module = adapter.pretrained(card.hub, revision=commit, local_files_only=True)
                loaded = module, f"{card.hub}@{commit}"
        except OSError:
            continue
        warnings.warn(
            f"'{card.name}': revision {card.revision or 'main'} is not on this machine and could not be fetched "
            f"({reason}); commit {commit} of {card.hub}, which is, is used instead.",
            stacklevel=4,
        )
        return loaded
    raise MissingFileError(how_to_get(card, reason))


def _from_file(adapter: Adapter, local: bool, revision: str | None = None) -> tuple[nn.Module, str]:
    """Load weights that are one file in the authors' own layout."""
    from huggingface_hub import hf_hub_download

    card = adapter.card
    assert card.hub is not None and card.file is not None
    revision = revision or card.revision or "main"
    path = Path(hf_hub_download(card.hub, card.file, revision=revision, local_files_only=local))
    commit = path.parts[path.parts.index("snapshots") + 1] if "snapshots" in path.parts else card.revision
    source = f"{card.hub}@{commit or 'unknown commit'}, {card.file}"
    return adapter.from_tensors(read_tensors(path)[0], source), source


def hub_tokenizer(card: ModelCard, source: str) -> HubTokenizer:
    """Tokenizer of an image–text model: from the folder of its weights if there is one, else its repository."""
    from transformers import AutoTokenizer

    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    local = folder if (folder / "tokenizer_config.json").exists() or (folder / "tokenizer.json").exists() else None
    with quiet_transformers():
        try:
            tokenizer = _tokenizer(AutoTokenizer, card, local)
        except (OSError, ValueError) as error:
            raise MissingFileError(
                f"The tokenizer of '{card.name}' could not be loaded ({str(error).splitlines()[0]}); "
                f"put the tokenizer files of {card.tokenizer or card.hub} beside the weights."
            ) from None
    return HubTokenizer(
        tokenizer, card.caption_length, source, lowercase=card.caption_lowercase, mask=card.caption_mask
    )


def _tokenizer(kind: Any, card: ModelCard, local: Path | None) -> Any:
    if local is not None:
        return kind.from_pretrained(local)
    if card.tokenizer is not None:
        return kind.from_pretrained(card.tokenizer)
    return kind.from_pretrained(card.hub, revision=card.revision or "main")
