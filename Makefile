# Needs Python 3.11 or newer and the network for the first run; everything else is installed into .venv, and the local
# Cloudflare's runtime into the user's cache. Nothing is rebuilt that is up to date.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input

# More arguments for what is run: make test ARGS="tests/unit -k order"
ARGS ?=
# How many processes run the tests, each whole files of them; 0: none but pytest's own, for a debugger.
JOBS ?= auto

# pyright fetches its JavaScript part once; kept with the rest of the environment, `make setup` leaves nothing to fetch.
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/$(VENV)/pyright
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# What a shell set for another project must not reach this one's interpreter.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMPS)/project $(STAMPS)/pyright runtime servers ## Install what development needs, once

.PHONY: demo
demo: $(STAMPS)/project runtime ## Deploy, use, change and destroy the example on this machine
	@$(BIN)/python examples/notes/demo.py

.PHONY: test
test: setup ## Run every test
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: torture
torture: setup ## Run the long versions of the tests that inject faults: twenty minutes
	@TORTURE=1 HYPOTHESIS_PROFILE=torture $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m torture $(ARGS)

.PHONY: check check-format check-lint check-types check-layers
check: check-format check-lint check-types check-layers ## Check format, lint, types and import layers

check-format: setup
	@$(BIN)/ruff format --check .

check-lint: setup
	@$(BIN)/ruff check .

check-types: setup
	@$(BIN)/mypy
	@$(BIN)/pyright

check-layers: setup
	@$(BIN)/lint-imports --no-logo

.PHONY: bench
bench: $(STAMPS)/project ## Measure the engine, alone and beside its peers
	@$(BIN)/python benchmarks/engine.py
	@$(BIN)/python benchmarks/durability.py
	@$(BIN)/python benchmarks/peers.py

.PHONY: docs
docs: $(STAMPS)/project ## Write the pages that are made from the code
	@$(BIN)/python -m alchemy.cli.docs

.PHONY: lock
lock: $(STAMPS)/dev ## Pin the dependencies again (to the newest: ARGS=--upgrade)
	@$(BIN)/uv pip compile --quiet $(ARGS) --universal --generate-hashes --all-extras --python-version 3.11 \
		--no-emit-index-url --custom-compile-command 'make lock' \
		--output-file requirements/dev.txt pyproject.toml requirements/dev.in
	@cd requirements/azurite && npm $(if $(findstring --upgrade,$(ARGS)),update,install) --package-lock-only --no-audit --no-fund

.PHONY: clean
clean: ## Remove the environment and what the tools left (not the user's cache, nor any .alchemy)
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment whose Python is gone or was moved is made again.
ifneq ($(shell $(BIN)/python -c 'print("works")' 2>/dev/null),works)
.PHONY: $(STAMPS)/venv
endif

$(STAMPS)/venv:
	@sh .ci/make-venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/venv
	@echo "installing the development tools into $(VENV)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# --no-build-isolation: the build backend is among the locked tools, nothing unlocked is fetched to build with.
$(STAMPS)/project: pyproject.toml $(STAMPS)/dev
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/pyright: $(STAMPS)/dev
	@$(BIN)/pyright --version >/dev/null
	@touch $@

.PHONY: servers
servers: $(STAMPS)/project
	@sh .ci/install-servers
	@$(BIN)/python -m tests.integration.stores.servers.azurite

# No stamp: it lives in the user's cache, which another home, or a cleaned one, does not have. Asking costs 0.1 s.
.PHONY: runtime
runtime: $(STAMPS)/project
	@$(BIN)/python -c 'import asyncio, alchemy.local as local; asyncio.run(local.install(report=print))'
