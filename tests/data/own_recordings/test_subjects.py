"""Several subjects: a folder each, or a column of the table of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.common.tables import read_table
from brainmap.data.own_recordings.subjects import read_subjects
from brainmap.stimuli import StimulusSet

pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote")
RNG = np.random.default_rng(0)
DATA = {name: RNG.standard_normal((6, 2)).astype(np.float32) for name in ("01", "02")}
EVENTS = {"01": [*"abcabc"], "02": [*"ccbbaa"]}


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [*"abc"]}))


def folders(root: Path) -> Path:
    for name, data in DATA.items():
        (root / f"sub-{name}").mkdir(parents=True)
        np.save(root / f"sub-{name}" / "betas.npy", data)
        table = pd.DataFrame({"stimulus": EVENTS[name]})
        table.to_csv(root / f"sub-{name}" / f"sub-{name}_events.tsv", sep="\t", index=False)
    (root / "targets.tsv").write_text("roi\nV1\nV2\n")
    return root


def check(subjects, stimuli: StimulusSet) -> None:
    assert list(subjects) == ["01", "02"]
    for name, responses in subjects.items():
        assert responses.subject == name
        np.testing.assert_array_equal(responses.block(), DATA[name])
        np.testing.assert_array_equal(responses.block([3], [1]), DATA[name][[3]][:, [1]])
        expected = stimuli.ids[["abc".index(label) for label in EVENTS[name]]]
        np.testing.assert_array_equal(responses.trials["stimulus"], expected)
        assert responses.trials["repeat"].tolist() == pd.Series(EVENTS[name]).groupby(EVENTS[name]).cumcount().tolist()


def test_a_folder_a_subject(stimuli: StimulusSet, tmp_path: Path):
    root = folders(tmp_path / "data")
    check(read_subjects(root, root / "targets.tsv", None, stimuli), stimuli)


def test_targets_of_all_subjects_are_read_once(stimuli: StimulusSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, read = folders(tmp_path / "data"), []
    (root / "targets.tsv").write_text("Region\nV1\nV2\n")

    def noted(path, **options):
        read.append(Path(path).name)
        return read_table(path, **options)

    monkeypatch.setattr("brainmap.data.own_recordings.trial_and_target_tables.read_table", noted)
    subjects = read_subjects(root, root / "targets.tsv", None, stimuli)
    assert read.count("targets.tsv") == 1
    for responses in subjects.values():
        assert responses.targets["roi"].tolist() == ["V1", "V2"]
        assert responses.info["notes"] == ["column 'Region' of targets.tsv is read as 'roi'"]


def test_a_column_of_subjects(stimuli: StimulusSet):
    events = pd.DataFrame(
        {"Participant": np.repeat(["sub-01", "sub-02"], 6), "stimulus": [*EVENTS["01"], *EVENTS["02"]]}
    )
    both, targets = np.concatenate([*DATA.values()]), pd.DataFrame({"roi": ["V1", "V2"]})
    check(read_subjects(both, targets, events, stimuli), stimuli)
    mixed = np.argsort(np.tile(np.arange(6), 2), kind="stable")  # trials of both in turn
    subjects = read_subjects(both[mixed], targets, events.iloc[mixed], stimuli)
    check(subjects, stimuli)


def test_folders_that_are_not_clear_are_refused(stimuli: StimulusSet, tmp_path: Path):
    root = folders(tmp_path / "data")
    np.save(root / "sub-02" / "more.npy", DATA["02"])
    with pytest.raises(InputError, match=r"several files of responses \(betas\.npy, more\.npy\); call the one to use"):
        read_subjects(root, root / "targets.tsv", None, stimuli)
    (root / "sub-02" / "more.npy").rename(root / "sub-02" / "responses.npy")
    check(read_subjects(root, root / "targets.tsv", None, stimuli), stimuli)
    (root / "sub-02" / "targets.tsv").write_text("sensor\ttime\nA\t0\nA\t0.1\n")
    with pytest.raises(InputError, match="subject 01 fMRI and subject 02 MEG; make a study of each"):
        read_subjects(root, root / "targets.tsv", None, stimuli)
    with pytest.raises(InputError, match="holds no folders with files of responses"):
        read_subjects(tmp_path / "data" / "sub-01", root / "targets.tsv", None, stimuli)
