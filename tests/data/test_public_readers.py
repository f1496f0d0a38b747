from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from data.public_files import (
    write_algonauts,
    write_bids_fmri,
    write_bids_surface,
    write_images,
    write_nod,
    write_things_eeg2,
    write_things_fmri,
)

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.column_files import zscore_columns
from brainmap.data.photograph_matching import compare_sets, match_trials, open_images
from brainmap.data.readers import open_dataset
from brainmap.data.readers.dataset_reader import DatasetReader
from brainmap.data.readers.nsd.algonauts import read_noise_ceilings
from brainmap.data.recordings.numpy_dict import read_numpy_dict
from brainmap.data.responses import Responses
from brainmap.statistics.noise_ceiling import ceiling_from_ncsnr
from brainmap.stimuli import StimulusSet


def read(reader: DatasetReader) -> tuple[Responses, StimulusSet]:
    subjects = reader.subjects()
    stimuli = reader.stimuli(subjects)
    return reader.responses(subjects[0], stimuli), stimuli


def names_of(responses: Responses, stimuli: StimulusSet) -> list[str]:
    """Names of the trials' photographs, without the folders that some data sets name them by."""
    names = stimuli.table["name"].iloc[stimuli.index_of(responses.trials["stimulus"])]
    return [name.rpartition("/")[2] for name in names]


@pytest.mark.parametrize("table", [False, True])
def test_things_fmri_tables_come_back_by_trial_and_area(tmp_path, table):
    clean, trials = write_things_fmri(tmp_path / "things-fmri", table=table)
    reader = open_dataset("things-fmri", tmp_path)
    responses, stimuli = read(reader)
    assert names_of(responses, stimuli) == [Path(name).stem for name in trials["stimulus"]]
    kept = [0, 1, 2, 4, 5, 6]
    assert responses.targets["roi"].tolist() == [
        *(["prf:V1"] * 3), "glasser:p9-46v", "glasser:FFC", "localiser:lFFA"
    ]  # fmt: skip
    assert responses.targets["areas"].iloc[-1] == "localiser:lFFA;glasser:FFC"  # neither is lost
    assert responses.targets["areas"].iloc[0] == "prf:V1;glasser:V1"
    values = responses.block()
    for session in (1, 2, 3):
        here = (trials["session"] == session).to_numpy()
        assert np.abs(values[here] - zscore_columns(clean[here][:, kept])).max() < 1e-4
    assert responses.targets[["x", "y"]].to_numpy().tolist() == [[2, 2 * voxel] for voxel in kept]  # mm
    assert responses.targets["ncsnr"].iloc[0] == pytest.approx(0.5)  # 20 % of the variance of one trial
    gap = responses.info["findings"]["items"]
    assert [item["what"] for item in gap] == ["session 3 lacks run 7"]
    assert reader.test_images(stimuli).sum() == 2
    everything = open_dataset("things-fmri", tmp_path, options={"mask": "all", "zscore": "none"})
    assert everything.responses("02", stimuli).n_targets == 9
    assert reader.nuisance("02").iloc[-1].tolist() == [3, 6, 4]


def test_things_fmri_that_does_not_fit_together_is_refused_by_row(tmp_path):
    write_things_fmri(tmp_path / "things-fmri")
    file = tmp_path / "things-fmri/betas_csv/sub-02_StimulusMetadata.csv"
    table = pd.read_csv(file)
    table.iloc[:-1].to_csv(file, index=False)
    reader = open_dataset("things-fmri", tmp_path)
    with pytest.raises(InputError, match="has 25 trials, the stimulus metadata 24 rows"):
        read(reader)
    table.iloc[[*range(25), 24]].to_csv(file, index=False)
    with pytest.raises(InputError, match=r"Row 25 of .*sub-02_StimulusMetadata\.csv repeats an earlier row"):
        read(reader)


def bids(root: Path, **options: object) -> DatasetReader:
    settings = {"task": "things", "image_column": "file_path", "trial_types": ("exp", "test"), "zscore": "none",
                "mask": str(root / "mask.nii.gz")}  # fmt: skip
    return open_dataset("bids-fmri", root, options=settings | options)


