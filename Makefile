# `make` lists the targets. Needs GNU make 3.81 or newer (macOS has that) and Python 3.11 or newer; setup does the rest.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test check format lab bench study validation site torture notebooks clean FORCE

help: ## list the targets
	@echo 'RARERA: realtime and realtime response for event-driven architectures'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  Arguments:     make run ARGS="--seed 7"        Another Python:  make setup PYTHON=python3.12'

setup: $(READY) ## make .venv, with the exact packages of uv.lock (done by the others when needed)

run: $(READY) ## run the main job: compare queue and log, and the policies, on real flights
	$(BIN)/rarera run $(ARGS)

# Spread by file, as the cells of a notebook need one kernel.
test: check ## run the checks, then every test
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

check: $(READY) ## lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY) ## put the code into the project's format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab $(ARGS) notebooks

bench: $(READY) ## time the parts against their peers, and write docs/benchmarks.md
	$(BIN)/rarera bench $(ARGS)

study: $(READY) ## compare all policies with an oracle, and write docs/scheduling.md; ARGS=--full for hours
	$(BIN)/rarera study $(ARGS)

validation: $(READY) ## hold the model against recursions, formulas and Ciw, and write docs/validation.md
	$(BIN)/rarera validate $(ARGS)

site: $(READY) ## build the documentation, offline: build/site/docs/index.html
	$(BIN)/sphinx-build -c docs -W --keep-going -j auto $(ARGS) . build/site

torture: $(READY) ## the long modes: a hundred kills, eight writers of 100,000 events, every bit flipped
	RARERA_TORTURE=1 $(BIN)/python -m pytest -m torture $(ARGS)

notebooks: $(READY) ## run all notebooks again, keeping what they show
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False \
		$(ARGS) notebooks/*.ipynb

clean: ## remove caches and builds; .venv, out/ and data stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# A file that says when .venv was last brought up to date, so that it costs nothing while nothing has changed.
$(READY): pyproject.toml uv.lock .ci/bootstrap.py
	$(PYTHON) .ci/bootstrap.py $(THIS_PYTHON)
	@touch $@

# `make setup PYTHON=...` asks for that Python, whatever .venv holds now.
ifeq ($(origin PYTHON),command line)
THIS_PYTHON := --this-python
$(READY): FORCE
endif
