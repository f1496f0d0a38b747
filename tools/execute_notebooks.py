"""Execute the notebooks in place, so that they are committed with their outputs.

    python tools/execute_notebooks.py [notebooks/01_first_run.ipynb ...]

What changes from run to run and machine to machine (times, ids) is left out; a path of this machine in an output is an
error. Pictures of cells with the metadata ``{"picture": "name"}`` are also written to ``docs/images/name.png``.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users|usr|opt)/\S*")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(path: Path) -> None:
    """Run all cells of a notebook and write it back."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{path.stem[:2]}-{number:02d}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                refuse_paths(path, number, output)
            save_picture(cell)
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def refuse_paths(path: Path, number: int, output: nbformat.NotebookNode) -> None:
    """Stop where an output shows where this machine keeps its files."""
    texts = [
        output.get("text", ""),
        *(str(output.get("data", {}).get(kind, "")) for kind in ("text/plain", "text/html")),
    ]
    for text in texts:
        if place := FOREIGN.search(text):
            sys.exit(f"{path.name}, cell {number}: the output names {place.group(0)}; print something shorter")


def save_picture(cell: nbformat.NotebookNode) -> None:
    """Write the picture of a marked cell for the README and the docs."""
    name = cell.metadata.get("picture")
    pictures = [output["data"]["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    if name and pictures:
        (ROOT / "docs" / "images" / f"{name}.png").write_bytes(base64.b64decode(pictures[-1]))


if __name__ == "__main__":
    os.environ.pop("MPLBACKEND", None)  # figures are to be seen
    for given in sys.argv[1:] or sorted(str(path) for path in (ROOT / "notebooks").glob("*.ipynb")):
        execute(Path(given).resolve())
