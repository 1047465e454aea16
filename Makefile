# Everything here works in a fresh clone: what is missing is installed into .venv first.
PYTHON ?= python3
# Another Python works in an environment of its own: make test PYTHON=python3.13 in .venv-3.13.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -qq --disable-pip-version-check -c ci/constraints.txt
DEMO := runs/demo
USERS := u0001 u0002 u0003 u0004 u0005

.PHONY: help install check check-gpu docs publish-docs test test-slow demo clean
help:
	@echo "make demo       train S2GR and SASRec on the built-in planted world, ask about five users, compare (minutes)"
	@echo "make install    .venv with Sidestep and everything its development needs"
	@echo "make check      formatting, lint, types, which room may import which, and whether the documentation builds"
	@echo "make docs       the documentation as a site, in build/site; nothing is fetched"
	@echo "make publish-docs SITE=FOLDER"
	@echo "                the same as this version's folder in a site of all versions, whose index leads to the newest"
	@echo "make test       check, then the test suite"
	@echo "make test PYTHON=python3.13"
	@echo "                the same with another Python, in .venv-3.13; every target takes PYTHON"
	@echo "make test-slow  the tests that take minutes, on real data where it is found"
	@echo "make bench-decode, bench-train, bench-end-to-end, bench-tokenize, bench-graph, bench-graph-law,"
	@echo "     bench-trie, bench-scale, bench-out-of-core, bench-ten-million, bench-serve, bench-long,"
	@echo "     bench-rerank, bench-slices, bench-item-tables"
	@echo "                us and our peers on the same work, minutes each; see benchmarks/README.md"
	@echo "make check-gpu  is a GPU's answer the CPU's, and what does it give? A minute where there is one"
	@echo "make clean      remove .venv and caches; runs/ stays"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Stamps: installed once, and again when the requirements change.
$(VENV)/core: pyproject.toml ci/constraints.txt | $(BIN)/python
	@echo "Installing Sidestep into $(VENV); this takes about a minute."
	@$(PIP) -e '.[serve]'
	@touch $@

$(VENV)/dev: pyproject.toml ci/constraints.txt | $(BIN)/python
	@echo "Installing Sidestep and its development tools into $(VENV); this takes about two minutes."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/core

install: $(VENV)/dev

check: $(VENV)/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_imports.py
	@$(MAKE) --no-print-directory docs

docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q

publish-docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python docs/versions.py $(or $(SITE),build/versions)

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" -n 2

test-slow: $(VENV)/dev
	$(BIN)/pytest -m slow

demo: $(VENV)/core
	$(BIN)/sidestep run s2gr-planted method=s2gr-paper --out $(DEMO)
	@echo
	$(BIN)/sidestep run s2gr-planted method=sasrec-ce train.epochs=30 --out $(DEMO)-sasrec
	@echo
	$(BIN)/sidestep recommend $(DEMO) $(USERS:%=--user %) --k 3 --explain
	@echo
	$(BIN)/sidestep report $(DEMO) --beside $(DEMO)-sasrec
	@echo
	$(BIN)/sidestep export $(DEMO) --to $(DEMO)-bundle
	@echo
	$(BIN)/sidestep compare $(DEMO)-sasrec $(DEMO)
	@echo
	@echo "See it think, in the browser: $(BIN)/sidestep serve $(DEMO)-bundle"

# make bench-decode ARGS=--quick
BENCHES := decode train end-to-end tokenize graph graph-law trie scale out-of-core ten-million serve long rerank slices
SCRIPT_tokenize := tokenizer
.PHONY: $(BENCHES:%=bench-%)
$(BENCHES:%=bench-%): bench-%: $(VENV)/bench-%
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$(or $(SCRIPT_$*),$(subst -,_,$*)).py $(ARGS)

check-gpu: $(VENV)/dev
	$(BIN)/python benchmarks/gpu.py $(ARGS)

.PRECIOUS: $(VENV)/bench-%
$(VENV)/bench-%: pyproject.toml ci/constraints.txt | $(BIN)/python
	@echo "Installing Sidestep and its peers for this benchmark into $(VENV)."
	@$(PIP) -e '.[bench-$*]'
	@touch $@ $(VENV)/core

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +
