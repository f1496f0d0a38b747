"""Links of Markdown pages to files of the repository that are no pages: shown as what they are, checked to be there."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def plain_names(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links out of ``docs/`` into the words of the link; a file that is not there stops the build."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    root = Path(app.srcdir)

    def replaced(match: re.Match[str]) -> str:
        words, target = match.groups()
        if target.startswith(("http", "#", "mailto:")):
            return match.group(0)
        file = (page.parent / target.partition("#")[0]).resolve()
        if docname == "changelog" or not file.exists():
            file = (root.parent / target.partition("#")[0]).resolve()
        if not file.exists():
            return match.group(0)  # Sphinx says what is missing
        if file.is_relative_to(root):
            return match.group(0) if docname != "changelog" else f"[{words}](/{file.relative_to(root).as_posix()})"
        return f"{words} (`{file.relative_to(root.parent).as_posix()}` in the repository)"

    source[0] = LINK.sub(replaced, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", plain_names)
    return {"parallel_read_safe": True}
