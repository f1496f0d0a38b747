"""What there is: models and datasets as rows for a table."""

from __future__ import annotations

from pathlib import Path

MEASURED = {"fmri": "fMRI", "meg": "MEG", "eeg": "EEG"}


def list_models() -> list[dict[str, str]]:
    """One row per registered model: name, architecture, parameters, default objective, licence."""
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
                "weights": "embedded" if card.hub is None else card.hub + (" (gated)" if card.gated else ""),
                "licence": card.licence,
            }
        )
    return rows


def describe_model(name: str) -> list[tuple[str, str]]:
    """Return a model's card as lines; its layers and objectives come from an untrained copy, nothing is downloaded.

    Raises
    ------
    InputError
        If there is no such model.
    """
    from brainmap import models
    from brainmap.models.objectives import OBJECTIVES

    card = models.model_card(name)
    model = models.load_model(card.name, weights="untrained")
    layers = [layer.name for layer in model.layers]
    objectives = [f"{objective} ({OBJECTIVES[objective].exactness})" for objective in model.objectives]
    lines = [
        ("model", card.name),
        ("aliases", ", ".join(card.aliases)),
        ("architecture", card.architecture or card.adapter),
        ("weights", card.hub or "embedded: " + ", ".join(models.available_weights(card.name))),
        ("revision", card.revision or ""),
        ("layers", f"{len(layers)}: {layers[0]} … {layers[-1]}"),
        ("sites", ", ".join(model.sites)),
        ("tokens", ", ".join(f"{count} {role}" for role, count in card.tokens.items()) + ", then patches"),
        ("objectives", ", ".join(objectives)),
        ("default", card.objective),
        ("licence", " ".join(filter(None, (card.licence, card.licence_url, "(gated)" if card.gated else "")))),
        ("citation", card.citation),
        ("notes", card.notes.strip()),
    ]
    return [(key, value) for key, value in lines if value]


def list_datasets() -> list[dict[str, str]]:
    """One row per dataset that ``--dataset`` takes."""
    from brainmap.data import SimulationConfig, sample_stimuli
    from brainmap.data.manifests import list_manifests, load_manifest

    public = []
    for name in list_manifests():
        manifest = load_manifest(name)
        public.append(
            {
                "dataset": name,
                "photographs": "included" if manifest.stimuli.included else "a separate download",
                "responses": f"{MEASURED[manifest.modality]} of {len(manifest.subjects)} subjects, "
                f"{manifest.size / 1e9:,.0f} GB, {manifest.terms.licence}",
                "to use it": f"brainmap data show {name}",
            }
        )
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
            "responses": "responses.npy with two tables, fMRI or MEG",
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
    from brainmap.data.fetching import terms_accepted
    from brainmap.data.manifests import load_manifest

    manifest = load_manifest(name)
    agreed = "agreed to" if terms_accepted(manifest) else "not agreed to yet"
    lines = [
        ("dataset", f"{manifest.title} ({manifest.name}), version {manifest.version}"),
        ("responses", f"{MEASURED[manifest.modality]}, {manifest.space}"),
        ("size", f"{manifest.size / 1e9:,.1f} GB in all"),
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
