"""Weights and tokenizers from the local cache or the hub, with one helpful message where they cannot be had."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from brainmap.common.errors import MissingFileError
from brainmap.models.checkpoints.weight_files import quiet_transformers, read_tensors
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
        if not local and (unreachable := _unreachable()):
            reason = unreachable  # the hub's client would try again and again, and say so each time
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


def cached_commit(hub: str, revision: str | None, file: str = "config.json") -> str | None:
    """Commit of a repository's file in the local cache, read off the path of its snapshot; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub, file, revision=revision or "main")
    parts = Path(path).parts if isinstance(path, str) else ()
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def other_commits(card: ModelCard) -> list[str]:
    """Commits of a card's repository in the local cache, the latest written first."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{(card.hub or '').replace('/', '--')}" / "snapshots"
    if not folder.is_dir():
        return []
    snapshots = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime, reverse=True)
    return [entry.name for entry in snapshots if entry.name != card.revision]


def _unreachable() -> str:
    """Why the hub cannot be reached, found out in seconds; empty where it can, or where a proxy speaks for us."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or getproxies() or hub.hostname is None:  # the client knows better, and at once
        return ""
    try:
        socket.create_connection((hub.hostname, hub.port or 443), timeout=5).close()
    except OSError as error:
        return f"{constants.ENDPOINT} cannot be reached: {error.strerror or error}"
    return ""


def fetchable(card: ModelCard) -> str | None:
    """Say why a card's weights cannot be fetched, found out with one question to the hub; None if they can."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    assert card.hub is not None
    if constants.HF_HUB_OFFLINE:
        return "the hub is switched off by HF_HUB_OFFLINE"
    if reason := _unreachable():
        return reason
    url = hf_hub_url(card.hub, card.file or "config.json", revision=card.revision or "main")
    try:
        get_hf_file_metadata(url, timeout=5)
    except Exception as error:  # the client raises errors of its own, and of two HTTP libraries
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


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


def how_to_get(card: ModelCard, reason: str) -> str:
    """What to do about weights that could not be loaded: which file, which licence, which ways, what works offline."""
    ways = []
    if card.gated:
        ways.append(f"accept the licence at {card.gate} and log in (hf auth login)")
    else:
        ways.append(f"connect to the internet once: they are then kept in the local cache ({card.hub})")
    ways.append(
        f"download {card.hub} elsewhere and pass the folder or its {card.file or 'model.safetensors'} as "
        "weights='/path/…' (on the command line: --checkpoint /path/…)"
    )
    if card.mirror:
        ways.append(f"use the ungated copy {card.mirror}, which the licence allows")
    else:
        ways.append("use an ungated copy, if the licence allows one; this card knows of none")
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
