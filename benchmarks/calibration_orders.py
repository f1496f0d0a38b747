"""Parts of ``benchmarks/calibration.py`` about orders in time and in space.

Time: features → responses → ridge cross-validation → test. Layers are correlated Gaussian features; a response is the
sum over layers of what they drive, each with a time course of its own, and noise; scores are those of a ridge with five
folds and penalties by generalised cross-validation, from moments of the folds, many studies at once. One factor changes
at a time. The truth of an interval is the estimate from sixteen thousand photographs.

Space: a smooth random map on the sphere of the cortex against the distance from V1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from calibration_table import Row, row

from brainmap.hierarchy.order_in_time import slopes
from brainmap.hierarchy.replication import LEAST_SUBJECTS, OverUnits, over_units
from brainmap.hierarchy.resampling import mean_of
from brainmap.hierarchy.t_max_and_onset import peak_window_time

TIMES = np.round(np.arange(-0.05, 0.6, 0.05), 3)
LAYERS, WIDTH, FOLDS, BATCH = 6, 6, 5, 50
DEPTH = np.linspace(0.0, 1.0, LAYERS)
ALPHAS = (3.0, 30.0, 300.0, 3000.0)
ORDER = 0.2 + 0.2 * DEPTH
WEAK = np.linspace(0.2, 1.0, LAYERS)
# What differs from 3 subjects, 200 photographs, normal noise, neighbouring layers that correlate by .7.
CELLS: dict[str, dict[str, Any]] = {
    "1 subject": {"subjects": 1, "height": 0.8},
    "2 subjects": {"subjects": 2},
    "3 subjects": {},
    "4 subjects": {"subjects": 4},
    "8 subjects": {"subjects": 8},
    "3 subjects, heavy-tailed noise (t with 3 degrees of freedom)": {"noise": "heavy"},
    "3 subjects, noise differs from photograph to photograph": {"noise": "uneven"},
    "3 subjects, noise drifts through the session": {"noise": "session"},
    "8 subjects, heavy-tailed noise": {"subjects": 8, "noise": "heavy"},
    "8 subjects, noise drifts through the session": {"subjects": 8, "noise": "session"},
    "3 subjects, 60 photographs": {"images": 60, "height": 1.0},
    "3 subjects, 600 photographs": {"images": 600},
    "3 subjects, neighbouring layers correlate by .95": {"neighbours": 0.95},
    "4 subjects, early layers and gradients predict little": {"subjects": 4, "strength": WEAK},
    "8 subjects, early layers and gradients predict little": {"subjects": 8, "strength": WEAK},
    "8 subjects who share responses that no layer explains": {"subjects": 8, "shared": 0.4},
}
ORDERED = ("1 subject", "3 subjects", "8 subjects", "3 subjects, 60 photographs", "3 subjects, 600 photographs")


def smooth(noise: np.ndarray, rho: float, axis: int) -> np.ndarray:
    """Autocorrelate white noise along an axis, in place."""
    noise = np.moveaxis(noise, axis, 0)
    for step in range(1, len(noise)):
        noise[step] = rho * noise[step - 1] + np.sqrt(1 - rho**2) * noise[step]
    return np.moveaxis(noise, 0, axis)


def noise_of(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Unit noise (studies, images, subjects, times) of one kind, smooth in time."""
    white = rng.standard_t(3, shape) / np.sqrt(3) if kind == "heavy" else rng.standard_normal(shape)
    noise = smooth(white, 0.6, 3)
    if kind == "uneven":
        noise *= np.exp(0.8 * rng.standard_normal((*shape[:2], 1, 1)) - 0.64)
    if kind == "session":
        noise = np.sqrt(0.5) * (noise + smooth(smooth(rng.standard_normal(shape), 0.95, 1), 0.6, 3))
    return noise


