# Pierhead.  `make run` shows the engine, `make test` proves everything; HACKING.md has the rest.
#
#   make           .venv with every program in .venv/bin
#   make run       the engine, and containers made of the running host; nothing to download
#   make check     lint, types, layering, the C helper's own tests
#   make test      everything CI runs, and the set-up that it needs
#   make test-v2   the runtime's tests on cgroup v2 with systemd and AppArmor, in a virtual machine
#   make bench     speed and memory beside other runtimes; writes bench-results/
#   make reference the pages in docs/reference that are made of the code

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src/pierhead scripts init -type f \
	-not -path 'init/build/*' -not -path '*/__pycache__/*' -not -name pier-init)
PYTEST := $(BIN)/python -m pytest
# A container must not be slowed down or kept apart by what the caller's environment says of Python.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

all: $(VENV)/installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Pierhead needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python $(SOURCES) pyproject.toml hatch_build.py README.md
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location --force-reinstall '.[images]'
	@touch $@

# Tools of developers and tests; installed once, and again when their list changes.
$(VENV)/tools: $(VENV)/installed pyproject.toml
	@echo "installing the tools for checks and tests"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[dev,images,systemd]'
	@touch $@

run: all
	@$(BIN)/python examples/engine.py

check: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(MAKE) --no-print-directory -C init check PYTHON=$(abspath $(BIN)/python)

packages: $(BIN)/python
	@tests/packages.sh
	@$(BIN)/python -m tests.support.trixie

# Where there can be none, test-v2 says why when its turn comes.
guest: packages
	@tests/guest/run --image || true

test:
	@$(MAKE) --no-print-directory --jobs=2 --output-sync check guest
	$(PYTEST) $(TESTS)
	$(MAKE) --no-print-directory test-v2

test-v2: $(VENV)/tools
	PYTHON=$(abspath $(BIN)/python) tests/guest/test-v2

bench: $(VENV)/tools packages
	$(BIN)/python -m tests.bench

# Reference pages that are made of docstrings and tables of flags.
reference: $(VENV)/tools
	$(BIN)/python tools/gen_reference.py
	$(BIN)/python tools/gen_library.py

format: $(VENV)/tools
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist bench-results .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -f src/pierhead/_libexec/pier-init
	$(MAKE) --no-print-directory -C init clean

.PHONY: all run check packages guest test test-v2 bench reference format clean
