"""Does a report of pure noise name anything? Whole studies, from files on disk to the words of their page.

    python benchmarks/noise_reports.py [--runs 20] [--first-seed 0] [--planted] [--model]

Every study is written to disk as a user's own data (photographs, responses, tables), encoded, tested and reported; its
page is then read as a person would: sentences of the answer, cards, verdicts of hypotheses. ``--planted`` puts the
features' signal into the responses, where a report must name something. Features are a file of random numbers, or the
embedded model's with ``--model`` (slower). Prints how many reports named something, with the exact 99 % upper bound.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

SENSORS = {"meg": ("MLO11", "MRO11", "MZO01", "MLT11"), "eeg": ("Oz", "Pz", "Cz", "O1")}
TIMES = np.round(np.arange(-0.1, 0.6, 0.05), 3)
AREAS = ("V1", "V2", "V3", "V4", "FFC", "PH", "VVC", "MT")


def conditions() -> list[tuple[str, int, int, int]]:
    """Modality, photographs, subjects and photographs in a group: crossed, from tiny to the size of a real study."""
    sizes = ((12, 1), (30, 1), (60, 2), (100, 4), (240, 6), (500, 1))
    return [
        (modality, n, subjects, grouped)
        for n, grouped in sizes
        for modality in ("fmri", "meg", "eeg")
        for subjects in (1, 2, 3)
    ]


def write_study(folder: Path, seed: int, condition: tuple[str, int, int, int], signal: float) -> dict[str, object]:
    """Write photographs, features and responses; return the settings of the study."""
    modality, n, subjects, per_group = condition
    rng = np.random.default_rng([seed, n, subjects])
    (folder / "photos").mkdir(parents=True)
    names = [f"{i:03d}.png" for i in range(n)]
    for name in names:
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / "photos" / name)
    groups = pd.DataFrame({"name": names, "source": [f"scene-{i // per_group}" for i in range(n)]})
    groups.to_csv(folder / "photos.tsv", sep="\t", index=False)
    layers = {f"block.{i}": rng.standard_normal((n, 12)).astype(np.float32) for i in range(4)}
    layers |= {f"gradient/{name}": rng.standard_normal((n, 12)).astype(np.float32) for name in list(layers)}
    np.savez(folder / "features.npz", **layers)
    if modality == "fmri":
        targets = pd.DataFrame({"roi": np.repeat(AREAS, 6)})
    else:
        grid = pd.MultiIndex.from_product([SENSORS[modality], TIMES], names=["sensor", "time"])
        targets = grid.to_frame(index=False)
    targets.to_csv(folder / "targets.tsv", sep="\t", index=False)
    weights = rng.standard_normal((12, len(targets)))
    responses = [signal * layers["block.2"] @ weights + rng.standard_normal((n, len(targets))) for _ in range(subjects)]
    np.save(folder / "responses.npy", np.concatenate(responses).astype(np.float32))
    events = pd.DataFrame({"stimulus": names * subjects, "subject": np.repeat([f"S{i}" for i in range(subjects)], n)})
    events.to_csv(folder / "events.tsv", sep="\t", index=False)
    files = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    own = {name: str(folder / file) for name, file in files.items()} | {"table": str(folder / "photos.tsv")}
    return {"dataset": "own", "own": own, "seed": seed, "signals": ("activation", "gradient"), "flips": 1000}


def named_in(page: str) -> list[str]:
    """Return what a page names: sentences, cards that are not grey, verdicts that decide."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S))
    text = " ".join(text.split())
    patterns = (
        r"responses best [^.]*\.",
        r"The deeper a layer, [^.]*\.",
        r"adds to that prediction (?!in none|at no time)[^.]*\.",
    )
    found = [match.group(0) for pattern in patterns for match in re.finditer(pattern, text)]
    found += re.findall(r'class="verdict (?:supported|contradicted)[^>]*>', page)
    cards = re.findall(r'<div class="number([^"]*)"', page)
    return found + ["a card that is not grey" for classes in cards if "quiet" not in classes]


def one_report(seed: int, condition: tuple[str, int, int, int], signal: float, with_model: bool) -> list[str]:
    """Run one study; return what its report names."""
    from brainmap.study import Study, StudyConfig

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        values = write_study(folder, seed, condition, signal)
        source = {"model": "dino-tiny"} if with_model else {"features": str(folder / "features.npz")}
        study = Study(StudyConfig.from_dict(values | source), folder / "run")
        study.run()
        return named_in((study.out / "report.html").read_text())


def main() -> None:
    """Count the reports that name something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--planted", action="store_true", help="responses that the features predict")
    parser.add_argument("--model", action="store_true", help="features of dino-tiny, in place of random numbers")
    arguments = parser.parse_args()
    every = conditions()
    named = 0
    for run in range(arguments.runs):
        seed = arguments.first_seed + run
        condition = every[seed * 7 % len(every)]  # 7 and 54 have no common factor: all conditions in turn
        words = one_report(seed, condition, 1.0 if arguments.planted else 0.0, arguments.model)
        named += bool(words)
        print(seed, *condition, "named: " + "; ".join(words) if words else "nothing named", flush=True)
    bound = stats.beta.ppf(0.99, named + 1, arguments.runs - named) if named < arguments.runs else 1.0
    print(f"{named} of {arguments.runs} reports name something ({named / arguments.runs:.3f}, at most {bound:.3f})")


if __name__ == "__main__":
    main()
