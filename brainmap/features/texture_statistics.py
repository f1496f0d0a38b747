"""Texture statistics of photographs: what a V2-like model adds to local energies, their correlations.

A feature space like pixels and Gabor energy: a baseline that a network's layers must beat in early and middle cortex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import fft2, ifft2

from brainmap.common.errors import InputError
from brainmap.features.steerable_pyramid import V2, SteerablePyramid

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet


def texture_statistics(stimuli: StimulusSet, *, pyramid: SteerablePyramid = V2, grid: int = 2) -> np.ndarray:
    """Compute second-order statistics of a complex steerable pyramid in large, V2-like regions.

    Parameters
    ----------
    stimuli : StimulusSet
        The photographs.
    pyramid : SteerablePyramid
        Size of the analysed image, number of scales and orientations.
    grid : int
        Statistics are taken in ``grid`` × ``grid`` regions; the image's size is a multiple of it.

    Returns
    -------
    numpy.ndarray of float32, (images, features)
        Region by region (row by row): the mean amplitude of every band, its standard deviation over the region,
        correlations of amplitudes of different orientations at a scale, of amplitudes of an orientation at adjacent
        scales, and of the filtered image with itself shifted by a quarter of the band's wavelength along x and y.

    Raises
    ------
    InputError
        If the size is no multiple of the grid, or there are more scales than the image has octaves.

    Notes
    -----
    The families of statistics are those of Portilla & Simoncelli [1]_, by which V2, unlike V1, tells textures from
    noise of the same spectrum [2]_. Correlations are Pearson's over the positions of a region; where an amplitude is
    constant (nothing there) they are 0.

    References
    ----------
    .. [1] Portilla & Simoncelli 2000, *A parametric texture model based on joint statistics of complex wavelet
       coefficients*.
    .. [2] Freeman, Ziemba, Heeger, Simoncelli & Movshon 2013, *A functional and perceptual signature of the second
       visual area in primates*.
    """
    if grid < 1 or pyramid.size % grid:
        raise InputError(
            f"A size of {pyramid.size} px has no {grid} × {grid} equal regions; use a multiple of the grid."
        )
    return pyramid.of_photographs(
        stimuli, "texture statistics", lambda luminance, filters: _statistics(luminance, filters, grid)
    )


def _statistics(luminance: np.ndarray, filters: np.ndarray, grid: int) -> np.ndarray:
    bands = 2 * ifft2(filters * fft2(luminance - luminance.mean()))  # one-sided filters: complex, amplitude = modulus
    scales = bands.shape[0]
    amplitude, filtered = _regions(np.abs(bands), grid), _regions(bands.real, grid)
    parts = [amplitude.mean(-1).reshape(-1, grid * grid), amplitude.std(-1).reshape(-1, grid * grid)]
    first, second = np.triu_indices(bands.shape[1], 1)
    parts.append(_correlation(amplitude[:, first], amplitude[:, second]).reshape(-1, grid * grid))
    if scales > 1:
        parts.append(_correlation(amplitude[1:], amplitude[:-1]).reshape(-1, grid * grid))
    for axis in (-1, -2):
        shifted = [np.roll(bands[scale].real, max(1, 2**scale), axis) for scale in range(scales)]  # wavelength 4 · 2ˢ
        parts.append(_correlation(filtered, _regions(np.stack(shifted), grid)).reshape(-1, grid * grid))
    return np.concatenate(parts).T.ravel()


def _regions(maps: np.ndarray, grid: int) -> np.ndarray:
    """(…, size, size) to (…, regions, positions)."""
    side = maps.shape[-1] // grid
    blocks = maps.reshape(*maps.shape[:-2], grid, side, grid, side).swapaxes(-3, -2)
    return blocks.reshape(*maps.shape[:-2], grid * grid, side * side)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation over the last axis; 0 where one of the two does not vary."""
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    scale = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.zeros(scale.shape), where=scale > 1e-12)
