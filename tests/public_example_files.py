"""The folder in which the examples of docstrings run: a finished run, a person's own files, checkpoints, a study file.

Examples name these as a person would (``brainmap_runs/demo``, ``photos``, ``responses.npy``), relative to the folder
they work in. The run's numbers are made up (:mod:`made_up_results`); examples show how something is called.
"""

from __future__ import annotations

from pathlib import Path

from made_up_results import make_results
from study.own_files import write_own

from brainmap.study.run_folder import RunFolder

STUDY_FILE = """
schema: 2
title: Does the site matter?
study: {subjects: [S1], thin: 24}
grid: {weights: [untrained, trained], site: [block, mlp]}
"""
HYPOTHESES = """
hypotheses:
  - {id: H1, statement: Gradients predict MEG, effect: score, modality: meg, of: {signal: gradient},
     direction: positive, smallest: 0.005}
"""


def write_example_files(folder: Path) -> None:
    """Write everything that examples name."""
    write_own(folder)
    for name, modalities in (("demo", ("fmri", "meg")), ("meg", ("meg",))):
        run = RunFolder(folder / "brainmap_runs" / name)
        run.claim({"config": {}})
        results = make_results(every=20, n_sensors=60, n_subjects=2, modalities=modalities)
        if name == "meg":  # small: its report is drawn in a second or two
            results.scores["meg"] = results.scores["meg"].isel(layer=[0, 11], signal=[0])
            results.residual, results.hierarchy, results.significance, results.controls = {}, {}, {}, {}
        results.save(run.results)
    (folder / "study.yaml").write_text(STUDY_FILE, encoding="utf-8")
    (folder / "hypotheses.yaml").write_text(HYPOTHESES, encoding="utf-8")
    (folder / "checkpoints").mkdir()
    for step in (0, 100, 1000):
        (folder / "checkpoints" / f"step_{step:06d}.safetensors").write_bytes(b"")
    (folder / "bids" / "sub-01" / "func").mkdir(parents=True)
    (folder / "bids" / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.9.0"}')
