"""Scores as a share of the noise ceiling: in tables and report, raw ones beside, nothing above 1 unsaid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_up_results import make_results

from brainmap.common.errors import InputError
from brainmap.report.panels.study_panels import study_panels
from brainmap.report.words import methods
from brainmap.results.study_results import StudyResults


def declared(modality: str) -> StudyResults:
    """Results of a study with ``normalise: ceiling``; one target in five has a ceiling of .05, one in five of .12."""
    results = make_results(every=20, n_sensors=12, n_subjects=2, modalities=(modality,))
    scores = results.scores[modality].isel(layer=[3, 9])
    results.scores = {modality: scores}
    results.significance, results.hierarchy, results.controls = {}, {}, {}
    size = scores.sizes["target"]
    values = np.tile([0.05, 0.12, 0.5, 0.8, 0.9], size // 5 + 1)[:size]
    results.ceilings = {modality: xr.DataArray(np.stack([values, values]), dims=("subject", "target"))}
    results.provenance = results.provenance | {"config": {"normalise": "ceiling"}}
    return results


def test_areas_are_given_raw_and_as_a_share_of_the_ceiling() -> None:
    results = declared("fmri")
    normalised = results.normalised("fmri")
    r = results.scores["fmri"]["r"].mean("split")
    ceiling = results.ceilings["fmri"].values[:, None, None, :]
    share = (r.transpose("subject", "signal", "layer", "target").values / ceiling).clip(max=1.0)
    share = np.where(ceiling >= 0.1, share, np.nan)
    found = normalised["r_normalised"].transpose("subject", "signal", "layer", "target").values
    np.testing.assert_allclose(found, share, rtol=1e-6)
    table = results.roi_table()
    row = table.iloc[37]
    at = (results.scores["fmri"]["roi"] == row["roi"]).values
    place = {name: row[name] for name in ("subject", "signal", "layer")}
    inside = normalised.sel(place).isel(target=at)
    known = np.isfinite(inside["r_normalised"].values)
    assert row["r_normalised"] == pytest.approx(np.nanmean(inside["r_normalised"].values))
    assert row["n_normalised"] == known.sum() < row["n_targets"] == at.sum()
    assert row["n_above_ceiling"] == (inside["exceeds"].values & known).sum()
    assert table["n_above_ceiling"].sum() > 0 and table["r_normalised"].max() <= 1
    plain = StudyResults(results.provenance | {"config": {}}, results.scores, ceilings=results.ceilings).roi_table()
    pd.testing.assert_frame_equal(plain, table[plain.columns])


@pytest.mark.parametrize("modality", ["fmri", "meg"])
def test_the_report_says_what_was_divided_left_out_and_above(modality: str) -> None:
    results = declared(modality)
    panels = [panel for panel in study_panels(results) if panel.key.startswith("share-")]
    assert [panel.key for panel in panels] == [f"share-{modality}-activation", f"share-{modality}-gradient"]
    normalised = results.normalised(modality).sel(signal="activation")
    for words in (
        f"{int(normalised['masked'].sum()):,} of {normalised['masked'].size:,} ceilings are below 0.1 and left out",
        f"{int(normalised['exceeds'].sum()):,} of {normalised['exceeds'].size:,} scores exceed their ceiling",
        "count as 1. Raw scores are in the other panels",
    ):
        assert words in panels[0].caption
    table = panels[0].table
    assert {"block.3 (share)", "block.3 (r)"} <= set(table.columns) and len(table) > 5
    assert panels[0].draw().axes
    assert "not divided by a noise ceiling but for the panels that say so" in methods.methods_paragraph(results)
    results.provenance = results.provenance | {"config": {}}
    assert not [panel for panel in study_panels(results) if panel.key.startswith("share-")]


def test_ceilings_that_nobody_knows_are_refused() -> None:
    results = declared("fmri")
    results.ceilings = {}
    with pytest.raises(InputError, match="No noise ceiling of fmri is known"):
        results.normalised("fmri")
