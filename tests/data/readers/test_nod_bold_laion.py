from __future__ import annotations

import mne
import nibabel
import numpy as np
import pandas as pd
import pytest
from data.public_files import write_nod
from data.readers.nod_bold_laion_files import wave, write_bold5000, write_laion, write_nod_meg
from data.test_public_readers import names_of, read

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.column_files import zscore_columns
from brainmap.data.readers import open_dataset

EPOCHS = {"epochs": {"sfreq": 50.0, "tmin": -0.1, "tmax": 0.6}, "zscore": "none"}


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("counted_over_all", [False, True])
def test_nod_meg_comes_back_from_annotations_or_triggers(tmp_path, raw, counted_over_all):
    amplitude, rows = write_nod_meg(tmp_path, raw=raw, counted_over_all=counted_over_all)
    reader = open_dataset("nod-meg", tmp_path, options=EPOCHS | {"recordings": "raw" if raw else "clean"})
    responses, stimuli = read(reader)
    assert names_of(responses, stimuli) == [row["image_id"] for row in rows]
    assert responses.targets["sensor"].unique().tolist() == ["MLO11", "MRO11"]
    when = wave(responses.targets["time"].to_numpy()[:36])
    expected = np.stack([np.outer(amplitude[n], when).ravel() for n in names_of(responses, stimuli)])
    r = (zscore_columns(responses.block()) * zscore_columns(expected)).mean(axis=0)
    assert r[np.abs(np.tile(when, 2)) > 0.3].min() > 0.99


def test_nod_meg_without_marks_or_with_a_cut_recording_is_refused_in_a_sentence(tmp_path):
    _, rows = write_nod_meg(tmp_path, ending="_clean_meg.fif")  # the other name that the files have
    table = tmp_path / "derivatives/detailed_events/sub-01_events.csv"
    pd.DataFrame(rows[:-1]).to_csv(table, index=False)
    with pytest.raises(InputError, match=r"has 5 annotations 'stim_on', sub-01_events\.csv 4 rows for it \(from"):
        read(open_dataset("nod-meg", tmp_path, options=EPOCHS))
    pd.DataFrame(rows).to_csv(table, index=False)
    with pytest.raises(InputError, match=r"no annotations 'photo' \(it has begin, end, resp, stim_on\) and no ch"):
        read(open_dataset("nod-meg", tmp_path, options=EPOCHS | {"annotation": "photo"}))
    with pytest.raises(MissingFileError, match="no raw recording of subject 01"):
        open_dataset("nod-meg", tmp_path, options={"recordings": "raw"}).recordings("01")
    first = next((tmp_path / "derivatives/preprocessed/raw").glob("*ImageNet01*run-01*"))
    first.with_name(first.name.replace("_clean_meg", "_meg_clean")).write_bytes(first.read_bytes())
    with pytest.raises(InputError, match="are recordings of one run"):
        open_dataset("nod-meg", tmp_path).subjects()


def test_nod_runs_that_are_not_there_are_reported(tmp_path):
    write_nod(tmp_path / "nod-fmri")
    label = next((tmp_path / "nod-fmri").rglob("*run-2_label.txt"))
    label.write_text(label.read_text().replace("n00002_0", "n00002/n00002_0"))  # one public list has folders
    responses, _ = read(open_dataset("nod-fmri", tmp_path))
    what = [item["what"] for item in responses.info["findings"]["items"]]
    assert what[0] == "session imagenet01 of subject 01 lacks runs 1, 3, 4, 5, 6, 7, 8, 9" and len(what) == 4


def test_bold5000_sessions_follow_each_other_and_repeated_photographs_are_the_test(tmp_path):
    values, names = write_bold5000(tmp_path / "bold5000")
    reader = open_dataset("bold5000", tmp_path, options={"zscore": "none"})
    responses, stimuli = read(reader)
    assert np.allclose(responses.block(), values) and names_of(responses, stimuli) == names
    assert stimuli.table["name"][reader.test_images(stimuli)].tolist() == ["rep_laundromat1"]
    assert responses.trials[["session", "run", "trial"]].iloc[37 + 40].tolist() == ["2", 2, 3]
    assert reader.nuisance("CSI4")["run"].tolist() == responses.trials["run"].tolist()
    assert responses.targets[["x", "y", "z"]].isna().all(axis=None)  # the affine is not documented
    assert responses.targets[["i", "j", "k"]].iloc[-1].tolist() == [0, 2, 1]
    (tmp_path / "bold5000/CSI4_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-03.nii.gz").unlink()
    with pytest.raises(MissingFileError, match=r"ses-03\.nii\.gz; the list of photographs needs all 9 sessions"):
        read(open_dataset("bold5000", tmp_path))


