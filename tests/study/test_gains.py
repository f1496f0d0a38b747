"""What gradients add keeps each subject's own gain, whether subjects saw the same photographs or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from brainmap.results.collection_tables import gain_by_subject
from brainmap.study import StudyConfig
from brainmap.study.analysis.gradients_beyond_activations import residual_of_gradients

N, UNITS = 80, np.repeat(["V1", "V2", "V4"], 4)


class _Features(dict):
    layers = ("block.0",)

    def by_layer(self, signal: str) -> dict[str, np.ndarray]:
        return {layer: self[signal, layer] for layer in self.layers}


@pytest.fixture(scope="module")
def features() -> Any:
    rng = np.random.default_rng(0)
    return _Features({(signal, "block.0"): rng.standard_normal((N, 6)) for signal in ("activation", "gradient")})


def subject(features: Any, name: str, share: float, rows: np.ndarray) -> Any:
    """Responses to photographs ``rows`` that follow the gradients with a weight of ``share``."""
    rng = np.random.default_rng([len(rows), int(100 * share)])
    weights = rng.standard_normal((2, 6, len(UNITS)))
    values = (
        features["activation", "block.0"][rows] @ weights[0]
        + share * features["gradient", "block.0"][rows] @ weights[1]
    )
    responses = SimpleNamespace(modality="fmri", subject=name, targets=pd.DataFrame({"roi": UNITS}))
    noisy = (values + 2 * rng.standard_normal(values.shape)).astype(np.float32)
    averaged = SimpleNamespace(values=noisy)
    labels = rows.astype(str)
    return SimpleNamespace(
        responses=responses, averaged=averaged, rows=rows, groups=labels, labels=labels, confounds=None,
        design=rows.tobytes(),
    )  # fmt: skip


@pytest.mark.parametrize("same", [True, False])
def test_each_subject_has_a_column(features: Any, same: bool) -> None:
    config = StudyConfig(signals=("activation", "gradient"), cv=4, flips=100)
    rows = [np.arange(N) if same else np.arange(i, N - 4 + i) for i in range(3)]
    subjects = [
        subject(features, name, share, rows[i])
        for i, (name, share) in enumerate(zip("abc", (0.0, 0.5, 2.0), strict=True))
    ]
    table, gains, method = residual_of_gradients(subjects, features, config)
    assert table is not None, method
    if same:  # of every vertex by itself: areas are their means, and a correction of their own
        assert gains is not None and gains["delta"].dims == ("target",)
        by_area = pd.Series(gains["delta"].values).groupby(np.array(UNITS)).mean()
        np.testing.assert_allclose(by_area[table["unit"]], table["delta"], atol=1e-6)
        p, marked = gains["p"].values, gains["significant"].values
        np.testing.assert_array_equal(marked, false_discovery_control(p) <= 0.05)
        assert marked.any() and (gains["low"] <= gains["delta"]).all() and (gains["delta"] <= gains["high"]).all()
    else:
        assert gains is None
    own = table[["delta a", "delta b", "delta c"]]
    np.testing.assert_allclose(own.mean(axis=1), table["delta"], atol=1e-6)
    each = gain_by_subject(table)
    assert each[0] < each[1] < each[2] and each[2] > 0.1
    alone, _, _ = residual_of_gradients(subjects[2:], features, config)
    assert alone is not None and ("pooled" in method or "summed" in method) is not same
    if same:  # the same folds, so the same numbers
        np.testing.assert_allclose(alone["delta"], table["delta c"], atol=1e-6)
        assert len(gain_by_subject(alone)) == 1


def test_only_the_last_layer_where_asked() -> None:
    from brainmap.statistics.added.added_value import ResidualOptions, residual
    from brainmap.statistics.added.conditional_test import ConditionalOptions

    rng = np.random.default_rng(1)
    two = _Features(
        {(s, n): rng.standard_normal((N, 6)) for s in ("activation", "gradient") for n in ("early", "late")}
    )
    two.layers = ("early", "late")
    rows = np.arange(N)
    values = two["activation", "early"] @ rng.standard_normal((6, len(UNITS))) + 3 * two["gradient", "late"] @ (
        rng.standard_normal((6, len(UNITS)))
    )
    responses = SimpleNamespace(modality="fmri", subject="a", targets=pd.DataFrame({"roi": UNITS}))
    one = SimpleNamespace(
        responses=responses,
        averaged=SimpleNamespace(values=values.astype(np.float32)),
        rows=rows,
        groups=rows.astype(str),
        labels=rows.astype(str),
        confounds=None,
        design=rows.tobytes(),
    )
    found = {}
    for layers in ("all", "last"):
        config = StudyConfig(cv=4, flips=100, residual_layers=layers)
        found[layers], _, _ = residual_of_gradients([one], two, config)
    direct = residual(
        {"late": two["activation", "late"]},
        {"late": two["gradient", "late"]},
        [one.averaged.values],
        units=UNITS,
        groups=one.groups,
        options=(ResidualOptions(cv=4), ConditionalOptions(n_flips=100)),
    ).table
    np.testing.assert_allclose(found["last"]["delta"], direct["delta"])
    # Beside the early activations, which explain a part, gradients have less noise to stand out from.
    assert (found["all"]["r_base"] > found["last"]["r_base"] + 0.1).all()


def test_nonlinear_features_are_tested_beside_where_asked(features: Any) -> None:
    rows = np.arange(N)
    whole = [subject(features, "a", 2.0, rows)]
    config = StudyConfig(cv=4, flips=100, residual_control="nonlinear")
    table, _, made = residual_of_gradients(whole, features, config)
    plain, _, before = residual_of_gradients(whole, features, StudyConfig(cv=4, flips=100))
    assert table is not None and plain is not None and made.startswith(before) and "random nonlinear" in made
    assert table["p_nonlinear"].between(0, 1).all() and (table["p_beyond_nonlinear"] <= 0.05).all()
    pd.testing.assert_frame_equal(table[list(plain.columns)], plain)
    apart = [subject(features, name, 2.0, np.arange(i, N - 4 + i)) for i, name in enumerate("ab")]
    pooled, _, said = residual_of_gradients(apart, features, config)
    assert pooled is not None and "p_nonlinear" not in pooled and "not tested beyond nonlinear" in said
