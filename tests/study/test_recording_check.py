from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest
from data.nsd_files import write_nsd
from data.things_files import write_things_meg
from study.own_files import run_brainmap

from brainmap.data import Responses
from brainmap.study.inspection.recording_check import examine_responses


def meg(*, onset: float = 0.08, n_images: int = 12, repeats: int = 6) -> Responses:
    """Sensors that begin to respond at a known time, with known signal and noise."""
    rng = np.random.default_rng(0)
    times = np.round(np.arange(-0.2, 0.5, 0.02), 3)
    gain = (times >= onset).astype(float)
    level = rng.standard_normal((1, 6, 1)) * 3
    signal = (rng.standard_normal((n_images, 6, 1)) + level) * gain
    stimulus = np.tile(np.arange(n_images), repeats)
    values = signal[stimulus] + rng.standard_normal((len(stimulus), 6, len(times)))
    targets = pd.DataFrame({"sensor": np.repeat([f"S{i}" for i in range(6)], len(times)), "time": np.tile(times, 6)})
    trials = pd.DataFrame({"stimulus": [f"s{i}" for i in stimulus], "session": np.repeat(np.arange(repeats), n_images)})
    return Responses(values.reshape(len(stimulus), -1).astype(np.float32), trials, targets, "meg", "01", simulated=True)


def test_numbers_are_those_planted():
    quality = examine_responses(meg())
    assert quality.onset() == pytest.approx(0.08)
    assert quality.repeats.to_dict() == {6: 12} and quality.trials["trials"].tolist() == [12] * 6
    times = quality.responses.targets["time"].to_numpy()
    assert quality.ceiling is not None
    after, before = quality.ceiling[times >= 0.08], quality.ceiling[times < 0.08]
    assert np.median(after) == pytest.approx(np.sqrt(6 / 7), abs=0.06) and np.median(before) < 0.5
    assert quality.consistency is not None and quality.consistency.suspicious.empty
    assert "leaves its baseline at 80 ms" in " ".join(quality.sentences())


def test_check_on_things_meg_writes_figure_and_tables(tmp_path, shared_data):
    planted = write_things_meg(tmp_path / "things-meg", shared_data / "things_meta")
    done = run_brainmap(
        "data", "check", "things-meg", "--subject", "1", "--data-root", str(planted.root), "--stimuli",
        str(planted.images), "--set", "sessions=[1,2]", "--set", "runs=[1,2]", "--set", "epochs.tmin=-0.1",
        "--set", "epochs.tmax=0.5", "--out", "quality", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "events tables are 150 ms later than triggers" in done.stdout and "6 shown 2×" in done.stdout
    names = sorted(path.name for path in (tmp_path / "quality").iterdir())
    stem = "things-meg-BIGMEG1"
    tables = ("nuisance.tsv", "quality.png", "repeats.tsv", "sessions.tsv", "trials.tsv")
    assert names == [f"{stem}-{table}" for table in tables]
    nuisance = pd.read_csv(tmp_path / f"quality/{stem}-nuisance.tsv", sep="\t")
    assert len(nuisance) == 44 and {"session", "run", "onset", "gaze_x"} <= set(nuisance)
    assert "6 of 38 photographs are the dataset's own test" in " ".join(done.stdout.split())
    assert pd.read_csv(tmp_path / f"quality/{stem}-trials.tsv", sep="\t")["trials"].tolist() == [11] * 4


def test_check_on_nsd_shows_areas_and_published_ceilings(tmp_path):
    write_nsd(tmp_path / "nsd")
    done = run_brainmap(
        "data", "check", "nsd", "--subject", "1", "--data-root", str(tmp_path), "--set", "sessions=[1,2]", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "250 shown 6×" in done.stdout and "published ncsnr" in done.stdout and "V1" in done.stdout
    assert (tmp_path / "brainmap_quality/nsd-1-quality.png").stat().st_size > 20_000
    ceiling = nibabel.load(tmp_path / "brainmap_quality/nsd-1-ceiling.R.func.gii").darrays[0].data
    ratio = (57 / 59) ** 2 * 6  # vertex 57, six showings
    assert ceiling[57] == pytest.approx(np.sqrt(ratio / (ratio + 1)), abs=1e-5) and np.isnan(ceiling[58])
