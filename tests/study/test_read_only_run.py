"""A finished run where nothing can be written is shown; whatever would have to be written is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from study.own_files import write_own

from brainmap import Study
from brainmap.common.errors import InputError
from brainmap.common.storage import file_errors
from brainmap.study import StudyConfig


def test_a_finished_run_on_a_read_only_disk_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = write_own(tmp_path / "own", modality="fmri")
    np.savez(tmp_path / "given.npz", layer=np.random.default_rng(0).standard_normal((40, 6)))
    settings = {
        "features": tmp_path / "given.npz", "cv": 3, "controls": "pixels", "stimuli": own.folder / "photos",
        "responses": str(own.folder / "responses.npy"), "targets": own.folder / "targets.tsv",
        "events": own.folder / "events.tsv",
    }  # fmt: skip
    out = tmp_path / "run"
    scores = Study(StudyConfig.from_dict(settings), out).run(report=False).to_frame()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    files = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(file_errors.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr("brainmap.common.storage.locks._make", refuse)
    assert Study(StudyConfig.from_dict(settings), out).run(report=False).to_frame()[list(scores)].equals(scores)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == files
    with pytest.raises(InputError, match=r"read-only; write elsewhere \(--out names another folder\)"):
        Study(StudyConfig.from_dict(settings), out).run()  # the report is not there
    with pytest.raises(InputError, match=r"holds another study \(config\.pca"):
        Study(StudyConfig.from_dict({**settings, "pca": 3}), out).run()
    with pytest.raises(InputError, match="read-only; write elsewhere"):
        Study(StudyConfig.from_dict(settings), tmp_path / "new").run()
