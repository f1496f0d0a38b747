"""For every panel: the paper's quantity? its preprocessing? its models? real data? No answer is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from brainmap.common.names import MODALITY_NAMES
from brainmap.data.recordings.epochs import EpochSettings
from brainmap.papers.factor_panels import SIZES, TYPES
from brainmap.papers.misalignment import PAPER_MODELS
from brainmap.papers.paper_panel import PaperPanel, data_word
from brainmap.results import collection_tables
from brainmap.results.collection import Collection, Member

COLUMNS = ("panel", "title", "same quantity?", "same preprocessing?", "same models?", "data")
EXTRA = "not in the paper"
NO_DATA = "not drawn: data are missing"

PARTS: dict[str, dict[str, str]] = {
    "misalignment": {"3": "models", "4": "models", "S1": "models", "Controls": "models", "S2": "robustness"},
    "convergence": {"6": "sizes", "7": "types"},
}
"""Part of the study file that a figure is made of; the rest is made of ``training``."""
MEG_ONLY = {
    "misalignment": ("2E", "2F", "7"),
    "convergence": ("2B", "3B", "3D", "3F", "4B, 4D", "5B", "5D", "5F"),
}
BOTH = ("4E", "6A", "6B", "7A", "7B")
NOT_STATED = {
    "2B": "yes; of which layer the paper's curve is, is not stated",
    "4E": "yes; how the paper makes the scores of a subject is not stated",
}
EIGHT = (
    *("dinov3-vits16", "vit-mae-base", "vit-large-patch16", "convnext-large", "resnet-50"),
    *("owlvit-base-patch32", "clip-vit-base-patch32", "siglip2-base-patch16"),
)
"""The models of Study A, by the names of their cards, in the order of ``PAPER_MODELS``."""
EPOCHS: dict[str, Any] = {"l_freq": 0.1, "h_freq": 20, "sfreq": 30, "antialias": 15, "tmin": -0.5, "tmax": 3}
"""What both papers say of their MEG."""


def panel_likeness(study: str, panels: Sequence[PaperPanel], collection: Collection) -> pd.DataFrame:
    """Say of every panel what it has in common with the paper's.

    Parameters
    ----------
    study : {'misalignment', 'convergence'}
        Which paper.
    panels : sequence of PaperPanel
        All of them, missing ones included.
    collection : Collection
        The studies, each with the settings it was run with (not joined over data sets).

    Returns
    -------
    pandas.DataFrame
        ``panel``, ``title``, ``same quantity?``, ``same preprocessing?``, ``same models?``, ``data``; no cell is empty.
    """
    rows = []
    for panel in panels:
        members = _members(study, panel, collection)
        row = {"panel": panel.number, "title": panel.title, "same quantity?": _quantity(study, panel)}
        if panel.missing or not members:
            rows.append(row | dict.fromkeys(COLUMNS[3:], NO_DATA))
            continue
        named = [name for name in _modalities(study, panel) if any(name in m.results.scores for m in members)]
        shown = {name: [m for m in members if name in m.results.scores] for name in named}
        told = [_preprocessing(study, name, each) for name, each in shown.items()]
        row["same preprocessing?"] = "; ".join(told) or NO_DATA
        row["same models?"] = EXTRA if panel.number == "Controls" else _models(study, panel, members)
        rows.append(row | {"data": data_word([m for each in shown.values() for m in each] or members)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _part(study: str, panel: PaperPanel) -> str:
    number = panel.number.rstrip("ABCD") if panel.number[0] in "67" else panel.number
    return PARTS[study].get(number, "training")


def _members(study: str, panel: PaperPanel, collection: Collection) -> list[Member]:
    """Studies of the part that the panel shows; what stands in for a part that has none."""
    part = _part(study, panel)
    members = list(collection.part(part))
    if part == "training" and panel.number[0] in "23S":  # of the trained weights only
        members = collection_tables.end_of_training(collection) or members
        members = [m for m in collection.part(part) if m.step == members[0].step] if members else []
    return members or ([] if part in ("sizes", "types", "robustness") else list(collection))


def _modalities(study: str, panel: PaperPanel) -> tuple[str, ...]:
    if panel.number in BOTH:
        return ("fmri", "meg")
    words = panel.title.replace(",", " ").split()
    timed = panel.number in MEG_ONLY[study] or "MEG" in words or words[-1] == "when"
    return ("meg",) if timed else ("fmri",)


def _quantity(study: str, panel: PaperPanel) -> str:
    if panel.number == "Controls" or "The paper does not show" in panel.caption:
        return EXTRA
    if "The paper shows 68 %" in panel.caption:
        return "yes, at another stage of training: " + panel.caption[panel.caption.index("The paper shows 68 %") :]
    if study == "misalignment" and "residual: over all areas" in panel.caption:
        return "no: the residual is a mean over all areas (paper: over significant voxels)"
    if study == "misalignment" and "by area (only" in panel.caption:
        return "no: the residual is shown by area (paper: by voxel)"
    return NOT_STATED.get(panel.number, "yes") if study == "convergence" else "yes"


def _preprocessing(study: str, modality: str, members: Sequence[Member]) -> str:
    """Say how the responses of a modality compare with the paper's, which are NSD's and THINGS-MEG's."""
    said = dict.fromkeys(_of_dataset(study, modality, member) for member in members)
    return f"{MODALITY_NAMES[modality]} " + " or ".join(said)


