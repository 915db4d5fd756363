# `make run` shows the whole loop, `make test` tests it. Both install what they need first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SOURCE ?=
DATA   ?= ../shared/data

export DO_NOT_TRACK = 1

.PHONY: run ui stop test test-fast bench-recognition check format lock clean clean-all help
.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no python3 found: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

run: $(READY)  ## The whole story: train, watch, alert, retrain, promote  [SOURCE=folder or zip]
	@$(BIN)/python -m deploy.local.story $(if $(SOURCE),--source "$(SOURCE)")

ui: $(READY)  ## Leave Airflow and MLflow running; prints addresses and password
	@$(BIN)/python -m deploy.local.stack up

stop: $(READY)  ## End what `make ui` started
	@$(BIN)/python -m deploy.local.stack stop

test: $(READY)  ## All tests that need no container engine
	$(BIN)/python -m pytest -m "not containers"

test-fast: $(READY)  ## Only the quick ones
	$(BIN)/python -m pytest

bench-recognition: $(READY)  ## Error rates on real captures, and speed  [DATA=folder]
	$(BIN)/python -m benchmarks.recognition --data "$(DATA)"

check: $(READY)  ## Lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)  ## Pin what pyproject.toml asks for anew
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --output-file requirements.lock \
	  --no-emit-index-url --no-header --no-annotate --python-version 3.11

clean:  ## Remove what runs have made (var/)
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m deploy.local.stack stop; fi
	rm -rf var

clean-all: clean  ## Remove the virtual environment as well
	rm -rf $(VENV)