def studies(
    rng: np.random.Generator,
    *,
    n: int = BATCH,
    images: int = 200,
    subjects: int = 3,
    neighbours: float = 0.7,
    noise: str = "normal",
    shared: float = 0.0,
    height: float = 0.5,
    strength: np.ndarray | float = 1.0,
    peaks: tuple[Any, Any] = (0.3, 0.3),
) -> np.ndarray:
    """Scores of n studies, (n, signal, subject, fold, layer, time); signals are activations and gradients."""
    shape = (n, LAYERS, images, WIDTH)
    activations = smooth(rng.standard_normal(shape), neighbours, 1)
    other = smooth(rng.standard_normal(shape), neighbours, 1)
    signals = [activations, 0.5 * activations + np.sqrt(0.75) * other]
    y = noise_of(rng, noise, (n, images, subjects, len(TIMES)))
    if shared:
        y = np.sqrt(1 - shared) * y + np.sqrt(shared) * noise_of(rng, noise, (n, images, 1, len(TIMES)))
    sizes = [np.broadcast_to(strength, LAYERS), np.full(LAYERS, float(np.min(strength)))]
    for features, size, peak in zip(signals, sizes, peaks, strict=True):
        course = np.exp(-0.5 * ((TIMES - np.broadcast_to(peak, LAYERS)[:, None]) / 0.1) ** 2)
        weights = rng.standard_normal((n, LAYERS, WIDTH, subjects)) / np.sqrt(WIDTH * LAYERS)
        y += height * np.einsum("blis,lt->bist", features @ weights, size[:, None] * course, optimize=True)
    flat = y.reshape(n, images, -1)
    scores = [encode(x, flat).reshape(n, LAYERS, FOLDS, subjects, -1) for x in signals]
    return np.stack(scores, axis=1).transpose(0, 1, 4, 3, 2, 5)


