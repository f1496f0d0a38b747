"""Reports of all kinds of studies, looked at in a browser: nothing empty, nothing twice, no error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import Chromium
from made_up_results import STUDIES, make_study

from brainmap.report import write_report
from brainmap.results import StudyResults

HEADINGS = "[...document.querySelectorAll('h1, h2, h3')].map(e => e.textContent.trim())"
EMPTY = (
    "[...document.querySelectorAll('section')].filter(s => s.clientHeight < 40 || "
    "!s.querySelector('figure, table, dl, .number')).map(s => s.id)"
)
BEYOND = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
BROKEN = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length"
BRIGHT = "[...document.querySelectorAll('.number:not(.quiet) h2')].map(e => e.textContent)"
NAMES = {"MEG only": "MEG", "one layer": "MEG", "EEG only": "EEG", "fMRI only": "fMRI", "one subject": "MEG"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a report once, whatever the width of the window."""
    folder, written = tmp_path_factory.mktemp("pages"), {}

    def write(name: str) -> Path:
        if name not in written:
            written[name] = write_report(make_study(name), folder / f"{len(written)}.html")
        return written[name]

    return write


@pytest.mark.browser
@pytest.mark.parametrize("name", STUDIES)
def test_no_page_is_empty_doubled_or_broken(name: str, page: Callable[[str], Path], chromium: Chromium) -> None:
    for width in (1280, 390):
        chromium.open(page(name), width)
        assert chromium.problems() == []
        assert chromium.run("document.documentElement.scrollWidth") == width
        assert chromium.run(EMPTY) == [] and chromium.run(BROKEN) == chromium.run(BEYOND) == 0
    headings = chromium.run(HEADINGS)
    assert [title for title, count in Counter(headings).items() if count > 1] == []
    links = chromium.run("[...document.querySelectorAll('.toc a')].map(a => a.getAttribute('href').slice(1))")
    assert links == chromium.run("[...document.querySelectorAll('section[id]')].map(s => s.id)")
    text = chromium.run("document.querySelector('main').textContent + document.querySelector('.hero').textContent")
    said = set(re.findall(r"\b(?:fMRI|MEG|EEG|iEEG)\b", text.partition("How it was done")[0]))
    assert said == {NAMES[name]} if name in NAMES else len(said) == 2
    assert chromium.run(BRIGHT) == [] if name == "nothing significant" else len(chromium.run(BRIGHT)) > 0
    assert "Tmax" not in chromium.run('document.documentElement.outerHTML.replace(/alt="[^"]*"/g, \'\')')


def test_titles_stand_once_and_small_print_behind_how(small_results: StudyResults) -> None:
    from brainmap.report.page.study_page import render_report

    small_results.provenance["p_values"] = {"meg": "t test over folds <b>", "residual": "5000 sign flips"}
    text = render_report(StudyResults(small_results.provenance, {"meg": small_results.scores["meg"]}))
    assert "simulated MEG</span></h3>" in text
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    captions = [re.sub(r"<details.*?</details>", "", figure, flags=re.DOTALL) for figure in figures]
    assert not any("t test" in caption or "sign flips" in caption for caption in captions)
