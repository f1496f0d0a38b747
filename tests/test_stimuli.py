from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainmap.common.errors import InputError, MissingFileError
from brainmap.stimuli import StimulusSet, content_id


def noise_images(count: int, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = noise_images(4)
    for name, image in zip(("b.png", "a.png", "sub/c.png", "sub/d.png"), images, strict=True):
        write_png(tmp_path / "photos" / name, image)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / "._a.png").write_bytes(b"AppleDouble")
    return tmp_path / "photos"


# -- identity ---------------------------------------------------------------------------------------------------------


def test_id_is_sha256_of_shape_and_pixels():
    image = noise_images(1)[0]
    expected = hashlib.sha256(b"8x8x3:" + image.tobytes()).hexdigest()[:16]
    assert content_id(image) == expected
    assert StimulusSet.from_arrays([image]).ids.tolist() == [expected]


def test_id_depends_on_every_pixel_and_on_the_shape_but_not_on_memory_layout():
    image = noise_images(1)[0]
    changed = image.copy()
    changed[3, 5, 1] ^= 1
    assert content_id(changed) != content_id(image)
    assert content_id(image.reshape(4, 16, 3)) != content_id(image)
    assert content_id(np.asfortranarray(image)) == content_id(image)


def test_ids_are_the_same_from_folder_zip_arrays_and_hdf5(folder: Path, tmp_path: Path):
    from_folder = StimulusSet.from_folder(folder)
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in from_folder.table["name"]:
            file.write(folder / f"{name}.png", f"{name}.png")
        file.writestr("__MACOSX/._a.png", b"AppleDouble")
    images = [from_folder.image(i) for i in range(4)]
    with h5py.File(tmp_path / "photos.hdf5", "w") as file:
        file["imgBrick"] = np.stack(images)
    others = (
        StimulusSet.from_zip(archive),
        StimulusSet.from_arrays(images),
        StimulusSet.from_hdf5(tmp_path / "photos.hdf5"),
    )
    for other in others:
        np.testing.assert_array_equal(other.ids, from_folder.ids)
        assert other.digest == from_folder.digest
    assert from_folder.table["name"].tolist() == ["a", "b", "sub/c", "sub/d"]


def test_duplicated_pixels_are_refused_naming_both_unless_allowed():
    image = noise_images(1)[0]
    table = pd.DataFrame({"name": ["first", "second"]})
    with pytest.raises(InputError, match=r"'first' and 'second' have identical pixels.*allow_duplicates"):
        _ = StimulusSet.from_arrays([image, image], table).ids
    assert len(set(StimulusSet.from_arrays([image, image], table, allow_duplicates=True).ids)) == 1


# -- access -----------------------------------------------------------------------------------------------------------


def test_table_starts_with_id_name_source_and_source_defaults_to_the_id():
    stimuli = StimulusSet.from_arrays(noise_images(3), pd.DataFrame({"caption": list("xyz"), "name": list("abc")}))
    assert stimuli.table.columns.tolist() == ["stimulus", "name", "source", "caption"]
    np.testing.assert_array_equal(stimuli.table["source"], stimuli.ids)
    np.testing.assert_array_equal(stimuli.table["stimulus"], stimuli.ids)


def test_index_of_inverts_ids_and_names_the_unknown():
    stimuli = StimulusSet.from_arrays(noise_images(5))
    np.testing.assert_array_equal(stimuli.index_of(stimuli.ids[[4, 0, 0]]), [4, 0, 0])
    with pytest.raises(InputError, match=r"'feedfacefeedface' \(entry 1\) is not among the 5 photographs"):
        stimuli.index_of([stimuli.ids[0], "feedfacefeedface"])


def test_subset_keeps_order_rows_and_pixels():
    images = noise_images(5)
    stimuli = StimulusSet.from_arrays(images, pd.DataFrame({"name": list("abcde"), "source": list("uuvvw")}))
    part = stimuli.subset([3, 1])
    np.testing.assert_array_equal(part.image(0), images[3])
    np.testing.assert_array_equal(part.ids, stimuli.ids[[3, 1]])
    assert part.table[["name", "source"]].to_numpy().tolist() == [["d", "v"], ["b", "u"]]
    by_mask = stimuli.subset(np.array([True, False, False, False, True]))
    np.testing.assert_array_equal(by_mask.ids, stimuli.ids[[0, 4]])
    assert len(part.subset([1])) == 1
    with pytest.raises(IndexError):
        part.image(2)


def test_iteration_yields_all_images():
    images = noise_images(3)
    for read, image in zip(StimulusSet.from_arrays(images), images, strict=True):
        np.testing.assert_array_equal(read, image)


def test_pixels_are_read_only_when_asked_for(folder: Path):
    stimuli = StimulusSet.from_folder(folder)
    (folder / "b.png").unlink()
    assert stimuli.image(0).shape == (8, 8, 3)


def test_zip_and_hdf5_sets_travel_to_other_processes(tmp_path: Path):
    images = noise_images(2)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        for i, image in enumerate(images):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            file.writestr(f"{i}.png", buffer.getvalue())
    with h5py.File(tmp_path / "h.hdf5", "w") as file:
        file["imgBrick"] = images
    for stimuli in (StimulusSet.from_zip(tmp_path / "z.zip"), StimulusSet.from_hdf5(tmp_path / "h.hdf5")):
        _ = stimuli.image(0)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(stimuli)).image(1), images[1])  # noqa: S301