def test_betas_that_are_nan_or_infinite_are_missing_and_reported(tmp_path):
    values, names = write_bold5000(tmp_path / "bold5000")
    file = tmp_path / "bold5000/CSI4_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-04.nii.gz"
    betas = np.asarray(nibabel.load(file).dataobj).copy()
    betas[0, 0, 0, 0] = np.inf  # the repeated photograph: its other showings remain
    betas[0, 2, 1] = np.nan  # a voxel without any value in this session
    nibabel.save(nibabel.Nifti1Image(betas, np.eye(4)), file)
    responses, _ = read(open_dataset("bold5000", tmp_path, options={"zscore": "none"}))
    assert responses.n_targets == 5 and responses.targets["vertex"].tolist() == list(range(5))
    what = [item["what"] for item in responses.info["findings"]["items"]]
    assert what == [
        "38 values (of a target in a trial) are NaN or infinite", "1 targets lack a value for some photograph"
    ]  # fmt: skip
    shown = np.flatnonzero(np.array(names) == "rep_laundromat1")
    mean = responses.average_repeats().block()[0]
    assert mean[0] == pytest.approx(values[shown[shown != 37 + 74 + 37], 0].mean(), abs=1e-5)
    assert mean[1] == pytest.approx(values[shown, 1].mean(), abs=1e-5)


def test_bold5000_masks_of_another_grid_are_refused(tmp_path):
    write_bold5000(tmp_path / "bold5000")
    mask = nibabel.Nifti1Image(np.ones((3, 3, 3), dtype=np.uint8), np.eye(4))
    nibabel.save(mask, tmp_path / "bold5000/CSI4_brainmask.nii.gz")
    with pytest.raises(InputError, match=r"has shape \(3, 3, 3\), the betas in .* \(3, 3, 2\)"):
        read(open_dataset("bold5000", tmp_path))


def test_laion_volumes_meet_their_rows_by_index_and_areas_are_kept(tmp_path):
    values, shown = write_laion(tmp_path)
    reader = open_dataset("laion-fmri", tmp_path, options={"zscore": "none"})
    responses, stimuli = read(reader)
    assert names_of(responses, stimuli) == shown and np.allclose(responses.block(), values)
    assert responses.targets["roi"].tolist() == ["face:FFA"] * 2 + ["visualcat:visual"] * 4
    assert responses.targets["areas"].iloc[0] == "face:FFA;visualcat:visual"
    assert responses.targets[["x", "y", "z"]].iloc[-1].tolist() == pytest.approx([0, 3.6, 3.6])
    assert reader.test_images(stimuli).sum() == 3 and reader.shape("03") == (16, 6)
    assert responses.trials["session"].tolist() == ["01"] * 8 + ["02"] * 8
    assert stimuli.image(0).shape == (8, 8, 3)
    everything = open_dataset("laion-fmri", tmp_path, options={"mask": "all", "sessions": ("02",)})
    assert everything.responses("03", stimuli).values.shape == (8, 17)
    with pytest.raises(MissingFileError, match="no single-trial betas of session 09"):
        open_dataset("laion-fmri", tmp_path, options={"sessions": ("09",)}).shape("03")


def test_laion_tables_that_skip_a_volume_and_other_grids_are_refused(tmp_path):
    write_laion(tmp_path)
    table = next(tmp_path.rglob("*ses-02*_trials.tsv"))
    pd.read_csv(table, sep="\t").assign(beta_index=range(1, 9)).to_csv(table, sep="\t", index=False)
    with pytest.raises(InputError, match="beta_index must count the volumes from 0 to 7"):
        read(open_dataset("laion-fmri", tmp_path))
    pd.read_csv(table, sep="\t").assign(beta_index=range(8)).to_csv(table, sep="\t", index=False)
    mask = next(tmp_path.rglob("*label-FFA_mask.nii.gz"))
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), dtype=np.uint8), np.eye(4)), mask)
    with pytest.raises(InputError, match=r"do not lie on one grid \(shape or affine\)"):
        read(open_dataset("laion-fmri", tmp_path))


def test_the_planted_recording_is_in_the_published_form(tmp_path):
    write_nod_meg(tmp_path)
    file = next(tmp_path.rglob("*_meg_clean.fif"))
    raw = mne.io.read_raw_fif(file, verbose="error")
    assert raw.first_samp == 500 and raw.info["sfreq"] == 250 and len(mne.pick_types(raw.info, stim=True)) == 0
    assert set(raw.annotations.description) == {"begin", "stim_on", "resp", "end"}
