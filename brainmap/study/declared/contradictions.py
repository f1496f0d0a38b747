"""Settings of a study that contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmap.models.model_cards import resolve_model
from brainmap.study.declared.band_names import bands_of_other_models
from brainmap.study.declared.command_words import BY_SET

if TYPE_CHECKING:
    from brainmap.study.declared.study_config import StudyConfig


def refuse_contradictions(config: StudyConfig) -> None:
    """Raise a ValueError that names the first settings which cannot stand beside each other."""
    _of_the_model(config)
    _of_the_terms(config)
    _of_the_data(config)
    _of_the_groups(config)
    _of_the_method(config)
    for name in ("bands", "modality", "signals", "layers", "subjects", "nuisance", "controls"):
        values = getattr(config, name)
        if values is not None and (not values or len(set(values)) < len(values)):
            raise ValueError(f"'{name}' must name at least one value, each once, got {list(values)}")


def _of_the_model(config: StudyConfig) -> None:
    if config.features is not None and config.model_fields_set & {"objective", "projection", "weights"}:
        given = [
            name for name in ("objective", "projection", "weights") if getattr(config, name) not in (None, "trained")
        ]
        if given:
            raise ValueError(f"'features' are there already: '{given[0]}' belongs to a model; leave one out")
    of_gradients = set(config.controls or ()) & {"gradient norm", "loss"}
    if of_gradients and "gradient" not in config.signals:
        raise ValueError(f"control '{min(of_gradients)}' is made of gradients; add 'gradient' to 'signals'")
    if config.wrt == "weights" and (config.site == "block" or config.projection is None):
        raise ValueError(
            "'wrt: weights' needs a site that is a projection ('site: mlp' or 'attn') and 'projection', the number "
            "of dimensions that gradients of weights are projected to (for example 800)"
        )


def _of_the_terms(config: StudyConfig) -> None:
    if config.terms == "together":
        return
    if config.features is not None or "gradient" not in config.signals:
        raise ValueError(f"'terms: {config.terms}' splits gradients of a model's loss; add 'gradient' to 'signals'")
    if config.objective == "clip-bridge":
        raise ValueError(f"'terms: {config.terms}' needs a loss of several terms; 'clip-bridge' has one")
    if config.wrt == "weights":
        raise ValueError(f"'terms: {config.terms}' splits gradients of outputs; leave out 'wrt: weights'")


def _of_the_data(config: StudyConfig) -> None:
    if (config.dataset == "own") != (config.own is not None):
        raise ValueError(
            "dataset 'own' and the files of 'own' (stimuli, responses, and targets and "
            "events where the file does not say them) go together"
        )
    if config.reading and config.dataset in ("sample", "own"):
        raise ValueError(
            f"'reading' ({', '.join(config.reading)}) is for readers of public datasets; {config.dataset!r} has none "
            f"(with --set go: {', '.join(BY_SET)})"
        )
    if config.nuisance is not None and config.dataset in ("sample", "own"):
        raise ValueError(
            "'nuisance' names variables of a public dataset's reader; confounds of one's own are a table, "
            "'own.confounds' (--confounds FILE)"
        )


def _of_the_groups(config: StudyConfig) -> None:
    kind, colon, count = config.groups.partition(":")
    if kind == "blocks" and not (count.isdigit() and int(count) >= 2):
        raise ValueError(f"'groups: {config.groups}' must say how many blocks, such as 'blocks:10'")
    if not config.groups.strip() or (colon and kind != "blocks"):
        raise ValueError(
            f"there are no groups '{config.groups}'; choose source, folder, blocks:10, or the name of a column"
        )
    if config.gap and config.n_blocks is None:
        raise ValueError(f"'gap: {config.gap}' belongs to blocks in time ('groups: blocks:10')")
    if config.n_blocks is not None and config.split == "test":
        raise ValueError("'groups: blocks' makes folds of time, 'split: test' names the test photographs; choose one")


def _of_the_method(config: StudyConfig) -> None:
    if config.tails == "pareto":
        if "permutation" not in (config.fmri_test, config.meg_test):
            raise ValueError("tails 'pareto' are fitted to permutations: set test: permutation, or leave them out")
        if config.permutations < 10_000:
            raise ValueError(f"tails 'pareto' need 10,000 permutations or more, not {config.permutations:,}")
    if config.bands is not None and config.method != "banded":
        raise ValueError("'bands' belong to 'method: banded'")
    for band in bands_of_other_models(config.bands or ()).values():
        resolve_model(band.model)
    n_bands = len(config.bands or config.signals)
    if config.method == "banded" and not 2 <= n_bands <= 5:
        raise ValueError(f"'method: banded' takes two to five bands, not {n_bands}; name them in 'bands'")
    if config.keep is not None and (config.nuisance is not None or (config.own and config.own.confounds is not None)):
        raise ValueError(
            "encoders that know confounds cannot predict new photographs; leave out 'keep', or the confounds"
        )
