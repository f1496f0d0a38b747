"""What there is: models and datasets as rows for a table."""

from __future__ import annotations


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
    ]
