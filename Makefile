# Two commands do everything on a fresh machine with python3 (>= 3.11) and make:
#   make demo   sets up, simulates a small data set, processes and profiles it
#   make test   sets up and runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-slow lint bench clean
help:
	@echo "make demo    set up, then profile the pipeline on simulated demo data"
	@echo "make test    set up, then run the tests"
	@echo "make lint    formatter, linter and type check"
	@echo "make bench   one quick pass over all benchmarks"

demo: $(VENV)/.installed
	$(BIN)/hdrmx-profile

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow or dials"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/asv machine --yes > /dev/null
	HDRMX_BENCH_QUICK=1 $(BIN)/asv run --python=same --quick --show-stderr --dry-run

$(BIN)/python:
	$(PYTHON) tools/make_venv.py $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
