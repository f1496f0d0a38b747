"""Parts of ``benchmarks/calibration.py`` about permutation tests, and about shuffling that is not used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from calibration_table import Row, row

CONDITIONS: dict[str, dict[str, Any]] = {
    "independent noise": {"group_noise": 0.0, "unmodelled": 0.0},
    "noise shared by crops": {"group_noise": 0.5, "unmodelled": 0.0},
    "unmodelled responses shared by subjects": {"group_noise": 0.1, "unmodelled": 0.6},
}
SETUP: dict[str, Any] = {
    "n_groups": 40,
    "per_group": 6,
    "n_layers": 4,
    "width": 20,
    "n_units": 10,
    "targets_per_unit": 60,
    "n_subjects": 2,
    "signal": 0.0,
}
ALPHAS = (1e1, 1e3, 1e5)
COUNTED = 8  # targets of each study that are tested; their noise is independent
FIRST_SEED = 200_000


def permutations(runs: int) -> Iterator[Row]:
    """False positives of permutation tests with refit, by how the penalty is found (a fifth of the runs, 8 targets)."""
    from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
    from brainmap.encoding import EncodingRidgeCV, cross_val_encode
    from brainmap.statistics.permutation.permutation_test import group_permutation_test, permutation_test
    from brainmap.statistics.permutation.permuted_subject import PermutationInput, PermutationOptions, common_penalty

    ridge = EncodingRidgeCV(alphas=ALPHAS)
    anew, sequential = PermutationOptions(99, candidates=ALPHAS), PermutationOptions(199, stop_after=10)
    for name, changes in CONDITIONS.items():
        hits: dict[str, list[bool]] = {}
        for number in range(runs // 5):
            study = planted_study(FIRST_SEED + number, PlantedOptions(**SETUP | changes))
            x, groups = study.activations[f"block.{number % 4}"], study.groups
            results = [cross_val_encode(x, y, estimator=ridge, groups=groups) for y in study.responses]
            tested = [y[:, :COUNTED] for y in study.responses]
            own, agreed = results[0].alpha.values[0], common_penalty(results[0].alpha.values[0], results[0].r.values[0])
            both = common_penalty(*(np.concatenate([q.dataset[v].values[0] for q in results]) for v in ("alpha", "r")))
            subjects = [PermutationInput(x, y, both, groups) for y in tested]
            plain = {"groups": groups, "options": PermutationOptions(99)}
            tests = {
                "chosen here": permutation_test(x, tested[0], alpha=own[:, :COUNTED], **plain),
                "common": permutation_test(x, tested[0], alpha=agreed, **plain),
                "choice": permutation_test(x, tested[0], groups=groups, options=anew),
                "subjects": group_permutation_test(subjects, options=sequential),
            }
            for key, test in tests.items():
                hits.setdefault(key, []).extend(test.table["p"] <= 0.05)
                if key in ("common", "choice"):
                    hits.setdefault(f"{key}, family-wise", []).append(bool((test.table["p_fwer"] <= 0.05).any()))
        for key, found in hits.items():
            yield row(WORDS[key], name, found, None if key == "chosen here" else 0.05)


WORDS = {
    "chosen here": "scores, permutation at each target's own penalty, for comparison",
    "common": "scores, permutation at the common penalty",
    "common, family-wise": "scores, permutation at the common penalty, family-wise",
    "choice": "scores, permutation with choice",
    "choice, family-wise": "scores, permutation with choice, family-wise",
    "subjects": "scores, permutation of two subjects' mean, stopped early",
}


def shuffled_labels(runs: int) -> Iterator[Row]:
    """What is not done here: shuffling test labels of a finished K-fold cross-validation, without refit."""
    from brainmap.data.simulation.planted_studies import PlantedOptions, planted_study
    from brainmap.encoding.folds import plan_splits
    from brainmap.statistics.permutation.group_orders import group_orders
    from brainmap.statistics.two_bands import principal_band

    hits = []
    for seed in range(runs):
        study = planted_study(seed, PlantedOptions(**SETUP | {"n_subjects": 1, "targets_per_unit": 1}))
        x, y = study.activations["block.2"], study.responses[0][:, :1]
        plan = plan_splits(len(x), 5, groups=study.groups)
        scores = []
        for train, test in plan.outer:
            band = principal_band(x, (train, test))
            prediction = band.predict(band.weights(y[train] - y[train].mean(axis=0)), np.float32(1e3))[:, 0]
            orders = group_orders(study.groups[test], 199, seed=seed)
            rows = [np.arange(len(test)), *orders]
            scores.append([np.corrcoef(prediction, y[test][order, 0])[0, 1] for order in rows])
        mean = np.mean(scores, axis=0)
        hits.append((mean >= mean[0]).mean() <= 0.05)
    yield row("scores, test labels shuffled without refit", "not used: for comparison", hits, None)
