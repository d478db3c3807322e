# make demo: the main job from nothing; make test: the tests. Both make .venv when it is missing.
VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.bevkd-installed
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.cu' -o -name '*.h')

.PHONY: demo test test-slow test-real sanitize lint env
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(PY) tools/demo.py $(DEMO_FLAGS)

test: $(STAMP)
	$(PY) -m pytest

test-slow: $(STAMP)
	$(PY) -m pytest -m "slow and not gpu"

test-real: $(STAMP)
	$(PY) -m pytest -m real_frame -s tests/real_frame

sanitize: $(STAMP)
	$(PY) tests/ops/sanitize.py

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

env: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt $(SOURCES)
	sh tools/make_env.sh $(VENV)
	touch $@
