"""The report is one honest file: complete offline, accessible, quiet in the console, as wide as the screen."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from brainmap.common.errors import InputError
from brainmap.report import write_report
from brainmap.report.page.study_page import render_report
from brainmap.results import StudyResults


@pytest.fixture(scope="module")
def report(results_maker, tmp_path_factory) -> Path:
    results = results_maker(every=6)
    return write_report(results, tmp_path_factory.mktemp("report"))


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_one_file_that_needs_nothing_else(report):
    text = report.read_text(encoding="utf-8")
    assert report.name == "report.html"
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]
    assert len(text) < 6e6
    page = Tags(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), (tag, target)
    anchors = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and attributes["href"][0] == "#"}
    assert anchors <= {attributes.get("id") for _, attributes in page.tags}
    assert "url(" not in re.search(r"<style>(.*?)</style>", text, re.DOTALL).group(1)


def test_pictures_have_words_and_simulated_is_said(report):
    text = report.read_text(encoding="utf-8")
    images = [attributes for tag, attributes in Tags(text).tags if tag == "img"]
    assert len(images) == 20
    assert all(image["alt"] and image["width"] and image["height"] for image in images)
    assert '<div class="banner"' in text
    assert "simulated data" in re.search(r"<title>(.*?)</title>", text).group(1)
    assert text.count('class="tag"') >= 5


def test_measured_data_are_not_called_simulated(small_results):
    measured = copy.copy(small_results)
    measured.provenance = {**small_results.provenance, "simulated": False, "title": "A <script>alert(1)</script> study"}
    measured.truth = None
    measured.scores = {"meg": small_results.scores["meg"]}
    text = render_report(measured)
    words = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert "simulated" not in re.sub(r"(seeds|simulation): \d", "", words).replace("simulation", "")
    assert "<script>alert" not in text
    assert "Not in this report: no fMRI scores" in text and 'id="where"' not in text
    assert "Found and planted" not in text


def test_same_results_same_bytes(small_results):
    part = StudyResults(small_results.provenance, {"meg": small_results.scores["meg"]})
    assert render_report(part) == render_report(part)


def test_incomplete_results_are_refused(small_results, tmp_path):
    with pytest.raises(InputError, match="simulated"):
        write_report(StudyResults({}, small_results.scores), tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(report, chromium, width):
    chromium.open(report, width)
    assert chromium.problems() == []
    assert chromium.run("innerWidth") == width
    assert chromium.run("document.documentElement.scrollWidth") == width
    broken = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length"
    assert chromium.run(broken) == 0
    beyond = (
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.tagName).join()"
    )
    assert chromium.run(beyond) == ""


@pytest.mark.browser
def test_the_explorer_opens_with_the_keyboard(report, chromium_webgl):
    chromium_webgl.open(report, 390)
    chromium_webgl.run("document.querySelector('#explore summary').focus()")
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    for kind in ("keyDown", "keyUp"):
        chromium_webgl.call("Input.dispatchKeyEvent", type=kind, **enter)
    ready = "document.documentElement.dataset.explorer === 'ready' ? done(1) : setTimeout(wait, 50)"
    chromium_webgl.run(f"new Promise(done => {{ const wait = () => {ready}; wait(); }})")
    assert chromium_webgl.run("document.querySelectorAll('#x-curves .line').length") == 12
    chromium_webgl.run("const slider = document.querySelector('#x-layer'); slider.value = 2")
    chromium_webgl.run("slider.dispatchEvent(new Event('input')); new Promise(done => setTimeout(done, 200))")
    assert chromium_webgl.run("document.querySelector('#x-layer-name').textContent") == "block 2"
    chromium_webgl.run("const areas = document.querySelector('#x-area'); areas.value = 'FFC'")
    chromium_webgl.run("areas.dispatchEvent(new Event('change')); new Promise(done => setTimeout(done, 200))")
    assert chromium_webgl.run("document.querySelectorAll('#x-numbers tr').length") == 13
    assert chromium_webgl.run("document.documentElement.scrollWidth") == 390
    assert chromium_webgl.run("location.hash") == "" and chromium_webgl.problems() == []
