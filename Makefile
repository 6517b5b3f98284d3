# Everything a fresh machine needs is Python 3.11 or newer, git and make:
#
#   make demo     install into .venv and train a network through a wake flow (a few minutes)
#   make test     install and run every check: ruff, pyright, import layers, tests, the snippets of README and docs
#   make test-slow  the tests that take longest, which `make test` leaves out
#   make test-lowest  quick tests with the oldest versions that pyproject.toml allows
#   make notebooks  execute the scripts of docs/gallery and docs/notebooks whose code has changed
#   make docs     build the documentation into site/, warnings are errors
#   make wheel    build the wheel into dist/
#
# A stamp file in .venv tells what is installed already, so a second call starts at once.

# The first of these that is 3.11 or newer; another one with `make test PYTHON=/path/to/python`.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Only errors: what pip warns of is the configuration of the machine.
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
PIP_INSTALL := $(PIP) install -c constraints.txt

# Test processes and later runs share all that JAX has compiled, small programs too; it stays inside this checkout.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
# Material announces MkDocs 2 on every build; pyright announces its newer versions. The constraints file decides.
export NO_MKDOCS_2_WARNING := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# The kernel that executes the notebooks; the usual one warns that other users of this machine could listen.
notebooks: export JUPYTER_PATH := $(CURDIR)/docs/.jupyter

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-slow test-lowest lint types layers pytest format notebooks docs serve wheel constraints clean

help:
	@sed -n 's/^#   make/make/p' Makefile

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "diffphys needs Python 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "diffphys needs Python 3.11 or newer; PYTHON=$(PYTHON) is older or missing" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) -e ".[$*]"
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/diffphys run wake --preset demo

test: lint types layers pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-test
	$(BIN)/pyright --pythonpath $(BIN)/python

layers: $(VENV)/.installed-test
	$(BIN)/lint-imports --no-cache

pytest: $(VENV)/.installed-test
	$(BIN)/pytest -m "not slow" -n $(WORKERS) --dist worksteal --durations=15

test-slow: $(VENV)/.installed-test
	$(BIN)/pytest -m slow -n $(WORKERS) --dist worksteal --durations=15

LOWEST := .cache/lowest
LOWEST_TESTS := tests/test_linear.py tests/grids tests/stepping tests/learning/test_training.py tests/runs/test_resume.py \
	tests/exchange tests/control/test_environments.py tests/test_cli.py \
	--deselect tests/grids/test_field.py::test_a_known_end_is_written_into_the_program # older JAX lists what it writes

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	"$(PYTHON)" -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --quiet --quiet --disable-pip-version-check install -c constraints-lowest.txt \
		-e ".[gymnasium,well]" beartype hypothesis pytest pytest-xdist pyyaml
	@touch $@

# What these versions warn of is known to newer ones. What they compiled is of no use to others.
test-lowest: export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.cache/jax-lowest
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/pytest -m "not slow" -n $(WORKERS) --dist worksteal -o filterwarnings=default --disable-warnings $(LOWEST_TESTS)

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

notebooks: $(VENV)/.installed-docs
	$(PIP_INSTALL) -e ".[torch]" blackjax
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/scripts/notebooks.py

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

serve: $(VENV)/.installed-docs
	$(BIN)/mkdocs serve

wheel: | $(VENV)/.created
	rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist .

# A fresh install of the newest versions that pyproject.toml allows, written down.
constraints: | $(VENV)/.created
	rm -rf .cache/constraints-venv
	$(BIN)/python -m venv .cache/constraints-venv
	.cache/constraints-venv/bin/python -m pip --quiet --quiet --disable-pip-version-check install ".[test,docs]"
	sed -n '/^#/p' constraints.txt > .cache/constraints.txt
	.cache/constraints-venv/bin/python -m pip freeze --exclude diffphys >> .cache/constraints.txt
	mv .cache/constraints.txt constraints.txt
	rm -rf .cache/constraints-venv

clean:
	rm -rf $(VENV) .cache .hypothesis .pytest_cache .ruff_cache build dist site