def test_single_trial_betas_of_a_bids_folder_are_the_planted_amplitudes(tmp_path, shared_data):
    amplitude, mask = write_bids_fmri(tmp_path, shared_data / "things_meta")
    responses, stimuli = read(bids(tmp_path))
    names = names_of(responses, stimuli)
    assert not any(name.startswith("catch") for name in names) and responses.n_targets == mask.sum()
    expected = np.stack([amplitude[name] for name in names])
    r = (zscore_columns(responses.block()) * zscore_columns(expected)).mean(axis=0)
    assert r.min() > 0.99
    assert responses.targets[["x", "y", "z"]].iloc[0].tolist() == (2 * np.argwhere(mask)[0]).tolist()


def test_the_signal_at_a_delay_follows_the_planted_amplitudes(tmp_path, shared_data):
    amplitude, _ = write_bids_fmri(tmp_path, shared_data / "things_meta")
    responses, stimuli = read(bids(tmp_path, estimate="bold", trial_types=None))
    names = names_of(responses, stimuli)
    expected = np.stack([amplitude[name] for name in names])
    r = (zscore_columns(responses.block()) * zscore_columns(expected)).mean(axis=0)
    assert np.median(r) > 0.7  # neighbours 4.5 s away overlap: no model takes them apart


def test_surfaces_of_fmriprep_give_vertices_and_motion_of_each_trial(tmp_path, shared_data):
    amplitude = write_bids_surface(tmp_path, shared_data / "things_meta")
    options = {"task": "things", "image_column": "file_path", "derivatives": "derivatives/fmriprep",
               "space": "fsaverage", "estimate": "bold"}  # fmt: skip
    reader = open_dataset("bids-fmri", tmp_path, options=options)
    responses, stimuli = read(reader)
    assert responses.targets[["hemisphere", "vertex"]].to_numpy().tolist() == [
        *(["L", v] for v in range(5)), *(["R", v] for v in range(4))
    ]  # fmt: skip
    expected = np.stack([amplitude[name] for name in names_of(responses, stimuli)])
    assert (zscore_columns(responses.block()) * zscore_columns(expected)).mean(axis=0).min() > 0.95
    moved = reader.nuisance("01")["framewise_displacement"]
    assert moved.iloc[0] == pytest.approx(0.01) and moved.is_monotonic_increasing


def test_a_bids_run_without_images_a_duplicate_and_a_gap_are_answered(tmp_path, shared_data):
    write_bids_fmri(tmp_path, shared_data / "things_meta")
    folder = tmp_path / "sub-01/ses-things01/func"
    events = folder / "sub-01_ses-things01_task-things_run-02_events.tsv"
    table = pd.read_csv(events, sep="\t")
    table.iloc[[0, 1, 1, *range(2, len(table))]].to_csv(events, sep="\t", index=False, na_rep="n/a")
    responses, _ = read(bids(tmp_path))
    assert responses.info["findings"]["items"][0]["row"] == 2
    table.assign(onset=table["onset"].where(table.index != 4, table["onset"].iloc[3])).to_csv(
        events, sep="\t", index=False, na_rep="n/a"
    )
    with pytest.raises(InputError, match=r"Row 4 of .*run-02_events\.tsv starts when another one does"):
        read(bids(tmp_path))
    (folder / "sub-01_ses-things01_task-things_run-02_bold.nii.gz").unlink()
    with pytest.raises(MissingFileError, match=r"1 of 2 runs of subject 01 have events but no images"):
        read(bids(tmp_path))
    with pytest.raises(MissingFileError, match=r"more than a tenth is not skipped.*entities\.run"):
        read(bids(tmp_path, missing="skip"))
    skipped, _ = read(bids(tmp_path, entities={"run": 1}))
    assert set(skipped.trials["run"]) == {"01"}


