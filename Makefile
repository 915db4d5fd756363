# `make run` shows the whole loop, `make test` tests it. Both install what they need first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SOURCE ?=
BASE   ?=
DATA   ?= ../shared/data
# Tests beside each other: each takes a core and 2 GiB.
AT_ONCE ?= --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder
SCALE  ?= 900,10000,50000,100000
COMPOSE := docker compose
# As Compose finds it: given, in .env, or the default.
ifndef SECRETS_DIR
SECRETS_DIR := $(or $(shell sed -n 's/^SECRETS_DIR=//p' .env 2> /dev/null | tail -n 1 | tr -d \"\'),./secrets)
endif

export DO_NOT_TRACK = 1
# Without compiled modules every process compiles torch and its like anew, for seconds each.
unexport PYTHONDONTWRITEBYTECODE
export SECRETS_DIR

.PHONY: run ui stop test test-long test-fast bench-recognition bench-data bench-start bench-inputs bench-drift secrets images up dev down logs backup restore test-containers test-containers-smoke engine have-secrets check format architecture lock clean clean-all help
.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no python3 found: install Python 3.11 or newer" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing what requirements.lock names into $(VENV) (minutes the first time)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/python deploy/local/install.py -r requirements.lock
	@$(BIN)/python deploy/local/install.py --no-deps --editable .
	@touch $@

run: $(READY)  ## The whole story: train, watch, alert, retrain, promote  [SOURCE=folder or zip]
	@$(BIN)/python -m deploy.story.run $(if $(SOURCE),--source "$(SOURCE)")

ui: $(READY)  ## Leave Airflow, MLflow and the reports running; prints addresses and password
	@$(BIN)/python -m deploy.local.ui up

stop: $(READY)  ## End what `make ui` started
	@$(BIN)/python -m deploy.local.ui stop

test: $(READY)  ## The tests that need no container engine, but for those of `make test-long`
	$(BIN)/python -m pytest -m "not containers and not long" $(AT_ONCE)

test-long: $(READY)  ## Kills, full disks, two machines, upgrades
	$(BIN)/python -m pytest -m long $(AT_ONCE)

test-fast: $(READY)  ## Only the quick ones
	$(BIN)/python -m pytest $(AT_ONCE)

bench-recognition: $(READY)  ## Error rates on real captures, and speed  [DATA=folder]
	$(BIN)/python -m benchmarks.recognition --data "$(DATA)"

bench-data: $(READY)  ## Speed and memory of the data path  [DATA=folder] [SCALE=900,10000,...]
	$(BIN)/python -m benchmarks.data --data "$(DATA)" --scale "$(SCALE)"

bench-start: $(READY)  ## What a task pays before it works
	$(BIN)/python -m benchmarks.start

bench-inputs: $(READY)  ## Files of all kinds, damaged ones, mistakes in settings, speed  [BASE=checkout]
	$(BIN)/python -m benchmarks.inputs $(if $(BASE),--base "$(BASE)")

bench-drift: $(READY)  ## False alarms, detection, false and missed promotions  [DATA=folder]
	$(BIN)/python -m benchmarks.drift --data "$(DATA)"

secrets:  ## Make the keys and passwords of the container stack, once
	@$(PYTHON) deploy/containers/make_secrets.py "$(SECRETS_DIR)"

images: | engine  ## Build the images of the container stack
	$(COMPOSE) build init worker

up: | engine have-secrets  ## The container stack for a team (builds what is missing)
	$(COMPOSE) up --detach --wait
	@echo "Airflow: $$($(COMPOSE) port api-server 8080)  MLflow: $$($(COMPOSE) port mlflow 5000)  user: admin  passwords: $(SECRETS_DIR)/"

dev: | engine have-secrets  ## The same with the code of this checkout, read anew when it changes
	$(COMPOSE) -f docker-compose.yml -f compose.dev.yml up --detach --wait

down: | engine  ## End the container stack; what it keeps stays in its volumes
	$(COMPOSE) down

logs: | engine  ## Follow what the containers say
	$(COMPOSE) logs --follow --tail 100

backup: | engine  ## Copy the container stack: databases, storage, artifacts  [TO=folder] [SECRETS=yes]
	@TO="$(TO)" SECRETS="$(SECRETS)" deploy/containers/backup

restore: | engine  ## Bring such a copy back  FROM=folder [FORCE=yes]
	@FROM="$(FROM)" FORCE="$(FORCE)" deploy/containers/restore

test-containers: $(READY) | engine  ## Build, run and break the container stack; leaves yours alone
	$(BIN)/python -m pytest tests/containers -m containers

test-containers-smoke: $(READY) | engine  ## The part that CI runs: build, up, one training run, down
	$(BIN)/python -m pytest tests/containers -m smoke

engine:
	@docker info > /dev/null 2>&1 || \
	  { echo "error: no container engine answers: install and start Docker, see docs/containers.md" >&2; exit 1; }
	@$(COMPOSE) version > /dev/null 2>&1 || \
	  { echo "error: docker has no compose plug-in: install Docker Compose 2.24 or newer" >&2; exit 1; }

have-secrets:
	@test -s "$(SECRETS_DIR)/fernet_key" || \
	  { echo "error: no secrets in $(SECRETS_DIR)/: run \`make secrets\` first" >&2; exit 1; }

check: $(READY)  ## Lint, format, types, import rules
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command as lint; lint()'

format: $(READY)  ## Format the code
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

architecture: $(READY)  ## Draw the packages into docs/architecture.md
	$(BIN)/python -m docs.packages

lock: $(READY)  ## Pin what pyproject.toml asks for anew
	$(BIN)/python -m uv pip compile --quiet pyproject.toml --extra dev --group worker --output-file requirements.lock \
	  --no-emit-index-url --no-header --no-annotate --python-version 3.11

clean:  ## Remove what runs have made (var/)
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m deploy.local.ui stop; fi
	rm -rf var

clean-all: clean  ## Remove the virtual environment as well
	rm -rf $(VENV)
