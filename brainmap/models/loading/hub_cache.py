"""What the local cache of the hub holds, whether the hub answers, and what to do where neither helps."""

from __future__ import annotations

from pathlib import Path

from brainmap.models.model_cards import ModelCard


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


def unreachable() -> str:
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
    if reason := unreachable():
        return reason
    url = hf_hub_url(card.hub, card.file or "config.json", revision=card.revision or "main")
    try:
        get_hf_file_metadata(url, timeout=5)
    except Exception as error:  # the client raises errors of its own, and of two HTTP libraries
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


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
