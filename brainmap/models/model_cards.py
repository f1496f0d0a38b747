"""Model cards: what the library knows about a model, as data. One YAML file per family in ``models/cards/``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from brainmap.common.errors import InputError
from brainmap.models.model_names import find_name, said_elsewhere, spelling_key
from brainmap.models.preprocessing import Preprocessing

Layout = Literal["auto", "tokens", "channels-first", "channels-last"]


class SiteSpec(BaseModel):
    """Where in a layer's module a site is.

    Attributes
    ----------
    path : str
        Dotted path below the layer's module; empty for the module itself. Alternatives are separated by ``|``.
    layout : {"auto", "tokens", "channels-first", "channels-last"}
        Order of the output's axes; ``auto``: three axes are tokens, four are channels-first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = ""
    layout: Layout = "auto"


class ViewSpec(BaseModel):
    """Random views of an image as in self-supervised training.

    Attributes
    ----------
    global_pixels, local_pixels : int, optional
        Side of the crops; by default the model's input size, and 3/7 of it on the patch grid.
    local_crops : int
        Number of local crops; there are always two global ones.
    short_side : int, optional
        Images are first resized to this short side, as the training set was; not resized by default.
    global_scale, local_scale : tuple of float
        Range of a crop's share of the image's area.
    augmentation : {"simplified", "dino", "dinov2", "none"}
        Changes of a crop besides its place: a simplified set (brightness, contrast, saturation, grey, box blur), or
        those of the authors' code (:mod:`brainmap.models.augmentation`).
    flips : bool
        Whether crops are mirrored at random, under ``dino`` and ``dinov2``.
    shared_colour : bool
        Whether the crops of an image share one change of colour (an option of DINOv3).
    masking : {"one crop", "random", "blocks", "full blocks", "ibot blocks"}
        Which patches of the global crops the student does not see: random ones of exactly one of the two crops; random
        ones of each crop; rectangles as in DINOv2, DINOv3 or iBOT.
    mask_probability : float
        Of a crop to be masked at all, unless exactly one of two is.
    mask_ratios : tuple of tuple of float
        Ranges of the share of masked patches, one of which is drawn.
    mask_shift : bool
        Whether masks are rolled around the borders at random (an option of DINOv3).
    gram_pixels : int, optional
        Side of the crops of a Gram teacher of its own (DINOv3).
    gram_distorted : bool
        Whether those crops share the distortions of the others.
    stated : bool
        Whether all this follows the recipe that the checkpoint states; else views are simplified, and losses are
        labelled so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    global_pixels: int | None = None
    local_pixels: int | None = None
    local_crops: int = Field(default=2, ge=0)
    short_side: int | None = None
    global_scale: tuple[float, float] = (0.32, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.32)
    augmentation: Literal["simplified", "dino", "dinov2", "none"] = "simplified"
    flips: bool = True
    shared_colour: bool = False
    masking: Literal["one crop", "random", "blocks", "full blocks", "ibot blocks"] = "one crop"
    mask_probability: float = Field(default=0.5, ge=0.0, le=1.0)
    mask_ratios: tuple[tuple[float, float], ...] = ((0.1, 0.5),)
    mask_shift: bool = False
    gram_pixels: int | None = None
    gram_distorted: bool = False
    stated: bool = False


class ModelCard(BaseModel):
    """Everything brainmap knows about one model before loading it.

    Attributes
    ----------
    name, family : str
        Name used in the API and on the command line, and the file it is declared in.
    aliases : tuple of str
        Other names that mean this model, of its family (for the default member) and in papers; case, hyphens and the
        like don't count (:mod:`brainmap.models.model_names`).
    adapter : str
        How the module is built, loaded and called (``brainmap.models.adapters``).
    architecture, config : str, dict
        Class in ``transformers`` and the parameters of its configuration, so that untrained weights need no download.
    hub, revision : str, optional
        Repository and revision of the trained weights. Without a revision the newest is taken; the commit that
        was loaded goes into provenance.
    file, prefix : str, optional
        File of the repository that holds the weights, where it is not in the library's own format, and the prefix of
        the vision network's tensors in it.
    tokenizer : str, optional
        Repository of the tokenizer, where it is not that of the weights.
    package : str, optional
        Installable package that holds the trained weights instead (extra ``realweights``).
    network : str
        Path from the loaded module to the vision network; empty when they are the same.
    build_options : dict
        Further arguments of the class, such as ``add_pooling_layer: false``.
    layers : tuple of str
        Patterns of module paths inside the vision network; ``*`` stands for a number. Their natural order is the
        order of ``block.0``, ``block.1``, … Alternatives, for versions of the library, are separated by ``|``.
    sites : dict
        Where in a layer signals are read: ``block`` (residual stream), ``mlp`` (last projection of the MLP), ``attn``.
    tokens : dict
        Number of leading tokens of each role, in order, for example ``{cls: 1, register: 4}``; all others are patches.
    patch : int, optional
        Side of a patch in pixels.
    position_offset : float, optional
        Patches that the authors add to the grid's sides where they interpolate position embeddings; without it they
        are interpolated as ``transformers`` does.
    frames : int, optional
        A still image is repeated to a clip of so many frames.
    sizes : {"any", "interpolated", "fixed"}
        Which input sizes it takes: any multiple of the patch, the same by interpolating its position embeddings, or
        only the one of ``preprocessing``.
    embedding : {"cls", "mean"}
        How final tokens become one vector per image.
    output : {"tokens", "logits"}
        What a module of one's own returns.
    caption_length : int
        Tokens of a caption, for models with a text tower.
    caption_lowercase, caption_mask : bool
        Whether captions are lower-cased, and whether the text tower masks their padding, as in training.
    preprocessing, views
        See :class:`Preprocessing` and :class:`ViewSpec`.
    objective : str
        Default objective.
    licence, licence_url, gated, mirror
        Terms of the weights; where to accept them; an ungated copy where the licence allows one.
    download : str, optional
        The authors' page with further files, such as full training checkpoints.
    parameters : float, optional
        Number of parameters of the vision network.
    citation, notes : str
        Where the model comes from and what to mind.

    Examples
    --------
    >>> from brainmap.models import model_card
    >>> card = model_card("DINOv3-S")
    >>> card.name, card.patch, card.objective
    ('dinov3-vits16', 16, 'headless')
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    family: str = ""
    aliases: tuple[str, ...] = ()
    adapter: str = "transformers"
    architecture: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    hub: str | None = None
    revision: str | None = None
    file: str | None = None
    prefix: str = ""
    tokenizer: str | None = None
    package: str | None = None
    network: str = ""
    build_options: dict[str, Any] = Field(default_factory=dict)
    layers: tuple[str, ...]
    sites: dict[str, SiteSpec] = Field(default_factory=lambda: {"block": SiteSpec()})
    tokens: dict[Literal["cls", "register"], int] = Field(default_factory=dict)
    patch: int | None = None
    position_offset: float | None = None
    frames: int | None = None
    sizes: Literal["any", "interpolated", "fixed"] = "any"
    embedding: Literal["cls", "mean"] = "mean"
    output: Literal["tokens", "logits"] = "tokens"
    caption_length: int = 77
    caption_lowercase: bool = False
    caption_mask: bool = True
    preprocessing: Preprocessing = Preprocessing()
    views: ViewSpec = ViewSpec()
    objective: str = "feature-energy"
    licence: str = "unknown"
    licence_url: str | None = None
    gated: bool = False
    download: str | None = None
    mirror: str | None = None
    parameters: float | None = None
    citation: str = ""
    notes: str = ""

    @property
    def gate(self) -> str | None:
        """Page on which access to gated weights is asked for."""
        return f"https://huggingface.co/{self.hub}" if self.gated and self.hub else self.licence_url

    @field_validator("layers", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("sites", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {name: {"path": spec} if isinstance(spec, str) else spec for name, spec in value.items()}


def read_family(text: str, family: str) -> list[ModelCard]:
    """Read one family's YAML: common fields, and under ``models`` one entry per model that adds or overrides.

    ``config``, ``preprocessing`` and ``views`` of an entry are merged into the family's, field by field.

    Raises
    ------
    InputError
        Naming family, model and field.
    """
    declared = yaml.safe_load(text)
    members = declared.pop("models")
    cards = []
    for name, own in members.items():
        fields = {"name": name, "family": family, **declared, **(own or {})}
        for nested in ("config", "preprocessing", "views"):
            fields[nested] = {**declared.get(nested, {}), **(own or {}).get(nested, {})}
        try:
            cards.append(ModelCard(**fields))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"Model card '{name}' of family '{family}': {where}: {first['msg']}.") from None
    return cards


@functools.cache
def _shipped() -> dict[str, ModelCard]:
    cards: dict[str, ModelCard] = {}
    folder = resources.files("brainmap.models") / "cards"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            for card in read_family(file.read_text(encoding="utf-8"), file.name.removesuffix(".yaml")):
                cards[card.name] = card
    return cards


_registered: dict[str, ModelCard] = {}


def list_models() -> list[str]:
    """Names of all models with a card, shipped and registered, sorted.

    Examples
    --------
    >>> import brainmap
    >>> "dinov2-small" in brainmap.list_models()
    True
    """
    return sorted({**_shipped(), **_registered})


def register_model(card: ModelCard) -> ModelCard:
    """Add a card, so that ``load_model(card.name)`` works; a card of the same name is replaced.

    Examples
    --------
    >>> from brainmap.models import list_models, model_card, register_model
    >>> card = register_model(model_card("dino-tiny").model_copy(update={"name": "dino-tiny-twin", "aliases": ()}))
    >>> "dino-tiny-twin" in list_models()
    True
    """
    _registered[card.name] = card
    return card


def is_shipped(card: ModelCard) -> bool:
    """Whether a card came with this package, and no other was registered in its place."""
    return card.name not in _registered and _shipped().get(card.name) == card


def model_card(name: str) -> ModelCard:
    """The card of a model, by name, alias, hub repository or the name of its family, in any case and spelling.

    Parameters
    ----------
    name : str
        Such as ``dinov3-vits16``, ``dinov3`` (the family's default member), ``DINOv3-S`` or
        ``facebook/dinov3-vits16-pretrain-lvd1689m``; see :mod:`brainmap.models.model_names`.

    Raises
    ------
    InputError
        Naming the closest known models, or all that the name can mean.

    Examples
    --------
    >>> from brainmap.models import model_card
    >>> model_card("DINOv3-S").name
    'dinov3-vits16'
    """
    import difflib

    cards = {**_shipped(), **_registered}
    declared = {known: [known, *card.aliases] for known, card in cards.items()}
    # Several cards may be read from one repository: only what no card declares is looked up there.
    known_name = find_name(name, declared, {known: names_of(card) for known, card in cards.items()})
    if known_name is not None:
        return cards[known_name]
    spelled = {spelling_key(other): known for known, card in cards.items() for other in names_of(card)}
    keys = difflib.get_close_matches(spelling_key(name), spelled, n=6, cutoff=0.6)
    close = list(dict.fromkeys(spelled[key] for key in keys))[:3]
    hint = f"; did you mean {' or '.join(close)}?" if close else f"; known models: {', '.join(sorted(cards))}."
    raise InputError(f"There is no model named '{name}'{hint}")


def names_of(card: ModelCard) -> list[str]:
    """Return every name that means a card: its own, its aliases, its repository, and the repository without owner."""
    hub = [card.hub, card.hub.rpartition("/")[2]] if card.hub else []
    return [card.name, *card.aliases, *hub]


def resolve_model(name: str) -> str:
    """Return the name under which :func:`brainmap.load_model` knows what a person wrote.

    Parameters
    ----------
    name : str
        Any spelling of a model's name, a folder as ``save_pretrained`` writes it, or a repository without a card.

    Returns
    -------
    str
        A card's name; folders and unknown repositories come back as they are.

    Raises
    ------
    InputError
        If there is no such model, or the name means several, or both a model and a folder.
    """
    folder = (Path(name) / "config.json").is_file()
    if name in list_models() or (folder and ("/" in name or Path(name).is_absolute())):
        return name
    try:
        resolved = model_card(name).name
    except InputError:
        advice = None if folder else said_elsewhere(name)
        if advice is not None:
            raise InputError(f"There is no model named '{name}': {advice}.") from None
        if folder or "/" in name or Path(name).is_dir():
            return name
        raise
    if folder:
        raise InputError(f"'{name}' is a folder here and also means the model {resolved}: write ./{name} or {resolved}")
    return resolved
