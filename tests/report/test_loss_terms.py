"""The panel and the sentence of the terms of a loss say what the table says, and nothing where there is none."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.report.figures import loss_terms
from brainmap.report.panels import study_panels
from brainmap.report.words.answer import plain_answer
from brainmap.report.words.loss_terms import terms_sentence
from brainmap.results import StudyResults


@pytest.fixture
def split(small_results) -> StudyResults:
    results = copy.deepcopy(small_results)
    results.provenance["config"] = {"signals": ["activation", "gradient"], "terms": "split"}
    for modality in ("fmri", "meg"):
        units = results.residual[modality]["unit"].to_numpy()
        table = pd.DataFrame({"term": np.repeat(["dino", "ibot"], len(units)), "unit": np.tile(units, 2)})
        table["unique"] = 0.001 * np.arange(len(table))[::-1]
        found = (table["term"] == "dino") & (table.index < 3)
        results.terms[modality] = table.assign(
            low=table["unique"] - 0.01,
            high=table["unique"] + 0.01,
            p_fwer=np.where(found, 0.01, 0.5),
            significant=found,
        )
    return results


def test_the_sentence_names_what_is_significant_and_no_more(split, small_results):
    sentence = terms_sentence(split)
    areas = split.terms["fmri"]["unit"].tolist()
    total = len(areas) // 2
    assert f"DINO in 3 of {total} areas ({areas[0]}, {areas[1]} and {areas[2]}) and at " in sentence
    assert sentence.endswith("; iBOT nowhere.") and "beyond the other terms and the activations" in sentence
    assert sentence.startswith("Of the terms of the loss") and "simulated responses" in sentence
    assert sentence in plain_answer(split)
    for table in split.terms.values():
        table["significant"] = False
    assert terms_sentence(split).startswith("No term of the loss (DINO and iBOT) explains simulated responses")
    assert terms_sentence(small_results) == ""


def test_one_panel_where_terms_were_split_and_none_elsewhere(split, small_results):
    own = [panel for panel in study_panels(split) if panel.key == "loss-terms"]
    assert len(own) == 1 and own[0].section == "beyond" and "not tested" in own[0].caption
    assert own[0].table["modality"].unique().tolist() == ["fmri", "meg"]
    figure = own[0].draw()
    assert len(figure.axes) == 2 and [text.get_text() for text in figure.legends[0].get_texts()] == ["DINO", "iBOT"]
    assert "loss-terms" not in [panel.key for panel in study_panels(small_results)]
    del split.terms["meg"]
    assert len(next(panel for panel in study_panels(split) if panel.key == "loss-terms").draw().axes) == 1


def test_nothing_to_draw_is_said():
    with pytest.raises(InputError, match="give one of the two tables"):
        loss_terms()
