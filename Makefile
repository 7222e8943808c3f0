# make demo: set up, then tune a small model on built-in data, and finish.   make test: set up, then run the tests.
# make test-all: the exhaustive ones too.   make docs: the documentation as a website.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3 python3.12 python3.13 python3.11 python; do \
	$$name -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$name && break; done)
VENV := .venv
SETUP := $(VENV)/.installed-

.PHONY: demo test test-all setup check docs lock clean

demo: $(SETUP)run
	$(VENV)/bin/python -m hpo.run --study digits_mlp --trials 20 --finish
	$(VENV)/bin/python -m hpo.report --study digits_mlp

test: $(SETUP)dev
	$(VENV)/bin/python -m pytest -n 3 --dist worksteal -m "not slow"

test-all: $(SETUP)dev
	$(VENV)/bin/python -m pytest -n 3 --dist worksteal

setup: $(SETUP)dev

check: $(SETUP)dev
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

$(VENV)/bin/pip:
	@'$(PYTHON)' -c '$(SUPPORTED)' >/dev/null 2>&1 || { echo "hpo needs Python 3.11, 3.12 or 3.13 (TensorFlow has no" \
	"other), and found $$('$(or $(PYTHON),python3)' --version 2>&1 | head -1). Install one, or name it:" \
	"make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The distribution was called hpo before, and its command would be taken away with it later.
$(SETUP)run: requirements.lock pyproject.toml setup.py | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip uninstall -qq --yes --disable-pip-version-check hpo
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(SETUP)dev: requirements-dev.lock $(SETUP)run
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(SETUP)docs: requirements-docs.lock | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@

# The pages of docs/ as a website: docs/_build/index.html. A broken link is an error.
docs: $(SETUP)docs
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build

# Needs uv. One file per purpose, with hashes, for Python 3.11 to 3.13 on every platform.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		--group docs -c requirements.lock -c requirements-dev.lock -o requirements-docs.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		pyproject.toml --group image -c requirements.lock --no-emit-package tensorflow \
		-o requirements-image.lock

clean:
	rm -rf $(VENV) build docs/_build *.egg-info
