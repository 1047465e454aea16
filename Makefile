# Everything here works in a fresh clone: what is missing is installed into .venv first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install -qq --disable-pip-version-check -c ci/constraints.txt
DEMO := runs/demo
USERS := u0001 u0002 u0003 u0004 u0005

.PHONY: help install check check-gpu docs test test-slow demo clean
help:
	@echo "make demo       train S2GR on the built-in planted world and ask it about five users (minutes)"
	@echo "make install    .venv with Sidestep and everything its development needs"
	@echo "make check      formatting, lint, types, which room may import which, and whether the documentation builds"
	@echo "make docs       the documentation as a site, in build/site; nothing is fetched"
	@echo "make test       check, then the test suite"
	@echo "make test-slow  the tests that take minutes, on real data where it is found"
	@echo "make bench-decode, bench-train, bench-end-to-end, bench-tokenize, bench-graph, bench-graph-law,"
	@echo "     bench-trie, bench-scale, bench-out-of-core, bench-serve, bench-long, bench-rerank, bench-slices"
	@echo "                us and our peers on the same work, minutes each; see benchmarks/README.md"
	@echo "make check-gpu  is a GPU's answer the CPU's, and what does it give? A minute where there is one"
	@echo "make clean      remove .venv and caches; runs/ stays"

.venv/bin/python:
	$(PYTHON) -m venv .venv

# Stamps: installed once, and again when the requirements change.
.venv/core: pyproject.toml ci/constraints.txt | .venv/bin/python
	@echo "Installing Sidestep into .venv; this takes about a minute."
	@$(PIP) -e '.[serve]'
	@touch $@

.venv/dev: pyproject.toml ci/constraints.txt | .venv/bin/python
	@echo "Installing Sidestep and its development tools into .venv; this takes about two minutes."
	@$(PIP) -e '.[dev]'
	@touch $@ .venv/core

install: .venv/dev

check: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py
	@$(MAKE) --no-print-directory docs

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" -n 2

test-slow: .venv/dev
	$(BIN)/pytest -m slow

demo: .venv/core
	$(BIN)/sidestep run s2gr-planted method=s2gr-paper --out $(DEMO)
	@echo
	$(BIN)/sidestep recommend $(DEMO) $(USERS:%=--user %) --k 3 --explain
	@echo
	$(BIN)/sidestep report $(DEMO)
	@echo
	$(BIN)/sidestep export $(DEMO) --to $(DEMO)-bundle
	@echo
	@echo "See it think, in the browser: $(BIN)/sidestep serve $(DEMO)-bundle"

# make bench-decode ARGS=--quick
BENCHES := decode train end-to-end tokenize graph graph-law trie scale out-of-core serve long rerank slices
SCRIPT_tokenize := tokenizer
.PHONY: $(BENCHES:%=bench-%)
$(BENCHES:%=bench-%): bench-%: .venv/bench-%
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$(or $(SCRIPT_$*),$(subst -,_,$*)).py $(ARGS)

check-gpu: .venv/dev
	$(BIN)/python benchmarks/gpu.py $(ARGS)

.PRECIOUS: .venv/bench-%
.venv/bench-%: pyproject.toml ci/constraints.txt | .venv/bin/python
	@echo "Installing Sidestep and its peers for this benchmark into .venv."
	@$(PIP) -e '.[bench-$*]'
	@touch $@ .venv/core

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +
