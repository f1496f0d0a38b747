"""Install a built wheel with all it needs into a clean environment, and try it there.

    python tools/try_wheel.py dist [--python /path/to/python3.13]

The environment is thrown away. A CPU build of torch is taken where ``constraints.txt`` and pip's settings lead to one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIT = ("fit", "--layers", "block.0,block.11", "--modality", "meg", "--cv", "3", "--controls", "pixels")
COMMANDS = (
    ("--version",),
    ("models",),
    ("data",),
    ("doctor",),
    (*FIT, "--set", "thin=40", "--set", "flips=100", "--out", "run"),
    ("verify", "run"),
)


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in a folder; stop where it fails."""
    print("$", *(part if isinstance(part, str) else part.name for part in command), flush=True)
    subprocess.run([str(part) for part in command], cwd=folder, check=True)


def main() -> None:
    """Make the environment, install, try."""
    parser = argparse.ArgumentParser(description="Try a wheel in a clean environment.")
    parser.add_argument("dist", type=Path, help="folder that holds one wheel")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    given = parser.parse_args()
    wheels = [path.resolve() for path in given.dist.glob("*.whl")]
    if len(wheels) != 1:
        sys.exit(f"{given.dist} must hold one wheel, and holds {len(wheels)}; build it with: python -m build")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(given.python, "-m", "venv", "env", folder=folder)
        python = folder / "env" / "bin" / "python"
        quiet = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        run(python, *quiet, "--constraint", str(ROOT / "constraints.txt"), "torch", str(wheels[0]), folder=folder)
        run(python, "-m", "pip", "check", folder=folder)
        for arguments in COMMANDS:
            run(python.parent / "brainmap", *arguments, folder=folder)
    print("The wheel works in a clean environment.")


if __name__ == "__main__":
    main()
