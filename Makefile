# Every target sets up what it needs, once. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev pipeline plan preview check explain prune list test test-vllm test-all lint format types bench lock clean models publish reproduce diff overlap review review-stop test-argilla

export PYTHON ?= python3
export UV ?= $(shell command -v uv)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
SOUPSTOCK := $(BIN)/soupstock

help: ## list the targets
	@echo "make TARGET [NAME=pipeline] [ARGS='further flags']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml .ci/setup
	@.ci/setup requirements.lock
	@touch $@

$(READY_DEV): requirements-dev.lock $(READY)
	@.ci/setup requirements-dev.lock
	@touch $@

setup: $(READY) ## set up .venv with what a run needs

setup-dev: $(READY_DEV) ## set up .venv with tests, checks and all extras, too

define named
	@test -n "$(NAME)" || { echo "which pipeline? make $@ NAME=chat" >&2; exit 2; }
endef

pipeline: $(READY) ## make a dataset: make pipeline NAME=chat
	$(named)
	@$(SOUPSTOCK) run $(NAME) $(ARGS)

plan: $(READY) ## show what a run would do, without asking a model
	$(named)
	@$(SOUPSTOCK) plan $(NAME) $(ARGS)

preview: $(READY) ## make a few rows and show them here
	$(named)
	@$(SOUPSTOCK) preview $(NAME) $(ARGS)

check: $(READY) ## check a pipeline, or all of them
	@for name in $(or $(NAME),$$($(SOUPSTOCK) list --names)); do \
	  $(SOUPSTOCK) plan $$name $(ARGS) > /dev/null && echo "$$name is fine"; done

explain: $(READY) ## show one row's history: make explain NAME=chat ROW=0123abcd
	$(named)
	@test -n "$(ROW)" || { echo "which row? make explain NAME=$(NAME) ROW=0123abcd" >&2; exit 2; }
	@$(SOUPSTOCK) explain $(NAME) $(ROW) $(ARGS)

prune: $(READY) ## prune a file: make prune NAME=chat FILE=rows.parquet OUT=kept.parquet
	$(named)
	@test -n "$(FILE)" -a -n "$(OUT)" || { echo "which files? make prune NAME=$(NAME) FILE=rows.parquet OUT=kept.parquet" >&2; exit 2; }
	@$(SOUPSTOCK) prune "$(FILE)" --pipeline $(NAME) -o "$(OUT)" $(ARGS)

models: $(READY) ## show the models and what is missing: make models NAME=chat
	@$(SOUPSTOCK) models $(NAME) $(ARGS)

publish: $(READY) ## push a dataset to the Hub, private: make publish NAME=chat
	$(named)
	@$(SOUPSTOCK) publish $(NAME) $(ARGS)

reproduce: $(READY) ## make a dataset again from the cache, and compare: make reproduce NAME=chat
	$(named)
	@$(SOUPSTOCK) reproduce $(NAME) $(ARGS)

diff: $(READY) ## compare two versions: make diff NAME=chat/3f2a WITH=chat
	$(named)
	@test -n "$(WITH)" || { echo "which other version? make diff NAME=$(NAME) WITH=chat" >&2; exit 2; }
	@$(SOUPSTOCK) diff $(NAME) $(WITH) $(ARGS)

overlap: $(READY) ## show what datasets share: make overlap NAMES='one two three'
	@test -n "$(NAMES)" || { echo "which datasets? make overlap NAMES='one two three'" >&2; exit 2; }
	@$(SOUPSTOCK) overlap $(NAMES) $(ARGS)

review: $(READY) ## review by people: start an Argilla, send a sample, fetch answers
	$(named)
	@if $(SOUPSTOCK) plan $(NAME) | grep "^[0-9]*[.] review: argilla" > /dev/null; then review/up; fi
	@$(SOUPSTOCK) review $(NAME) $(ARGS)

review-stop: ## stop the Argilla that make review started
	@review/down

list: $(READY) ## list the pipelines
	@$(SOUPSTOCK) list

test: $(READY_DEV) ## run the tests that need no further server (about five minutes)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not browser and not vllm and not argilla" $(ARGS)

test-vllm: $(READY_DEV) ## run the tests against the real vLLM on the CPU; makes its environment once
	@.ci/vllm > /dev/null
	@$(BIN)/python -m pytest -m vllm $(ARGS)

test-argilla: $(READY_DEV) ## run the tests against the real Argilla; makes its environment once
	@.ci/browser
	@.ci/argilla > /dev/null
	@$(BIN)/python -m pytest -m argilla $(ARGS)

test-all: $(READY_DEV) ## run the slow tests, those in a browser, against vLLM and against Argilla
	@.ci/browser
	@.ci/vllm > /dev/null
	@.ci/argilla > /dev/null
	@$(BIN)/python -m pytest -m "slow or browser or vllm or argilla" $(ARGS)

lint: $(READY_DEV) ## check style, and list large modules
	@$(BIN)/ruff check && $(BIN)/ruff format --check
	@find src -name '*.py' -exec wc -l {} + | sort -rn \
	  | awk '$$1 > 350 && $$2 != "total" { print "reminder: " $$2 " has " $$1 " lines (more than 350)" }'
	@find src -name '*.py' ! -name '__init__.py' | sed 's|/[^/]*$$||' | sort | uniq -c \
	  | awk '$$1 > 16 { print "reminder: " $$2 " has " $$1 " modules (more than 16)" }'

format: $(READY_DEV) ## format the code
	@$(BIN)/ruff check --fix; $(BIN)/ruff format

types: $(READY_DEV) ## check types
	@$(BIN)/mypy

bench: $(READY_DEV) ## measure: make bench NAME=engine
	$(named)
	@$(BIN)/python bench/$(NAME).py $(ARGS)

lock: ## update the lock files and their download sizes (needs uv)
	@$(PYTHON) .ci/lock.py $(ARGS)

clean: ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
