from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.features import control_spaces, steerable_pyramid
from brainmap.features.texture_statistics import texture_statistics
from brainmap.stimuli import StimulusSet


def grating(cycles: float, degrees: float, phase: float = 0.0, contrast: float = 1.0, size: int = 128) -> np.ndarray:
    """Luminance grating with its wave vector at ``degrees``, in [0, 1]."""
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    angle = np.deg2rad(degrees)
    wave = 2 * np.pi * cycles / size * (x * np.cos(angle) + y * np.sin(angle)) + phase
    return 0.5 + 0.5 * contrast * np.cos(wave)


def as_image(luminance: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(luminance * 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture
def stimuli() -> StimulusSet:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size=(40 + 8 * i, 64, 3), dtype=np.uint8) for i in range(5)]
    table = pd.DataFrame({"name": list("abcde"), "category": ["dog", "cat", "dog", "ant", "cat"]})
    return StimulusSet.from_arrays(images, table)


def test_pixels_are_block_means_of_the_photograph() -> None:
    image = np.random.default_rng(1).integers(0, 256, size=(64, 96, 3), dtype=np.uint8)
    found = control_spaces.pixels(StimulusSet.from_arrays([image]), side=8)
    oracle = image.reshape(8, 8, 8, 12, 3).mean(axis=(1, 3)).ravel() / 255
    assert found.shape == (1, 192)
    np.testing.assert_allclose(found[0], oracle, atol=1.01 / 255)  # Pillow rounds to whole grey levels


def test_pyramid_filters_are_a_partition_of_unity() -> None:
    filters = steerable_pyramid.steerable_filters(64, 4, 6)
    power = (filters**2).sum(axis=(0, 1))
    reversed_power = np.roll(power[::-1, ::-1], 1, axis=(0, 1))  # frequency −f at the place of f
    frequency = np.fft.fftfreq(64) * 64
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    passed = (radius >= 2) & (radius <= 16)
    np.testing.assert_allclose((power + reversed_power)[passed], 1.0, atol=1e-12)
    assert power[0, 0] == 0  # blind to the mean


@pytest.mark.parametrize("phase", [0.0, 0.7, np.pi / 2])
def test_energy_of_a_grating_is_its_squared_amplitude_whatever_its_phase(phase: float) -> None:
    filters = steerable_pyramid.steerable_filters(128, 5, 8)
    energy = steerable_pyramid.pyramid_energy(grating(16, 0, phase, contrast=0.6), filters)
    # 16 cycles is the centre of band 1: the orientations share cos²ᵒ of their angles.
    shares = np.abs(np.cos(np.arange(8) * np.pi / 8)) ** 14
    np.testing.assert_allclose(energy[1, :].mean(axis=(1, 2)), 0.3**2 * shares / shares.sum(), atol=1e-12)
    np.testing.assert_allclose(energy[[0, 2, 3, 4]].max(), 0, atol=1e-20)
    np.testing.assert_allclose(energy[1, 0], energy[1, 0, 0, 0], rtol=1e-9)  # the same everywhere


@pytest.mark.parametrize(("cycles", "scale"), [(32, 0), (16, 1), (8, 2), (4, 3)])
@pytest.mark.parametrize("orientation", [0, 2, 4, 6])
def test_gabor_energy_peaks_at_the_scale_and_orientation_of_a_grating(
    cycles: int, scale: int, orientation: int
) -> None:
    degrees = orientation * 22.5
    # Whole numbers of cycles along both axes, so that the image has no edges where it wraps around.
    step = np.round(cycles * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]))
    luminance = grating(float(np.hypot(*step)), float(np.rad2deg(np.arctan2(step[1], step[0]))))
    found = control_spaces.gabor_energy(StimulusSet.from_arrays([as_image(luminance)]))[0]
    cells = [8, 8, 8, 4, 2]
    splits = np.cumsum([count**2 * 8 for count in cells])[:-1]
    responses = np.stack([part.reshape(-1, 8).mean(axis=0) for part in np.split(found, splits)])
    assert np.unravel_index(responses.argmax(), responses.shape) == (scale, orientation)


