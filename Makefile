# Everything here needs only Python and make: each target installs what it needs first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LIBRARIES := build/libraries
STAMP := $(VENV)/.installed
QUICKSTART := notebooks/00_quickstart.ipynb

# pip builds a package in an environment of its own, which -c does not reach but this does.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env demo lab test test-all test-lessons test-libraries lessons lint format types docs bench chaos counts kit test-matrix screenshot constraints clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## install everything into .venv; PYTHON=python3.12 chooses the Python

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), some minutes the first time ..."
	@$(BIN)/python -m pip install -qq --progress-bar off -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP) ## run the quickstart on 4 CPU ranks and print what it shows
	@$(BIN)/python scripts/run_notebook.py --solved $(QUICKSTART)

lab: $(STAMP) ## open the quickstart in JupyterLab
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(QUICKSTART)

test: $(STAMP) ## run the tests, two files at a time (ARGS="-k name" chooses), 30 minutes at most
	@$(BIN)/python -m pytest $(or $(ARGS),-n 2)

test-all: $(STAMP) ## run the tests, the slow ones, too (1 hour)
	@$(BIN)/python -m pytest --slow -o session_timeout=7200 $(ARGS)

test-lessons: $(STAMP) ## run the lessons with their solutions and every wrong answer (10 minutes)
	@$(BIN)/python -m pytest --slow tests/lessons $(ARGS)

lessons: $(STAMP) ## execute the lessons with their solutions for the documentation
	@$(BIN)/python scripts/render_lessons.py $(ARGS)

test-libraries: ## try the cells of the page about libraries, in an environment of their own (15 minutes)
	@test -x $(LIBRARIES)/bin/python || $(PYTHON) -m venv $(LIBRARIES)
	@$(LIBRARIES)/bin/python -m pip install -qq --progress-bar off -c constraints.txt -e ".[dev]"
	@$(LIBRARIES)/bin/python -m pip install -qq --progress-bar off accelerate transformers lightning pytorch-ignite torchmetrics peft deepspeed loguru joblib
	@$(LIBRARIES)/bin/python -m pytest -o timeout=350 -o filterwarnings=default tests/libraries $(ARGS)

lint: $(STAMP) ## check style
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet --diff .
	@echo "lint: clean"

format: $(STAMP) ## repair the style that can be repaired
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

types: $(STAMP) ## check types
	@$(BIN)/mypy

docs: $(STAMP) ## build the documentation, warnings being errors
	@$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

bench: $(STAMP) ## measure
	@$(BIN)/python benchmarks/run.py

chaos: $(STAMP) ## hang and kill ranks at random, and count what comes of it (20 minutes)
	@$(BIN)/python tests/chaos/run.py $(ARGS)

counts: $(STAMP) ## pools, scripts, last lines and ends of ranks, 30 to 200 times each (20 minutes)
	@RANKBOOK_COUNTS=all $(BIN)/python -m pytest -o session_timeout=7200 -m counted tests/integration $(ARGS)

test-matrix: ## run unit tests and a walk on other versions (1 hour, 6 GB): ARGS="--list" names them
	@$(PYTHON) scripts/matrix.py $(ARGS)

kit: $(STAMP) ## pack wheels for a machine without a network; KIT_PYTHON=3.12 chooses its Python
	@$(BIN)/python scripts/kit.py

screenshot: $(STAMP) ## take the pictures of the documentation again
	@$(BIN)/python scripts/screenshot.py
	@$(BIN)/python scripts/dashboard_pictures.py
	@$(BIN)/python scripts/debugger_picture.py
	@$(BIN)/python scripts/show_picture.py

constraints: $(STAMP) ## write the installed versions into constraints.txt
	@$(BIN)/python scripts/freeze_constraints.py > constraints.tmp
	@mv constraints.tmp constraints.txt
	@touch $(STAMP)

clean: ## remove what was built, but not the environment
	rm -rf build dist docs/_build docs/reference/generated .mypy_cache .pytest_cache .ruff_cache
	find . -name $(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment, too
	rm -rf $(VENV)
