"""How often registered hypotheses get a false word: ``python benchmarks/registered_hypotheses.py [studies]``.

Scores of simulated studies (folds that share photographs over subjects, five of them; three subjects) are judged by a
file of four hypotheses about MEG. Printed: how often any of the four words is false, with the exact (Clopper-Pearson)
99 % interval, and how often each planted effect is found. Then the same of an order in space: areas whose best layers
follow a smooth random map with a trend away from V1 of true r 0 or .3, the smallest effect of interest.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import xarray as xr
from calibration_orders import areas_of_a_hemisphere, random_maps
from scipy import stats

from brainmap.hierarchy import RegisteredHypotheses, evaluate_registered

DEPTH, TIMES = np.linspace(0, 1, 6), np.round(np.arange(-0.1, 0.8, 0.03), 3)
EFFECTS = {
    "score": ("", "positive", 0.01),
    "difference": (", minus: {signal: activation}", "negative", 0.01),
    "lag": (", minus: {signal: activation}", "positive", 0.03),
    "order in time": ("", "positive", 0.05),
}
FILE = "hypotheses:\n" + "".join(
    f"  - {{id: {name}, statement: s, effect: {name}, modality: meg, of: {{signal: gradient}}, direction: {direction}, "
    f"smallest: {smallest}{more}}}\n"
    for name, (more, direction, smallest) in EFFECTS.items()
)
WORDS = {0: {"equivalent"}, 1: {"confirmed"}, -1: {"refuted"}}
STUDIES = {  # height of gradients, their lag (s), slope of their T_max (s)
    "nothing": (0.0, 0.0, 0.28),
    "as activations": (0.1, 0.0, 0.28),
    "as activations, one moment": (0.1, None, 0.0),
    "later, weaker": (0.05, 0.08, 0.28),
    "earlier, turned": (0.1, -0.1, -0.28),
    "at the smallest effects": (0.0526, 0.03, 0.05),
}


def truth(height: float, lag: float | None, slope: float) -> dict[str, float]:
    """True effects of a planted study; mean scores over layers and the 30 moments."""
    activation, gradient = curves(0.1, 0.26, 0.28), curves(height, 0.26 + (lag or 0.0), slope)
    return {
        "score": float(gradient.mean()),
        "difference": float(gradient.mean() - activation.mean()),
        "lag": float(lag or 0.0),
        "order in time": slope,
    }


def curves(height: float, middle: float, slope: float) -> np.ndarray:
    """Mean scores (layer, time)."""
    return height * np.exp(-(((TIMES - (middle + slope * (DEPTH - 0.5))[:, None]) / 0.1) ** 2))


def study(rng: np.random.Generator, height: float, lag: float | None, slope: float) -> xr.DataArray:
    """Scores of one study, (signal, subject, layer, split, target)."""
    both = np.stack([curves(0.1, 0.26, 0.28), curves(height, 0.26 + (lag or 0.0), slope)])[:, None, :, None]
    shape = (2, 3, len(DEPTH), 5, len(TIMES))
    shared = rng.standard_normal((2, 1, 1, 5, len(TIMES)))
    values = both + 0.02 * (rng.standard_normal(shape) + shared) / np.sqrt(2)
    coords = {"depth": ("layer", DEPTH), "time": ("target", TIMES), "sensor": ("target", np.full(len(TIMES), "a"))}
    coords["signal"] = ["activation", "gradient"]
    return xr.DataArray(values, dims=("signal", "subject", "layer", "split", "target"), coords=coords)


def is_false(word: str, effect: float, smallest: float, expected: int) -> bool:
    """Whether a word contradicts the true effect."""
    if word == "equivalent":
        return abs(effect) >= smallest
    return word in ("confirmed", "refuted") and (effect == 0 or (word == "confirmed") != (np.sign(effect) == expected))


def main(n: int) -> None:
    """Print one line a kind of study."""
    registered = RegisteredHypotheses.from_text(FILE)
    for name, planted in STUDIES.items():
        effects, any_false, words = truth(*planted), 0, []
        for seed in range(n):
            table = evaluate_registered(registered, {"meg": study(np.random.default_rng([seed, 22]), *planted)})
            words.append(table["verdict"].tolist())
            any_false += any(
                is_false(row.verdict, effects[row.hypothesis], row.smallest, row.expected) for row in table.itertuples()
            )
        low, high = stats.binomtest(any_false, n).proportion_ci(0.99, "exact")
        print(f"{name}: any false word {any_false}/{n} = {any_false / n:.3f} [{low:.3f}, {high:.3f}]")
        for hypothesis, said in zip(registered.hypotheses, np.transpose(words), strict=True):
            counts = {str(word): int(k) for word, k in zip(*np.unique(said, return_counts=True), strict=True)}
            print(f"    {hypothesis.id} (true {effects[hypothesis.id]:+.3f}): {counts}")


IN_SPACE = (
    "hypotheses:\n  - {id: s, statement: s, effect: order in space, modality: fmri, of: {signal: activation}, "
    "direction: positive, smallest: 0.3}\n"
)
LAYERS = np.linspace(0, 1, 12)


def in_space(n: int) -> None:
    """Print how often an order in space gets each word, 60 and 180 areas of a hemisphere, maps rough and smooth."""
    registered = RegisteredHypotheses.from_text(IN_SPACE)
    names, sphere, away = areas_of_a_hemisphere()
    near = np.argsort(away)
    for areas, smoothness, true_r in ((k, s, r) for k in (60, 180) for s in (0.0, 0.3) for r in (0.0, 0.3)):
        rng, words = np.random.default_rng([areas, int(10 * true_r), 3]), Counter()
        for _ in range(n):
            at = np.append(near[0], rng.choice(near[1:], areas - 1, replace=False))
            trend, other = (away[at] - away[at].mean()) / away[at].std(), random_maps(rng, sphere[at], smoothness, 1)[0]
            other = (other - other.mean()) / other.std()
            best = 0.5 + 0.22 * (true_r * trend + np.sqrt(1 - true_r**2) * other)
            curves = 0.1 * np.exp(-(((LAYERS[:, None] - best) / 0.25) ** 2))
            values = curves[:, None] + 0.01 * rng.standard_normal((1, 3, len(LAYERS), 5, areas))
            coords = {"depth": ("layer", LAYERS), "roi": ("target", names[at]), "signal": ["activation"]}
            coords |= {"hemisphere": ("target", np.full(areas, "L")), "x": ("target", away[at])}
            coords |= {name: ("target", np.zeros(areas)) for name in "yz"}
            scores = xr.DataArray(values, dims=("signal", "subject", "layer", "split", "target"), coords=coords)
            words[str(evaluate_registered(registered, {"fmri": scores})["verdict"][0])] += 1
        print(
            f"order in space, {areas} areas, smoothness {smoothness:g} rad, true r {true_r:g}: {dict(words)}",
            flush=True,
        )


if __name__ == "__main__":
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    main(studies)
    in_space(studies // 5)
