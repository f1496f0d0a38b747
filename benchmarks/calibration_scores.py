"""Parts of ``benchmarks/calibration.py`` about scores: tests over subjects and folds, comparisons, intervals.

Scores are made by cross-validated ridge on planted studies (``brainmap.data.simulation.planted_studies``), not drawn:
the dependence between folds, targets and subjects is the point. *New photographs* are disjoint slices of one large
study: the same network and the same responses to it, other images and other noise. The truth of an interval is the mean
score over 25 slices (that it holds each of them raises the coverage by less than half a percent).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from calibration_table import Row, row

from brainmap.data.simulation.planted_studies import PlantedOptions, PlantedStudy, planted_study
from brainmap.statistics.image_intervals import ImageScores, image_scores

SIZE: dict[str, Any] = {"n_groups": 40, "per_group": 6, "n_layers": 4, "width": 20}
NULL = SIZE | {"signal": 0.0, "gradient": 0.0, "n_units": 1}
ALPHAS = (1e1, 1e3, 1e5)
SLICES = 25
IMAGES = "scores, t test of a single score over images, not used"


def encode(x: np.ndarray, responses: list[np.ndarray], groups: np.ndarray) -> tuple[xr.DataArray, np.ndarray]:
    """Scores (subject, split, target) of all subjects in one call, and penalties (split, subject × target)."""
    from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode

    ridge = EncodingRidgeCV(alphas=ALPHAS, options=RidgeOptions(threads=1))
    result = cross_val_encode(x, np.hstack(responses), estimator=ridge, groups=groups)
    r = result.r.values[0].reshape(result.r.sizes["split"], len(responses), -1)
    return xr.DataArray(r.transpose(1, 0, 2), dims=("subject", "split", "target")), result.alpha.values[0]


def with_interval(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> ImageScores:
    """Scores with intervals over images, at the penalties that inner cross-validation chooses."""
    return image_scores(x, y, alpha=encode(x, [y], groups)[1], groups=groups)


def mean_of_targets(scores: ImageScores) -> ImageScores:
    """One unit of all targets."""
    score, test, training = (a.mean(axis=-1, keepdims=True) for a in (scores.score, scores.test, scores.training))
    return replace(scores, units=np.zeros(1), score=score, test=test, training=training)


def slices(seed: int, changes: dict[str, Any]) -> Iterator[PlantedStudy]:
    """Studies of the same brains and network on new photographs."""
    setup = PlantedOptions(**changes)
    study = planted_study(seed, replace(setup, n_groups=SLICES * setup.n_groups))
    n = setup.n_groups * setup.per_group
    for start in range(0, SLICES * n, n):
        rows = slice(start, start + n)
        yield replace(
            study,
            activations={name: x[rows] for name, x in study.activations.items()},
            gradients={name: x[rows] for name, x in study.gradients.items()},
            responses=[y[rows] for y in study.responses],
            groups=study.groups[rows],
        )


def covered(low: list[np.ndarray], high: list[np.ndarray], value: list[np.ndarray]) -> np.ndarray:
    """Whether each interval of one truth holds it, (replicates, ...); the truth is the mean over replicates."""
    truth = np.mean(value, axis=0)
    return (np.stack(low) <= truth) & (truth <= np.stack(high))


def score_tests(runs: int) -> Iterator[Row]:
    """False positives of tests of eight subjects' scores at 40 times (smooth responses); nothing is predicted."""
    from brainmap.statistics.cluster_tests import cluster_subjects
    from brainmap.statistics.significance import significance
    from brainmap.statistics.tests_of_means import folds_interval, sign_flip_p, subjects_wilcoxon

    hits: dict[str, list[bool]] = {}
    for seed in range(runs):
        setup = NULL | {"targets_per_unit": 44, "n_subjects": 8, "unmodelled": 0.0, "group_noise": 0.3}
        study = planted_study(seed, PlantedOptions(**setup))
        smooth = [np.apply_along_axis(np.convolve, 1, y, np.ones(5), "valid") for y in study.responses]
        x = study.activations[f"block.{seed % 4}"]
        r, alpha = encode(x, smooth, study.groups)
        mean = r.mean("split").values
        found = {
            "scores, Wilcoxon's test over 8 subjects": subjects_wilcoxon(mean)[1][7] <= 0.05,
            "scores, sign flips of 8 subjects, two-sided": sign_flip_p(mean[:, 7]) <= 0.05,
            "scores, clusters in time over 8 subjects, family-wise": cluster_subjects(
                mean, n_permutations=256
            ).significant.any(),
            "scores, folds, false discovery rate (Benjamini–Hochberg)": significance(r).significant.any(),
            "scores, folds, false discovery rate (Benjamini–Yekutieli)": significance(
                r, correction="by"
            ).significant.any(),
        }
        low, high = folds_interval(r.mean("subject").values[:, 7])
        found["score, interval over folds"] = low <= 0 <= high
        one = image_scores(x, smooth[0][:, 20:21], alpha=alpha[:, 20:21], groups=study.groups)
        single = replace(one, paired=True).to_frame(alternative="greater")
        found[IMAGES] = single["p"][0] <= 0.05
        for name, hit in found.items():
            hits.setdefault(name, []).append(bool(hit))
    for name, hit in hits.items():
        yield row(name, "nothing is predicted, noise shared by crops", hit, None if name == IMAGES else _level(name))


