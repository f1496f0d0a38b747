"""Studies of one model on two data sets become one: fMRI of the first beside MEG of the second."""

from __future__ import annotations

from dataclasses import replace

import pytest
import xarray as xr
from made_up_results import make_results

from brainmap.papers import misalignment_panels
from brainmap.results.collection import Collection, Member
from brainmap.results.joined_modalities import join_modalities
from brainmap.results.study_results import StudyResults


def one_modality(modality: str, dataset: str, **changes: object) -> StudyResults:
    results = make_results(every=40, n_sensors=8, modalities=(modality,))
    made = {modality: f"{modality} test", "residual": "sign flips"}
    provenance = {**results.provenance, "dataset": dataset, "simulated": False, "p_values": made, **changes}
    return replace(results, provenance=provenance)


@pytest.fixture(scope="module")
def apart() -> Collection:
    fmri = one_modality("fmri", "nsd", n_images=9_000, stimulus_duration=3.0)
    meg = one_modality("meg", "things-meg", n_images=22_448, stimulus_duration=0.5)
    members = []
    for step in (0, 100):
        for name, results in (("nsd", fmri), ("things-meg", meg)):
            settings = {"model": "dinov3", "weights": f"step_{step}", "dataset": name, "cv": 5}
            varied = {"training": {"weights": f"step_{step}", "dataset": name}}
            members.append(Member(f"dinov3-{step}-{name}", settings, results, varied, step))
    return Collection(tuple(members), "both")


def test_two_data_sets_become_one_study_for_each_checkpoint(apart: Collection) -> None:
    joined = join_modalities(apart)
    assert [member.step for member in joined] == [0, 100]
    first = next(iter(joined)).results
    assert first.modalities == ("fmri", "meg") and not first.simulated
    xr.testing.assert_identical(first.scores["meg"], apart.members[1].results.scores["meg"])
    assert first.provenance["dataset"] == "nsd + things-meg"
    assert first.provenance["n_images"] == {"fmri": 9_000, "meg": 22_448}
    assert first.provenance["stimulus_duration"] == 0.5
    assert first.provenance["p_values"]["fmri"] == "fmri test" and first.provenance["p_values"]["meg"] == "meg test"
    assert set(first.hierarchy) == {"spatial", "temporal"} and set(first.residual) == {"fmri", "meg"}
    first.check()


def test_panels_find_both(apart: Collection) -> None:
    alone = {panel.number for panel in misalignment_panels(apart) if panel.missing}
    both = {panel.number for panel in misalignment_panels(join_modalities(apart)) if panel.missing}
    assert {"2A", "2C"} <= alone or {"2E"} <= alone
    assert not {"2A", "2B", "2C", "2D", "2E", "2F", "5"} & both


def test_what_differs_in_more_than_its_data_stays_apart(apart: Collection) -> None:
    first, second, *_ = apart.members
    other = replace(second, settings={**second.settings, "cv": 10})
    assert len(join_modalities(Collection((first, other)))) == 2
    again = replace(first, label="dinov3-0-bold5000", settings={**first.settings, "dataset": "bold5000"})
    assert len(join_modalities(Collection((first, again, second)))) == 3  # which fMRI belongs to the MEG?