def encode(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Held-out r of ridge in every fold, (studies, layers, folds, targets), from features and responses by study."""
    n, fold = x.shape[2], np.arange(x.shape[2]) % FOLDS
    rows = [fold == k for k in range(FOLDS)]
    sums = [(x[:, :, k].sum(axis=2), y[:, k].sum(axis=1)) for k in rows]
    gram = [x[:, :, k].swapaxes(-1, -2) @ x[:, :, k] for k in rows]
    cross = [x[:, :, k].swapaxes(-1, -2) @ y[:, None, k] for k in rows]
    power = [(y[:, k] ** 2).sum(axis=1) for k in rows]
    whole = (sum(s[0] for s in sums), sum(s[1] for s in sums), sum(gram), sum(cross), sum(power))

    def centred(count: int, sx: Any, sy: Any, g: Any, c: Any, v: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            g - sx[..., None] * sx[..., None, :] / count,
            c - sx[..., None] * sy[:, None, None] / count,
            v - sy**2 / count,
        )

    result = []
    for k in range(FOLDS):
        own = (*sums[k], gram[k], cross[k], power[k])
        held = int(rows[k].sum())
        g, c, v = centred(n - held, *(a - b for a, b in zip(whole, own, strict=True)))
        values, vectors = np.linalg.eigh(g)
        projected = vectors.swapaxes(-1, -2) @ c
        best, weights = np.full((*projected.shape[:2], projected.shape[3]), np.inf), np.zeros_like(projected)
        for alpha in ALPHAS:
            shrunk = 1.0 / (values + alpha)
            rss = v[:, None] - np.einsum("bldp,bld->blp", projected**2, 2 * shrunk - values * shrunk**2)
            error = rss / ((n - held - 1 - (values * shrunk).sum(axis=-1)) ** 2)[..., None]
            better = error < best
            best = np.where(better, error, best)
            weights = np.where(better[:, :, None], projected * shrunk[..., None], weights)
        weights = vectors @ weights
        g, c, v = centred(held, *own)
        spread = np.maximum((weights * (g @ weights)).sum(axis=2), 1e-300) * v[:, None]
        result.append((weights * c).sum(axis=2) / np.sqrt(spread))
    return np.stack(result, axis=2)


def tested(scores: np.ndarray) -> tuple[OverUnits, OverUnits]:
    """Slope of T_max and lag of one study (signal, subject, fold, layer, time), as brainmap.hierarchy tests them."""
    unit, averaged = ("subjects", 2) if scores.shape[1] >= LEAST_SUBJECTS else ("folds", 1)
    rows = scores.mean(axis=averaged).swapaxes(0, 1)
    t_max = lambda x: peak_window_time(x, TIMES)  # noqa: E731
    slope = over_units(rows[:, 0], lambda x: slopes(t_max(x), DEPTH), unit)
    return slope, over_units(rows, lambda x: mean_of(t_max(x)[:, 1] - t_max(x)[:, 0], axis=-1), unit)


def truth_of(setting: dict[str, Any]) -> tuple[float, float]:
    """Slope and lag that very many photographs give."""
    big = setting | {"subjects": 4, "images": 4000, "n": 4}
    mean = studies(np.random.default_rng(0), **big).mean(axis=(0, 2, 3))[:, None, None]
    slope, lag = tested(np.repeat(mean, 3, axis=2))  # three equal folds
    return slope.value, lag.value


def orders_in_time(runs: int) -> Iterator[Row]:
    """False positives, power and coverage of the slope of T_max over depth and of the lag of gradients."""
    for name, setting in CELLS.items():
        for ordered in (False, True) if name in ORDERED else (False,):
            peaks = {"peaks": (ORDER, ORDER[::-1] + 0.05)} if ordered else {}
            slope_truth, lag_truth = truth_of(setting | peaks) if ordered else (0.0, 0.0)
            called: list[list[bool]] = [[], []]
            held: list[list[bool]] = [[], []]
            for batch in range(-(-runs // BATCH)):
                for study in studies(np.random.default_rng([batch, len(name), 61]), **setting | peaks):
                    for number, test in enumerate(tested(study)):
                        called[number].append(test.p <= 0.05)
                        held[number].append(test.low <= (slope_truth, lag_truth)[number] <= test.high)
            for number, what in enumerate(("slope of T_max over depth", "lag of gradients")):
                if ordered:
                    yield row(f"{what}, power", name, called[number], None)
                    yield row(f"{what}, interval", name, held[number], 0.95)
                else:
                    yield row(f"{what}, false positives", name, called[number], 0.05)


def random_maps(rng: np.random.Generator, places: np.ndarray, smoothness: float, n: int) -> np.ndarray:
    """White noise on a sphere, smoothed by a normal kernel (standard deviation in rad), (n, n_places)."""
    if smoothness == 0:
        return rng.standard_normal((n, len(places)))
    number = np.arange(8000)
    height, turn = 1 - (2 * number + 1) / 8000, np.pi * (1 + np.sqrt(5)) * number
    dense = np.column_stack([np.cos(turn), np.sin(turn)]) * np.sqrt(1 - height[:, None] ** 2)
    angle = np.arccos(np.clip(places @ np.column_stack([dense, height]).T, -1, 1))
    kernel = np.exp(-0.5 * (angle / smoothness) ** 2)
    values, vectors = np.linalg.eigh(kernel @ kernel.T)
    return (rng.standard_normal((n, len(places))) * np.sqrt(np.maximum(values, 0))) @ vectors.T


def areas_of_a_hemisphere() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names of the areas of the left hemisphere, places on the unit sphere, and distances from V1 (mm)."""
    from brainmap.hierarchy import cortex_areas

    cortex = cortex_areas().query("hemisphere == 'L'")
    sphere = cortex[["sphere_x", "sphere_y", "sphere_z"]].to_numpy(dtype=float)
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    return cortex["roi"].to_numpy(dtype=str), sphere, cortex["distance_mm"].to_numpy(dtype=float)


def orders_in_space(runs: int) -> Iterator[Row]:
    """False positives and power of correlations with distance from V1, against random maps and by plain t."""
    from scipy import stats

    from brainmap.hierarchy.surrogate_maps import SurrogateMaps

    _, sphere, away = areas_of_a_hemisphere()
    near = np.argsort(away)
    for where, n in [("whole cortex", k) for k in (15, 30, 50, 60, 180)] + [("around V1", k) for k in (15, 30, 50, 60)]:
        rng = np.random.default_rng([n, 62])
        at = near[:n] if where == "around V1" else np.append(near[0], rng.choice(near[1:], n - 1, replace=False))
        null = SurrogateMaps(away[at], sphere[at])
        for smoothness in (0.0, 0.15, 0.3, 0.6, 1.2):
            maps = random_maps(rng, sphere[at], smoothness, runs)
            found = [null.test(values) for values in maps]
            condition = f"{n} areas {where}, smoothness {smoothness:g} rad"
            yield row("order in space, false positives", condition, [one.p <= 0.05 for one in found], 0.05)
            if smoothness in (0.0, 0.3):
                r = np.array([one.r for one in found])
                plain = 2 * stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2)
                yield row("order in space, areas taken for independent", f"{condition}, not used", plain <= 0.05, None)
                trend = (away[at] - away[at].mean()) / away[at].std()
                own = maps[: runs // 4] / maps.std()
                power = [null.test(0.8 * trend + 0.6 * values).p <= 0.05 for values in own]
                yield row("order in space, power (true r .8)", condition, power, None)


PARTS = (orders_in_time, orders_in_space)