def test_bids_meg_through_mne_bids_gives_the_planted_epochs(tmp_path):
    mne_bids = pytest.importorskip("mne_bids")
    rng = np.random.default_rng(0)
    names = [f"dog_{i:02d}s" for i in range(8)]
    write_images(tmp_path / "stimuli", names)
    pattern = {name: rng.standard_normal(3) for name in names}
    info = mne.create_info(["MEG001", "MEG002", "MEG003"], 200.0, "mag")
    times = np.arange(6000) / 200
    wave = lambda t: np.exp(-0.5 * ((t - 0.2) / 0.07) ** 2) * np.cos(2 * np.pi * 6 * (t - 0.2))  # noqa: E731
    shown = {}
    for run in ("01", "02"):
        order = rng.permutation(names)
        onsets = 2.0 + 3.0 * np.arange(8) + rng.uniform(0, 0.3, 8)
        data = sum(np.outer(pattern[n], wave(times - onset)) for n, onset in zip(order, onsets, strict=True))
        raw = mne.io.RawArray(1e-12 * data, info, verbose="error")
        raw.set_meas_date(None)
        place = mne_bids.BIDSPath(subject="01", task="look", run=run, root=tmp_path, datatype="meg")
        mne_bids.write_raw_bids(raw, place, allow_preload=True, format="FIF", overwrite=True, verbose="error")
        table = pd.DataFrame({"onset": onsets, "duration": 0.5, "stim_file": [f"dog/{n}.jpg" for n in order]})
        file = place.copy().update(suffix="events", extension=".tsv").fpath
        table.to_csv(file, sep="\t", index=False)
        shown[run] = order.tolist()
    epochs = {"sfreq": 50.0, "tmin": -0.1, "tmax": 0.6}
    reader = open_dataset("bids-meeg", tmp_path, options={"epochs": epochs, "zscore": "none"})
    responses, stimuli = read(reader)
    assert names_of(responses, stimuli) == shown["01"] + shown["02"]
    expected = np.stack([np.outer(pattern[n], wave(responses.targets["time"].to_numpy()[:36])).ravel()
                         for n in names_of(responses, stimuli)])  # fmt: skip
    strong = np.abs(np.tile(wave(responses.targets["time"].to_numpy()[:36]), 3)) > 0.3
    r = (zscore_columns(responses.block()) * zscore_columns(expected)).mean(axis=0)
    assert r[strong].min() > 0.99
    assert reader.shape("01") == (16, 3 * 36)


def test_algonauts_vertices_areas_and_ceilings(tmp_path):
    values = write_algonauts(tmp_path / "algonauts2023")
    options = {"ceilings": str(tmp_path / "algonauts2023/ceilings")}
    responses, stimuli = read(open_dataset("algonauts2023", tmp_path, options=options))
    assert np.array_equal(responses.block(), values)
    assert stimuli.table["name"].iloc[0] == "train-0001_nsd-00000" and responses.trials["nsd_id"].iloc[3] == 21
    targets = responses.targets
    assert targets["vertex"].tolist()[:3] == [3, 5, 7] and (targets["hemisphere"] == "R").sum() == 9
    averaged = responses.average_repeats()
    assert np.allclose(ceiling_from_ncsnr(targets["ncsnr"], averaged.trials["n_repeats"]).variance, 0.6)
    (tmp_path / "algonauts2023/subj01/training_split/training_images/train-0003_nsd-00014.png").unlink()
    with pytest.raises(InputError, match="has 19 photographs and 20 responses"):
        read(open_dataset("algonauts2023", tmp_path))


def test_real_noise_ceilings_have_their_counts(shared_data):
    counts = {"01": (19004, 20544), "06": (18978, 20220), "08": (18981, 20530)}
    above = {"01": (15583, 16887), "06": (13068, 14440), "08": (7607, 8476)}
    for subject, expected in counts.items():
        shares = [read_noise_ceilings(shared_data / "nsd_noise_ceiling" / f"subj{subject}", side) for side in "LR"]
        assert tuple(len(share) for share in shares) == expected
        assert tuple(int((share > 0.2).sum()) for share in shares) == above[subject]


def test_nod_runs_are_read_in_their_order_onto_the_right_vertices(tmp_path):
    values = write_nod(tmp_path / "nod-fmri")
    reader = open_dataset("nod-fmri", tmp_path, options={"zscore": "none"})
    responses, stimuli = read(reader)
    assert np.allclose(responses.block(), values)
    assert responses.trials["run"].tolist() == ["2"] * 6 + ["10"] * 6
    assert responses.targets["vertex"].tolist() == [5, 100, 7000, 8, 90]
    assert responses.info["mesh"] == "fsLR-32k" and np.isfinite(responses.targets["x"]).all()
    assert names_of(responses, stimuli)[6] == "n00010_0"
    label = next((tmp_path / "nod-fmri").rglob("*run-10_label.txt"))
    label.write_text("one.JPEG\n")
    with pytest.raises(InputError, match="holds 6 trials, its list names 1 photographs"):
        read(open_dataset("nod-fmri", tmp_path, cache=tmp_path / "other"))


