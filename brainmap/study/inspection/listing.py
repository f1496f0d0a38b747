"""What there is: models and datasets as rows for a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainmap.common.names import MODALITY_NAMES

if TYPE_CHECKING:
    from brainmap.data.manifests.file_entries import FileEntry
    from brainmap.models import ModelCard
    from brainmap.models.loading.card_summaries import CardSummary


def describe_models() -> list[dict[str, str]]:
    """One row per registered model: name, architecture, parameters, default objective, licence.

    Examples
    --------
    >>> from brainmap.study import describe_models
    >>> list(describe_models()[0])
    ['model', 'architecture', 'parameters', 'objective', 'weights', 'licence']
    """
    from brainmap import models

    rows = []
    for name in models.list_models():
        card = models.model_card(name)
        rows.append(
            {
                "model": name,
                "architecture": card.architecture or card.adapter,
                "parameters": f"{card.parameters / 1e6:,.1f} M" if card.parameters else "",
                "objective": card.objective,
                "weights": models.weights_status(name),
                "licence": card.licence,
            }
        )
    return rows


def describe_model(name: str) -> list[tuple[str, str]]:
    """Return a model's card as lines; for models of this package neither torch nor a network is needed.

    Raises
    ------
    InputError
        If there is no such model.

    Examples
    --------
    >>> from brainmap.study import describe_model
    >>> describe_model("dino-tiny")[0]
    ('model', 'dino-tiny')
    """
    from brainmap.models.loading.card_summaries import card_summary
    from brainmap.models.loading.weight_sources import find_card

    card, summary = find_card(name), card_summary(name)
    objectives = [f"{objective} ({label})" for objective, label in summary.objectives.items()]
    tokens = ", ".join(f"{count} {role}" for role, count in card.tokens.items())
    size = card.preprocessing.crop
    grid = f", then {(size // card.patch) ** 2} patches of {card.patch} px" if card.patch else ""
    lines = [
        ("model", card.name),
        ("aliases", ", ".join(card.aliases)),
        ("architecture", card.architecture or card.adapter),
        ("parameters", _parameters(summary)),
        ("source", _source(card)),
        ("weights", _here(card.name)),
        ("layers", f"{summary.layers}: block.0 … block.{summary.layers - 1}"),
        ("sites", ", ".join(card.sites)),
        ("tokens", (tokens + grid).removeprefix(", then ") or "positions of a grid"),
        ("input", f"{size} x {size} px"),
        ("objectives", ", ".join(objectives)),
        ("default", card.objective),
        ("licence", _licence(card)),
        ("citation", card.citation),
        ("notes", card.notes.strip()),
    ]
    return [(key, value) for key, value in lines if value]


def _parameters(summary: CardSummary) -> str:
    """Parameters of the vision network, and of everything that is loaded where that is more."""
    vision, loaded = summary.vision_parameters, summary.loaded_parameters
    return f"{vision / 1e6:,.1f} M" + (f" of {loaded / 1e6:,.1f} M loaded" if loaded > 1.001 * vision else "")


def _licence(card: ModelCard) -> str:
    restricted = re.search(r"non-?commercial|\bNC\b", card.licence, re.IGNORECASE)
    terms = (card.licence, card.licence_url, "(gated)" if card.gated else "")
    return " ".join(filter(None, terms)) + (", not for commercial use" if restricted else "")


def _source(card: ModelCard) -> str:
    """Where the weights come from, and whether that is pinned."""
    if card.package is not None:
        return f"package {card.package}"
    if card.hub is None:
        return "the folder that was named" if card.family == "probed" else card.download or "this package"
    unpinned = "revision main, not pinned: no public registry that could be checked records a commit"
    pinned = f"revision {card.revision}" if card.revision else unpinned
    return ", ".join(filter(None, (card.hub, card.file, pinned)))


def _here(name: str) -> str:
    """Whether the weights are on this machine, and which checkpoints come with this installation."""
    from brainmap import models

    if name not in models.list_models():
        return "those of the folder, repository or package that was named; untrained always"
    embedded = models.available_weights(name)
    return models.weights_status(name) + (f": {', '.join(embedded)}" if embedded else "") + "; untrained always"


def list_datasets() -> list[dict[str, str]]:
    """One row per dataset that ``--dataset`` takes.

    Examples
    --------
    >>> from brainmap.study import list_datasets
    >>> list(list_datasets()[0])
    ['dataset', 'photographs', 'responses', 'to use it']
    """
    from brainmap.data import sample_stimuli
    from brainmap.data.manifests import list_manifests, load_manifest
    from brainmap.data.simulation import SimulationConfig

    public = []
    for name in list_manifests():
        manifest = load_manifest(name)
        public.append(
            {
                "dataset": name,
                "photographs": "included" if manifest.stimuli.included else "a separate download",
                "responses": f"{MODALITY_NAMES[manifest.modality]} of {len(manifest.subjects)} subjects, "
                f"{manifest.size / 1e9:,.0f} GB, {manifest.terms.licence}",
                "to use it": f"brainmap data show {name}",
            }
        )
    public += [
        {
            "dataset": name,
            "photographs": "the folder's stimuli/, or --stimuli",
            "responses": what,
            "to use it": f"brainmap fit --dataset {name} --data-root FOLDER --set task=...",
        }
        for name, what in (("bids-fmri", "fMRI of any BIDS folder"), ("bids-meeg", "MEG or EEG of any BIDS folder"))
    ]
    stimuli = sample_stimuli()
    sources = stimuli.table["source"].nunique()
    return [
        {
            "dataset": "sample",
            "photographs": f"{len(stimuli)} crops of {sources} photographs, embedded",
            "responses": f"simulated fMRI and MEG of {len(SimulationConfig().subjects)} subjects",
            "to use it": "brainmap fit",
        },
        {
            "dataset": "own",
            "photographs": "a folder or zip",
            "responses": "responses.npy with two tables, fMRI, MEG or EEG",
            "to use it": "brainmap fit --stimuli photos/ --responses responses.npy --targets targets.tsv "
            "--events events.tsv",
        },
        *public,
    ]


def describe_dataset(name: str) -> list[tuple[str, str]]:
    """Return a dataset's manifest as lines.

    Raises
    ------
    InputError
        If there is no such dataset.
    """
    from brainmap.data.fetching import Dataset, terms_accepted
    from brainmap.data.manifests import load_manifest

    manifest = load_manifest(name)
    agreed = "agreed to" if terms_accepted(manifest) else "not agreed to yet"
    lines = [
        ("dataset", f"{manifest.title} ({manifest.name}), version {manifest.version}"),
        ("responses", f"{MODALITY_NAMES[manifest.modality]}, {manifest.space}"),
        ("size", f"{manifest.size / 1e9:,.1f} GB in all"),
        ("verified", _verified_by(Dataset.open(name, Path.cwd()).entries)),
        ("licence", " ".join(filter(None, (manifest.terms.licence, manifest.terms.url)))),
        ("terms", f"{' '.join(manifest.terms.text.split())} ({agreed})" if manifest.terms.confirm else ""),
        (
            "photographs",
            ("included: " if manifest.stimuli.included else "") + " ".join(manifest.stimuli.source.split()),
        ),
        ("their terms", manifest.stimuli.terms),
        ("by hand", " ".join(manifest.by_hand.split())),
        ("citation", " ".join(manifest.citation.split())),
        ("described", manifest.homepage),
    ]
    return [(key, value) for key, value in lines if value]


def _verified_by(entries: Sequence[FileEntry]) -> str:
    """What a download is compared with: hashes and sizes that are published, or what its server says."""
    hashed = sum(entry.hash is not None for entry in entries)
    sized = sum(entry.hash is None and entry.bytes is not None for entry in entries)
    neither = len(entries) - hashed - sized
    told = [f"{count:,} with a published {what}" for count, what in ((hashed, "hash"), (sized, "size alone")) if count]
    if neither:
        told.append(f"{neither:,} with neither published (what the server says of them is kept, and compared later)")
    return f"{len(entries):,} files: {', '.join(told)}"


def dataset_state(name: str, data_root: str | Path | None = None) -> list[dict[str, str]]:
    """One row per subject: what ``fit`` needs and what of it is on disk; facts alone where no folder is named."""
    import os

    from brainmap.data.fetching.dataset import ROOT_VARIABLE, Dataset
    from brainmap.data.manifests import load_manifest

    manifest = load_manifest(name)
    dataset = Dataset.open(name, data_root) if data_root or os.environ.get(ROOT_VARIABLE) else None
    rows = []
    for subject, facts in manifest.subjects.items():
        row = {"subject": subject, "sessions": str(facts.sessions)}
        row["trials"] = f"{facts.trials:,}" if facts.trials else ""
        if dataset is not None:
            plan = dataset.plan("fit", [subject])
            absent = len(plan.missing) + len(plan.wrong)
            about = "" if plan.exact else "about "
            row["fit needs"] = f"{len(plan.wanted):,} files, {about}{plan.bytes / 1e9:,.1f} GB"
            row["missing"] = f"{absent:,} files, {about}{plan.missing_bytes / 1e9:,.1f} GB" if absent else "nothing"
        rows.append(row)
    return rows
