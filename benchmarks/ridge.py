"""Nested ridge over many targets: brainmap against its peers, on the same work, in one run.

    python benchmarks/ridge.py                      # all sizes, 10 alphas, all methods; tiny problems, layers, bands
    python benchmarks/ridge.py --quick              # the same at small sizes, some minutes
    python benchmarks/ridge.py --cases bands layers # only these
    python benchmarks/ridge.py --sizes 8000x768x20000 --methods brainmap-exact careful-numpy
    python benchmarks/ridge.py --large --memory 4GB # THINGS-MEG size (generated) and an NSD-size slice (memmap)

The work: 5 outer × 5 inner folds, one alpha per target by mean inner Pearson r, r on the outer test sets. Every method
runs in a process of its own (peak memory is that process's), on one BLAS thread; times are process CPU seconds, and
*GEMM* is one float32 ``X'Y`` of the full size measured in the same process: the floor no method can pass. Peers are too
slow to run in full. They are measured on one outer fold at two numbers of targets; what does not depend on targets is
separated by the two, the rest is scaled to all targets, and the sum to five folds. Such times are marked ``~``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402  (BLAS reads its number of threads at import)

SIZES = ("8000x768x20000", "20000x1024x8000", "2000x4096x20000", "1000x4096x15000", "400x768x5000")
QUICK = ("1600x192x1600", "160x384x800")
CASES = ("sizes", "tiny", "layers", "bands")
BLOCK = 2048


def features(n: int, d: int) -> np.ndarray:
    """Return simulated features with a decaying spectrum in a random basis, float32."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    scale = np.arange(1, d + 1, dtype=np.float32) ** -0.5
    return (rng.standard_normal((n, d), dtype=np.float32) * scale) @ basis


