# Two commands on a fresh machine: `make demo` and `make test`. Both install into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-fast docs benchmarks-quick lint format install clean

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python examples/quickstart.py

# Two processes, each of about 2 GB; a file's tests stay together.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

# For work on the code: no data sets, examples, site, benchmarks or child processes.
test-fast: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not dataset and not subprocess" \
		--ignore tests/benchmarks --ignore tests/docs --ignore tests/examples --ignore tests/fuzzing

# Without the theme's notice on the future of MkDocs.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The documentation: build/site/index.html"

# Checks that each benchmark still runs.
benchmarks-quick: install
	$(BIN)/python -m benchmarks run all --quick

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
