# The same commands everywhere: README, continuous integration, your machine.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: quickstart test gpu-check lint docs styles clean

quickstart: $(STAMP)  ## A real comparison on real digits: table and HTML report.
	$(BIN)/python -m benchmarks compare quickstart

test: $(STAMP)  ## The whole suite, docstring examples included.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

gpu-check: $(STAMP)  ## The tests that need a GPU, and its speed table; without one both say so and do nothing.
	$(BIN)/python -m pytest tests/gpu -rs
	$(BIN)/python -m benchmarks.gpu --out build/gpu.md

lint: $(STAMP)  ## Style, types, import rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)  ## The generated tables are current, every example in the documents runs, the site is whole.
	$(BIN)/python -m docs.build --check
	$(BIN)/python -m benchmarks check
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.examples
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet  # into build/site

styles: $(STAMP)  ## The drawings of the domains noto, twemoji, fluent and openmoji, fetched with npm into data/styles (50 MB).
	$(BIN)/python -m tasks.uda.data.fetch

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $(STAMP)

clean:
	rm -rf .venv