def responses(X: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return simulated responses of some targets: signal of varying strength plus noise, float32."""
    rng = np.random.default_rng([1, start])
    signal = X @ rng.standard_normal((X.shape[1], stop - start), dtype=np.float32)
    signal /= signal.std(axis=0)
    strength = rng.random(stop - start, dtype=np.float32)
    return signal * strength + rng.standard_normal((len(X), stop - start), dtype=np.float32)


class Generated:
    """Responses that exist only while they are looked at: columns are simulated when sliced."""

    def __init__(self, X: np.ndarray, n_targets: int) -> None:
        self.X, self.shape, self.dtype = X, (len(X), n_targets), np.dtype(np.float32)

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        start, stop, _ = index[1].indices(self.shape[1])
        first = start - start % 256
        parts = [responses(self.X, a, a + 256) for a in range(first, stop, 256)]
        return np.concatenate(parts, axis=1)[:, start - first : stop - first]


def gemm_seconds(X: np.ndarray, n_targets: int) -> float:
    """Return CPU seconds of one float32 X'Y with all targets."""
    Y, out = np.ones((len(X), BLOCK), dtype=np.float32), np.empty((X.shape[1], BLOCK), dtype=np.float32)
    Xt = np.ascontiguousarray(X.T)
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        for _ in range(4):
            np.matmul(Xt, Y, out=out)
        best = min(best, (time.process_time() - start) / 4)
    return best * n_targets / BLOCK


def folds(n: int) -> Any:
    from brainmap.encoding import plan_splits

    return plan_splits(n, 5, inner_cv=5)


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


# --- methods: each takes X, Y, alphas and the plan, runs one outer fold (peers) or all (brainmap), returns r ----------


def careful_numpy(X: np.ndarray, Y: np.ndarray, alphas: np.ndarray, plan: Any) -> np.ndarray:
    """One eigendecomposition per train set, predictions for every alpha: what a careful user writes."""

    def paths(train: np.ndarray, held: np.ndarray) -> Callable[[float], np.ndarray]:
        mean, level = X[train].mean(axis=0), Y[train].mean(axis=0)
        Z, V = X[train] - mean, X[held] - mean
        if Z.shape[1] <= len(Z):
            values, vectors = np.linalg.eigh(Z.T.astype(np.float64) @ Z)
            rotated, basis = (Z @ vectors.astype(np.float32)).T @ (Y[train] - level), V @ vectors.astype(np.float32)
        else:
            values, vectors = np.linalg.eigh(Z.astype(np.float64) @ Z.T)
            rotated, basis = vectors.T.astype(np.float32) @ (Y[train] - level), (V @ Z.T) @ vectors.astype(np.float32)
        return lambda alpha: basis @ (rotated / (values + alpha).astype(np.float32)[:, None]) + level

    train, test = plan.outer[0]
    scores = np.zeros((len(alphas), Y.shape[1]))
    for inside, held in plan.inner[0]:
        predict = paths(inside, held)
        for index, alpha in enumerate(alphas):
            scores[index] += pearson(Y[held], predict(alpha))
    best, predict, r = scores.argmax(axis=0), paths(train, test), np.empty(Y.shape[1])
    for index in np.unique(best):
        r[best == index] = pearson(Y[test][:, best == index], predict(alphas[index])[:, best == index])
    return r


def himalaya(kind: str, backend: str) -> Callable[..., np.ndarray]:
    def run(X: np.ndarray, Y: np.ndarray, alphas: np.ndarray, plan: Any) -> np.ndarray:
        from himalaya.backend import set_backend
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.ridge import RidgeCV
        from himalaya.scoring import correlation_score

        lib = set_backend(backend)
        if backend == "torch":
            import torch

            torch.set_num_threads(1)
        train, test = plan.outer[0]
        places = np.full(len(X), -1)
        places[train] = np.arange(len(train))
        inner = [(places[inside], places[held]) for inside, held in plan.inner[0]]
        params = {"score_func": correlation_score, "n_targets_batch": 2000}
        if kind == "ridge":
            model: Any = RidgeCV(alphas=alphas, cv=inner, fit_intercept=True, solver_params=params)
        else:
            model = KernelRidgeCV(alphas=alphas, cv=inner, solver_params=params, warn=False)
        mean, level = X[train].mean(axis=0), Y[train].mean(axis=0)
        model.fit(lib.asarray(X[train] - mean), lib.asarray(Y[train] - level))
        return pearson(Y[test], np.asarray(lib.to_numpy(model.predict(lib.asarray(X[test] - mean)))))

    return run


def sklearn_loo(X: np.ndarray, Y: np.ndarray, alphas: np.ndarray, plan: Any) -> np.ndarray:
    from sklearn.linear_model import RidgeCV

    train, test = plan.outer[0]
    model = RidgeCV(alphas=alphas, alpha_per_target=True).fit(X[train], Y[train])
    return pearson(Y[test], model.predict(X[test]))


def brainmap(mode: str, inner: str, scale: bool = False) -> Callable[..., np.ndarray]:
    def run(X: Any, Y: Any, alphas: np.ndarray, plan: Any, memory: str = "3GB", threads: int = 1) -> np.ndarray:
        import warnings

        from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode

        warnings.simplefilter("ignore")
        options: Any = RidgeOptions(mode=mode, inner=inner, threads=threads)  # type: ignore[arg-type]
        estimator = EncodingRidgeCV(alphas, scale=scale, options=options)
        return cross_val_encode(X, Y, estimator=estimator, memory=memory).r.values[0]

    return run


METHODS: dict[str, tuple[Callable[..., np.ndarray], bool]] = {  # name: (function, runs in full)
    "brainmap-exact": (brainmap("exact", "nested"), True),
    "brainmap-exact-scaled": (brainmap("exact", "nested", scale=True), True),
    "brainmap-exact-shared": (brainmap("exact", "shared"), True),
    "brainmap-gcv": (brainmap("gcv", "nested"), True),
    "careful-numpy": (careful_numpy, False),
    "himalaya-RidgeCV": (himalaya("ridge", "numpy"), False),
    "himalaya-RidgeCV-torch": (himalaya("ridge", "torch"), False),
    "himalaya-KernelRidgeCV": (himalaya("kernel", "numpy"), False),
    "himalaya-KernelRidgeCV-torch": (himalaya("kernel", "torch"), False),
    "sklearn-RidgeCV-LOO": (sklearn_loo, False),
}


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def child(method: str, size: str, n_alphas: int, folder: str) -> dict[str, float]:
    """Run one method and return CPU seconds, GEMM seconds, peak memory and mean r."""
    n, _, t = map(int, size.split("x"))
    X, stored = np.load(f"{folder}/x.npy"), np.load(f"{folder}/y.npy", mmap_mode="r")
    alphas, plan = np.logspace(0, 8, n_alphas), folds(n)
    function, full = METHODS[method]
    tiny = np.random.default_rng(0).standard_normal((60, 7)).astype(np.float32)
    function(tiny, tiny, alphas, folds(60))  # imports and first calls are not what is measured
    before = gemm_seconds(X, t)
    if full:
        start, wall = time.process_time(), time.perf_counter()
        r = function(X, stored, alphas, plan)
        seconds, took = time.process_time() - start, time.perf_counter() - wall
    else:
        times = []
        for count in (t // 40, t // 10):
            Y = np.array(stored[:, :count])
            start = time.process_time()
            r = function(X, Y, alphas, plan)
            times.append((count, time.process_time() - start))
        (few, short), (many, long) = times
        slope = max(long - short, 0.0) / (many - few)
        seconds = took = 5 * (short + slope * (t - few))
    gemm = min(before, gemm_seconds(X, t))
    return {"seconds": seconds, "wall": took, "gemm": gemm, "peak": peak_gb(), "r": float(np.nanmean(r)), "full": full}


def large(case: str, memory: str, folder: str) -> dict[str, float]:
    """Run an experiment-sized case with two threads; wall seconds, GEMM on two threads in wall seconds, peak memory."""
    n, d, t = {"things-meg": (22_248, 1024, 272 * 106), "nsd": (27_000, 1024, 40_000)}[case]
    X = features(n, d)
    gemm = gemm_seconds(X, t)
    Y: Any = Generated(X, t)
    making = 0.0
    if case == "nsd":  # written by a process of its own: pages that were mapped for writing would count as ours
        subprocess.run([sys.executable, __file__, "--child", "write", str(n), str(t), folder], check=True)
        Y = np.load(f"{folder}/y.npy", mmap_mode="r")
    else:
        start = time.process_time()
        Y[:, 0:BLOCK]
        making = (time.process_time() - start) * t / BLOCK
    start, cpu = time.perf_counter(), time.process_time()
    r = brainmap("exact", "nested", scale=True)(X, Y, np.logspace(0, 8, 10), None, memory=memory, threads=2)
    wall, seconds = time.perf_counter() - start, time.process_time() - cpu - making
    return {"seconds": seconds, "wall": wall, "gemm": gemm, "peak": peak_gb(), "r": float(np.nanmean(r)), "full": True}


def write_memmap(path: Path, X: np.ndarray, n_targets: int) -> None:
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(X), n_targets))
    for start in range(0, n_targets, 1000):
        stored[:, start : start + 1000] = responses(X, start, min(start + 1000, n_targets))
    stored.flush()


