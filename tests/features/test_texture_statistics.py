"""Texture statistics against closed forms and direct correlations."""

from __future__ import annotations

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.features.steerable_pyramid import (
    SteerablePyramid,
    photograph_luminance,
    pyramid_energy,
    steerable_filters,
)
from brainmap.features.texture_statistics import texture_statistics
from brainmap.stimuli import StimulusSet

SIZE, SCALES, ORIENTATIONS = 64, 3, 4
PYRAMID = SteerablePyramid(SIZE, SCALES, ORIENTATIONS)


def texture(image: np.ndarray, grid: int = 1) -> np.ndarray:
    return texture_statistics(StimulusSet.from_arrays([image]), grid=grid, pyramid=PYRAMID)[0]


def textured(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def test_means_and_correlations_are_those_of_the_pyramid() -> None:
    """The oracle is numpy's own corrcoef on the pyramid's amplitudes."""
    found = texture(textured())
    energy = pyramid_energy(photograph_luminance(textured(), SIZE), steerable_filters(SIZE, SCALES, ORIENTATIONS))
    amplitude = np.sqrt(energy).reshape(SCALES * ORIENTATIONS, -1)
    bands = SCALES * ORIENTATIONS
    np.testing.assert_allclose(found[:bands], amplitude.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found[bands : 2 * bands], amplitude.std(1), rtol=1e-5)
    within = [
        np.corrcoef(amplitude[s * ORIENTATIONS + a], amplitude[s * ORIENTATIONS + b])[0, 1]
        for s in range(SCALES) for a in range(ORIENTATIONS) for b in range(a + 1, ORIENTATIONS)
    ]  # fmt: skip
    across = [
        np.corrcoef(amplitude[(s + 1) * ORIENTATIONS + o], amplitude[s * ORIENTATIONS + o])[0, 1]
        for s in range(SCALES - 1) for o in range(ORIENTATIONS)
    ]  # fmt: skip
    start = 2 * bands
    np.testing.assert_allclose(found[start : start + len(within)], within, atol=1e-5)
    np.testing.assert_allclose(found[start + len(within) :][: len(across)], across, atol=1e-5)


def test_a_grating_is_uncorrelated_with_itself_a_quarter_of_a_period_on() -> None:
    x = np.arange(SIZE)
    wave = 127.5 + 100 * np.cos(2 * np.pi * (SIZE / 4) * x / SIZE)  # the finest band's own frequency: period 4 px
    image = np.repeat(np.tile(wave, (SIZE, 1))[..., None], 3, 2).astype(np.uint8)
    found = texture(image)
    shifted_x = found[-2 * SCALES * ORIENTATIONS : -SCALES * ORIENTATIONS]
    shifted_y = found[-SCALES * ORIENTATIONS :]
    assert abs(shifted_x[0]) < 0.05 and shifted_y[0] > 0.99


def test_regions_are_analysed_apart_and_nothing_gives_zeros() -> None:
    image = textured()
    image[:, SIZE // 2 :] = 128
    regions = texture(image, grid=2).reshape(4, -1)
    assert np.isfinite(regions).all()
    assert regions[0, 0] > 3 * regions[1, 0] and regions[2, 0] > 3 * regions[3, 0]
    assert not texture(np.full((SIZE, SIZE, 3), 128, np.uint8)).any()


def test_textures_differ_from_noise_of_their_spectrum() -> None:
    """Phase scrambling keeps the energies of a band over the whole image, and takes the correlations away."""
    rng = np.random.default_rng(1)
    lines = np.zeros((SIZE, SIZE))
    for place in rng.integers(0, SIZE, 6):
        lines[place] = lines[:, place] = 1.0
    spectrum = np.fft.fft2(lines - lines.mean())
    noise = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
    scrambled = np.fft.ifft2(np.abs(spectrum) * noise / np.abs(noise)).real
    pictures = [np.clip(128 + 30 * p / p.std(), 0, 255).astype(np.uint8) for p in (lines - lines.mean(), scrambled)]
    found = [texture(np.repeat(p[..., None], 3, 2)) for p in pictures]
    bands = SCALES * ORIENTATIONS
    across_scales = [f[2 * bands + SCALES * 6 :][: (SCALES - 1) * ORIENTATIONS].mean() for f in found]
    assert across_scales[0] > across_scales[1] + 0.2


def test_regions_must_be_equal() -> None:
    with pytest.raises(InputError, match="no 3 × 3 equal regions"):
        texture_statistics(StimulusSet.from_arrays([textured()]), grid=3, pyramid=PYRAMID)
