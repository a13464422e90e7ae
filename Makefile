# The one place that says how this project is checked: .ci/run and .github/workflows call it.
# `make help` lists the targets. PYTHON=... picks an interpreter, JOBS=... the test processes.
PYTHON ?= python
JOBS ?= auto
BUILD ?= docs/_build
SPHINX = $(PYTHON) -m sphinx -W --keep-going

.DEFAULT_GOAL := help
.PHONY: help setup format lint types test test-fast coverage docs doctest docs-check dist check clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup:  ## Install the checkout with everything that development needs, at the tested versions
	$(PYTHON) -m pip install -e ".[dev]" -c constraints.txt

format:  ## Format, and mend what ruff can mend
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:  ## ruff: rules and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:  ## mypy --strict on lwm_loss, examples and benchmarks
	$(PYTHON) -m mypy

test:  ## All tests and doctests
	$(PYTHON) -m pytest -n $(JOBS)

test-fast:  ## The tests that are not marked slow (a minute on two cores)
	$(PYTHON) -m pytest -n $(JOBS) -m "not slow"

coverage:  ## All tests, and which lines of lwm_loss none of them reaches
	$(PYTHON) -m pytest -n $(JOBS) --cov --cov-report=term

docs:  ## The documentation with its gallery (BUILD/html); a warning is an error
	$(SPHINX) -q -b html docs $(BUILD)/html

doctest:  ## The examples that stand in the pages of the documentation
	GALLERY=0 $(SPHINX) -q -b doctest docs $(BUILD)/doctest

docs-check: docs  ## Open every built page in headless Chromium, on a screen and on a phone
	$(PYTHON) docs/check_pages.py $(BUILD)/html

dist:  ## Build sdist and wheel in a temporary folder and check what they hold
	$(PYTHON) .ci/check_distributions.py

check: lint types test docs doctest dist  ## Everything but docs-check

clean:  ## Remove what was built
	rm -rf build dist docs/_build docs/auto_gallery docs/api/generated *.egg-info .coverage*
