# Every target carries its one-line doc; `make` lists them. Nothing is needed beforehand but Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
export FILE
SEED ?=
JOBS ?= 300
FAULTS ?= 200

.DEFAULT_GOAL := help
.PHONY: help setup run up web test check quality bench e2e screenshot uploads security chaos lock audit sbom clean

help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Make .venv, install everything, pull the models, build the page. Safe to repeat and to interrupt.
	@$(PYTHON) setup_venv.py
	@$(BIN)/python -m compileall -q contracts chassis services cli # processes that may not write bytecode find it
	@$(BIN)/subtide models pull
	@$(BIN)/subtide assets pull || echo "Going on without it: /docs is a plain list until 'subtide assets pull' succeeds."
	@$(BIN)/python web/build.py || echo "Going on without it: the front page is a plain one until 'make web' succeeds."

run: setup ## Transcribe FILE=talk.mp4 (default: a sample call) and write .srt .vtt .json .txt beside it.
	@$(BIN)/subtide run $${FILE:+"$$FILE"}

up: setup ## Start the whole stack on this machine and leave it running until Ctrl-C.
	@$(BIN)/subtide up

web: ## Build the page into the gateway; needs network the first time, and Node from here or from PyPI.
	@$(BIN)/python web/build.py

test: setup ## The default tests: unit, contract, integration, and end to end with the real models and a browser.
	@$(BIN)/pytest

check: setup ## Lint, format, strict types, import rules; types, style and tests of the page.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python web/build.py check

quality: setup ## Word and diarization error rates of the pipeline beside the plain script (MEDIA=folder).
	@$(BIN)/python -m benchmarks.quality $(MEDIA)

bench: setup ## Speed and memory beside the plain script, three jobs at once, estimates (MEDIA=folder).
	@$(BIN)/python -m benchmarks.speed $(MEDIA)
	@$(BIN)/python -m benchmarks.together $(MEDIA)
	@$(BIN)/python -m benchmarks.estimates

e2e: setup ## The page in a browser: journeys, every view by axe, pictures in build/screens, and its budgets.
	@$(BIN)/pytest -n0 tests/e2e/page
	@$(BIN)/python -m benchmarks.page

screenshot: setup ## Take the README's picture of the real page anew.
	@$(BIN)/python -m tests.e2e.page.picture docs/page.png

uploads: setup ## 700 MB by tuspy and tus-js-client over a line that breaks, with the gateway killed; and the speed.
	@$(BIN)/python -m benchmarks.uploads

security: setup ## Hostile media, addresses that lead inside, generated requests; fails where a zero is none.
	@$(BIN)/python -m tests.security.media
	@$(BIN)/python -m tests.security.addresses
	@$(BIN)/python -m tests.security.schema
	@echo "Every endpoint and message by every kind of caller:"
	@$(BIN)/pytest -n0 -q tests/security/test_access.py

chaos: setup ## Faults on purpose: a seeded soak, then kill -9 of everything (SEED=n JOBS=n).
	@$(BIN)/python -m tests.chaos.soak $(if $(SEED),--seed $(SEED)) --jobs $(JOBS) --faults $(FAULTS)
	@$(BIN)/python -m tests.chaos.real_models

lock: setup ## Pin every package of pyproject.toml with hashes, in supply/ (UPGRADE=all, UPGRADE=name).
	@$(BIN)/python -m supply.lock $(if $(UPGRADE),$(if $(filter all,$(UPGRADE)),--upgrade,--upgrade-package $(UPGRADE)))

audit: setup ## What is known against the locked packages; fails where nobody can be asked.
	@$(BIN)/python -m supply.audit

sbom: setup ## Write build/sbom.cdx.json: packages, models and the pages' script, as CycloneDX.
	@$(BIN)/python -m supply.sbom

clean: ## Remove .venv and caches; jobs and models stay.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
