"""Tables and arrays as labs export them: read rightly, or refused by file and row with the way out."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainmap import read_responses
from brainmap.common.errors import InputError, ReadingNote
from brainmap.data.own_recordings.subjects import read_subjects
from brainmap.stimuli import StimulusSet

SHOWN = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 4))
DATA = np.random.default_rng(1).standard_normal((12, 4))
LABELS = [["a", "b", "c"][k] for k in SHOWN]
EVENTS = "stimulus\n" + "\n".join(LABELS) + "\n"
ROI = "roi\nV1\nV2\nV3\nV4\n"
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [*"abc"]}))


def read(folder: Path, stimuli: StimulusSet, events: str | bytes = EVENTS, targets: str = ROI, data=DATA, **options):
    (folder / "e.tsv").write_bytes(events if isinstance(events, bytes) else events.encode())
    (folder / "t.tsv").write_text(targets)
    return read_responses(data, folder / "t.tsv", folder / "e.tsv", stimuli, **options)


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        (EVENTS.replace("stimulus", "stimulus|run").replace("\n", "|1\n").replace("run|1", "run"),
         r"no column 'stimulus'; it has \['stimulus\|run'\] \(separated by '\|'\? save it with tabs"),
        ("stimulus run\n" + "\n".join(f"{label} 1" for label in LABELS), r"separated by ' '\?"),
        ("stimulus\n" + "\n".join([*LABELS[:6], "stimulus", *LABELS[6:]]), r"Row 6 of .*e\.tsv repeats the header"),
        ("a\n" + "\n".join(LABELS), r"repeats the header; .* or has it no header line"),
        ("stimulus\t" + "\t".join(LABELS) + "\n", r"two columns .* \(or is the table transposed\?"),
        ("stimulus\n", r"e\.tsv has no rows below its header"),
        ("<!DOCTYPE html>\n<html></html>", r"e\.tsv is a web page, not a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, stimuli, events, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, stimuli, events)
    assert "\n" not in str(caught.value)


def test_compressed_tables_need_no_suffix_and_words_for_nothing_are_catch_trials(tmp_path: Path, stimuli):
    np.testing.assert_allclose(read(tmp_path, stimuli, gzip.compress(EVENTS.encode())).block(), DATA, rtol=1e-6)
    labels = [*LABELS]
    labels[2], labels[5] = "NaN", "NA"
    with pytest.warns(ReadingNote, match="2 of 12 trials .* show no photograph"):
        responses = read(tmp_path, stimuli, "stimulus\n" + "\n".join(labels))
    np.testing.assert_allclose(responses.block(), np.delete(DATA, [2, 5], axis=0), rtol=1e-6)


@pytest.mark.parametrize("step", [10, 100])
@pytest.mark.parametrize("name", ["time", "time_s", "time_ms", "latency"])
def test_whole_numbers_as_times_need_their_unit(tmp_path: Path, stimuli, step, name):
    targets = f"sensor\t{name}\n" + "".join(f"S{s}\t{step * t}\n" for s in range(2) for t in range(2))
    if name == "time_ms" or (name == "time_s" and step == 10):
        times = read(tmp_path, stimuli, targets=targets).targets["time"]
        assert times.tolist() == pytest.approx([0, step * (1e-3 if name == "time_ms" else 1)] * 2)
        return
    with pytest.raises(InputError, match=r"seconds(, not milliseconds| or milliseconds; call the column 'time_s')"):
        read(tmp_path, stimuli, targets=targets)


@pytest.mark.parametrize("names", [("sub-01", "1"), ("01", "1"), ("S1", "s1")])
def test_names_that_may_be_one_subject_are_refused(tmp_path: Path, stimuli, names):
    events = pd.DataFrame({"stimulus": LABELS, "subject": [names[0]] * 6 + [names[1]] * 6})
    targets = pd.DataFrame({"roi": [*"wxyz"]})
    with pytest.raises(InputError, match=rf"the subjects '{names[0]}' and '{names[1]}', which may be one"):
        read_subjects(DATA, targets, events, stimuli)


def test_numbers_as_text_in_every_dialect(tmp_path: Path, stimuli):
    whole = np.random.default_rng(2).integers(0, 3, (12, 4))
    whole[:2] = 1  # equal numbers in the first line, and a line twice
    frame = pd.DataFrame(whole)
    files = {"blanks.txt": None, "comma.csv": {"sep": ","}, "semicolon.csv": {"sep": ";", "decimal": ","}}
    for name, how in files.items():
        for values in (whole, DATA):
            file = tmp_path / name
            if how is None:
                np.savetxt(file, values)
            else:
                frame = pd.DataFrame(values)
                frame.to_csv(file, index=False, header=False, **how)
            np.testing.assert_allclose(read(tmp_path, stimuli, data=file).block(), values, rtol=1e-5)
    (tmp_path / "ragged.txt").write_text("1 2 3 4\n1 2 3\n")
    with pytest.raises(InputError, match=r"Line 2 of .*ragged\.txt has 3 numbers, the first 4"):
        read(tmp_path, stimuli, data=tmp_path / "ragged.txt")


def test_values_beyond_all_others_are_named(tmp_path: Path, stimuli):
    data = DATA.copy()
    data[3, 2] = 1e20
    with pytest.warns(ReadingNote, match=r"1e\+20 \(row 3, area V3.* is more than a million times the usual size"):
        read(tmp_path, stimuli, data=data)
    records = np.array([tuple(row) for row in DATA], dtype=[(name, "f4") for name in "wxyz"])
    with pytest.raises(InputError, match="are records with the fields w, x, y, z"):
        read(tmp_path, stimuli, data=records)


@pytest.mark.parametrize("name", ["r.npy", "r.mat", "r.h5", "r.nii.gz", "r-epo.fif", "r.csv"])
def test_pointers_and_empty_files_are_named_in_every_format(tmp_path: Path, stimuli, name):
    for content, sentence in ((b"version https://git-lfs.github.com/spec/v1\n", "pointer of git-annex or git-lfs"),
                              (b"", "empty"), (b"<!DOCTYPE html>", "web page")):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name} is (a )?{sentence}"):
            read(tmp_path, stimuli, data=tmp_path / name)


@pytest.mark.parametrize("orientation", ["LAS", "LPI", "PIR"])
def test_an_atlas_stored_in_another_direction_is_the_same_atlas(tmp_path: Path, stimuli, orientation):
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    affine, labels = np.diag([2.0, 2, 2, 1]), np.array([[[0, 3]], [[1, 2]], [[4, 0]]], np.int16)
    volumes = np.random.default_rng(3).standard_normal((*labels.shape, 12)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volumes, affine), tmp_path / "b.nii.gz")
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    turned = apply_orientation(labels, turn), affine @ inv_ornt_aff(turn, labels.shape)
    nibabel.save(nibabel.Nifti1Image(*turned), tmp_path / "a.nii.gz")
    (tmp_path / "e.tsv").write_text(EVENTS)
    for resample in (False, True):
        responses = read_responses(
            tmp_path / "b.nii.gz", None, tmp_path / "e.tsv", stimuli, atlas=tmp_path / "a.nii.gz", resample=resample
        )
        assert responses.targets["roi"].tolist() == ["3", "1", "2", "4"]
        np.testing.assert_array_equal(responses.block(), volumes[labels > 0].T)