def _of_dataset(study: str, modality: str, member: Member) -> str:
    if member.results.simulated:
        times = member.results.targets(modality)["time"] if modality != "fmri" else None
        span = "" if times is None else f" from {times.min():g} to {times.max():g} s"
        return f"no: simulated{span}".replace("-", "−")
    dataset = str(member.settings.get("dataset"))
    if modality == "fmri" and dataset == "nsd":
        return "yes (betas)" if study == "misalignment" else "no: betas (paper: BOLD 5.5 s after onset)"
    if modality == "meg" and dataset == "things-meg":
        return _of_epochs(member.settings.get("reading") or {})
    return f"no: that of {dataset}"


def _of_epochs(reading: Mapping[str, Any]) -> str:
    """Compare settings of the THINGS-MEG reader with what the papers say."""
    epochs = {**EpochSettings().model_dump(), **(reading.get("epochs") or {})}
    differ = [f"{name} {epochs[name]}" for name, value in EPOCHS.items() if epochs[name] != value]
    if reading.get("zscore") != "subject":
        differ.append(f"z-scored by {reading.get('zscore', 'session')}")
    if epochs["baseline"]:
        differ.append("with a baseline")
    return f"no: {', '.join(differ)}" if differ else "yes (0.1 to 20 Hz, 30 Hz, −0.5 to 3 s, z-scored over images)"


def _models(study: str, panel: PaperPanel, members: Sequence[Member]) -> str:
    here = list(dict.fromkeys(str(member.settings.get("model")) for member in members))
    part = _part(study, panel)
    if part == "models":
        have = [name for name in EIGHT if name in here]
        if len(have) == len(EIGHT):
            return "yes, as released (sizes of most are not stated in the paper)"
        others = [name for name in here if name not in EIGHT]
        lacking = [paper for paper, name in zip(PAPER_MODELS, EIGHT, strict=True) if name not in here]
        told = [f"{len(have)} of the eight"] + ([f"lacking {', '.join(lacking)}"] if have else [])
        return f"no: {'; '.join(told)}" + (f"; here {', '.join(others)}" if others else "")
    if part in ("sizes", "types"):
        levels = dict.fromkeys(str(m.parts[part].get("level", m.settings.get("model"))) for m in members)
        paper = next(factor.paper for factor in (SIZES, TYPES) if factor.part == part)
        own = all(name.startswith("dino-tiny") for name in here)
        return f"no: {', '.join(here)} (paper: {paper})" if own else f"as given: {', '.join(levels)}"
    if here == ["dinov3-vits16"]:
        own = any(str(m.settings.get("weights")) not in ("trained", "untrained") for m in members)
        return "DINOv3-S, checkpoints as given" if own else "no: DINOv3-S as released (paper: trained by the authors)"
    return f"no: {', '.join(here)} (paper: DINOv3)"
