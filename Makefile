# rayview: make help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REQUIREMENTS := cluster/requirements.txt cluster/requirements-nodeps.txt cluster/requirements-dev.txt
DEMO := demo
# Otherwise each of the many processes of a job compiles the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-slow lint format daft lock clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

# Rebuilt when a pin changes.
$(READY): $(REQUIREMENTS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "rayview needs Python 3.10 or newer; this is $$($(PYTHON) --version). Choose another with make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r cluster/requirements.txt -r cluster/requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r cluster/requirements-nodeps.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(READY)  ## Train, score and evaluate on a synthetic dump of 20,000 reviews.
	$(BIN)/python -m jobs.synth --rows 20000 --shards 4 --output $(DEMO)/dump
	$(BIN)/python -m jobs.run '$(DEMO)/dump/reviews-0000[0-2]-of-00004.json.gz' \
		--score $(DEMO)/dump/reviews-00003-of-00004.json.gz \
		--config jobs/configs/demo.toml --output $(DEMO)/out --overwrite

test: $(READY)  ## Run the default test suite in two processes.
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations=25

test-slow: $(READY)  ## Run the tests that take minutes, and the property tests with more examples.
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m "hypothesis and not slow" --hypothesis-profile=large --timeout=3600

lint: $(READY)  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Rewrite the code in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

daft: .venv-daft/.ready  ## Create the environment of Daft, for a comparison in jobs.bench.

# Daft does not support the pinned pyarrow version.
.venv-daft/.ready: cluster/requirements.txt
	$(PYTHON) -m venv .venv-daft
	(echo daft==0.7.26; grep -E '^(torch|transformers)==' $<) > .venv-daft/requirements.txt
	.venv-daft/bin/pip install --quiet --disable-pip-version-check -r .venv-daft/requirements.txt
	@touch $@

lock: $(READY)  ## Update the pins from pyproject.toml.
	UV=$(BIN)/uv sh cluster/lock.sh

clean:  ## Delete the environments and the output of the demo.
	rm -rf $(VENV) .venv-daft $(DEMO)
