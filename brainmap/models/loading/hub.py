"""Weights and tokenizers from the local cache or the hub, with one helpful message where they cannot be had."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from brainmap.common.errors import MissingFileError
from brainmap.models.checkpoints.weight_files import quiet_transformers
from brainmap.models.loading.authors_file import from_file
from brainmap.models.loading.hub_cache import cached_commit, how_to_get, other_commits, unreachable
from brainmap.models.model_cards import ModelCard
from brainmap.models.tokenizers import HubTokenizer

if TYPE_CHECKING:
    from brainmap.models.adapters.adapter import Adapter


def from_hub(adapter: Adapter) -> tuple[Adapter, nn.Module, str]:
    """Load a card's weights from the local cache, else from the hub.

    Returns
    -------
    adapter : Adapter
        For what the weights are.
    module : nn.Module
    source : str
        Repository and commit, and the file where it is the authors' own.

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
            return _at_revision(adapter, card.revision or "main", local)
        except OSError as error:
            reason = reason if reason and not str(error) else str(error).splitlines()[0]
    for commit in other_commits(card):
        try:
            loaded = _at_revision(adapter, commit, True)
        except OSError:
            continue
        warnings.warn(
            f"'{card.name}': revision {card.revision or 'main'} is not on this machine and could not be fetched "
            f"({reason}); commit {commit} of {card.hub}, which is, is used instead.",
            stacklevel=4,
        )
        return loaded
    raise MissingFileError(how_to_get(card, reason))


def _at_revision(adapter: Adapter, revision: str, local: bool) -> tuple[Adapter, nn.Module, str]:
    """Load one revision: a folder of the library's, or one file in the authors' own layout."""
    from huggingface_hub import hf_hub_download

    card = adapter.card
    assert card.hub is not None
    if card.file is None:
        module = adapter.pretrained(card.hub, revision=revision, local_files_only=local)
        return adapter, module, f"{card.hub}@{cached_commit(card.hub, revision) or revision}"
    path = Path(hf_hub_download(card.hub, card.file, revision=revision, local_files_only=local))
    source = f"{card.hub}@{cached_commit(card.hub, revision, card.file) or revision}, {card.file}"
    adapter, module, _ = from_file(adapter, path, source)
    return adapter, module, source


def hub_tokenizer(card: ModelCard, source: str) -> HubTokenizer:
    """Tokenizer of an image–text model: from the folder of its weights if there is one, else its repository."""
    from transformers import AutoTokenizer

    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    local = folder if (folder / "tokenizer_config.json").exists() or (folder / "tokenizer.json").exists() else None
    own = source.startswith(f"{card.hub}@")  # of the same commit as the weights, which may be another than the card's
    revision = source.partition("@")[2].partition(",")[0] if own else card.revision or "main"
    with quiet_transformers():
        try:
            tokenizer = _tokenizer(AutoTokenizer, card, local, revision)
        except (OSError, ValueError) as error:
            raise MissingFileError(
                f"The tokenizer of '{card.name}' could not be loaded ({str(error).splitlines()[0]}); "
                f"put the tokenizer files of {card.tokenizer or card.hub} beside the weights."
            ) from None
    return HubTokenizer(
        tokenizer, card.caption_length, source, lowercase=card.caption_lowercase, mask=card.caption_mask
    )


def _tokenizer(kind: Any, card: ModelCard, local: Path | None, revision: str) -> Any:
    if local is not None:
        return kind.from_pretrained(local)
    if card.tokenizer is not None:
        return kind.from_pretrained(card.tokenizer)
    return kind.from_pretrained(card.hub, revision=revision)