def test_things_eeg2_epochs_are_read_without_unpickling(tmp_path):
    epochs = write_things_eeg2(tmp_path / "things-eeg2")
    reader = open_dataset("things-eeg2", tmp_path, options={"zscore": "none"})
    responses, stimuli = read(reader)
    expected = np.concatenate([part.reshape(-1, 24) for part in epochs.values()])
    assert np.allclose(responses.block(), expected, atol=1e-6)
    assert (reader.modality, responses.modality) == ("eeg", "eeg") and responses.info["sfreq"] == pytest.approx(100)
    assert "session" not in responses.trials
    assert "shuffled over the sessions" in responses.info["findings"]["items"][0]["what"]
    assert stimuli.table["source"].tolist() == ["dog"] * 6 + ["mug", "pie"]  # folds keep a concept together
    assert reader.test_images(stimuli).sum() == 2 and names_of(responses, stimuli)[4] == "dog_01b"
    assert responses.trials["repeat"].max() == 9


class _Bad:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_that_would_run_something_is_refused_unread(tmp_path, capsys):
    np.save(tmp_path / "bad.npy", {"a": _Bad()})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"it asks for builtins\.print"):
        read_numpy_dict(tmp_path / "bad.npy")
    assert capsys.readouterr().out == ""
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(InputError, match="holds a plain array"):
        read_numpy_dict(tmp_path / "plain.npy")


def test_equal_names_with_other_content_are_told_apart(tmp_path):
    write_images(tmp_path / "meg", ["dog_01b", "cat_02b", "axe_01b"], seed=0)
    write_images(tmp_path / "eeg", ["dog_01b", "cat_02b"], seed=1)
    meg, eeg = open_images(tmp_path / "meg"), open_images(tmp_path / "eeg")
    found = compare_sets(meg, eeg).set_index("name")["relation"].to_dict()
    assert found == {
        "axe_01b": "only in the first", "cat_02b": "same name, other content", "dog_01b": "same name, other content"
    }  # fmt: skip
    assert set(compare_sets(meg, meg)["relation"]) == {"same"}
    with pytest.raises(InputError, match=r"holds 2 files called 'dog_01b' with different pixels"):
        open_images(tmp_path, ["dog_01b"])
    assert not set(match_trials(["dog_01b"], meg).ids) & set(eeg.ids)
    match = match_trials(["images/dog/dog_01b.jpg", "cow_01b", meg.ids[0]], meg)
    assert match.unmatched[["row", "label"]].to_dict("list") == {"row": [1], "label": ["cow_01b"]}
    assert match.ids[2] == meg.ids[0] and match.found.tolist() == [True, False, True]


def test_content_ids_are_kept_until_a_photograph_changes(tmp_path, monkeypatch):
    write_images(tmp_path / "images", ["dog_01b", "cat_02b"])
    first = open_images(tmp_path / "images", cache=tmp_path / "cache").ids.tolist()
    monkeypatch.setattr("brainmap.stimuli.content_id", lambda image: "computed anew")
    assert open_images(tmp_path / "images", cache=tmp_path / "cache").ids.tolist() == first
    write_images(tmp_path / "images", ["dog_01b"], side=7)
    assert open_images(tmp_path / "images", cache=tmp_path / "cache").ids.tolist() == ["computed anew"] * 2


def test_folders_tell_photographs_apart_that_share_a_file_name(tmp_path):
    write_images(tmp_path, ["cat_00", "cat_01"], seed=0)
    for file in (tmp_path / "cat").iterdir():
        file.rename(file.with_name(file.name.removeprefix("cat_")))
    only_cats = open_images(tmp_path, ["cat/00", "dog/00"])
    assert only_cats.table["name"].tolist() == ["cat/00"]
    assert match_trials(["cat/00.png", "dog/00.png", "00"], only_cats).found.tolist() == [True, False, True]
    with pytest.raises(InputError, match=r"show 'cat/00' and 'dog/00', and .* has only one file for both"):
        open_images(tmp_path / "cat", ["cat/00", "dog/00"])
    with pytest.raises(InputError, match="show 'cat/00' and 'dog/00', and the photographs have only one '00'"):
        match_trials(["cat/00", "dog/00"], open_images(tmp_path / "cat", ["00"]))
    write_images(tmp_path, ["dog_00", "dog_01"], seed=1)
    for file in (tmp_path / "dog").iterdir():
        file.rename(file.with_name(file.name.removeprefix("dog_")))
    both = open_images(tmp_path, ["cat/00", "dog/00", "stimuli/dog/01"])
    assert both.table[["name", "category"]].to_numpy().tolist() == [
        ["cat/00", "cat"], ["dog/00", "dog"], ["dog/01", "dog"]
    ]  # fmt: skip
    assert match_trials(["00"], both).unmatched["why"].iloc[0].startswith("both 'cat/00' and 'dog/00' could be meant")
