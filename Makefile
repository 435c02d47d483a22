# Everything here stays inside the checkout: .venv holds the packages, .mlops holds what runs leave behind.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)
export DAGSTER_DISABLE_TELEMETRY ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-aws demo-gcp test ui lint bench cloud-aws cloud-gcp lock clean

help: ## Show the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two stamps: the demo and the UI need only the base packages, tests and benchmarks need every extra.
$(VENV)/base.stamp: requirements.lock pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	touch $@

demo: $(VENV)/base.stamp ## Run the housing model from landing files to a served, registered version
	$(BIN)/mlops-assets demo

demo-aws: $(VENV)/dev.stamp ## The same on S3, Redshift and SageMaker, by stand-ins on 127.0.0.1
	MLOPS_ROOT=$(CURDIR)/.mlops/aws DAGSTER_HOME= $(BIN)/python -m mlops_assets_tests.standins \
	  $(BIN)/mlops-assets demo

demo-gcp: $(VENV)/dev.stamp ## The same on Cloud Storage, BigQuery and Vertex AI, by stand-ins on 127.0.0.1
	MLOPS_ROOT=$(CURDIR)/.mlops/gcp DAGSTER_HOME= $(BIN)/python -m mlops_assets_tests.standins gcp \
	  $(BIN)/mlops-assets demo

ui: $(VENV)/base.stamp ## Open the Dagster UI on http://127.0.0.1:3000
	$(BIN)/mlops-assets ui

test: $(VENV)/dev.stamp ## Run the tests
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/dev.stamp ## ruff, pyright, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(VENV)/dev.stamp ## Measure against the alternatives; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks

cloud-aws: $(VENV)/dev.stamp ## Start S3, Redshift and SageMaker stand-ins on 127.0.0.1; prints the settings to export
	$(BIN)/python -m mlops_assets_tests.standins

cloud-gcp: $(VENV)/dev.stamp ## Start Cloud Storage, Pub/Sub, BigQuery and Vertex AI stand-ins on 127.0.0.1; prints the settings to export
	$(BIN)/python -m mlops_assets_tests.standins gcp

lock: ## Resolve the locks again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --all-extras pyproject.toml -o requirements-dev.lock
	grep -E '^[A-Za-z0-9]' requirements-dev.lock | sed 's/ \\$$//' > .lock-constraints
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  -c .lock-constraints pyproject.toml -o requirements.lock
	rm -f .lock-constraints

clean: ## Remove what runs left behind (not the packages)
	rm -rf .mlops
