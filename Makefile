# What can I do here?  `make demo` shows secbridge at work, `make test` proves it; `make help` lists the rest.
#
# Nothing has to be prepared: the environment (.venv, from the lock files, every hash checked) is made
# on first use and made again when a lock file changes.

PYTHON ?=
PYTEST_ARGS ?=
# Many tests wait for a gpg, a Postfix or a daemon of their own, so two at once are worth it everywhere.
WORKERS ?= 2
BENCH_ARGS ?=

BIN := .venv/bin
STAMP := .venv/.ready
SOURCES := src tests bench .ci

# The tests start our commands often; with bytecode they start in a third of the time.
unexport PYTHONDONTWRITEBYTECODE

# Tools that keep a cache or a profile want a HOME, even where a container gives none.
export HOME := $(or $(HOME),$(CURDIR)/.venv/home)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check gates lint types floors unit-file lock-check test-deps story wheel bench
.PHONY: lock docs clean env

help:  ## list these words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP)  ## show secbridge at work: real daemon, real mail, throw-away keys
	@$(BIN)/secbridge demo

# Files go out in the order of their names: the end-to-end ones, few and slow, must not come last.
test: $(STAMP)  ## run every test; the closing lines name what was skipped, and why
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: gates test  ## what must hold before a change is shared: the gates, then the tests

gates: lint types floors unit-file lock-check  ## the gates without the tests

lint: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(STAMP)
	$(BIN)/mypy

floors: $(STAMP)
	$(BIN)/lint-imports

unit-file:
	.ci/unit-file

lock-check: $(STAMP)
	.ci/lock --check

test-deps:  ## install what the end-to-end tests talk to: Postfix, Node.js, RNP (needs root)
	@.ci/test-deps

story: $(STAMP)  ## let the power go at every point of the story, before every tracker (some minutes)
	@STORY=full $(BIN)/python -m pytest -p no:xdist --timeout 3600 tests/e2e/test_story.py

wheel: $(STAMP)  ## build the package into dist/
	@rm -rf dist
	@$(BIN)/hatchling build -t wheel

bench: $(STAMP)  ## measure speed and size against their floors (BENCH_ARGS=--json)
	@$(BIN)/python -m bench $(BENCH_ARGS)

lock: $(STAMP)  ## write the lock files again (UPGRADE=1 takes newer releases)
	.ci/lock $(if $(UPGRADE),--upgrade)

docs: $(STAMP)  ## draw the pictures of docs/ again from the code: states, issues
	@$(BIN)/python .ci/draw_states.py
	@$(BIN)/python -m tests.support.renderings

clean:  ## remove the environment and every cache
	rm -rf .venv .node build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

env: $(STAMP)

$(STAMP): requirements.lock .ci/requirements.lock pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup
	@touch $@
