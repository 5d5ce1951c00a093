# `make` sets up .venv from the lock and runs the pipeline; `make test` sets up and runs the tests.
# Targets that use the environment put its bin/ on PATH, because DVC runs stages as `python -m stages.NAME`.

PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: all setup lock lint test test-slow bench tpu-tools

all: setup
	aura repair
	dvc repro

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml aura/core/dvc_environment.py
	rm -rf .venv  # first: a half-made one would be found as the $(PYTHON) on PATH
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	# Plain dvc needs the same environment variables as aura. Python runs the lines of .pth files when it starts, in the
	# order of their names; a copy, as importing aura itself there would hide the aura of another folder.
	packages=$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  cp aura/core/dvc_environment.py $$packages/aura_dvc_environment.py && \
	  echo 'import aura_dvc_environment as aura; aura.quiet_interrupts(); aura.prepare(); del aura' > $$packages/0_aura.pth
	if git rev-parse --git-dir > /dev/null 2>&1; then .venv/bin/aura lock register; fi
	touch $@

# Locks the newest versions that pyproject.toml allows: names, versions and hashes, but no addresses.
lock: setup
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet --upgrade --output-file requirements.txt
	uv pip compile benchmarks/requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet --upgrade --output-file benchmarks/requirements.txt
	uv pip compile benchmarks/requirements-torch.in --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet --upgrade --output-file benchmarks/requirements-torch.txt
	uv pip compile benchmarks/requirements-readers.in --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet --upgrade --output-file benchmarks/requirements-readers.txt
	uv pip compile requirements-tpu.in --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet --upgrade --output-file requirements-tpu.txt
	python -m aura.project.lock_versions

lint: setup
	ruff format --check
	ruff check
	mypy
	lint-imports --no-cache --no-logo

test: setup
	pytest

test-slow: setup
	pytest -m slow

# The TPU compiler for `aura tpu plan`, beside the environment: 213 MB to fetch, 690 MB on disk, Linux on x86-64 only.
tpu-tools: .venv-tpu/ready

.venv-tpu/ready: requirements-tpu.txt .venv/ready
	pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade --target .venv-tpu -r $<
	touch $@

.venv-bench/ready: benchmarks/requirements.txt
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# Other readers of exported tokenizers, for benchmarks/readers.py.
.venv-readers/ready: benchmarks/requirements-readers.txt
	$(PYTHON) -m venv --clear .venv-readers
	.venv-readers/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# PyTorch, for benchmarks/pretrain.py alone: on Linux it brings CUDA, 5 GB on disk.
.venv-torch/ready: benchmarks/requirements-torch.txt
	$(PYTHON) -m venv --clear .venv-torch
	.venv-torch/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# Of the benchmarks, those that need no corpus; the others say at their top what they are given.
bench: setup .venv-bench/ready
	python benchmarks/stages.py
	python benchmarks/sharing.py
