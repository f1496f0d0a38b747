"""GIFTI files that unpack to gigabytes, or read other people's files."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest

from brainmap.common.errors import InputError
from brainmap.common.storage.unpacked import LIMIT
from brainmap.data.recordings.brain_images import gifti_series, load_image

ENCODINGS = {"gzip": "GZipBase64Binary", "plain": "Base64Binary", "external": "ExternalFileBinary", "text": "ASCII"}


def gifti(
    path: Path, data: bytes, n: int, *, encoding: str = "gzip", external: str = "", head: str = "", n_arrays: int = 1
) -> Path:
    """Write a file of arrays that each say to hold ``n`` float32 numbers."""
    array = (
        f'<DataArray Intent="NIFTI_INTENT_NONE" DataType="NIFTI_TYPE_FLOAT32" ArrayIndexingOrder="RowMajorOrder" '
        f'Dimensionality="1" Dim0="{n}" Encoding="{ENCODINGS[encoding]}" Endian="LittleEndian" '
        f'ExternalFileName="{external}" ExternalFileOffset="0"><MetaData/><Data>{data.decode()}</Data></DataArray>'
    )
    start = f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<GIFTI Version="1.0" NumberOfDataArrays="{n_arrays}">'
    path.write_text(f"{start}<MetaData/><LabelTable/>{array * n_arrays}</GIFTI>")
    return path


def packed(values: bytes) -> bytes:
    return base64.b64encode(zlib.compress(values, 9))


def test_arrays_that_explode_are_refused_with_the_option_that_lifts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "1000000")
    for n_bytes, said, n_arrays in ((4_000_000, 1_000_000, 1), (400_000, 100_000, 4)):
        bomb = gifti(tmp_path / "bomb.func.gii", packed(bytes(n_bytes)), said, n_arrays=n_arrays)
        with pytest.raises(InputError, match=rf"bomb\.func\.gii holds .* {LIMIT}="):
            load_image(bomb)
    with pytest.raises(InputError, match="holds more numbers than it says"):
        load_image(gifti(tmp_path / "bomb.func.gii", packed(bytes(4_000_000)), 3))
    monkeypatch.setenv(LIMIT, "100000000")
    fits = gifti(tmp_path / "fits.func.gii", packed(bytes(400_000)), 100_000, n_arrays=4)
    assert gifti_series(fits).shape == (4, 100_000)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.bin", "link/secret.bin"])
def test_numbers_of_other_folders_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.bin").write_bytes(np.ones(4, np.float32).tobytes())
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"stay inside|leads out"):
        load_image(gifti(folder / "x.func.gii", b"", 4, encoding="external", external=name))
    (folder / "beside.bin").write_bytes(np.ones(4, np.float32).tobytes())
    beside = gifti(folder / "x.func.gii", b"", 4, encoding="external", external="beside.bin")
    np.testing.assert_array_equal(gifti_series(beside), np.ones((1, 4)))


def test_words_of_its_own_and_broken_xml_are_one_sentence(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    head = f'<!DOCTYPE GIFTI [<!ENTITY l0 "ha">{laughs}]>'
    with pytest.raises(InputError, match="words of its own"):
        load_image(gifti(tmp_path / "laughs.func.gii", b"&l9;", 4, encoding="text", head=head))
    sound = gifti(tmp_path / "sound.func.gii", packed(np.ones(4, np.float32).tobytes()), 4).read_bytes()
    for content in (sound[:300], sound.replace(b"Dim0", b"Dim9"), sound[:-60]):
        (tmp_path / "broken.func.gii").write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.func\.gii"):
            gifti_series(tmp_path / "broken.func.gii")