def test_hdf5_rows_are_chosen_in_order(tmp_path: Path):
    images = noise_images(6)
    with h5py.File(tmp_path / "h.hdf5", "w") as file:
        file["imgBrick"] = images
    stimuli = StimulusSet.from_hdf5(tmp_path / "h.hdf5", rows=[4, 1])
    np.testing.assert_array_equal(stimuli.image(0), images[4])
    assert stimuli.table["name"].tolist() == ["imgBrick_00004", "imgBrick_00001"]
    with pytest.raises(InputError, match=r"Row 6 is asked for.*rows 0…5"):
        StimulusSet.from_hdf5(tmp_path / "h.hdf5", rows=[0, 6])
    with pytest.raises(InputError, match=r"no dataset 'photos'; it has \['imgBrick'\]"):
        StimulusSet.from_hdf5(tmp_path / "h.hdf5", "photos")


# -- decoding ---------------------------------------------------------------------------------------------------------


def test_grey_palette_transparent_and_rotated_files_become_upright_rgb(tmp_path: Path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    transparent = np.zeros((8, 8, 4), dtype=np.uint8)
    transparent[:, :4] = (200, 10, 20, 255)
    Image.fromarray(transparent, "RGBA").save(tmp_path / "transparent.png")
    rotated = Image.fromarray(noise_images(1)[0][:, :4])
    exif = Image.Exif()
    exif[0x0112] = 6  # camera turned by 90°
    rotated.save(tmp_path / "rotated.png", exif=exif)
    stimuli = StimulusSet.from_folder(tmp_path)
    image = dict(zip(stimuli.table["name"], stimuli, strict=True))
    np.testing.assert_array_equal(image["grey"], np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(image["transparent"][0, [0, 7]], [[200, 10, 20], [128, 128, 128]])
    np.testing.assert_array_equal(image["rotated"], np.rot90(np.asarray(rotated), k=-1))


def test_files_that_cannot_be_used_are_named(tmp_path: Path):
    buffer = io.BytesIO()
    Image.fromarray(noise_images(1, 32)[0]).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    stimuli = StimulusSet.from_folder(tmp_path)
    for i, message in enumerate((r"cut\.jpg cannot be read", r"deep\.png has pixels of mode", r"text\.jpg cannot be")):
        with pytest.raises(InputError, match=message):
            stimuli.image(i)


# -- tables -----------------------------------------------------------------------------------------------------------


def test_table_from_file_is_matched_by_name_with_or_without_suffix(folder: Path, tmp_path: Path):
    path = tmp_path / "table.tsv"
    path.write_text("name\tsource\tcaption\nsub/d\t007\tlast\na.png\t007\tn/a\nb\t08\tsecond\nsub/c.png\t08\tthird\n")
    stimuli = StimulusSet.from_folder(folder, path)
    assert stimuli.table["name"].tolist() == ["a", "b", "sub/c", "sub/d"]
    assert stimuli.table["source"].tolist() == ["007", "08", "08", "007"]
    assert stimuli.table["caption"].isna().tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"name": ["a", "b", "sub/c"]}, r"The image 'sub/d' in .* has no row in the table"),
        ({"name": ["a", "b", "sub/c", "sub/d", "e"]}, r"Row 4 of the table names 'e', which is not among the images"),
        ({"name": ["a", "a", "sub/c", "sub/d"]}, r"The name 'a' occurs twice in the stimulus table \(row 1\)"),
        ({"title": ["a", "b", "sub/c", "sub/d"]}, r"The stimulus table has no column 'name'; it has \['title'\]"),
        ({"name": ["a", None, "sub/c", "sub/d"]}, r"Row 1 of the stimulus table has no 'name'"),
        ({"name": ["a", "b", "sub/c", "sub/d"], "stimulus": 1}, r"column 'stimulus' is kept for content ids"),
    ],
)
def test_tables_that_do_not_fit_are_refused(folder: Path, rows: dict, message: str):
    with pytest.raises(InputError, match=message):
        StimulusSet.from_folder(folder, pd.DataFrame(rows))


def test_wrong_arrays_folders_and_files_are_refused(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"Image 1 is float64 of shape \(8, 8, 3\)"):
        StimulusSet.from_arrays([noise_images(1)[0], np.zeros((8, 8, 3))])
    with pytest.raises(InputError, match="The table has 1 rows for 2 images"):
        StimulusSet.from_arrays(noise_images(2), pd.DataFrame({"name": ["a"]}))
    with pytest.raises(InputError, match="There are no images"):
        StimulusSet.from_arrays([])
    with pytest.raises(MissingFileError, match=r"There is no folder .*nowhere"):
        StimulusSet.from_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image files"):
        StimulusSet.from_folder(tmp_path / "empty")
    with pytest.raises(InputError, match="is not a zip archive"):
        StimulusSet.from_zip(folder / "notes.txt")
    write_png(folder / "a.bmp", noise_images(1, seed=5)[0])
    with pytest.raises(InputError, match=r"2 files in .* share the name 'a' but for the suffix"):
        StimulusSet.from_folder(folder)
