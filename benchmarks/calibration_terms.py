"""Which loss does the brain follow? Terms that are planted are recovered, terms that are absent are not.

Features are real: activations and gradients of three terms of dino-tiny's training loss (DINO, iBOT, KoLeo) for 240 of
the sample's photographs (40 sources × 6 crops), so that terms resemble each other and the activations as they do in a
study. Brains are simulated: areas follow activations, and some of them also the gradient of one term, all of it, with
what it has in common with the other terms. Part of :mod:`calibration`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from calibration_table import Row, row

TERMS = ("dino", "ibot", "koleo")
AREAS, TARGETS, SOURCES, CROPS = 9, 4, 40, 6
LAYERS = ("block.1", "block.4", "block.7", "block.10")
PLANTED = {"dino": (0, 1, 2), "ibot": (3, 4, 5)}  # areas 6 to 8 follow activations only, KoLeo nobody
SIGNAL, GROUP_NOISE = 0.3, 0.1


def loss_terms(runs: int) -> Iterator[Row]:
    """Areas that follow a term are found, terms that an area does not follow are not; a fifth as many runs."""
    runs = max(1, runs // 5)
    activations, gradients, groups = features()
    for share in (0.05, 0.1, 0.3):
        name = f"a term's gradient drives {share:.0%} of the variance of 3 areas each"
        yield from planted_studies(runs, (activations, gradients, groups), share, PLANTED, name)
    yield from planted_studies(runs, (activations, gradients, groups), 0.0, {}, "areas follow activations only")


def features() -> tuple[dict[str, Any], dict[str, dict[str, Any]], np.ndarray]:
    """Activations and gradients by term, by layer, and the source of each photograph."""
    import brainmap

    stimuli = brainmap.sample_stimuli()
    codes = np.unique(stimuli.table["source"].to_numpy(), return_inverse=True)[1]
    rows = np.concatenate([np.flatnonzero(codes == code)[:CROPS] for code in range(SOURCES)])
    model = brainmap.load_model("dino-tiny")
    extractor = brainmap.FeatureExtractor(model, layers=LAYERS, objective="dino-ibot-koleo", terms="split")
    found = extractor.extract(stimuli.subset(rows))
    return found.by_layer("activation"), {t: found.by_layer(f"gradient of {t}") for t in TERMS}, codes[rows]


def responses(
    rng: np.random.Generator, data: tuple[dict[str, Any], dict[str, Any], np.ndarray], share: float, planted: Any
) -> np.ndarray:
    """Responses (n, areas × targets): activations of a layer, a term's gradient where planted, noise."""
    activations, gradients, groups = data
    parts = []
    for area in range(AREAS):
        layer = scaled(activations[LAYERS[area % len(LAYERS)]])
        weights = rng.standard_normal((layer.shape[1], 1)) + rng.standard_normal((layer.shape[1], TARGETS))
        signal = np.sqrt(SIGNAL) * scaled(layer @ weights)
        for term in [name for name, areas in planted.items() if area in areas]:
            drive = np.concatenate([scaled(x) for x in gradients[term].values()], axis=1)
            leading = scaled(np.linalg.svd(drive, full_matrices=False)[0][:, :20])
            mixing = rng.standard_normal((20, 1)) + 0.5 * rng.standard_normal((20, TARGETS))
            signal = signal + np.sqrt(share) * scaled(leading @ mixing)
        by_group = rng.standard_normal((groups.max() + 1, TARGETS))[groups]
        rest = np.sqrt(np.maximum(1.0 - GROUP_NOISE - signal.var(axis=0), 0.0))
        noise = rest * rng.standard_normal(signal.shape)
        parts.append(signal + np.sqrt(GROUP_NOISE) * by_group + noise)
    return np.concatenate(parts, axis=1)


def scaled(x: Any) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1; constant ones 0."""
    x = np.asarray(x, dtype=np.float64)
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 0, spread, np.inf)


def planted_studies(runs: int, data: Any, share: float, planted: Any, name: str) -> Iterator[Row]:
    """Rows of one condition: terms found where planted, and terms found where absent."""
    from brainmap.statistics import ConditionalOptions, conditional_test
    from brainmap.statistics.added.sign_flips import flip_p

    activations, gradients, groups = data
    units = np.repeat(np.arange(AREAS), TARGETS)
    there = np.array([area in planted.get(term, ()) for term in TERMS for area in range(AREAS)])
    found, single, family, whole = [], [], [], []
    for seed in range(runs):
        y = responses(np.random.default_rng([seed, round(1000 * share), 22]), data, share, planted)
        options = ConditionalOptions(n_flips=500, seed=seed)
        tests = []
        for term in TERMS:  # as unique_variance does
            others = {f"{t} {layer}": x for t in TERMS if t != term for layer, x in gradients[t].items()}
            base = {**activations, **others}
            tests.append(conditional_test(base, gradients[term], y, units=units, groups=groups, options=options))
        statistic = np.concatenate([test.table["statistic"] for test in tests])
        null = np.concatenate([test.null for test in tests], axis=1)
        significant = flip_p(statistic, null)[1] <= 0.05
        found += significant[there].tolist()
        # The maximum over all pairs would bound the error of the absent ones, not reach it: their own maximum does.
        p, p_family = flip_p(statistic[~there], null[:, ~there])
        single.append(p[seed % len(p)] <= 0.05)
        family.append(p_family.min() <= 0.05)
        each = [significant[[there_ and term == t for there_, t in zip(there, np.repeat(TERMS, AREAS), strict=True)]]
                for term in planted]  # fmt: skip
        whole.append(all(hits.any() for hits in each) and not significant[~there].any())
    if found:
        yield row("terms of the loss, planted term found in an area", name, found, None)
        yield row(
            "terms of the loss, every planted term found in some area and no absent one in any", name, whole, None
        )
    yield row("terms of the loss, absent term, one area", name, single, 0.05)
    yield row("terms of the loss, absent terms, family-wise over terms and areas", name, family, 0.05)
