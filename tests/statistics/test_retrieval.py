"""Retrieval: photographs that responses hold are found, chance is chance, nothing of the gallery was fitted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.statistics import RetrievalOptions, retrieval

FEW = RetrievalOptions(n_permutations=99)


def planted(seed: int, n: int = 100, targets: int = 40, noise: float = 1.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    X = {"seen": rng.standard_normal((n, 8)), "other": rng.standard_normal((n, 8))}
    shared = rng.standard_normal((n, 3)) @ rng.standard_normal((3, targets))  # noise that targets share
    Y = X["seen"] @ rng.standard_normal((8, targets)) + noise * (rng.standard_normal((n, targets)) + shared)
    return X, Y


@pytest.mark.parametrize("method", ["likelihood", "decoding"])
def test_planted_photographs_are_found_and_others_are_not(method: str) -> None:
    X, Y = planted(0)
    table = retrieval(X, Y, options=RetrievalOptions(method=method, n_permutations=99)).set_index("layer")
    assert table.loc["seen", "top1"] > 0.5 and table.loc["seen", "top5"] > 0.9
    assert table.loc["seen", "p_corrected"] == 0.01 and table.loc["other", "p"] > 0.05
    assert table.loc["seen", ["chance1", "chance5", "gallery", "n"]].tolist() == pytest.approx([0.05, 0.25, 20, 100])
    assert table.loc["seen", "rank"] < 3 < 8 < table.loc["other", "rank"] < 13


def test_noise_that_targets_share_is_known_to_the_likelihood() -> None:
    """Shared noise three times as large as the rest: a diagonal covariance would find far fewer."""
    X, Y = planted(1, noise=2.0)
    assert retrieval(X, Y, options=FEW)["top1"].iloc[0] > 0.5


@pytest.mark.parametrize("method", ["likelihood", "decoding"])
def test_noise_is_at_chance(method: str) -> None:
    """p of top-1 at most .05 in no more studies of noise than that, and mean top-1 around one in twenty."""
    p, top1 = [], []
    for seed in range(40):
        rng = np.random.default_rng([seed, 7])
        X = {"x": rng.standard_normal((60, 6))}
        Y = rng.standard_normal((60, 12)) + rng.standard_normal((60, 1))
        row = retrieval(X, Y, cv=3, options=RetrievalOptions(method=method, n_permutations=39, seed=seed)).iloc[0]
        p.append(row["p"])
        top1.append(row["top1"])
    assert stats.binomtest(int(np.sum(np.asarray(p) <= 0.05)), 40).proportion_ci(0.99, "exact").low <= 0.05
    t = (np.mean(top1) - 0.05) / (np.std(top1, ddof=1) / np.sqrt(40))
    assert abs(t) < 3.5


def test_decoding_when_a_layer_varies_along_one_direction_that_responses_do_not_follow() -> None:
    """As early blocks do: nine tenths of the variance of all features is one latent of no interest."""
    rng = np.random.default_rng(3)
    common, fine = rng.standard_normal((100, 1)), rng.standard_normal((100, 6))
    x = 3 * common @ rng.standard_normal((1, 40)) + fine @ rng.standard_normal((6, 40)) / 3
    Y = fine @ rng.standard_normal((6, 50)) + 2 * rng.standard_normal((100, 50))
    row = retrieval({"layer": x}, Y, options=RetrievalOptions(method="decoding", n_permutations=99)).iloc[0]
    assert row["top1"] > 0.5 and row["p"] == 0.01
    shifted = retrieval({"layer": x}, np.roll(Y, 3, axis=0), options=RetrievalOptions("decoding", n_permutations=99))
    assert shifted["top1"].iloc[0] < 0.15


def test_moments_and_their_correction() -> None:
    X, Y = planted(2, targets=30)
    times = np.repeat([-0.1, 0.1, 0.3], 10)
    rng = np.random.default_rng(0)
    Y[:, times < 0] = rng.standard_normal((100, 10))
    table = retrieval({"seen": X["seen"]}, Y, times=times, options=FEW)
    assert table["time"].tolist() == [-0.1, 0.1, 0.3]
    assert table["p_corrected"].iloc[0] > 0.05 >= table["p_corrected"].iloc[1:].max()
    assert (table["p_corrected"] >= table["p"]).all()


def test_of_each_group_one_photograph_is_asked_for() -> None:
    X, Y = planted(3, n=120)
    groups = np.arange(120) // 2
    table = retrieval({"seen": X["seen"]}, Y, groups=groups, options=FEW)
    assert table["n"].item() == 60 and table["gallery"].item() == 12


def test_a_fold_shifted_by_one_photograph_finds_nothing() -> None:
    """Responses that belong to the neighbour in the gallery are not found: who is right is not read off the order."""
    X, Y = planted(4)
    order = np.roll(np.arange(100), 1)
    row = retrieval({"seen": X["seen"]}, Y[order], options=FEW).iloc[0]
    assert row["top1"] < 0.15


def test_what_cannot_be_ranked_is_one_sentence() -> None:
    X, Y = planted(5, n=20)
    with pytest.raises(InputError, match="gallery of 4 photographs is too small"):
        retrieval(X, Y)
    with pytest.raises(InputError, match="one row for each row"):
        retrieval(X, Y[:10])
    with pytest.raises(InputError, match="3 times for 40 targets"):
        retrieval(X, Y, times=[0, 1, 2])
    with pytest.raises(InputError, match="not by 'guess'"):
        RetrievalOptions(method="guess")  # type: ignore[arg-type]
