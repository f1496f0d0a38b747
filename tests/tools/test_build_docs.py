"""The checks of the built site find what they are there for; what the site is built from hangs together."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_docs", REPOSITORY / "tools" / "build_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


faults = _tool().faults
WHOLE = (
    '<link rel="stylesheet" href="a.css"><h1 id="top">x</h1><a href="b.html#place">b</a><a href="https://x.org">x</a>'
)


def site(folder: Path, index: str) -> list[str]:
    (folder / "index.html").write_text(index)
    (folder / "b.html").write_text('<p id="place">b</p>')
    (folder / "a.css").write_text("p {color: red}")
    return list(faults(folder))


def test_a_whole_site_has_no_fault(tmp_path: Path) -> None:
    assert site(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ('<script src="https://cdn.net/x.js"></script>', "index.html loads https://cdn.net/x.js"),
        ('<script src="//cdn.net/x.js"></script>', "index.html loads //cdn.net/x.js"),
        ('<link rel="preload" as="font" href="https://cdn.net/f.woff2">', "index.html loads https://cdn.net/f.woff2"),
        ('<img src="none.png">', "index.html loads none.png, which is not there"),
        ('<a href="c.html">c</a>', "index.html links to c.html, which is not there"),
        ('<a href="b.html#nowhere">b</a>', "index.html links to b.html#nowhere, but the page has no such place"),
        ('<a href="#nowhere">b</a>', "index.html links to #nowhere, but the page has no such place"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, added: str, said: str) -> None:
    assert site(tmp_path, WHOLE + added) == [said]


def test_styles_that_load_from_elsewhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.css").write_text('@import "https://fonts.net/a.css"; p {background: url(https://x.net/y.png)}')
    assert len(site(tmp_path, WHOLE)) == 2


def test_the_gallery_has_twenty_examples_of_one_question_and_one_figure() -> None:
    assert len(EXAMPLES) >= 20
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        page = ast.get_docstring(ast.parse(text)) or ""
        title, line, _, rest = page.split("\n", 3)
        assert set(line) == {"="} and len(line) == len(title), path.name
        assert "?" in rest.split("\n\n")[0], f"{path.name} begins with no question"
        assert len(re.findall(r"^\s*figure(?:, \w+)? = ", text, re.MULTILINE)) == 1, f"{path.name} makes one figure"


def test_every_page_links_to_examples_that_are_there() -> None:
    pages = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
    named = {name for page in pages for name in re.findall(r"gallery/(plot_\w+)", page.read_text(encoding="utf-8"))}
    assert {"plot_own_epochs", "plot_slurm"} <= named <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize(
    ("question", "page", "place"),
    [
        ("feed my own epochs", "datasets.md", "## Recordings of your own"),
        ("which test to use", "statistics.md", "## Which test answers which question"),
        ('"exact"', "models.md", "### Labels"),
        ("SLURM", "cluster.md", "SLURM"),
    ],
)
def test_the_front_page_leads_there_in_one_click(question: str, page: str, place: str) -> None:
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    (row,) = [line for line in front.splitlines() if line.startswith("|") and question in line]
    assert f"({page}" in row
    assert place in (DOCS / page).read_text(encoding="utf-8")