def controls_interval(runs: int) -> Iterator[Row]:
    """Coverage of 0 by the interval of a study's control feature spaces, which predict nothing (mean of 20 targets)."""
    from types import SimpleNamespace

    from brainmap.study.analysis.encoded_part import CONTROL_SPACES
    from brainmap.study.analysis.summarise import compare_with_controls

    conditions = {
        "1 subject": (1, 0.0),
        "3 subjects": (3, 0.0),
        "3 subjects, unmodelled responses shared": (3, 0.6),
    }
    for name, (n, unmodelled) in conditions.items():
        held = []
        for seed in range(runs):
            setup = NULL | {"targets_per_unit": 20, "n_subjects": n, "unmodelled": unmodelled, "group_noise": 0.1}
            study = planted_study(seed, PlantedOptions(**setup))
            r, _ = encode(study.activations[f"block.{seed % 4}"], study.responses, study.groups)
            layered = r.expand_dims(layer=["control"])
            subjects = [
                SimpleNamespace(spaces={CONTROL_SPACES: SimpleNamespace(r=one)})
                for one in layered.transpose("subject", ...)
            ]
            table = compare_with_controls(subjects, layered.expand_dims(signal=["activation"]).to_dataset(name="r"))
            control = table.set_index("space").loc["control"]
            held.append(bool(control["low"] <= 0 <= control["high"]))
        yield row("controls, interval over folds", f"nothing is predicted, {name}", held, 0.95)


def _level(name: str) -> float:
    """The level that a test attains: signed ranks of 8 subjects are discrete, and Yekutieli's correction is a bound."""
    if "Wilcoxon" in name:
        return 10 / 256
    if "sign flips" in name:
        return 12 / 256
    if "interval" in name:
        return 0.95
    return 0.05 / float(np.sum(1 / np.arange(1, 41))) if "Yekutieli" in name else 0.05


def score_discoveries(runs: int) -> Iterator[Row]:
    """Rate of false discoveries where half of 40 targets are predicted: is one that is drawn at random false."""
    from brainmap.statistics.significance import significance

    hits: dict[str, list[bool]] = {}
    for seed in range(runs):
        rng = np.random.default_rng([seed, 51])
        setup = NULL | {"targets_per_unit": 40, "n_subjects": 4, "unmodelled": 0.0}
        study = planted_study(seed, PlantedOptions(**setup))
        x = study.activations["block.1"]
        signal = x @ rng.standard_normal((x.shape[1], 20))
        signal = 0.5 * signal / signal.std(axis=0)
        responses = [np.hstack([y[:, :20] + signal, y[:, 20:]]) for y in study.responses]
        r, _ = encode(x, responses, study.groups)
        for correction in ("bh", "by"):
            discoveries = np.flatnonzero(significance(r, correction=correction).significant)
            false = len(discoveries) > 0 and rng.choice(discoveries) >= 20
            hits.setdefault(correction, []).append(bool(false))
    names = {"bh": "Benjamini–Hochberg", "by": "Benjamini–Yekutieli"}
    for correction, hit in hits.items():
        condition = "20 of 40 targets predicted (nominal: level × share of true nulls)"
        name = f"scores, folds, false discovery rate ({names[correction]})"
        yield row(name, condition, hit, _level(name) / 2)


