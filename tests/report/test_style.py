"""Colours mean the same everywhere and can be told apart; the style leaves no trace."""

from __future__ import annotations

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from brainmap.report.figures import colors_and_type
from brainmap.report.words import p_and_numbers

# Machado, Oliveira & Fernandes 2009, severity 1.0, applied to linear RGB.
DEFICIENCIES = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(rgb: np.ndarray, deficiency: str = "normal") -> np.ndarray:
    """CIELAB (D65) of sRGB colours as seen with a colour-vision deficiency."""
    rgb = np.atleast_2d(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.asarray(DEFICIENCIES[deficiency]).T, 0, 1)
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 216 / 24389))
    return np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_signals_can_be_told_apart(deficiency):
    for first, second in combinations(("activation", "gradient", "residual"), 2):
        pair = [lab(np.array(to_rgb(colors_and_type.signal_color(name))), deficiency) for name in (first, second)]
        assert np.linalg.norm(pair[0] - pair[1]) > 18, (first, second)


@pytest.mark.parametrize("signal", ["activation", "gradient", "residual", "ceiling"])
def test_signal_maps_darken_steadily_in_their_hue(signal):
    colors = colors_and_type.signal_cmap(signal)(np.linspace(0, 1, 101))[:, :3]
    lightness = lab(colors)[:, 0]
    steps = np.diff(lightness)
    assert (steps < 0).all()
    assert steps.min() > 3.5 * steps.mean()  # no jumps: an edge in the map must be an edge in the data
    np.testing.assert_allclose(
        np.abs(colors - to_rgb(colors_and_type.signal_color(signal))).sum(axis=1).min(), 0, atol=0.06
    )


def test_depth_map_brightens_steadily_and_stays_visible_on_white():
    lightness = lab(colors_and_type.depth_cmap()(np.linspace(0, 1, 101))[:, :3])[:, 0]
    assert (np.diff(lightness) > 0).all()
    assert lightness.max() < 86


def test_style_leaves_no_trace():
    before = dict(matplotlib.rcParams)

    @colors_and_type.styled
    def inside() -> float:
        return matplotlib.rcParams["font.size"]

    assert inside() == 8.5
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.354, 2, ".35"),
        (-0.27, 2, "−.27"),
        (1.0, 2, "1.00"),
        (-0.001, 2, ".00"),
        (0.0791, 3, ".079"),
        (np.nan, 2, "n/a"),
    ],
)
def test_scores_as_text(value, digits, text):
    assert p_and_numbers.format_score(value, digits) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p < .001"), (0.0049, "p = .005"), (0.032, "p = .03"), (0.2, "p = .20")]
)
def test_p_values_as_text(p, text):
    assert p_and_numbers.format_p(p) == text
