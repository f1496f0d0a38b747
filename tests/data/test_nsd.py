from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from data.nsd_files import N_VERTICES, TRIALS, Planted, write_mgh, write_nsd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.column_files import zscore_columns
from brainmap.data.readers import open_dataset
from brainmap.data.readers.nsd.nsd_areas import area_names, merged, named_areas, read_labels
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet


@pytest.fixture
def nsd(tmp_path) -> Planted:
    return write_nsd(tmp_path / "nsd")


def read(planted: Planted, **options: object) -> tuple[Responses, StimulusSet]:
    reader = open_dataset("nsd", planted.root, options={"sessions": tuple(planted.shown), **options})
    stimuli = reader.stimuli(["1"])
    return reader.responses("1", stimuli), stimuli


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (zscore_columns(one) * zscore_columns(other)).mean(axis=0)


def test_planted_responses_come_back_aligned_from_the_surface(nsd):
    responses, stimuli = read(nsd)
    kept = np.flatnonzero(np.arange(N_VERTICES) % 3 == 0)
    columns = np.concatenate([kept, N_VERTICES + kept])
    expected = np.concatenate([zscore_columns(nsd.signal[images][:, columns]) for images in nsd.shown.values()])
    assert responses.n_trials == 2 * TRIALS and responses.n_targets == len(columns)
    assert np.abs(responses.block() - expected).max() < 1e-4
    rows = stimuli.index_of(responses.trials["stimulus"])
    with h5py.File(nsd.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        assert np.array_equal(stimuli.image(int(rows[5])), file["imgBrick"][nsd.shown[1][5]])
    averaged = responses.average_repeats(stimuli.ids)
    assert (averaged.trials["n_repeats"] == 6).all() and len(averaged.trials) == 250
    assert correlations(averaged.block(), nsd.signal[stimuli.table["nsd_id"]][:, columns]).min() > 0.99


def test_planted_responses_come_back_from_the_volume(nsd):
    responses, _ = read(nsd, space="func1pt8mm", zscore="none")
    expected = np.concatenate([nsd.voxels[images] for images in nsd.shown.values()])
    assert np.abs(responses.block() - expected).max() <= 0.5 / 300 + 1e-6  # int16 steps of 1/300
    assert set(responses.targets["hemisphere"]) == {"L", "R"}
    left = responses.targets["hemisphere"] == "L"
    assert responses.targets.loc[left, "x"].max() < responses.targets.loc[~left, "x"].min()


def test_targets_carry_areas_vertices_and_ncsnr(nsd):
    targets = read(nsd)[0].targets
    one = targets[(targets["hemisphere"] == "R") & (targets["vertex"] == 51)].iloc[0]
    assert one["roi"] == "V1" and one["ncsnr"] == pytest.approx(51 / 59, abs=1e-6)
    areas = read(nsd, atlas="prf-visualrois", mask="prf-visualrois")[0].targets["roi"]
    assert areas.value_counts()["V1"] == 2 * (8 + 8)


def test_preparation_is_cached_by_content_and_bounded_blocks_change_nothing(nsd):
    whole = read(nsd, mask="all")[0].block()
    made = sorted((nsd.root / ".brainmap").rglob("session*.npy"))
    assert len(made) == 2
    before = [path.stat().st_mtime_ns for path in made]
    small = read(nsd, mask="all", block=8 * TRIALS * 7)[0]
    assert [path.stat().st_mtime_ns for path in made] == before
    for path in made:
        path.unlink()
    assert np.array_equal(read(nsd, mask="all", block=8 * TRIALS * 7)[0].block(), whole)
    assert np.array_equal(small.block(np.array([900, 3, 3]), np.array([5, 70, 1])), whole[[900, 3, 3]][:, [5, 70, 1]])
    half = sorted((nsd.root / ".brainmap").rglob("session*.npy"))[0]
    half.write_bytes(half.read_bytes()[:-100])
    with pytest.raises(InputError, match="is cut short"):
        read(nsd, mask="all")


def test_the_signal_at_a_delay_comes_from_surface_time_series(nsd):
    """Study B's variant: a bump of the photograph's amplitude 5.5 s after its onset, in twelve runs."""
    base = nsd.root / "nsddata_timeseries/ppdata/subj01"
    (base / "func1pt8mm/design").mkdir(parents=True)
    (base / "fsaverage/timeseries").mkdir(parents=True)
    for run, trials in enumerate(np.array_split(np.arange(TRIALS), 12)):
        volumes = 3 * len(trials) + 12
        shown = np.zeros(volumes, dtype=int)
        shown[3 * np.arange(len(trials))] = nsd.shown[1][trials] + 1  # 4 s apart
        times = np.arange(volumes) * 4 / 3
        bump = np.exp(-0.5 * ((times[:, None] - 4.0 * np.arange(len(trials)) - 5.5) / 0.9) ** 2)
        series = 100 + bump @ nsd.signal[nsd.shown[1][trials]]
        name = f"session01_run{run + 1:02d}"
        np.savetxt(base / f"func1pt8mm/design/design_{name}.tsv", shown, fmt="%d")
        write_mgh(base / f"fsaverage/timeseries/lh.timeseries_{name}.mgh", series[:, :N_VERTICES].T)
        write_mgh(base / f"fsaverage/timeseries/rh.timeseries_{name}.mgh", series[:, N_VERTICES:].T)
    responses, _ = read(nsd, estimate="bold", sessions=(1,), mask="all")
    assert correlations(responses.block(), nsd.signal[nsd.shown[1]]).min() > 0.95
    (base / "func1pt8mm/design/design_session01_run05.tsv").unlink()
    with pytest.raises(InputError, match="a run is missing or files are swapped"):
        read(nsd, estimate="bold", sessions=(1,), mask="all")


def test_a_missing_session_is_named_or_skipped(nsd):
    gone = nsd.root / "nsddata_betas/ppdata/subj01/fsaverage/betas_fithrf_GLMdenoise_RR/rh.betas_session02.mgh"
    gone.unlink()
    with pytest.raises(MissingFileError, match=r"1 of 2 sessions.*rh\.betas_session02\.mgh.*--set missing=skip"):
        read(nsd)
    responses, _ = read(nsd, missing="skip")
    assert responses.trials["session"].unique().tolist() == [1]


def alter_log(nsd: Planted, change) -> Path:
    file = nsd.root / "nsddata/ppdata/subj01/behav/responses.tsv"
    change(pd.read_csv(file, sep="\t")).to_csv(file, sep="\t", index=False)
    return file


def test_a_log_shifted_by_one_trial_is_detected(nsd):
    def shift(log):
        log.loc[:748, "73KID"] = log.loc[1:749, "73KID"].to_numpy()
        return log

    alter_log(nsd, shift)
    with pytest.raises(InputError, match=r"Session 1 of .*responses\.tsv is shifted by one trial from row 0"):
        read(nsd)


def test_swapped_sessions_are_detected(nsd):
    alter_log(nsd, lambda log: log.assign(SESSION=3 - log["SESSION"]))
    with pytest.raises(InputError, match="lists under session 1 what the design shows in session 2"):
        read(nsd)


def test_a_duplicated_trial_and_another_photograph_are_named_by_row(nsd):
    file = alter_log(nsd, lambda log: pd.concat([log[:11], log[10:]]))
    with pytest.raises(InputError, match=r"has 751 trials in session 1, the design 750; row 11 repeats"):
        read(nsd)
    file.unlink()
    responses, _ = read(nsd)
    assert responses.info["findings"]["items"][0]["what"] == "the behavioural log is not on disk"


def test_a_changed_entry_of_the_log_is_named_by_row(nsd):
    def change(log):
        log.loc[760, "73KID"] += 1
        return log

    alter_log(nsd, change)
    with pytest.raises(InputError, match=r"Row 760 of .*responses\.tsv names another photograph"):
        read(nsd)


def test_shared_photographs_captions_and_nuisance(nsd):
    rows = np.arange(400)
    info = pd.DataFrame({"cocoId": 1000 + rows, "cocoSplit": "train2017", "nsdId": rows})
    info.to_csv(nsd.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    (nsd.root / "annotations").mkdir()
    notes = [{"image_id": 1000 + int(row), "caption": f"photo {row}\n"} for row in rows for _ in range(2)]
    (nsd.root / "annotations/captions_train2017.json").write_text(json.dumps({"annotations": notes}))
    reader = open_dataset("nsd", nsd.root, options={"sessions": (1, 2)})
    stimuli = reader.stimuli(["1"])
    assert stimuli.table["caption"].tolist() == [f"photo {row}" for row in stimuli.table["nsd_id"]]
    assert np.array_equal(reader.test_images(stimuli), stimuli.table["nsd_id"] < 30)
    assert reader.nuisance("1").iloc[[0, 63, 750]].to_numpy().tolist() == [[1, 1, 0], [1, 2, 63], [2, 1, 0]]
    assert reader.shape("01") == (1500, 40) and reader.subjects() == ["1"]


def test_unknown_settings_and_subjects_are_refused_with_what_there_is(nsd):
    with pytest.raises(InputError, match=r"cannot use spce = 'x'.*its settings are unmatched, missing, space"):
        open_dataset("nsd", nsd.root, options={"spce": "x"})
    with pytest.raises(InputError, match="no files of subject '2'; there are 1"):
        open_dataset("nsd", nsd.root).resolve("2")
    with pytest.raises(MissingFileError, match="brainmap data fetch nsd"):
        open_dataset("nsd", nsd.root / "nowhere")


def test_real_nsd_areas_have_their_counts(shared_data):
    folder = shared_data / "nsd_rois_fsaverage"
    visual = named_areas(read_labels(folder / "lh.prf-visualrois_fsaverage_space.npy"), "prf-visualrois")
    counts = dict(zip(*np.unique(visual, return_counts=True), strict=True))
    assert counts == {"": 159213, "V1v": 710, "V1d": 828, "V2v": 632, "V2d": 692, "V3v": 567, "V3d": 669, "hV4": 531}
    joined = dict(zip(*np.unique(merged(visual), return_counts=True), strict=True))
    assert (joined["V1"], joined["V2"], joined["V3"], joined["hV4"]) == (1538, 1324, 1236, 531)
    streams = named_areas(read_labels(folder / "lh.streams_fsaverage_space.npy"), "streams")
    counts = dict(zip(*np.unique(streams, return_counts=True), strict=True))
    assert counts == {
        "": 145413, "early": 5169, "midventral": 867, "midlateral": 1091, "midparietal": 853, "ventral": 4974,
        "lateral": 3129, "parietal": 2346,
    }  # fmt: skip
    mask = read_labels(folder / "lh.nsdgeneralRSC.mgz")
    assert (len(mask), int(mask.sum())) == (163842, 543)


def test_area_names_and_numbers_that_do_not_exist():
    assert area_names("HCP_MMP1")[1] == "V1" and len(area_names("HCP_MMP1")) == 180
    with pytest.raises(InputError, match="has no area number 9"):
        named_areas(np.array([0, 9]), "streams")
