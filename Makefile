# One command per intent, the same here and in CI. `make help` lists them.

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
RESULTS ?= target/results
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml Cargo.toml Cargo.lock $(wildcard build_backend/*.py) \
	$(shell find crates -name '*.rs' -o -name Cargo.toml -o -name '*.map')
TIERS ?= unit contract cli layer agent e2e
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python test-unprivileged test-cluster lint lint-rust lint-python format bench wheel \
	install clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-18s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## Build, install into .venv, and take the tour: a program here, in the context of the demo target
	@$(BIN)/python -m mirrord.demo

test: $(INSTALLED) ## Run every test that this machine allows, and list what was skipped and why
	@VENV=$(VENV) RESULTS=$(RESULTS) TIERS="$(TIERS)" .ci/test rust layer-alone python unprivileged

test-rust: ## Run the Rust tests only
	@VENV=$(VENV) RESULTS=$(RESULTS) .ci/test rust

test-python: $(INSTALLED) ## Run the Python tests only (TIERS="unit cli" chooses)
	@VENV=$(VENV) RESULTS=$(RESULTS) TIERS="$(TIERS)" .ci/test python

test-unprivileged: $(INSTALLED) ## As root: run the layer and e2e tiers as an ordinary user, from the built wheel
	@VENV=$(VENV) RESULTS=$(RESULTS) .ci/test unprivileged

test-cluster: $(INSTALLED) ## Run the cluster tier: on KUBECONFIG's cluster, else (as root) on one made for it
	@VENV=$(VENV) RESULTS=$(RESULTS) .ci/test cluster

lint: lint-rust lint-python ## Check format, lints, types, stubs and import directions

lint-rust:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

lint-python: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mypy.stubtest --ignore-disjoint-bases mirrord.proxy

format: $(INSTALLED) ## Format everything
	cargo fmt --all
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## Measure the performance contract beside its floors
	$(BIN)/python -m benches

wheel: $(INSTALLED) ## Build the wheel into dist/
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

install: $(INSTALLED) ## Build and install into .venv, and nothing else

clean: ## Remove the virtual environment and what was built for it
	rm -rf $(VENV) dist $(RESULTS)

# An editable install: Python changes are live, and a changed Rust source builds again.
$(INSTALLED): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'error: `$(PYTHON)` is older than Python 3.10' >&2; \
		echo 'hint: Name another one: `make PYTHON=python3.12`' >&2; exit 2; }
	@command -v cargo >/dev/null || { \
		echo 'error: Rust is not installed' >&2; echo 'hint: Install it from https://rustup.rs' >&2; exit 2; }
	@command -v cc >/dev/null || { \
		echo 'error: There is no C compiler, which Rust needs to link' >&2; \
		echo 'hint: On Debian: `apt-get install gcc libc6-dev`' >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo 'hint: On Debian: `apt-get install python3-venv`' >&2; exit 2; }
	@mkdir -p target
	@echo 'Building (some minutes the first time; progress is in target/build.log)' >&2
	@$(BIN)/pip install --verbose --editable '.[dev]' >target/build.log 2>&1 || { tail -n 60 target/build.log >&2; exit 1; }
	@touch $@
