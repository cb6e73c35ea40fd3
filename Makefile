# make repro · make real · make test · make test-cluster · make test-fast · make test-oldest · make check · make audit · make bench ·
# make bench-real · make architectures.
# Each but test-oldest creates .venv from requirements.lock first, if need be.

PYTHON ?= python3
EXAMPLE ?= chatbot-disclaimer
VENV := .venv
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Some container images set this. Without bytecode every stage compiles its imports again: ten seconds for transformers.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: repro real test test-cluster test-fast test-oldest check audit bench bench-real architectures clean

repro: $(INSTALLED)
	unwrite check
	dvc --wait-for-lock repro
	@unwrite summary

# A real model: about 200 MB to download, 1 GB of disk. `dvc repro` runs the pipeline of the folder that it is in.
# `make real EXAMPLE=pirate` runs another example on the same copy of the model.
real: $(INSTALLED)
	python -m examples.get_model
	cd examples/$(EXAMPLE) && unwrite check && dvc --wait-for-lock repro
	@cd examples/$(EXAMPLE) && unwrite summary

test: $(INSTALLED)
	python -m pytest -n 2 --dist worksteal

# Searches in workers whose processes and nodes are killed: two minutes.
test-cluster: $(INSTALLED)
	python -m pytest -m cluster tests/stages/test_nodes.py

# The rooms that need no model: under a minute.
test-fast: $(INSTALLED)
	python -m pytest -n 2 --dist worksteal -m "not slow and not cluster" tests/core tests/files tests/schema tests/report tests/history \
		tests/pipeline tests/test_house.py tests/test_pipeline.py tests/test_docs.py tests/test_terms.py

# The oldest versions that pyproject.toml allows, newer ones where these need them; torch from PyPI brings 5 GB of CUDA.
# Left out: the zoo, whose architectures need the transformers of requirements.lock. Old packages warn of newer ones.
test-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip compile --quiet --python .venv-oldest/bin/python --resolution lowest-direct \
		--extra pipeline --extra quantized --extra signing --extra gguf pyproject.toml --output-file .venv-oldest/oldest.txt
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python \
		--constraint .venv-oldest/oldest.txt --editable '.[dev]'
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal -o filterwarnings= -m "not pipeline and not zoo and not cluster"

check: $(INSTALLED)
	ruff check .
	ruff format --check .
	codespell .
	mypy

audit: $(INSTALLED)
	unwrite audit

bench: $(INSTALLED)
	python -m benchmarks

# The same on a real model, where `make real` has run: a quarter of an hour.
bench-real: $(INSTALLED)
	cd examples/chatbot-disclaimer && PYTHONPATH=../.. python -m benchmarks search extraction merging verifying \
		--trials 1 --repeats 2 --output ../../benchmarks/real.md

architectures: $(INSTALLED)
	python -m benchmarks.architectures

# Not compiled in advance: that takes half of the installation, and most modules are never imported.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("unwrite needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": run make with PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) .venv-oldest .mypy_cache .pytest_cache .ruff_cache .hypothesis
