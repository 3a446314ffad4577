# Everything a newcomer needs: `make demo` and `make test` set up an environment in the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint docs settings evidence clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "domainjepa needs Python 3.11 or newer; found `$(PYTHON) --version`. Try: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/domainjepa demo --out demo

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -j auto -d build/doctrees docs build/site
	@echo "open build/site/index.html"

settings: setup
	$(BIN)/python docs/reference.py

# DATA: the folder of the data sets; WEIGHTS: tf_efficientnet_lite0.safetensors. About three hours of a core.
evidence: setup
	$(BIN)/python benchmarks/evidence.py all --data $(DATA) --weights $(WEIGHTS) --tables

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
