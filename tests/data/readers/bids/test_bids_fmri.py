"""One planted recording, written in every way people write it: read alike, or refused in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from planted_runs import (
    AFFINE,
    N_IMAGES,
    N_SCANS,
    ONSETS,
    SHAPE,
    TR,
    Dialect,
    amplitudes,
    bold,
    note,
    pictures,
    save,
    write_table,
)

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.readers import open_dataset
from brainmap.data.responses import Responses


def read(root: Path, **options: Any) -> tuple[Responses, np.ndarray]:
    """Responses, and the number of the photograph of each trial."""
    reader = open_dataset("bids-fmri", root, options=options)
    stimuli = reader.stimuli(["01"])
    responses = reader.responses("01", stimuli)
    name = dict(zip(stimuli.ids, stimuli.table["name"], strict=True))
    return responses, np.array([int(name[one][-2:]) for one in responses.trials["stimulus"]])


def correlations(responses: Responses, shown: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    truth = amplitudes(N_IMAGES).reshape(N_IMAGES, -1)[shown]
    truth = truth if kept is None else truth[:, kept.ravel()]
    values = responses.block()
    return np.array([np.corrcoef(values[:, i], truth[:, i])[0, 1] for i in range(values.shape[1])])


def one_run(root: Path, stem: str = "sub-01_task-x", *, events: pd.DataFrame | None = None, **how: Any) -> Path:
    """A raw run of all photographs in order; returns its folder."""
    pictures(root)
    table = pd.DataFrame({"onset": ONSETS, "duration": 2.0, "stim_file": [f"im{i:02d}.png" for i in range(N_IMAGES)]})
    write_table(root / f"sub-01/func/{stem}_events.tsv", table if events is None else events)
    save(root / f"sub-01/func/{stem}_bold.nii.gz", how.pop("data", bold(ONSETS, amplitudes())), **how)
    save(root / "mask.nii.gz", np.ones(SHAPE))
    return root / "sub-01/func"


DIALECTS = {
    "padding": Dialect(padding=3),
    "order of entities": Dialect(order=("sub", "run", "task")),
    "left to right": Dialect(orientation=("LAS", "LAS")),
    "one run turned": Dialect(orientation=("RAS", "LPI")),
    "axes swapped": Dialect(orientation=("PIR", "ASL")),
    "mask turned": Dialect(mask_orientation="LPI"),
    "not compressed": Dialect(extension=".nii"),
    "events in ms, stated": Dialect(in_ms=True),
    "header in ms": Dialect(header_units="msec", sidecar=False),
    "header in µs": Dialect(header_units="usec", sidecar=False),
    "byte-order mark": Dialect(table="bom"),
    "Windows line ends": Dialect(table="crlf"),
    "UTF-16": Dialect(table="utf16"),
    "acquisition": Dialect(extra={"acq": "fast"}),
    "last run written first": Dialect(last_run_first=True),
    "session": Dialect(session="pre", order=("sub", "run", "task")),
    "commas": Dialect(table="comma"),
    "semicolons": Dialect(table="semicolon"),
    "decimal commas": Dialect(table="decimal comma"),
    "quoted": Dialect(table="quoted"),
    "columns turned": Dialect(table="columns turned"),
    "capitals": Dialect(table="capitals"),
    "tab at every end": Dialect(table="trailing"),
    "paths": Dialect(names="stimuli/im{:02d}.png"),
    "Windows paths": Dialect(names="C:\\lab\\stimuli\\IM{:02d}.PNG"),
    "no suffix": Dialect(names="im{:02d}"),
    "double precision": Dialect(storage="float64"),
    "scaled integers": Dialect(storage="int16"),
    "big-endian": Dialect(storage="big-endian"),
    "NIfTI-2": Dialect(storage="NIfTI-2", extension=".nii"),
    "quaternions only": Dialect(storage="quaternions only", orientation=("LAS", "RAS")),
    "times of volumes": Dialect(volume_timing=True),
    "several at once": Dialect(
        padding=2, order=("sub", "run", "task"), orientation=("LPI", "LAS"), mask_orientation="PIR", in_ms=True,
        header_units="msec", sidecar=False, table="bom", names="IM{:02d}.PNG", storage="big-endian", session="01",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain")
    Dialect().write(root)
    return read(root, mask=root / "mask.nii.gz")


@pytest.mark.parametrize("name", DIALECTS)
def test_the_same_responses_however_the_recording_is_written(name, tmp_path, plain):
    DIALECTS[name].write(tmp_path)
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    expected, order = plain
    assert shown.tolist() == order.tolist() and responses.targets.equals(expected.targets)
    assert np.allclose(responses.block(), expected.block(), atol=5e-3 if name == "scaled integers" else 1e-3)
    kept = np.zeros(SHAPE, dtype=bool)
    kept[1:, :2] = True
    assert correlations(responses, shown, kept).min() > 0.999


@pytest.mark.parametrize("how", [{}, {"last_run_first": True}, {"padding": 2}, {"order": ("sub", "run", "task")}])
def test_runs_follow_their_numbers(tmp_path, how):
    Dialect(runs=(2, 10), **how).write(tmp_path)
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    assert [int(run) for run in responses.trials["run"]] == [2] * N_IMAGES + [10] * N_IMAGES
    assert shown.tolist() == [*np.random.default_rng(2).permutation(8), *np.random.default_rng(10).permutation(8)]


def test_onsets_that_may_count_scans_are_reported(tmp_path):
    names = [f"im{i:02d}.png" for i in range(N_IMAGES)]
    one_run(tmp_path, events=pd.DataFrame({"onset": (ONSETS / TR).astype(int), "duration": 1.0, "stim_file": names}))
    responses, _ = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    assert "they may count scans" in responses.info["findings"]["items"][0]["what"]


def test_subjects_with_like_names_are_told_apart(tmp_path):
    for name in ("1", "01"):
        one_run(tmp_path, f"sub-{name}_task-x").rename(tmp_path / f"func-{name}")
        (tmp_path / f"sub-{name}").mkdir(exist_ok=True)
        (tmp_path / f"func-{name}").rename(tmp_path / f"sub-{name}/func")
    reader = open_dataset("bids-fmri", tmp_path)
    assert reader.resolve("1") == "1" and reader.resolve("sub-01") == "01"
    with pytest.raises(InputError, match="has the subjects 01 and 1; '001' may be either"):
        reader.resolve("001")


def test_what_there_is_instead_is_named(tmp_path):
    one_run(tmp_path)
    with pytest.raises(MissingFileError, match=r"\(task things\) in .* \(there are task: x\)"):
        read(tmp_path, task="things")


def test_events_in_ms_without_a_word_are_refused(tmp_path):
    Dialect(in_ms=True).write(tmp_path)
    (tmp_path / "task-x_events.json").unlink()
    with pytest.raises(InputError, match=r"Row 0 of .* starts at 4000 s, 8 of 8 images after the end"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")


def test_derivatives_are_found_by_all_entities_of_a_run_and_several_spaces_are_asked_about(tmp_path):
    one_run(tmp_path, "sub-01_task-x_run-01")
    (tmp_path / "sub-01/func/sub-01_task-x_run-01_bold.nii.gz").unlink()
    derived = tmp_path / "derivatives/fmriprep/sub-01/func"
    other = bold(ONSETS, amplitudes()[::-1])
    for decoy in ("task-x_run-10_space-T1w", "task-xLoc_run-1_space-T1w"):
        save(derived / f"sub-01_{decoy}_desc-preproc_bold.nii.gz", other)
    save(derived / "sub-01_task-x_run-1_space-T1w_desc-preproc_bold.nii.gz", bold(ONSETS, amplitudes()))
    save(derived / "sub-01_task-x_run-1_space-T1w_desc-smooth_bold.nii.gz", other)
    note(derived / "sub-01_task-x_run-1_space-T1w_desc-preproc_bold.json", RepetitionTime=TR)
    mask = {"mask": tmp_path / "mask.nii.gz"}
    responses, shown = read(tmp_path, derivatives="derivatives/fmriprep", space="T1w", **mask)
    assert correlations(responses, shown).min() > 0.999
    found, _ = read(tmp_path, **mask)  # no raw runs, one derivative, one space of this run
    assert np.array_equal(found.block(), responses.block()) and found.info["source"] == "derivatives/fmriprep"
    save(derived / "sub-01_task-x_run-1_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz", other)
    with pytest.raises(InputError, match=r"--set space=MNI152NLin2009cAsym \(there are MNI152NLin2009cAsym, T1w\)"):
        read(tmp_path, **mask)
    with pytest.raises(MissingFileError, match=r"space T2w.*there are spaces: MNI152NLin2009cAsym, T1w"):
        read(tmp_path, space="T2w", **mask)
    read(tmp_path, space="MNI152NLin2009cAsym:res-2", **mask)


def test_versions_of_one_recording_are_asked_about_and_never_repeats(tmp_path):
    one_run(tmp_path, "sub-01_task-x_rec-a")
    folder = one_run(tmp_path, "sub-01_task-x_rec-b", data=bold(ONSETS, amplitudes()[::-1]))
    note(tmp_path / "task-x_bold.json", RepetitionTime=TR)
    with pytest.raises(InputError, match=r"several versions .*rec-a.*rec-b.*entities\.rec=a \(there are a, b\)"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz", entities={"rec": "a"})
    assert len(shown) == N_IMAGES and correlations(responses, shown).min() > 0.999
    for file in folder.glob("*rec-b*"):
        file.unlink()
    for echo in (1, 2):
        save(folder / f"sub-01_task-x_echo-{echo}_rec-a_bold.nii.gz", bold(ONSETS, amplitudes()))
    (folder / "sub-01_task-x_rec-a_bold.nii.gz").unlink()
    with pytest.raises(InputError, match=r"entities\.echo=1 \(there are 1, 2\)"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")


def test_the_repetition_time_is_that_of_the_task_and_the_slice_reference_counts(tmp_path):
    start = TR / 2
    folder = one_run(tmp_path, data=bold(ONSETS, amplitudes(), start=start), tr=1.0)
    note(tmp_path / "task-other_bold.json", RepetitionTime=3.0)
    note(tmp_path / "sub-01/sub-01_task-x_bold.json", RepetitionTime=TR)
    note(folder / "sub-01_task-x_bold.json", StartTime=start)
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    assert correlations(responses, shown).min() > 0.999
    assert "1 s, sub-01_task-x_bold.json 2 s" in responses.info["findings"]["items"][0]["what"]
    note(folder / "sub-01_task-x_bold.json", RepetitionTime=2000)
    with pytest.raises(InputError, match=r"RepetitionTime = 2000; it must be in seconds"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")


def test_masks_and_runs_on_another_grid_are_refused_or_resampled(tmp_path):
    folder = one_run(tmp_path, "sub-01_task-x_run-1")
    moved = nibabel.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE + np.array([[0, 0, 0, 60.0]] + [[0.0] * 4] * 3))
    nibabel.save(moved, tmp_path / "moved.nii.gz")
    with pytest.raises(InputError, match=r"another grid .* up to 60 mm"):
        read(tmp_path, mask=tmp_path / "moved.nii.gz")
    half = np.ones(SHAPE)
    half[0], half[1] = np.nan, 0
    save(tmp_path / "nan.nii.gz", half)
    assert read(tmp_path, mask=tmp_path / "nan.nii.gz")[0].n_targets == 2 * 9
    fine = nibabel.Nifti1Image(np.ones((8, 6, 6), np.float32), AFFINE @ np.diag([0.5, 0.5, 0.5, 1]))
    nibabel.save(fine, tmp_path / "fine.nii.gz")
    assert read(tmp_path, mask=tmp_path / "fine.nii.gz", resample=True)[0].n_targets > 0
    one_run(tmp_path, "sub-01_task-x_run-2")
    image: Any = nibabel.load(folder / "sub-01_task-x_run-2_bold.nii.gz")
    shifted = AFFINE.copy()
    shifted[0, 3] += 3
    nibabel.save(
        nibabel.Nifti1Image(image.get_fdata(), shifted, image.header), folder / "sub-01_task-x_run-2_bold.nii.gz"
    )
    with pytest.raises(InputError, match=r"run-2_bold.* another grid than the first run \(.*3 mm"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")


@pytest.mark.parametrize(
    ("durations", "sentence"),
    [([-1.0] * 8, "Row 0 .* duration '-1.0'"), ([2.0] * 7 + [None], "Row 7 .* has no duration"),
     (["long"] * 8, "Row 0 .* duration 'long'")],
)  # fmt: skip
def test_durations_that_cannot_be_modelled_are_refused_by_row(tmp_path, durations, sentence):
    names = [f"im{i:02d}.png" for i in range(N_IMAGES)]
    one_run(tmp_path, events=pd.DataFrame({"onset": ONSETS, "duration": durations, "stim_file": names}))
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")


def test_rows_that_are_not_used_do_not_matter_and_unknown_durations_are_impulses(tmp_path):
    names = [f"im{i:02d}.png" for i in range(N_IMAGES)]
    events = pd.DataFrame({"onset": ONSETS, "duration": 2.0, "stim_file": names}).astype(object)
    presses = pd.DataFrame({"onset": [9.0, None, "n/a"], "duration": [None, -1, "?"], "stim_file": None})
    one_run(tmp_path, events=pd.concat([events, presses]))
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    assert correlations(responses, shown).min() > 0.99 and responses.info["findings"]["n"] == 0
    one_run(tmp_path, events=events.assign(duration=None))
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    assert correlations(responses, shown).min() > 0.99
    assert "modelled as impulses" in responses.info["findings"]["items"][0]["done"]


@pytest.mark.parametrize("estimate", ["glm", "bold"])
def test_trials_whose_response_was_not_recorded_are_dropped_and_reported(tmp_path, estimate):
    onsets = ONSETS.copy()
    onsets[0], onsets[-2], onsets[-1] = -20, TR * N_SCANS - 4, TR * N_SCANS + 30
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "stim_file": [f"im{i:02d}.png" for i in range(8)]})
    inside = (onsets > -5) & (onsets < TR * N_SCANS)
    one_run(tmp_path, events=events, data=bold(onsets[inside], amplitudes()[inside]))
    responses, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz", estimate=estimate)
    assert shown.tolist() == [1, 2, 3, 4, 5]
    assert correlations(responses, shown).min() > (0.999 if estimate == "glm" else 0.9)
    assert {item["row"] for item in responses.info["findings"]["items"]} == {0, 6, 7}


@pytest.mark.parametrize("estimate", ["glm", "bold"])
def test_a_mean_of_zero_changes_nothing(tmp_path, estimate):
    noisy = bold(ONSETS, amplitudes()) + 0.01 * np.random.default_rng(1).standard_normal((*SHAPE, N_SCANS))
    one_run(tmp_path / "mean", data=noisy)
    one_run(tmp_path / "zero", data=noisy - noisy.mean(axis=-1, keepdims=True))
    mean, zero = (
        read(tmp_path / name, mask=tmp_path / name / "mask.nii.gz", estimate=estimate) for name in ("mean", "zero")
    )
    assert np.allclose(mean[0].block(), zero[0].block(), atol=0.02)
    with pytest.raises(InputError, match=r"its mean was removed"):
        read(tmp_path / "zero")


def test_missing_values_are_missing_and_reported(tmp_path):
    data = bold(ONSETS, amplitudes())
    data[1, 1, 1, 5], data[2, 0, 0, 7] = np.nan, np.inf
    one_run(tmp_path, data=data)
    responses, _ = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    assert responses.n_targets == np.prod(SHAPE) - 2 and np.isfinite(responses.block()).all()
    assert any("2 targets" in item["what"] for item in responses.info["findings"]["items"])


def test_damaged_files_are_one_sentence(tmp_path):
    folder = one_run(tmp_path)
    file = folder / "sub-01_task-x_bold.nii.gz"
    whole = file.read_bytes()
    mask = {"mask": tmp_path / "mask.nii.gz"}
    for content, sentence in (
        (whole[: len(whole) // 2], "cut short or damaged"),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "pointer of git-annex"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"nothing of the kind", "is not compressed"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"sub-01_task-x_bold.nii.gz .*{sentence}"):
            read(tmp_path, **mask)
    file.unlink()
    file.symlink_to(tmp_path / ".git/annex/objects/x")
    with pytest.raises(MissingFileError, match="link to content that is not here"):
        read(tmp_path, **mask)
    file.unlink()
    for shape, sentence in ((SHAPE, "single volume"), ((*SHAPE, 1, 5), "must be a volume or a series")):
        nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.float32), AFFINE), file)
        with pytest.raises(InputError, match=sentence):
            read(tmp_path, **mask)


def test_own_folders_are_never_fetched(tmp_path):
    with pytest.raises(MissingFileError) as raised:
        open_dataset("bids-fmri", tmp_path / "nowhere")
    assert "fetch" not in str(raised.value)
    with pytest.raises(InputError, match="continuous designs"):
        open_dataset("bids-fmri", tmp_path, options={"hrf": "fir"})


def test_own_confounds_beside_a_raw_run_are_regressed_out(tmp_path):
    drifting = np.sin(np.arange(N_SCANS) * 0.9)
    folder = one_run(tmp_path, data=bold(ONSETS, amplitudes()) + 50 * drifting)
    plain, shown = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    table = pd.DataFrame({"breath": drifting, "motion": [None, *np.zeros(N_SCANS - 1)]})
    file = folder / "sub-01_task-x_desc-confounds_timeseries.tsv"
    write_table(file, table)
    cleaned, _ = read(tmp_path, mask=tmp_path / "mask.nii.gz", confounds=["breath", "motion"])
    assert correlations(cleaned, shown).min() > 0.999 > correlations(plain, shown).min()
    write_table(file, table.iloc[:-3])
    with pytest.raises(InputError, match=rf"has {N_SCANS - 3} rows, the run has {N_SCANS} scans"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz", confounds=["breath"])
    write_table(file, table.assign(breath=table["breath"].where(table.index != 4)))
    with pytest.raises(InputError, match=r"Row 4 of .* has no number in 'breath'"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz", confounds=["breath"])


def test_what_was_found_is_said(tmp_path):
    one_run(tmp_path)
    save(
        tmp_path / "derivatives/prep/sub-01/func/sub-01_task-x_space-T1w_desc-preproc_bold.nii.gz",
        np.ones((2, 2, 2, 3)),
    )
    (sentence,) = open_dataset("bids-fmri", tmp_path).choices(["01"])
    assert "1 runs of 01, task x; raw images (also there: prep; --set derivatives=…)" in sentence


def test_maps_go_back_to_their_places_in_an_image_of_any_orientation(tmp_path):
    from brainmap.data.exported_maps import write_volume

    folder = one_run(tmp_path)
    responses, _ = read(tmp_path, mask=tmp_path / "mask.nii.gz")
    values = np.arange(float(responses.n_targets))
    places = {}
    for orientation in ("RAS", "LPI"):
        save(tmp_path / f"{orientation}.nii.gz", np.ones(SHAPE), orientation=orientation)
        path = write_volume(
            {"r": values}, responses.targets, tmp_path / f"{orientation}.nii.gz", tmp_path / "map.nii.gz"
        )
        places[orientation] = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()[..., 0]
    assert np.array_equal(places["RAS"], places["LPI"]) and np.array_equal(places["RAS"].ravel(), values)
    with pytest.raises(InputError, match="another grid"):
        write_volume({"r": values}, responses.targets.assign(x=99.0), folder / "sub-01_task-x_bold.nii.gz", path)
