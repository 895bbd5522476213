# `make demo` shows the main job; `make test` checks the package. Each makes .venv itself.

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock
ARGS ?=

.PHONY: demo test test-all coverage lint types dependencies advisories lock clean

demo: .venv/.core
	$(BIN)/relgnn demo $(ARGS)

test: .venv/.dev
	$(BIN)/python -m pytest $(ARGS)

test-all: .venv/.dev
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

coverage: .venv/.dev
	$(BIN)/python -m pytest --cov=relgnn --cov-fail-under=85 $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

dependencies: .venv/.dev
	$(BIN)/python .ci/dependencies.py

# needs a network: the advisories are somewhere else
advisories: .venv/.dev
	$(PIP) pip-audit
	$(BIN)/pip-audit --no-deps --disable-pip -r requirements.lock

lock:
	.ci/lock $(PYTHON)

clean:
	rm -rf .venv build *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.core: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "relgnn needs Python 3.11; install it or give make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing relgnn into .venv (a few minutes the first time)"
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(PIP) -e .
	@touch $@

.venv/.dev: .venv/.core
	@echo "installing what the tests need into .venv"
	$(PIP) -e ".[dev]"
	@touch $@
