"""Words about what was done: the title, the methods paragraph, the table of provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from brainmap.common.names import MODALITY_NAMES
from brainmap.common.readable import counted
from brainmap.report.words import headlines
from brainmap.results.result_files import plain
from brainmap.results.study_results import StudyResults

GRADIENT_NOTES = {
    "exact": "the gradient of the loss the model was trained with",
    "native similarity": "native similarity: the model's own image–text similarity, not its training loss",
    "surrogate": "surrogate: a stand-in for a training loss that needs what is not there",
}

_LABELS = {
    "dataset": "Data",
    "model": "Model",
    "weights": "Weights",
    "weights_digest": "Weights digest",
    "objective": "Loss behind the gradients",
    "exactness": "Gradients are",
    "site": "Site in the block",
    "pooling": "Pooling of tokens",
    "n_images": "Photographs",
    "n_sources": "Source photographs",
    "n_trials": "Trials",
    "cv": "Outer folds",
    "fixed_split": "Scored on",
    "groups": "Folds grouped by",
    "confounds": "Confounds projected out",
    "split_hash": "Split hash",
    "alphas": "Ridge α",
    "alphas_times": "α is times",
    "alpha_per_target": "One α per target",
    "inner_cv": "Inner cross-validation",
    "standardise": "Scaling of features",
    "pca": "Principal components",
    "scoring": "Score",
    "ceiling_normalised": "Divided by noise ceiling",
    "p_values": "How p was made",
    "alpha_level": "Significance level",
    "seeds": "Seeds",
    "versions": "Versions",
    "device": "Device",
    "created": "Made",
}
_NOT_LISTED = {"title", "simulated", "citations", "stimulus_duration"}


def report_title(results: StudyResults) -> str:
    """Return the title of the report."""
    given = results.provenance.get("title")
    if given:
        return str(given)
    model = results.provenance.get("model", "the model")
    where = " and ".join(word for word, name in (("where", "fmri"), ("when", "meg")) if name in results.modalities)
    return f"{where.capitalize()} {model} predicts responses to photographs"


def gradient_note(label: str) -> str:
    """What a label of exactness means; the label itself where it is unknown."""
    if not label.startswith("exact"):
        return GRADIENT_NOTES.get(label, label)
    note = f"{label}: {GRADIENT_NOTES['exact']}"
    if "default settings" in label:
        note += ", at the default settings of its authors' code"
    if "simplified views" in label:
        note += ", on simplified views of the photographs"
    if "batch-coupled" in label:
        note += "; photographs of a batch influence each other"
    return note


def methods_paragraph(results: StudyResults) -> str:
    """Return the methods of the study as a paragraph, written from its settings; unknown settings are not mentioned."""
    p = results.provenance
    sentences = [_features_sentence(results), _encoding_sentence(p), _score_sentence(results)]
    if results.residual:
        which = "of the last layer" if _setting(p, "residual_layers") == "last" else "of all layers"
        sentences.append(_RESIDUALS.get(str(_setting(p, "residual")), "").format(layers=which))
    made = p.get("p_values")
    if isinstance(made, Mapping):
        named = {MODALITY_NAMES.get(str(key), str(key).capitalize()): str(text) for key, text in made.items()}
        sentences += [f"{name}: {text.rstrip('.')}." for name, text in named.items()]
    elif made:
        sentences.append(f"Significance: {made}.")
    if results.simulated:
        sentences.insert(0, "The brain responses are simulated: no person was measured.")
    return " ".join(sentence for sentence in sentences if sentence)


def _features_sentence(results: StudyResults) -> str:
    p = results.provenance
    first = next(iter(results.scores.values()))
    n_layers = first.sizes["layer"]
    text = f"Features came from {counted(n_layers, 'layer')} of {p.get('model', 'the model')}"
    if p.get("features_file"):
        text += f" as the file {p['features_file']} holds them, depth by their order in it"
    if p.get("weights"):
        text += f" ({p['weights']} weights)"
    if p.get("site"):
        text += f", read at the {'output of each block' if p['site'] == 'block' else 'last projection of each MLP'}"
    if p.get("pooling"):
        text += f" and pooled over tokens ({p['pooling']})"
    if p.get("n_images"):
        text += f", for {p['n_images']:,} photographs"
    if p.get("n_sources"):
        text += f" from {p['n_sources']:,} sources"
    text += "."
    if "gradient" in first["signal"].values and p.get("objective"):
        note = gradient_note(str(p.get("exactness") or ""))
        text += f" Gradients are those of the loss '{p['objective']}' with respect to the same layers"
        text += f" ({note})." if note else "."
    projected = _setting(p, "projection")
    if projected and "gradient" in first["signal"].values:
        text += f" Gradients were projected at random to {projected} dimensions."
    return text


def _setting(p: Mapping[str, Any], name: str) -> Any:
    """Return a setting of the study's declaration, as far as the provenance holds it."""
    config = p.get("config")
    return config.get(name) if isinstance(config, Mapping) else None


