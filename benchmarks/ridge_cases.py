"""Cases of `benchmarks/ridge.py` that run in one process, peers by turns: tiny problems, many layers, bands.

Every contender runs in every round; printed are medians of CPU seconds on one BLAS thread and the ratio to ours: other
work on the machine slows all of them alike.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def by_turns(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, Any]]:
    """Run all contenders in each round (a single one is not warmed up); return median CPU seconds and last results."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Any] = {}
    for each in range(rounds if rounds == 1 else rounds + 1):  # of several the first imports and warms up
        for name, call in contenders.items():
            start = time.process_time()
            results[name] = call()
            if each or rounds == 1:
                seconds[name].append(time.process_time() - start)
    return {name: (float(np.median(taken)), results[name]) for name, taken in seconds.items()}


def show(title: str, found: dict[str, tuple[float, Any]]) -> None:
    print(f"\n{title}", flush=True)
    ours = next(iter(found.values()))[0]
    for name, (seconds, r) in found.items():
        unit = f"{seconds:9.2f} s " if seconds >= 1 else f"{seconds * 1e3:9.1f} ms"
        print(f"  {name:44s} {unit}  {seconds / ours:6.2f} × ours  mean r {float(np.nanmean(r)):.4f}", flush=True)


def simulated(n: int, d: int, t: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32) * np.arange(1, d + 1, dtype=np.float32) ** -0.5
    Y = X @ rng.standard_normal((d, t), dtype=np.float32)
    return X, Y / Y.std(axis=0) * rng.random(t, dtype=np.float32) + rng.standard_normal((n, t), dtype=np.float32)


def tiny(peers: dict[str, Callable[..., np.ndarray]], rounds: int) -> None:
    """100 × 50 × 100: our whole nested call, and the peers once for each outer fold."""
    from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode, plan_splits

    warnings.simplefilter("ignore")
    X, Y = simulated(100, 50, 100)
    alphas, plan = np.logspace(0, 8, 10), plan_splits(100, 5, inner_cv=5)
    estimator = EncodingRidgeCV(alphas, scale=False, options=RidgeOptions(threads=1))

    def each_fold(peer: Callable[..., np.ndarray]) -> np.ndarray:
        parts = []
        for outer, inner in zip(plan.outer, plan.inner, strict=True):
            parts.append(peer(X, Y, alphas, _OneFold(outer, inner)))
        return np.stack(parts)

    contenders: dict[str, Callable[[], Any]] = {
        "brainmap, nested, one call": lambda: cross_val_encode(X, Y, estimator=estimator).r.values
    }
    for name, peer in peers.items():
        contenders[name] = lambda peer=peer: each_fold(peer)
    show("100 rows × 50 features × 100 targets, 10 alphas, 5 × 5 folds", by_turns(contenders, rounds))


class _OneFold:
    """One outer fold of a plan, in the shape that the peers take."""

    def __init__(self, outer: Any, inner: Any) -> None:
        self.outer, self.inner = [outer], [inner]


def layers(count: int, n: int, d: int, t: int, rounds: int) -> None:
    """Many layers against the same responses: in one call, and one by one."""
    from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode

    warnings.simplefilter("ignore")
    estimator = EncodingRidgeCV(np.logspace(0, 8, 10), options=RidgeOptions(threads=1))
    X = {f"block.{index}": simulated(n, d, 1, index)[0] for index in range(count)}
    Y = simulated(n, d, t)[1]

    def together() -> np.ndarray:
        return cross_val_encode(X, Y, estimator=estimator).r.values

    def one_by_one() -> np.ndarray:
        return np.concatenate([cross_val_encode({k: v}, Y, estimator=estimator).r.values for k, v in X.items()])

    found = by_turns({"all in one call": together, "one by one": one_by_one}, rounds)
    show(f"{count} layers of {n} × {d} against {t} targets, scaled, 5 × 5 folds", found)
    same = np.array_equal(found["all in one call"][1], found["one by one"][1], equal_nan=True)
    print(f"  one call takes {found['all in one call'][0] / found['one by one'][0]:.2f} of the sum; same bits: {same}")


def bands(n: int, sizes: tuple[int, ...], t: int, n_alphas: int, rounds: int) -> None:
    """A penalty per band: one fit with 5 inner folds, two bands beside himalaya on one grid, three through himalaya."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import MultipleKernelRidgeCV
    from himalaya.ridge import GroupRidgeCV
    from himalaya.scoring import correlation_score

    from brainmap.encoding import BandedRidgeCV, RidgeOptions, plan_splits

    warnings.simplefilter("ignore")
    set_backend("numpy")
    shares, alphas = np.array([0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95]), np.logspace(0, 8, n_alphas)
    for size in (sizes[:2], sizes):
        X, Y = simulated(n, sum(size), t)
        folds = list(plan_splits(n, None, inner_cv=5).inner[0])
        parts = np.split(X - X.mean(axis=0), np.cumsum(size)[:-1], axis=1)
        grid = np.random.default_rng(0).dirichlet(np.ones(len(size)), len(shares)) * 2
        if len(size) == 2:
            grid = 2 * np.column_stack([shares, 1 - shares])
        search: dict[str, Any] = {"alphas": alphas, "score_func": correlation_score, "progress_bar": False}
        ours = BandedRidgeCV(size, shares, alphas, scale=False, n_iter=len(shares), options=RidgeOptions(threads=1))

        def group(parts: Any = parts, Y: Any = Y, grid: Any = grid, search: Any = search, folds: Any = folds) -> Any:
            model = GroupRidgeCV(
                groups="input",
                solver_params={**search, "n_iter": grid},
                cv=folds,
                fit_intercept=True,
                random_state=0,
            )
            return np.asarray(model.fit(parts, Y).cv_scores_).max(axis=0)

        def kernels(parts: Any = parts, Y: Any = Y, grid: Any = grid, search: Any = search, folds: Any = folds) -> Any:
            made = np.stack([part @ part.T for part in parts])
            params = {**search, "n_iter": grid}
            model = MultipleKernelRidgeCV(
                kernels="precomputed", solver="random_search", solver_params=params, cv=folds, random_state=0
            )
            return np.asarray(model.fit(made, Y - Y.mean(axis=0)).cv_scores_).max(axis=0)

        contenders = {
            "brainmap BandedRidgeCV": lambda X=X, Y=Y, ours=ours: ours.fit(X, Y).best_score_,
            "himalaya GroupRidgeCV": group,
            "himalaya MultipleKernelRidgeCV": kernels,
        }
        how = "one grid" if len(size) == 2 else "ours is himalaya's random search, draws of its own"
        title = (
            f"bands {list(size)}, {n} rows, {t} targets, {len(shares)} balances × {n_alphas} alphas, 5 folds ({how})"
        )
        found = by_turns(contenders, rounds)
        show(title, found)
        if len(size) == 2:
            apart = np.abs(found["brainmap BandedRidgeCV"][1] - found["himalaya GroupRidgeCV"][1]).max()
            print(f"  best inner r: largest difference to GroupRidgeCV {apart:.1e}")