def score_compare(runs: int) -> Iterator[Row]:
    """False positives of paired comparisons: two feature spaces that predict equally well, eight subjects."""
    from brainmap.statistics.significance import compare

    hits: dict[tuple[str, str], list[bool]] = {}
    for seed in range(runs):
        rng = np.random.default_rng([seed, 52])
        study = planted_study(seed, PlantedOptions(**NULL | {"targets_per_unit": 1, "n_subjects": 8}))
        # Both spaces are one network, seeing different photographs, with the same weights: equal but for chance.
        other = planted_study(seed, PlantedOptions(**NULL | {"n_groups": 2 * SIZE["n_groups"]}))
        pair = np.split(other.activations["block.1"], 2)
        weights = rng.standard_normal((pair[0].shape[1], 8))
        drive = [scaled @ weights for scaled in (x / np.sqrt((x.var(axis=0) * x.shape[1]).mean()) for x in pair)]
        for condition, shares in {
            "both predict": (0.2, 0.2),
            "subjects differ in which is better": (0.3, 0.05),
            "neither predicts": (0.0, 0.0),
        }.items():
            own = np.sqrt(np.stack([rng.permutation(shares) for _ in study.responses], axis=1))
            y = own[0] * drive[0] + own[1] * drive[1] + np.sqrt(0.6) * np.hstack(study.responses)
            responses = list(np.split(y, 8, axis=1))
            (r, alpha), (r_other, alpha_other) = (encode(x, responses, study.groups) for x in pair)
            for test in _COMPARED_IN[condition]:
                hit = compare(r, r_other, test=test, correction="none").significant[0]
                hits.setdefault((_COMPARED[test], condition), []).append(bool(hit))
            if condition == "both predict":
                images = [
                    image_scores(x, y, alpha=a, groups=study.groups)
                    for x, a in zip(pair, (alpha, alpha_other), strict=True)
                ]
                difference = images[0] - images[1]
                for kind, scores in {
                    "one subject": difference,
                    "mean of 8 subjects": mean_of_targets(difference),
                }.items():
                    hit = scores.to_frame()["p"][0] <= 0.05
                    hits.setdefault((f"paired comparison, t test over images, {kind}", condition), []).append(bool(hit))
    for (name, condition), hit in hits.items():
        # Two-sided, the signed ranks of 8 subjects attain 10/256.
        yield row(name, condition, hit, 10 / 256 if "Wilcoxon" in name else 0.05)


_COMPARED_IN = {
    "both predict": ("folds", "subjects", "wilcoxon"),
    "subjects differ in which is better": ("subjects", "wilcoxon"),
    "neither predicts": ("folds",),
}
_COMPARED = {
    "folds": "paired comparison, t test over folds",
    "subjects": "paired comparison, t test over 8 subjects",
    "wilcoxon": "paired comparison, Wilcoxon's test over 8 subjects",
}


