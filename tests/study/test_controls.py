"""Controls of a study: the interval is over folds of the subjects' mean, and subjects are no further evidence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr
from study.own_files import write_own

from brainmap.common.errors import InputError
from brainmap.common.storage.digests import check_folder
from brainmap.encoding import EncodingResult, PreparedEncoding
from brainmap.statistics.tests_of_means import folds_interval
from brainmap.stimuli import StimulusSet
from brainmap.study import Grid, GridConfig, Study, StudyConfig
from brainmap.study.analysis.encoded_part import CONTROL_SPACES
from brainmap.study.analysis.rows_and_spaces import feature_spaces
from brainmap.study.analysis.summarise import compare_with_controls


def study(r: np.ndarray) -> tuple[list[Any], xr.Dataset]:
    """Scores (subject, layer, split, target) of one signal, and of the same layers as controls."""
    names = [f"layer {i}" for i in range(r.shape[1])]
    array = xr.DataArray(r, dims=("subject", "layer", "split", "target"), coords={"layer": names})
    subjects = [SimpleNamespace(spaces={CONTROL_SPACES: SimpleNamespace(r=one)}) for one in array]
    return subjects, array.expand_dims(signal=["activation"]).to_dataset(name="r")


def test_interval_is_that_of_the_folds() -> None:
    r = 0.05 + 0.02 * np.random.default_rng(0).standard_normal((3, 2, 5, 7))
    table = compare_with_controls(*study(r)).set_index("space")
    assert table.index.tolist() == ["activation", "layer 0", "layer 1"]
    for layer in (0, 1):
        folds = r[:, layer].mean(axis=(0, 2))
        row = table.loc[f"layer {layer}"]
        assert row["r"] == pytest.approx(folds.mean())
        assert (row["low"], row["high"]) == pytest.approx(folds_interval(folds))
    best = r.mean(axis=(0, 2, 3)).argmax()
    assert table.loc["activation"].tolist() == pytest.approx(table.loc[f"layer {best}"].tolist())


def test_subjects_who_agree_by_chance_do_not_narrow_it() -> None:
    one = 0.02 * np.random.default_rng(1).standard_normal((1, 1, 5, 4))
    alone = compare_with_controls(*study(one)).loc[1]
    eight = compare_with_controls(*study(np.repeat(one, 8, axis=0))).loc[1]
    assert eight.to_list()[1:] == pytest.approx(alone.to_list()[1:])
    assert alone["low"] < 0 < alone["high"]


def test_too_few_folds_have_no_interval() -> None:
    table = compare_with_controls(*study(np.full((3, 1, 2, 4), 0.1)))
    assert table["r"].tolist() == pytest.approx([0.1, 0.1]) and table[["low", "high"]].isna().all(axis=None)


def test_control_spaces_are_chosen_by_name() -> None:
    config = StudyConfig.from_dict({"controls": ["pixels", "texture"], "signals": ["activation"]})
    rng = np.random.default_rng(0)
    stimuli = StimulusSet.from_arrays([rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)])
    features = SimpleNamespace(by_layer=lambda signal: {"block.0": np.ones((3, 2))}, gradient_norms={}, losses=None)
    spaces = feature_spaces(config, stimuli, cast(Any, features))
    assert list(spaces[CONTROL_SPACES]) == ["pixels", "texture"]
    usual = feature_spaces(StudyConfig(signals=("activation",)), stimuli, cast(Any, features))
    assert list(usual[CONTROL_SPACES]) == ["pixels", "gabor"]
    assert "controls" not in StudyConfig().describe() and config.describe()["controls"] == ["pixels", "texture"]
    assert StudyConfig.from_dict({"controls": "texture"}).controls == ("texture",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"controls": ["gabors"]}, "gabors"),
        ({"controls": []}, "at least one value"),
        ({"controls": ["loss"], "signals": ["activation"]}, "control 'loss' is made of gradients"),
    ],
)
def test_controls_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StudyConfig.from_dict(settings)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    own = write_own(tmp_path / "own")
    write_sources(tmp_path / "own" / "table.tsv", 20)
    names = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    files = {key: str(own.folder / file) for key, file in (names | {"table": "table.tsv"}).items()}
    study = {"dataset": "own", "own": files, "cv": 3, "signals": ["activation"], "layers": ["block.0", "block.11"]}
    varied = {"weights": ["untrained", "step_000100"], "cv": [3, 4]}
    return Grid(GridConfig.from_dict({"study": study, "grid": varied}), tmp_path / "grid")


def write_sources(table: Path, n: int) -> None:
    rows = [f"img_{i:02d}.png\tsource {i % n}" for i in range(40)]
    table.write_text("\n".join(["name\tsource", *rows]) + "\n")


def controls_of(study: Study) -> tuple[Path, xr.Dataset]:
    folder = study.folder.scores("meg", "01", CONTROL_SPACES)
    return folder, EncodingResult.load(folder).dataset


def fitted(study: Study, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run a study; the spaces that were fitted."""
    fits, encode = [], PreparedEncoding.encode_to

    def noted(self: PreparedEncoding, values: Any, out: Path, **options: Any) -> EncodingResult:
        fits.append(Path(out).name)
        return encode(self, values, out, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PreparedEncoding, "encode_to", noted)
        study.run(report=False)
    return fits


def test_controls_are_fitted_once_for_all_models_of_a_grid(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other_folds, second, *_ = (grid.study(cell) for cell in grid.cells)
    assert fitted(first, monkeypatch) == ["activation", "controls"]
    assert fitted(other_folds, monkeypatch) == ["activation", "controls"]  # nothing of a study with other settings
    assert fitted(second, monkeypatch) == ["activation"]
    folder, scores = controls_of(second)
    xr.testing.assert_identical(scores, controls_of(first)[1])
    assert check_folder(folder, "encoding result", full=True)


def test_damaged_controls_of_another_study_are_not_taken_over(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, second, *_ = (grid.study(cell) for cell in grid.cells)
    fitted(first, monkeypatch)
    folder, sound = controls_of(first)
    chunk = next(path for path in (folder / "r" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    assert fitted(second, monkeypatch) == ["activation", "controls"]
    np.testing.assert_array_equal(controls_of(second)[1]["r"], sound["r"])


def test_controls_of_photographs_that_were_grouped_otherwise_are_not_taken_over(
    grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, second, *_ = (grid.study(cell) for cell in grid.cells)
    fitted(first, monkeypatch)
    write_sources(tmp_path / "own" / "table.tsv", 8)
    assert fitted(second, monkeypatch) == ["activation", "controls"]


def test_controls_of_a_study_that_nobody_may_change_are_copied(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, second, *_ = (grid.study(cell) for cell in grid.cells)
    fitted(first, monkeypatch)
    folder, _ = controls_of(first)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert fitted(second, monkeypatch) == ["activation"]
    for path in controls_of(second)[0].rglob("*"):
        assert path.stat().st_mode & 0o200
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
