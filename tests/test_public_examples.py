"""Every public name has an example in its docstring, which runs as it is printed there."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from public_example_files import write_example_files

SPHINXEXT = Path(__file__).resolve().parents[1] / "docs" / "sphinxext"
# What their call needs is not here: a download, weights that a hub holds, a queue or processes, hours.
CALL_IS_SHOWN_ONLY = {
    "brainmap.data.fetching.fetch",
    "brainmap.models.fit_clip_bridge",
    "brainmap.papers.reproduce",
    "brainmap.study.run_on_dask",
    "brainmap.study.run_series",
    "brainmap.study.TrainingSeries",
}


def _public_names() -> ModuleType:
    spec = importlib.util.spec_from_file_location("public_names", SPHINXEXT / "public_names.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NAMES = {entry.path: entry for entry in _public_names().pages_of_names().values()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    write_example_files(made)
    return made


def test_the_names_are_all_there() -> None:
    assert len(NAMES) > 200
    assert {"brainmap.encoding.cross_val_encode", "brainmap.models.OBJECTIVES"} <= set(NAMES)


@pytest.mark.parametrize("path", sorted(NAMES))
def test_the_example_of_a_name_runs(path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    entry = NAMES[path]
    test = doctest.DocTestParser().get_doctest(entry.example, {}, path, path, 0)
    run = [example for example in test.examples if not example.options.get(doctest.SKIP)]
    assert run, f"{path} has no example that runs"
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a few rows, shown for their form
        results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
    assert results.failed == 0, "".join(said)
    shown = test.examples if path in CALL_IS_SHOWN_ONLY else run
    named = any(re.search(rf"\b{entry.name}\b", example.source) for example in shown)
    assert named or any(isinstance(made, entry.value) for made in test.globs.values()), f"{path} is not in its example"
