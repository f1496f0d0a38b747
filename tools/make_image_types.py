"""Make images that aren't photographs, to train ``dino-tiny`` on: phase-scrambled photographs, and dead leaves.

    python tools/make_image_types.py photographs.zip scrambled.zip --kind scrambled
    python tools/make_image_types.py photographs.zip leaves.zip --kind leaves

Both zips hold as many images as the photographs, of the same sizes (short side 96 px) and under the same names, so that
the same images are held out. Each image derives from (seed, its place), whatever is made before it.

*Scrambled* photographs keep the amplitude spectrum and the correlation of the colours of their photograph; the phases
are those of white noise. *Dead leaves* are discs, rectangles and triangles of random colours that cover each other,
their sizes drawn from a power law, which gives edges and occlusion without objects (Lee, Mumford & Huang, 2001).
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHORT_SIDE = 96
LEAVES = 250  # shapes an image; the smallest are drawn last
RADII = (3.0, 64.0)  # px of an image of short side 96
SUPERSAMPLED = 2


def photograph_at(archive: zipfile.ZipFile, name: str) -> Image.Image:
    """One photograph, scaled to the short side."""
    image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    size = (max(SHORT_SIDE, round(image.width * scale)), max(SHORT_SIDE, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def scrambled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The photograph with the phases of noise, the same shift of phase in each colour; its mean colour stays."""
    pixels = np.asarray(image, float)
    noise = np.angle(np.fft.fft2(rng.standard_normal(pixels.shape[:2])))
    noise[0, 0] = 0.0
    shifted = np.fft.fft2(pixels, axes=(0, 1)) * np.exp(1j * noise)[..., None]
    return Image.fromarray(np.fft.ifft2(shifted, axes=(0, 1)).real.clip(0, 255).round().astype(np.uint8))


def dead_leaves(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Shapes that cover each other; radii have the density r⁻³ between the two ``RADII``."""
    low, high = (radius * SUPERSAMPLED for radius in RADII)
    canvas = Image.new("RGB", (size[0] * SUPERSAMPLED, size[1] * SUPERSAMPLED), _colour(rng))
    draw = ImageDraw.Draw(canvas)
    radii = (low**-2 - rng.random(LEAVES) * (low**-2 - high**-2)) ** -0.5
    for radius in radii:
        x, y = rng.random(2) * canvas.size
        sides = rng.choice([0, 3, 4])
        if sides == 0:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(rng))
            continue
        angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, sides, endpoint=False)
        corners = [(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]
        draw.polygon(corners, fill=_colour(rng))
    return canvas.resize(size, Image.Resampling.LANCZOS)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A random colour, mostly dull as in photographs: one brightness, each channel near it."""
    channels = rng.uniform(0, 255) + rng.normal(0, 30, 3)
    red, green, blue = (int(value) for value in channels.clip(0, 255))
    return red, green, blue


def make(photographs: Path, out: Path, kind: str, seed: int) -> None:
    """Write the zip, one image for each photograph."""
    with zipfile.ZipFile(photographs) as archive, zipfile.ZipFile(out, "w") as made:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        for place, name in enumerate(names):
            rng = np.random.default_rng([seed, place])
            image = photograph_at(archive, name)
            image = scrambled(image, rng) if kind == "scrambled" else dead_leaves(image.size, rng)
            encoded = io.BytesIO()
            image.save(encoded, "JPEG", quality=95)
            made.writestr(zipfile.ZipInfo(name), encoded.getvalue())


def main() -> None:
    """Parse the command line and make the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="zip with <class>/<image>.jpg")
    parser.add_argument("out", type=Path, help="zip to write")
    parser.add_argument("--kind", choices=("scrambled", "leaves"), required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make(arguments.photographs, arguments.out, arguments.kind, arguments.seed)


if __name__ == "__main__":
    main()