def test_gabor_energy_is_nearly_invariant_to_contrast_and_finite_without_any() -> None:
    images = [as_image(grating(8, 0, contrast=c)) for c in (1.0, 0.5)] + [np.full((128, 128, 3), 90, np.uint8)]
    found = control_spaces.gabor_energy(StimulusSet.from_arrays(images))
    assert found.shape == (3, (3 * 64 + 16 + 4) * 8)
    assert np.linalg.norm(found[0] - found[1]) < 0.05 * np.linalg.norm(found[0])  # energies differ by a factor of 4
    assert np.isfinite(found).all() and np.abs(found[2]).max() < 1e-6


def test_gabor_energy_says_which_scales_fit() -> None:
    image = StimulusSet.from_arrays([np.zeros((32, 32, 3), np.uint8)])
    with pytest.raises(InputError, match="at most 4 scales"):
        control_spaces.gabor_energy(image, pyramid=steerable_pyramid.SteerablePyramid(size=32, scales=5))


def test_category_one_hot(stimuli: StimulusSet) -> None:
    found = control_spaces.category_one_hot(stimuli)
    np.testing.assert_array_equal(found, [[0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]])


def test_category_names_what_is_missing(stimuli: StimulusSet) -> None:
    with pytest.raises(InputError, match="no column 'kind'"):
        control_spaces.category_one_hot(stimuli, column="kind")
    table = pd.DataFrame({"name": list("abcde"), "category": ["dog", None, "dog", "ant", "cat"]})
    gap = StimulusSet.from_arrays(list(stimuli), table)
    with pytest.raises(InputError, match=r"Image 'b' \(row 1\)"):
        control_spaces.category_one_hot(gap)
    assert "category" not in control_spaces.control_spaces(gap)


def test_gradient_controls_and_the_set_of_all(stimuli: StimulusSet) -> None:
    norms = {"block.0": np.arange(5.0), "block.1": np.arange(5.0) ** 2}
    features = SimpleNamespace(losses=np.linspace(1, 2, 5), gradient_norms=norms)
    spaces = control_spaces.control_spaces(stimuli, features)
    assert tuple(spaces) == tuple(name for name in control_spaces.CONTROLS if name != "texture")
    named = control_spaces.control_spaces(stimuli, features, names=["loss", "texture", "pixels"])
    assert tuple(named) == ("pixels", "texture", "loss")
    np.testing.assert_array_equal(named["texture"], texture_statistics(stimuli))
    np.testing.assert_array_equal(spaces["gradient norm"], np.column_stack(list(norms.values())))
    np.testing.assert_allclose(spaces["loss"][:, 0], features.losses)
    np.testing.assert_array_equal(control_spaces.gradient_norms(features, ["block.1"])[:, 0], norms["block.1"])
    assert all(space.ndim == 2 and len(space) == 5 and space.dtype == np.float32 for space in spaces.values())
    with pytest.raises(InputError, match=r"layer 'block\.7'"):
        control_spaces.gradient_norms(features, ["block.7"])
    with pytest.raises(InputError, match="no gradients"):
        control_spaces.gradient_norms(SimpleNamespace(losses=None, gradient_norms={}))
    with pytest.raises(InputError, match="no losses"):
        control_spaces.losses(SimpleNamespace(losses=None, gradient_norms={}))


def test_named_controls_are_checked(stimuli: StimulusSet) -> None:
    with pytest.raises(InputError, match="no control space 'gabors'; there are pixels, gabor, texture"):
        control_spaces.control_spaces(stimuli, names=["gabors"])
    with pytest.raises(InputError, match="need features that were extracted with gradients"):
        control_spaces.control_spaces(stimuli, names="loss")
    unlabelled = StimulusSet.from_arrays(list(stimuli))
    with pytest.raises(InputError, match="no column 'category'"):
        control_spaces.check_controls(["pixels", "category"], unlabelled)


def test_spaces_of_photographs_are_computed_once_for_several_models(stimuli: StimulusSet) -> None:
    kept: dict[str, np.ndarray] = {}
    first = control_spaces.control_spaces(stimuli, kept=kept)
    again = control_spaces.control_spaces(stimuli, names=["gabor", "category"], kept=kept)
    assert list(kept) == ["pixels", "gabor", "category"]
    assert again["gabor"] is first["gabor"] and again["category"] is first["category"]