def spawn(arguments: list[str], timeout: float) -> dict[str, float] | str:
    command = [sys.executable, __file__, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"stopped after {timeout:.0f} s"
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(name: str, found: dict[str, float] | str) -> None:
    if isinstance(found, str):
        print(f"  {name:32s} {found}", flush=True)
        return
    mark = " " if found["full"] else "~"
    print(
        f"  {name:32s} {mark}{found['seconds']:9.1f} s  {mark}{found['seconds'] / found['gemm']:7.1f} × GEMM"
        f"  peak {found['peak']:5.2f} GB  mean r {found['r']:.4f}",
        flush=True,
    )


def compare(size: str, n_alphas: int, methods: list[str], timeout: float) -> None:
    n, d, t = map(int, size.split("x"))
    print(f"\n{n} rows × {d} features × {t} targets, {n_alphas} alphas, 5 × 5 folds", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        X = features(n, d)
        np.save(f"{folder}/x.npy", X)
        write_memmap(Path(folder) / "y.npy", X, t)
        for name in methods:
            if name == "brainmap-gcv" and d >= 0.8 * n:
                continue  # refused: GCV breaks down there
            show(name, spawn(["--child", name, size, str(n_alphas), folder], timeout))


def in_one_process(cases: list[str], alphas: list[int], quick: bool) -> None:
    """Run the cases in which all contenders take turns."""
    import ridge_cases

    peers = {name: METHODS[name][0] for name in METHODS if not METHODS[name][1] and "Kernel" not in name}
    if "tiny" in cases:
        ridge_cases.tiny(peers, 5 if quick else 25)
    if "layers" in cases:
        ridge_cases.layers(*((4, 400, 96, 500) if quick else (12, 2000, 768, 8000)), rounds=1)
    for n_alphas in alphas if "bands" in cases else ():
        ridge_cases.bands(
            *((300, (64, 64, 16), 200) if quick else (3000, (768, 768, 100), 5000)), n_alphas=n_alphas, rounds=1
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", help="rows x features x targets, as 8000x768x20000")
    parser.add_argument("--alphas", nargs="+", type=int, default=[10])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--timeout", type=float, default=3600, help="seconds per method")
    parser.add_argument("--large", nargs="*", help="things-meg and/or nsd instead of the comparison")
    parser.add_argument("--memory", default="4GB", help="bound for --large")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        method, size, n_alphas, folder = options.child
        if method == "write":
            write_memmap(Path(folder) / "y.npy", features(int(size), 1024), int(n_alphas))
        elif method == "large":
            print(json.dumps(large(size, n_alphas, folder)))
        else:
            print(json.dumps(child(method, size, int(n_alphas), folder)))
        return
    if options.large is not None:
        for case in options.large or ["things-meg", "nsd"]:
            with tempfile.TemporaryDirectory() as folder:
                found = spawn(["--child", "large", case, options.memory, folder], 4 * options.timeout)
            show(f"{case}, memory {options.memory}", found)
            if not isinstance(found, str):
                print(f"    wall {found['wall']:.0f} s on two threads", flush=True)
        return
    for size in options.sizes or (QUICK if options.quick else SIZES):
        for n_alphas in options.alphas if "sizes" in options.cases else ():
            compare(size, n_alphas, options.methods, options.timeout)
    in_one_process(options.cases, options.alphas, options.quick)


if __name__ == "__main__":
    main()
