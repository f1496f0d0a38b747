"""How often registered hypotheses get a false word: ``python benchmarks/registered_hypotheses.py [studies]``.

Scores of simulated studies (folds that share photographs over subjects, five of them; three subjects) are judged by a
file of four hypotheses about MEG. Printed: how often any of the four words is false, with the exact (Clopper-Pearson)
99 % interval, and how often each planted effect is found.
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr
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


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
