"""The complex steerable pyramid that Gabor energy and texture statistics are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.fft import fft2, ifft2

from brainmap.common.errors import InputError
from brainmap.common.progress import track

if TYPE_CHECKING:
    from brainmap.stimuli import StimulusSet

LUMA = np.array([0.2126, 0.7152, 0.0722])
"""Weights of linear R, G and B in luminance (ITU-R BT.709)."""


@dataclass(frozen=True)
class SteerablePyramid:
    """Size of an analysis by a complex steerable pyramid.

    Attributes
    ----------
    size : int
        Side of the analysed image in pixels; photographs are brought to it, whatever their aspect.
    scales : int
        Octave bands; the finest is centred on ``size`` / 4 cycles per image, each next one on half of that.
    orientations : int
        Orientations between 0° and 180°.
    """

    size: int = 128
    scales: int = 5
    orientations: int = 8

    def of_photographs(
        self, stimuli: StimulusSet, what: str, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Apply a measure to the luminance of every photograph.

        Parameters
        ----------
        stimuli : StimulusSet
            The photographs.
        what : str
            Name of the measure, for the progress bar.
        measure : callable
            From luminance (size, size) and filters (scales, orientations, size, size) to features (d,).

        Returns
        -------
        numpy.ndarray of float32, (images, d)

        Raises
        ------
        InputError
            If there are more scales than the image has octaves.
        """
        filters = steerable_filters(self.size, self.scales, self.orientations)
        images = track(stimuli, what, total=len(stimuli), unit="images")
        rows = [measure(photograph_luminance(image, self.size), filters) for image in images]
        return np.stack(rows).astype(np.float32)


V1 = SteerablePyramid()
"""Of Gabor energy: fine orientations, and five octaves."""

V2 = SteerablePyramid(scales=4, orientations=4)
"""Of texture statistics, whose number grows with the square of the orientations; that of Portilla & Simoncelli 2000."""


@functools.lru_cache(maxsize=4)
def steerable_filters(size: int, scales: int, orientations: int) -> np.ndarray:
    """Transfer functions of the complex steerable pyramid.

    Parameters
    ----------
    size : int
        Side of the image in pixels.
    scales, orientations : int
        As in :class:`SteerablePyramid`.

    Returns
    -------
    numpy.ndarray of float64, (scales, orientations, size, size)
        In the frequency order of ``numpy.fft.fft2``. With both halves of the plane, Σ |H|² is 1 from the centre of the
        coarsest band to that of the finest. Orientation k responds best to wave vectors at k · 180° / orientations.
    """
    if scales < 1 or orientations < 2 or size / 4 / 2 ** (scales - 1) < 1:
        raise InputError(
            f"{scales} scales and {orientations} orientations do not fit an image of {size} px; "
            f"use at most {int(np.log2(max(size / 4, 1))) + 1} scales and at least 2 orientations."
        )
    frequency_y, frequency_x = np.meshgrid(np.fft.fftfreq(size) * size, np.fft.fftfreq(size) * size, indexing="ij")
    radius, angle = np.hypot(frequency_x, frequency_y), np.arctan2(frequency_y, frequency_x)
    octave = np.log2(np.where(radius > 0, radius, 1e-9))
    order = orientations - 1
    # Σ_k cos²ᵒ(θ − kπ/K) is constant over θ; dividing by it makes the orientations a partition of unity.
    gain = np.sqrt(sum(np.cos(k * np.pi / orientations) ** (2 * order) for k in range(orientations)))
    filters = np.zeros((scales, orientations, size, size))
    for scale in range(scales):
        distance = np.abs(octave - (np.log2(size / 4) - scale))
        radial = np.where(distance < 1, np.cos(np.pi / 2 * np.minimum(distance, 1)), 0.0)
        for k in range(orientations):
            offset = np.angle(np.exp(1j * (angle - k * np.pi / orientations)))
            one_sided = np.where(np.abs(offset) < np.pi / 2, np.abs(np.cos(offset)) ** order, 0.0)
            filters[scale, k] = radial * one_sided / gain
    filters.setflags(write=False)
    return filters


def pyramid_energy(luminance: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Energy of each scale and orientation at each pixel.

    Parameters
    ----------
    luminance : array, (size, size)
        Image.
    filters : array, (scales, orientations, size, size)
        From :func:`steerable_filters`.

    Returns
    -------
    numpy.ndarray, (scales, orientations, size, size)
        |2 · filtered image|²: the squared amplitude of a grating in the pass band.
    """
    spectrum = fft2(luminance - luminance.mean())
    return np.abs(2 * ifft2(filters * spectrum)) ** 2


def photograph_luminance(image: np.ndarray, size: int) -> np.ndarray:
    """Luminance of a photograph, gamma-compressed again: close to what early vision sees.

    Parameters
    ----------
    image : array, (h, w, 3), uint8
        sRGB.
    size : int
        Side it is brought to.

    Returns
    -------
    numpy.ndarray, (size, size)
        In [0, 1].
    """
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    encoded = np.asarray(resized, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) @ LUMA
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.clip(linear, 0, None) ** (1 / 2.4) - 0.055)
