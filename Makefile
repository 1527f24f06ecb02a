# Two commands on a fresh machine: `make demo` and `make test`. Both install into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-fast test-jax test-torch docs benchmarks-quick package lint format release install clean

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python examples/quickstart.py

# Three processes of one TensorFlow thread each: on two cores, one works while others wait for
# their child processes. A file's tests stay together.
# XLA's optimizations take longer than the few steps that they make faster.
XLA := XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
PYTEST := TF_NUM_INTRAOP_THREADS=1 $(XLA) $(BIN)/python -m pytest --dist loadfile \
	--no-loadscope-reorder

test: install
	$(PYTEST) -n 3

# For work on the code: no data sets, examples, site, benchmarks, and no child processes, which
# the LiteRT interpreter and the converter run in; two cases of each parametrized test, and no
# tests that cross tasks, layouts and backends.
SLOW := backends benchmarks budget cli compression docs examples export fuzzing litert report \
	$(addsuffix .py,models/test_hub test_channels_first test_named_inputs test_task_matrix)
test-fast: install
	$(PYTEST) -n 2 --cases 2 -m "not slow and not dataset and not subprocess" $(SLOW:%=--ignore tests/%)

# The other backends, each in an environment of its own without TensorFlow.
BACKEND_TESTS := tests/backends tests/distillers/test_conformance.py \
	$(wildcard tests/training/test_jax_*.py) \
	$(foreach name,torch_step backend loaders single_replica step_errors weight_rule,tests/training/test_$(name).py)
GOLDEN := $(shell grep -l golden tests/losses/*.py)
NEEDS := keras numpy filelock grain h5py hypothesis pytest pytest-timeout pytest-xdist
# Several tests compile the same program.
BACKEND = $(XLA) KERAS_BACKEND=$* JAX_COMPILATION_CACHE_DIR=$(VENV)-$*/cache \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
test-jax test-torch: test-%:
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet $* $(NEEDS)
	$(BACKEND) $(VENV)-$*/bin/python -m pytest -n 2 $(BACKEND_TESTS)
	$(BACKEND) $(VENV)-$*/bin/python -m pytest -n 2 $(GOLDEN) -k golden

# Without the theme's notice on the future of MkDocs.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The documentation: build/site/index.html"

# Checks that each benchmark still runs.
benchmarks-quick: install
	$(BIN)/python -m benchmarks run all --quick

# Builds the wheel and the sdist, and runs the README's example with the package of the wheel.
package: install
	rm -rf build/dist build/wheel
	$(BIN)/python -m build --outdir build/dist .
	$(BIN)/python -m twine check --strict build/dist/*
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel build/dist/*.whl
	$(BIN)/python -P .ci/check_wheel.py build/wheel

# Types: the signatures of the package, and how they are used in tests/typing.
lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Sets the version and the date of a release: make release VERSION=0.2.0
release:
	$(PYTHON) .ci/release.py "$(VERSION)"

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
