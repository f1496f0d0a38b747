"""What each panel has in common with the paper's: an answer for all of them, and the right one."""

from __future__ import annotations

import copy

import pytest

from brainmap.papers import convergence_panels, misalignment_panels
from brainmap.papers.panel_likeness import COLUMNS, EIGHT, EPOCHS, panel_likeness
from brainmap.results.collection import Collection, Member
from brainmap.results.study_results import StudyResults


def studies(results: StudyResults, *settings: dict, parts: tuple[str, ...] = ("training", "models")) -> Collection:
    members = [
        Member(f"m{i}", values, results, {name: {} for name in parts}, values.pop("step", None))
        for i, values in enumerate(settings)
    ]
    return Collection(tuple(members))


@pytest.mark.parametrize("name", ["misalignment", "convergence"])
def test_no_cell_is_empty_with_or_without_data(small_results, name):
    draw = misalignment_panels if name == "misalignment" else convergence_panels
    some = studies(small_results, {"model": "dino-tiny", "weights": "step_000400", "step": 400})
    for collection in (Collection(()), some):
        panels = draw(collection)
        table = panel_likeness(name, panels, collection)
        assert list(table.columns) == list(COLUMNS) and len(table) == len(panels)
        assert (table.map(str).map(str.strip) != "").all(axis=None)
        missing = [bool(panel.missing) for panel in panels]
        assert (table["data"] == "not drawn: data are missing").tolist() == missing
    simulated = table[~table["data"].str.startswith("not drawn")]
    assert len(simulated) > 5 and set(simulated["data"]) == {"simulated"}
    assert simulated["same preprocessing?"].str.contains("no: simulated").all()
    assert simulated.loc[simulated["panel"] != "Controls", "same models?"].str.startswith("no").all()


def test_sizes_and_types_are_not_the_papers_where_they_are_the_samples(small_results):
    names = {"32": "dino-tiny-32", "96": "dino-tiny"}
    levels = {"as given: S, B": {"S": "dinov3-vits16", "B": "dinov3-vitb16"}, "no: dino-tiny-32, dino-tiny": names}
    for words, models in levels.items():
        members = [
            Member(level, {"model": model}, small_results, {"sizes": {"level": level}}, None)
            for level, model in models.items()
        ]
        collection = Collection(tuple(members))
        table = panel_likeness("convergence", convergence_panels(collection), collection).set_index("panel")
        assert table.loc["6B", "same models?"].startswith(words)
    assert "(paper: DINOv3 S, B, L and G)" in table.loc["6B", "same models?"]


def test_the_papers_own_data_and_models_are_known(small_results):
    real = copy.copy(small_results)
    real.provenance = {**small_results.provenance, "simulated": False}
    reading = {"zscore": "subject", "epochs": dict(EPOCHS)}
    as_paper = studies(real, *({"model": name, "dataset": "things-meg", "reading": reading} for name in EIGHT))
    table = panel_likeness("misalignment", misalignment_panels(as_paper), as_paper).set_index("title")
    row = table.loc["Models, last layer: MEG"]
    assert row["same preprocessing?"].startswith("MEG yes (0.1 to 20 Hz") and row["data"] == "real"
    assert row["same models?"].startswith("yes, as released") and row["same quantity?"] == "yes"
    other = studies(real, *({"model": name, "dataset": "things-meg", "reading": {}} for name in (*EIGHT[:3], "x")))
    row = panel_likeness("misalignment", misalignment_panels(other), other).set_index("title").loc[row.name]
    assert row["same models?"] == ("no: 3 of the eight; lacking ConvNeXt-L, ResNet-50, OWL-ViT, CLIP, SigLIP 2; here x")
    assert row["same preprocessing?"] == "MEG no: antialias None, z-scored by session"
    nsd = studies(real, {"model": "dinov3-vits16", "dataset": "nsd", "weights": "trained"})
    for name, draw, word in (
        ("misalignment", misalignment_panels, "fMRI yes (betas)"),
        ("convergence", convergence_panels, "fMRI no: betas (paper: BOLD 5.5 s after onset)"),
    ):
        table = panel_likeness(name, draw(nsd), nsd).set_index("panel")
        row = table.loc["2A"]
        assert row["same preprocessing?"] == word
        assert row["same models?"] == "no: DINOv3-S as released (paper: trained by the authors)"
