# What people do with this repository; `make` alone lists it. Needs GNU make, bash and Python 3.10 or later, nothing else.

PYTHON ?= python3
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(VENV)/bin/python -m pip
INSTALLED := $(VENV)/.installed
REPORT := report.html
FETCHED := example_project/.models/basic-pitch
PYTEST := $(PY) -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal
CORE := -m "not slow and not stress and not containers and not versions"
QUIET_MAKE := $(MAKE) --no-print-directory

SHELL := bash
.SHELLFLAGS := -o pipefail -c  # what fails before a pipe fails
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint wheel bench mutants clean

help: ## list the targets
	@awk -F ' *## *' '/^[a-z-]+:.*##/ { sub(/:.*/, "", $$1); printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Choose the Python with PYTHON=python3.12, give pytest more with ARGS="-k eviction -n 0".'

demo: ## see it work: set up .venv, test a small example project, say what was shown
	@if $(QUIET_MAKE) --question $(INSTALLED); then echo "[1/3] pytest-mme and TensorFlow are in $(VENV) already"; \
	else $(QUIET_MAKE) $(INSTALLED) STEP="[1/3] "; fi
	@if test -d $(FETCHED); then echo "[2/3] basic-pitch, a small trained model, is in $(FETCHED) already"; \
	else echo "[2/3] fetching basic-pitch, a small trained model, from the package index (once)"; \
	$(PY) example_project/fetch_models.py >/dev/null; fi
	@echo "[3/3] running the tests of example_project (a minute)"
	@cd example_project && ../$(PY) -m pytest -v --mme-report=$(REPORT)
	@printf '%s\n' "$$SHOWN"

test: $(INSTALLED) ## run the tests that need nothing else, in a few minutes; ARGS="…" is handed to pytest
	@$(PYTEST) $(CORE) $(ARGS)

test-all: $(INSTALLED) ## run all tests: the slow, stress, containers and other versions of TensorFlow too
	@$(PYTEST) $(ARGS)

lint: $(INSTALLED) ## check style, format and types
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy --strict

wheel: $(INSTALLED) ## build the wheel and try it elsewhere: beside an old, a middle and the newest TensorFlow, and none
	@$(PY) -m tools.install_table check oldest-3.10 middle newest-3.12 none-3.13

bench: $(INSTALLED) ## measure what is claimed about speed and memory
	@$(PY) -m bench

mutants: $(INSTALLED) ## change the code in one place after the other, and see that tests notice; ARGS="checks --sample 100"
	@$(PIP) install --quiet cosmic-ray
	@$(PY) -m tools.mutants $(ARGS)

clean: ## remove .venv, the fetched model and all caches in this folder
	@rm -rf $(VENV) example_project/.models example_project/$(REPORT) build dist .hypothesis
	@find . -type d '(' -name __pycache__ -o -name '.*_cache' ')' -prune -exec rm -rf {} +

# One environment for everything, installed again only when pyproject.toml has changed.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo "$(PYTHON) is older than Python 3.10; choose another: make PYTHON=python3.12 …"; exit 1; }
	@echo "$(STEP)installing pytest-mme and TensorFlow into $(VENV) (once; a minute or two, 2.5 GB)"
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -qq 'pip>=25.1'  # the first that knows dependency groups
	@$(PY) -m pip install --progress-bar on --editable . --group dev | sed -u -n 's/^Collecting \([^ <>=!;(]*\).*/  fetching \1/p; s/^Installing collected packages.*/  installing all of them/p'
	@touch $@

define SHOWN

What you have just seen, on this machine alone, without Docker and without AWS:
  * boto3's own client asked a multi-model endpoint; TensorFlow loaded each model in a process of its own;
  * of three models only two fit into memory, so the idle one was evicted, and came back when it was asked for;
  * a client met a model that was still loading, one that does not exist and one that refused its input;
  * of four ways to write a handler for many models three failed as expected, each in its own manner;
  * basic-pitch, a trained model as published, heard the A4 in a 440 Hz sine.
Next: read example_project/tests/test_ranking.py, then test an archive of your own:
  model = mme_models.archive("path/to/model.tar.gz"); endpoint = mme_endpoint([model])
README.md tells the rest; `make test` runs this project's own tests.
What happened to each model, over time: open example_project/$(REPORT) in a browser.
endef
export SHOWN
