# `make demo` runs the tutorial, `make test` the tests. Both set up what they need in .venv.

PYTHON ?= python3
BIN := .venv/bin
# Each file on one worker, so that what its tests share is made once; the longest first, as tests/conftest.py says.
WORKERS := --numprocesses auto --dist loadfile --no-loadscope-reorder
LOCKED := --quiet --disable-pip-version-check --constraint requirements.lock

.PHONY: demo serve test coverage chaos bench lint format openapi lock clean

demo: .venv/.demo
	$(BIN)/folkmoot demo

serve: .venv/.demo
	$(BIN)/folkmoot serve

# Compiled modules are kept, whatever the machine's own setting: each worker would compile all of them again.
test coverage: export PYTHONDONTWRITEBYTECODE =

test: .venv/.test
	$(BIN)/python -m compileall -q -j 0 src
	$(BIN)/pytest $(WORKERS) $(TESTS)

# Branches of the code that the tests take, in servers too; what a killed process has run is not counted.
coverage: .venv/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(WORKERS) $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

chaos: .venv/.test
	$(BIN)/pytest -m chaos --numprocesses 0 --timeout 0 tests/chaos

bench: .venv/.test
	$(BIN)/python -m bench $(BENCH)

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The description that servers answer with at /openapi.json; a test tells when it is not that of the routes.
openapi: .venv/.test
	$(BIN)/python tests/contract/describe.py

# Newer versions of everything, within pyproject.toml's bounds.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --universal --no-header --all-extras --group test --group lint \
		--upgrade pyproject.toml --output-file requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-clients .venv-lock tests/clients/node_modules

.venv/.made:
	@echo "Setting up .venv; this takes a minute the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

.venv/.demo: .venv/.made pyproject.toml requirements.lock
	$(BIN)/pip install $(LOCKED) --editable ".[demo]"
	@touch $@

.venv/.test: .venv/.demo
	$(BIN)/pip install $(LOCKED) --editable ".[demo,anthropic,google,documents,embed,otel]" --group test --group lint
	@touch $@