_RESIDUALS = {
    "nested": "The gain of gradients over activations is the difference in held-out r between ridge regressions on the "
    "activations {layers} without and with the gradients {layers}, residualised on them in the train split.",
    "matched": "The gain of gradients over activations is the difference in held-out r between 150 principal "
    "components of activations joined with 150 of gradients, and 300 components of activations, both {layers}.",
}


def _encoding_sentence(p: Mapping[str, Any]) -> str:
    text = "Responses were predicted by ridge regression"
    alphas = _alphas(p.get("alphas"))
    if alphas is not None and len(alphas) > 1:
        text += f" with α from {len(alphas)} values between {_number(alphas.min())} and {_number(alphas.max())}"
        if p.get("alphas_times"):
            text += " times the mean eigenvalue of each train split's X'X"
        text += ", one per target," if p.get("alpha_per_target") else ","
        text += f" chosen by {p['inner_cv']}" if p.get("inner_cv") else " chosen by inner cross-validation"
    if p.get("standardise"):
        text += (
            f"; features were standardised ({p['standardise']})"
            if isinstance(p["standardise"], str)
            else "; features were standardised"
        )
    if p.get("pca"):
        text += f" and reduced to {p['pca']} principal components, fitted on the train split"
    if p.get("confounds"):
        text += f". Confounds were projected out of features and responses inside each split: {p['confounds']}"
    if p.get("cv"):
        text += f". Scores are from {p['cv']}-fold cross-validation"
        text += f" with folds grouped by {p['groups']}" if p.get("groups") else ""
        text += f" (split hash {_short(p['split_hash'])})" if p.get("split_hash") else ""
    elif p.get("fixed_split"):
        text += f". Models were trained once and scored on {p['fixed_split']}"
        text += f" (split hash {_short(p['split_hash'])})" if p.get("split_hash") else ""
    return text + "."


def _score_sentence(results: StudyResults) -> str:
    p = results.provenance
    normalised = p.get("ceiling_normalised")
    text = f"The score is {p.get('scoring', 'Pearson r')} between predicted and held-out responses, averaged over folds"
    if normalised is not None:
        text += "; it is divided by the noise ceiling" if normalised else "; it is not divided by a noise ceiling"
        beside = " but for the panels that say so" if results.normalise == "ceiling" and results.ceilings else ""
        text += beside
    counts = " and ".join(_size(results, modality) for modality in results.modalities)
    return f"{text}. Scored were {counts}."


def _size(results: StudyResults, modality: str) -> str:
    sizes = results.scores[modality].sizes
    subjects = f"{sizes['subject']} subject{'s' if sizes['subject'] != 1 else ''}"
    return f"{subjects} and {sizes['target']:,} targets of {headlines.modality_phrase(results, modality)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{MODALITY_NAMES.get(str(key), key)} {_short(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):  # subjects who saw other photographs have splits of their own
        return ", ".join(_short(item) for item in dict.fromkeys(map(str, value)))
    return str(value)[:16]


def provenance_rows(results: StudyResults) -> list[tuple[str, str]]:
    """Return the provenance as label and text, known things first, nothing left out."""
    given = results.provenance
    rows = [("Responses", "SIMULATED" if results.simulated else "measured")]
    rows += [(label, _text(given[key], key)) for key, label in _LABELS.items() if key in given]
    for modality in results.modalities:
        sizes = results.scores[modality].sizes
        counts = [f"{sizes[dim]:,} {dim}s" for dim in ("subject", "layer", "split", "target")]
        rows.append((f"{MODALITY_NAMES[modality]} scores", " × ".join(counts)))
    known = {*_LABELS, *_NOT_LISTED}
    rows += [
        (key.replace("_", " ").capitalize(), _text(value, key)) for key, value in given.items() if key not in known
    ]
    return rows


def _alphas(value: Any) -> np.ndarray | None:
    """Return ridge penalties in increasing order, or None where they are not a list of numbers."""
    if not isinstance(value, (list, tuple, np.ndarray, int, float)) or not np.size(value):
        return None
    return np.sort(np.atleast_1d(np.asarray(value, dtype=float)))


def _number(value: float) -> str:
    """Return a number with a power of ten that reads well, such as 10⁸ or 3.2 × 10⁻³."""
    if value == 0 or 0.01 <= abs(value) < 10000:
        return f"{value:.3g}"
    power = int(np.floor(np.log10(abs(value)) + 1e-9))
    raised = "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    factor = value / 10.0**power
    return raised if abs(factor - 1) < 1e-6 else f"{factor:.2g} × {raised}"


def _text(value: Any, key: str = "") -> str:
    value = plain(value)
    if key == "exactness":
        return gradient_note(str(value))
    alphas = _alphas(value) if key == "alphas" else None
    if alphas is not None:
        return (
            f"{len(alphas)} values, {_number(alphas[0])} to {_number(alphas[-1])}"
            if len(alphas) > 1
            else _number(alphas[0])
        )
    if value is None:
        return "held-out folds" if key == "fixed_split" else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if key.startswith("n_") else str(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{MODALITY_NAMES.get(str(k), k)}: {_text(v, key)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value, default=str)