def image_intervals(runs: int) -> Iterator[Row]:
    """Coverage of intervals over images of a score, one target and the mean of eight; half as many runs."""
    base = SIZE | {"gradient": 0.0, "n_units": 1, "targets_per_unit": 8, "n_subjects": 1}
    conditions = {
        "no effect": base | {"signal": 0.0},
        "weak effect (3 % of the variance)": base | {"signal": 0.03},
        "strong effect (35 %)": base | {"signal": 0.35},
        "strong effect, 20 photographs × 12 crops": base | {"n_groups": 20, "per_group": 12},
        "strong effect, 240 ungrouped images": base | {"n_groups": 240, "per_group": 1, "group_noise": 0.0},
    }
    for name, changes in conditions.items():
        hits: dict[str, list[bool]] = {"one target": [], "mean of 8 targets": []}
        for number in range(-(-runs // (2 * SLICES))):
            tables: dict[str, list[Any]] = {kind: [] for kind in hits}
            for study in slices(number, changes):
                each = with_interval(study.activations["block.1"], study.responses[0], study.groups)
                tables["one target"].append(each.to_frame())
                tables["mean of 8 targets"].append(mean_of_targets(each).to_frame())
            for kind, held in hits.items():
                columns = ([t[column].to_numpy() for t in tables[kind]] for column in ("low", "high", "r"))
                inside = covered(*columns)
                held += inside[np.arange(SLICES), np.arange(SLICES) % inside.shape[1]].tolist()  # each target in turn
        for kind, held in hits.items():
            yield row(f"score, interval over images, {kind}", f"{name}, new photographs", held, 0.95)


def subject_intervals(runs: int) -> Iterator[Row]:
    """Coverage of the interval over subjects: for new subjects and the same photographs, responses shared or not."""
    from brainmap.statistics.tests_of_means import subjects_interval

    conditions = {"independent noise": 0.0, "unmodelled responses shared by subjects": 0.6}
    for n in (4, 8):
        for name, unmodelled in conditions.items():
            held: list[bool] = []
            for seed in range(-(-runs // SLICES)):
                setup = NULL | {"targets_per_unit": 1, "n_subjects": 1000, "group_noise": 0.1, "unmodelled": unmodelled}
                study = planted_study(seed, PlantedOptions(**setup))
                r = encode(study.activations["block.1"], study.responses, study.groups)[0].mean("split").values[:, 0]
                low, high = subjects_interval(r[: n * SLICES].reshape(SLICES, n).T)
                held += ((low <= r.mean()) & (r.mean() <= high)).tolist()
            yield row(f"score, interval over {n} subjects", f"{name}, the same photographs", held, 0.95)


def partition_intervals(runs: int) -> Iterator[Row]:
    """Coverage of the intervals of variance partitioning, two spaces that overlap; half as many runs."""
    from brainmap.encoding import EncodingRidgeCV
    from brainmap.statistics.partition.variance_partition import variance_partition

    for name, changes in {
        "both spaces matter": {"signal": 0.35},
        "nothing is predicted": {"signal": 0.0},
    }.items():
        hits: dict[str, list[bool]] = {}
        for number in range(-(-runs // (2 * SLICES))):
            tables = []
            for study in slices(number, SIZE | {"gradient": 0.0, "n_units": 2, "targets_per_unit": 2, **changes}):
                spaces = {"early": study.activations["block.0"], "late": study.activations["block.2"]}
                options = {"groups": study.groups, "estimator": EncodingRidgeCV(alphas=ALPHAS)}
                tables.append(variance_partition(spaces, study.responses[0], **options).to_frame())
            inside = covered(*([t[column].to_numpy() for t in tables] for column in ("low", "high", "r2")))
            for kind, column in zip(("unique part", None, "shared part", "total"), inside.T, strict=True):
                if kind:
                    hits.setdefault(kind, []).extend(column.tolist())
        for kind, held in hits.items():
            yield row(f"variance partition, interval of the {kind}", f"{name}, new photographs", held, 0.95)


def banded_intervals(runs: int) -> Iterator[Row]:
    """Coverage of intervals of bands, and how often a band that is not there is said to explain; half as many runs."""
    from brainmap.statistics import banded_partition

    for n_bands in (2, 3):
        hits: dict[str, list[bool]] = {}
        for number in range(-(-runs // (2 * SLICES))):
            tables = []
            changes = {"signal": 0.35, "gradient": 0.0, "n_units": 2, "targets_per_unit": 2}
            for each, study in enumerate(slices(number, SIZE | changes)):
                rng = np.random.default_rng([number, each, 55])
                spaces = {"late": study.activations["block.3"], "absent": rng.standard_normal((len(study.groups), 60))}
                if n_bands == 3:
                    spaces = {"early": study.activations["block.0"], **spaces}
                tables.append(banded_partition(spaces, study.responses[0], groups=study.groups).to_frame())
            inside = covered(*([t[column].to_numpy() for t in tables] for column in ("low", "high", "r2")))
            for kind, column in zip(tables[0]["part"], inside.T, strict=True):
                if kind in ("late", "absent", "total"):
                    hits.setdefault(kind, []).extend(column.tolist())
            above = [bool(t.set_index("part").loc["absent", "low"] > 0) for t in tables]
            hits.setdefault("above zero", []).extend(above)
        above = hits.pop("above zero")
        for kind, held in hits.items():
            what = "the total" if kind == "total" else f"a band that is {kind.replace('late', 'there')}"
            yield row(f"{n_bands} bands, interval of {what}", "new photographs", held, 0.95)
        yield row(f"{n_bands} bands, an absent band above zero", "new photographs", above, 0.025)


def unique_null(runs: int) -> Iterator[Row]:
    """False positives of the tests of unique variance: a second space that only correlates with the first."""
    from brainmap.statistics.added.conditional_test import ConditionalOptions
    from brainmap.statistics.partition.variance_partition import unique_tests

    single, family = [], []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 53])
        study = planted_study(seed, PlantedOptions(**SIZE, n_units=8, targets_per_unit=4, n_subjects=1))
        first = np.concatenate(list(study.activations.values()), axis=1)
        other = np.repeat(rng.standard_normal((SIZE["n_groups"], 30)), SIZE["per_group"], axis=0)
        noise = other + 0.5 * rng.standard_normal(other.shape)
        second = first @ rng.standard_normal((first.shape[1], 30)) / np.sqrt(first.shape[1]) + 0.5 * noise
        options = ConditionalOptions(n_flips=1000, seed=seed)
        table = unique_tests(
            {"first": first, "second": second}, study.responses, units=study.units, groups=study.groups, options=options
        )
        table = table[table["space"] == "second"]
        single.append(table["p"].iloc[seed % 8] <= 0.05)
        family.append(table["significant"].any())
    yield row("unique variance, one unit", "the second space only correlates with the first", single, 0.05)
    yield row(
        "unique variance, family-wise over 8 units", "the second space only correlates with the first", family, 0.05
    )


def pooled_null(runs: int) -> Iterator[Row]:
    """False positives of the residual test pooled over two subjects who saw different photographs."""
    from brainmap.statistics.added.conditional_test import ConditionalOptions, conditional_test
    from brainmap.statistics.added.sign_flips import flip_p

    single, family = [], []
    for seed in range(runs):
        tests = []
        for number in range(2):
            study = planted_study(
                2 * seed + number, PlantedOptions(**SIZE, n_units=10, targets_per_unit=4, n_subjects=1)
            )
            options = ConditionalOptions(n_flips=1000, seed=number)
            data = (study.activations, study.gradients, study.responses)
            tests.append(conditional_test(*data, units=study.units, groups=study.groups, options=options))
        # As pool_residuals does, without the scores that it also wants.
        statistic = sum(test.table["statistic"].to_numpy() for test in tests)
        p, p_fwer = flip_p(statistic, sum(test.null.astype(np.float64) for test in tests))
        single.append(p[seed % 10] <= 0.05)
        family.append(p_fwer.min() <= 0.05)
    yield row("residual test pooled over 2 subjects, one unit", "different photographs", single, 0.05)
    yield row("residual test pooled over 2 subjects, family-wise", "different photographs", family, 0.05)


def mesh_clusters(runs: int) -> Iterator[Row]:
    """Family-wise false positives of cluster tests on a sphere of 162 vertices, smooth noise."""
    from scipy import sparse
    from scipy.spatial import ConvexHull

    from brainmap.statistics.cluster_tests import cluster_null, cluster_subjects

    height = 1 - (2 * np.arange(162) + 1) / 162
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(162)
    points = np.column_stack([np.cos(angle), np.sin(angle)]) * np.sqrt(1 - height[:, None] ** 2)
    faces = ConvexHull(np.column_stack([points, height])).simplices
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    mesh = sparse.coo_array((np.ones(len(edges)), edges.T), shape=(162, 162))
    mesh = ((mesh + mesh.T) > 0).astype(float).tocsr()
    kernel = np.linalg.matrix_power((mesh + sparse.eye_array(162)).toarray() / 7, 3)
    over_subjects, over_images = [], []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 54])
        noise = rng.standard_normal((108, 162)) @ kernel
        test = cluster_subjects(noise[:8], adjacency=mesh, n_permutations=256)
        over_subjects.append(bool(test.significant.any()))
        over_images.append(bool(cluster_null(noise[8], noise[9:], adjacency=mesh).significant.any()))
    condition = "162 vertices of a mesh, smooth noise"
    yield row("cluster test over 8 subjects, family-wise", condition, over_subjects, 0.05)
    yield row("cluster test against permutations, family-wise", condition, over_images, 0.05)


PARTS = (
    score_tests,
    controls_interval,
    score_discoveries,
    score_compare,
    image_intervals,
    subject_intervals,
    partition_intervals,
    banded_intervals,
    unique_null,
    pooled_null,
    mesh_clusters,
)
