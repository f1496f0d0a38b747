# Needs Python >= 3.11 and nothing else: every target makes the virtual environment it uses.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= brainmap_runs/demo
WORKERS ?= auto# processes of the tests, one thread of linear algebra each

.DEFAULT_GOAL := help
.PHONY: help install demo test robustness lint bench notebooks docs package clean

help: ## show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## virtual environment with brainmap and everything its tests need

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "brainmap needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Run: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## photographs to report on the embedded sample (about 4 minutes)
	$(BIN)/brainmap fit --out $(OUT)

test: $(STAMP) ## all tests, notebooks included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
	$(BIN)/python -m pytest -q --nbmake --nbmake-timeout=900 notebooks

robustness: $(STAMP) ## long campaign: damage, hostile input, evil servers, kills of writers and commands; prints a table
	PYTHONPATH=tests $(BIN)/python -m robustness

lint: $(STAMP) ## ruff, mypy and the layers of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## benchmarks against named peers and this machine's own GEMM
	$(BIN)/python benchmarks/ridge.py
	$(BIN)/python benchmarks/extraction.py

notebooks: $(STAMP) ## execute the notebooks in place, as they are committed
	$(BIN)/python tools/execute_notebooks.py

docs: $(STAMP) ## the site in docs/_build/html: offline, warnings are errors, examples run
	$(BIN)/python tools/build_docs.py

package: $(STAMP) ## wheel and sdist in dist/, checked, installed into a clean environment and tried there
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tools/try_wheel.py dist

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) dist docs/_build docs/gallery docs/reference .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
