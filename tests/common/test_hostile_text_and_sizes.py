"""What a file puts into sentences and names steers nothing; what unpacks to gigabytes is refused before it does."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest

from brainmap import read_responses
from brainmap.common.blocks import read_block
from brainmap.common.errors import InputError, MissingFileError, ReadingNote
from brainmap.common.storage import unpacked
from brainmap.common.storage.file_errors import require_writable
from brainmap.common.tables import read_table
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet
from brainmap.study.run_folder import check_out

GIGABYTES = 3 * 10**9


@pytest.mark.parametrize("kind", [InputError, MissingFileError, ReadingNote])
def test_errors_show_control_characters_as_escapes(kind: type[Exception]) -> None:
    assert str(kind("a \x1b[31m red \0 area\u202e")) == "a \\x1b[31m red \\x00 area\\u202e"


def test_names_of_targets_show_control_characters_as_escapes() -> None:
    targets = pd.DataFrame(
        {"roi": ["V1\x1b[31m", "V2"], "hemisphere": "", "x": 0.0, "y": 0.0, "z": 0.0, "vertex": [0, 1]}
    )
    targets.attrs = {"file": "t.tsv"}
    responses = Responses(np.zeros((1, 2)), pd.DataFrame({"stimulus": ["a"]}), targets, "fmri", "1")
    assert responses.targets["roi"].tolist() == ["V1\\x1b[31m", "V2"]
    assert responses.targets.attrs == {"file": "t.tsv"} and targets["roi"][0] == "V1\x1b[31m"


def packed(folder: Path, form: str) -> Path:
    """A small file whose header says that it unpacks to 3 GB."""
    path = folder / form
    if form == "x.npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("betas.npy", "w") as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (4, GIGABYTES // 16)}
            np.lib.format.write_array_header_1_0(member, header)
        content = path.read_bytes()
        at = content.rindex(b"PK\x01\x02") + 24  # the size in the directory of the archive
        path.write_bytes(content[:at] + struct.pack("<I", GIGABYTES) + content[at + 4 :])
    elif form == "x.mat":
        body = zlib.compress(struct.pack("<II", 14, GIGABYTES) + bytes(1000))
        head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
        path.write_bytes(head + struct.pack("<II", 15, len(body)) + body)
    elif form in ("volume.nii.gz", "short.nii.gz"):
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_data_shape((500, 500, 700, 4) if form == "volume.nii.gz" else (50, 50, 50, 4000))
        header["magic"], header["vox_offset"] = b"n+1", 352
        noise = np.random.default_rng(0).bytes(3_000_000 if form == "volume.nii.gz" else 1000)
        path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + noise, 1))
    elif form == "x.h5":
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("betas", (4, GIGABYTES // 16), "f4", chunks=(4, GIGABYTES // 16))
            dataset.id.write_direct_chunk((0, 0), b"x")
    return path


@pytest.mark.parametrize("form", ["x.npz", "x.mat", "volume.nii.gz", "short.nii.gz", "x.h5"])
def test_bombs_are_refused_with_their_size(tmp_path: Path, form: str) -> None:
    stimuli = StimulusSet.from_arrays(
        np.random.default_rng(0).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8), pd.DataFrame({"name": [*"abcd"]})
    )
    events = pd.DataFrame({"stimulus": [*"abcd"] * (1000 if form == "short.nii.gz" else 1)})
    with pytest.raises(
        InputError, match=r"unpacked, more than .* GB.*BRAINMAP_MAX_UNPACKED|cannot hold|more than 2 GB"
    ):
        read_responses(packed(tmp_path, form), pd.DataFrame({"roi": ["a"]}), events, stimuli)


def test_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "t.tsv.gz"
    table.write_bytes(gzip.compress(b"roi\n" + b"V1\n" * 100_000))
    assert len(read_table(table)) == 100_000
    monkeypatch.setenv(unpacked.LIMIT, "1000000")
    with pytest.raises(InputError, match=r"at least 0\.00 GB when it is unpacked.*BRAINMAP_MAX_UNPACKED"):
        read_table(table)
    lying = bytearray(table.read_bytes())
    lying[-4:] = struct.pack("<I", 10)
    table.write_bytes(bytes(lying))
    with pytest.raises(InputError, match=r"when it is unpacked|cannot be unpacked"):
        read_table(table)
    monkeypatch.setenv(unpacked.LIMIT, "much")
    with pytest.raises(InputError, match="must be a number of bytes"):
        read_table(table)


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_of_memory_maps_are_copies_of_what_is_there(tmp_path: Path, order: str, monkeypatch) -> None:
    monkeypatch.setattr("brainmap.common.blocks.STRIP_BYTES", 300)
    values = np.random.default_rng(0).standard_normal((37, 23)).astype(np.float32)
    np.save(tmp_path / "x.npy", np.asarray(values, order=order))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for rows in (None, slice(3, 20), slice(30, 2, -3), [5, 1, 1, 8], np.arange(37) % 2 == 0, slice(4, 4)):
        for columns in (None, slice(3, 20), [5, 1, 1, 8], slice(20, 1, -2), slice(4, 4)):
            block = read_block(mapped, rows, columns)
            assert not isinstance(block, np.memmap)
            np.testing.assert_array_equal(block, read_block(values, rows, columns))


def test_places_that_cannot_be_written_to_are_said(tmp_path: Path) -> None:
    loop = tmp_path / "a"
    loop.symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(loop)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for place, words in (
        (loop / "run", "lead in a circle"), (tmp_path / ("x" * 300), "name is too long"),
        (tmp_path / "nowhere", "a link to what is not there"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            check_out(place)
    require_writable(tmp_path / "to" / "be" / "made", "--out")
    assert not (tmp_path / "to").exists()
    with pytest.raises(InputError, match=r"cannot be used: .*\(--out names another folder\)"):
        require_writable(Path("/proc/brainmap"), "--out")
