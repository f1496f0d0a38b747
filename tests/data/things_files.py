"""A small THINGS-MEG: CTF recordings with planted responses around the real sidecar files of subject 1."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from data.ctf_files import write_ctf
from PIL import Image

RATE = 1200.0
LAG = 0.15  # the events tables of the public files are later than the triggers
SUFFIX = "-1609"
SENSORS = ["MZO02", "MLC11", "MRT22", "MLO31"]
N_EXP, N_TEST = 8, 3


@dataclass
class PlantedMEG:
    """What was written: each image's amplitude per sensor, by name, and the folder of photographs."""

    root: Path
    images: Path
    amplitude: dict[str, np.ndarray]
    runs: list[Path] = field(default_factory=list)


def wave(times: np.ndarray) -> np.ndarray:
    """Planted time course: a 6-Hz ripple around 180 ms, over well before the next photograph."""
    return np.exp(-0.5 * ((times - 0.18) / 0.07) ** 2) * np.cos(2 * np.pi * 6 * (times - 0.18))


def real_events(meta: Path, session: int, run: int) -> pd.DataFrame:
    folder = meta / "ds004212/sub-BIGMEG1" / f"ses-{session:02d}/meg"
    return pd.read_csv(folder / f"sub-BIGMEG1_ses-{session:02d}_task-main_run-{run:02d}_events.tsv", sep="\t")


def write_things_meg(root: Path, meta: Path, sessions: int = 2, runs: int = 2) -> PlantedMEG:
    """Write runs of a dozen real trials each: their real image numbers, types and intervals, and real sidecars."""
    rng = np.random.default_rng(3)
    planted = PlantedMEG(root, root.parent / "images", {})
    tables = {}
    tests = [sorted(v for v in _test_values(meta, 1))[run * N_TEST : (run + 1) * N_TEST] for run in range(runs)]
    for session in range(1, sessions + 1):
        for run in range(1, runs + 1):
            tables[session, run] = _small(real_events(meta, session, run), tests[run - 1])
    concepts = pd.read_csv(meta / "things_concepts.tsv", sep="\t")["uniqueID"]
    names = _names(tables, concepts)
    _write_images(planted.images, names)
    planted.amplitude = {name: rng.standard_normal(len(SENSORS)) for name in names.values()}
    for (session, run), table in tables.items():
        _write_run(planted, session, run, table, names, meta, rng)
    _write_log(root, tables, names)
    for name in ("dataset_description.json", "participants.tsv", "task-main_events.json"):
        shutil.copy(meta / "ds004212" / name, root / name)
    return planted


def _test_values(meta: Path, session: int) -> set[float]:
    everything = pd.concat([real_events(meta, session, run) for run in range(1, 11)])
    return set(everything.loc[everything["trial_type"] == "test", "value"])


def _small(table: pd.DataFrame, tests: list[float]) -> pd.DataFrame:
    """Eight photographs, three repeated ones and a catch trial, at the run's real intervals."""
    exp = table[table["trial_type"] == "exp"].iloc[:N_EXP]
    catch = table[table["trial_type"] == "catch"].iloc[:1]
    chosen = pd.concat([exp.iloc[:4], catch, exp.iloc[4:]])
    test = exp.iloc[:N_TEST].assign(trial_type="test", value=tests)
    chosen = pd.concat([chosen, test]).reset_index(drop=True)
    chosen["onset"] = table["onset"].to_numpy()[: len(chosen)]
    chosen["sample"] = np.round(chosen["onset"] * RATE).astype(int)
    return chosen


def _names(tables: dict, concepts: pd.Series) -> dict[float, str]:
    everything = pd.concat(tables.values()).dropna(subset=["value"]).drop_duplicates("value")
    return {
        row.value: f"{concepts[int(row.things_category_nr) - 1].replace(' ', '_')}_{int(row.value) % 90 + 1:02d}n"
        for row in everything.itertuples()
    }


def _write_images(folder: Path, names: dict[float, str]) -> None:
    for number, name in names.items():
        place = folder / name.rpartition("_")[0]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(int(number)).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{name}.png")


def _write_run(planted: PlantedMEG, session: int, run: int, table: pd.DataFrame, names, meta: Path, rng) -> None:
    place = planted.root / f"sub-BIGMEG1/ses-{session:02d}/meg"
    place.mkdir(parents=True, exist_ok=True)
    stem = f"sub-BIGMEG1_ses-{session:02d}_task-main_run-{run:02d}"
    onsets = np.round((table["onset"].to_numpy() - LAG) * RATE).astype(int)
    n_samples = onsets[-1] + int(3 * RATE)
    times = np.arange(n_samples) / RATE
    signal = np.zeros((len(SENSORS), n_samples))
    trigger = np.zeros(n_samples, dtype=int)
    for onset, value in zip(onsets, table["value"], strict=True):
        trigger[onset : onset + 60] = 64
        if np.isfinite(value):
            signal += np.outer(planted.amplitude[names[value]] * (1 + session), wave(times - onset / RATE))
    trigger[-1200:-1140] = 32
    signal = 1e-12 * (signal + 0.01 * rng.standard_normal(signal.shape))
    folder = place / f"{stem}_meg.ds"
    gaze = {"UADC009-2104": np.round(1000 * times).astype(int)}  # the eye drifts by 1000 steps a second
    write_ctf(folder, [sensor + SUFFIX for sensor in SENSORS], signal, trigger, others=gaze)
    table.to_csv(place / f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a")
    real = meta / "ds004212/sub-BIGMEG1/ses-01/meg/sub-BIGMEG1_ses-01_task-main_run-01"
    for suffix in ("channels.tsv", "meg.json", "coordsystem.json"):  # the same everywhere, and 10 runs lack one
        if (session, run) != (2, 1):
            shutil.copy(f"{real}_{suffix}", place / f"{stem}_{suffix}")
    (place / f"._{stem}_events.tsv").write_bytes(b"\0\5\x16\7AppleDouble")
    planted.runs.append(folder)


def _write_log(root: Path, tables: dict, names: dict[float, str]) -> None:
    parts = []
    for (session, run), table in tables.items():
        paths = ["images_catch_meg/catch001.jpg" if np.isnan(v) else
                 f"images_meg/{names[v].rpartition('_')[0]}/{names[v]}.jpg" for v in table["value"]]  # fmt: skip
        parts.append(
            pd.DataFrame({"trial_type": table["trial_type"], "image_path": paths, "things_image_nr": table["value"]})
            .assign(session_nr=session, run_nr=run, image_nr=table["value"], image_on=table["onset"], image_off=0.0)
        )  # fmt: skip
    (root / "sourcedata").mkdir(parents=True)
    pd.concat(parts).to_csv(root / "sourcedata/sample_attributes_P1.csv", index=False)
