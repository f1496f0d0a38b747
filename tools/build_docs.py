"""Build the site into ``docs/_build/html`` and check what was built.

    python tools/build_docs.py             # examples of the gallery are run; those that did not change are kept
    python tools/build_docs.py --fast      # examples are shown, not run

Nothing is fetched. Warnings of Sphinx are errors; so are links within the site that lead nowhere, and scripts, styles,
fonts or pictures that a page would load from elsewhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("sphinx", "pydata_sphinx_theme", "numpydoc", "sphinx_gallery", "myst_parser")
LOADED = dict.fromkeys(("script", "img", "iframe", "source", "video", "audio", "embed"), "src")
LOADED_LINKS = {"stylesheet", "icon", "shortcut", "preload", "modulepreload", "prefetch", "manifest", "font"}
IN_STYLES = re.compile(r"url\(\s*['\"]?((?:https?:)?//[^'\")]+)|@import\s+['\"]((?:https?:)?//[^'\"]+)")


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads, and which places in it can be linked to."""

    links: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        if values.get(LOADED.get(tag, "")):
            self.loaded.add(values[LOADED[tag]])
        if tag == "link" and set(values.get("rel", "").lower().split()) & LOADED_LINKS:
            self.loaded.add(values.get("href", ""))


def build(fast: bool, out: Path) -> None:
    """Run Sphinx; a warning stops it with what is wrong."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"The site needs {', '.join(missing)}; install it with: pip install 'brainmap[docs]'")
    environment = os.environ | {"BRAINMAP_GALLERY": "show" if fast else "execute", "MPLBACKEND": "Agg"}
    options = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(out.parent / f"doctrees-{out.name}")]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(out)]
    if subprocess.run(command, env=environment, check=False).returncode:
        sys.exit("The site was not built: see the warnings above.")


def faults(site: Path) -> Iterator[str]:
    """Say what in a built site loads from elsewhere or leads nowhere."""
    built = [file for file in sorted(site.rglob("*.html")) if "_static" not in file.parts]  # there lie templates
    pages = {file: read_page(file) for file in built}
    for file, page in pages.items():
        where = file.relative_to(site)
        for address in sorted(page.loaded):
            if address.startswith(("http:", "https:", "//")):
                yield f"{where} loads {address}"
            elif not address.startswith("data:") and not target(file, address)[0].is_file():
                yield f"{where} loads {address}, which is not there"
        for address in sorted(page.links):
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            goal, place = target(file, address)
            if goal.is_dir():
                goal = goal / "index.html"
            if not goal.is_file():
                yield f"{where} links to {address}, which is not there"
            elif place and goal in pages and place not in pages[goal].places:
                yield f"{where} links to {address}, but the page has no such place"
    for file in sorted(site.rglob("*.css")):
        for match in IN_STYLES.finditer(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(site)} loads {match[1] or match[2]}"


def read_page(file: Path) -> Page:
    """Parse one page."""
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def target(file: Path, address: str) -> tuple[Path, str]:
    """File that an address on a page means, and the place in it."""
    parts = urlsplit(address)
    goal = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    return goal, unquote(parts.fragment)


def main() -> None:
    """Build, check, and say where the site is."""
    parser = argparse.ArgumentParser(description="Build the site, offline.")
    parser.add_argument("--fast", action="store_true", help="show the examples of the gallery without running them")
    fast = parser.parse_args().fast
    out = ROOT / "docs" / "_build" / ("fast" if fast else "html")
    build(fast, out)
    wrong = list(faults(out))
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(list(out.rglob('*.html')))} pages, no broken link, nothing from elsewhere: {out / 'index.html'}")


if __name__ == "__main__":
    main()
