# `make` sets up .venv from the lock and runs the pipeline; `make test` sets up and runs the tests.
# Targets that use the environment put its bin/ on PATH, because DVC runs stages as `python -m aura.stages.NAME`.

# Python: the newest supported one on PATH, or make PYTHON=python3.12.
PYTHON ?=
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: all setup lock lint test test-slow docs bench tpu-tools

all: setup
	aura repair
	dvc repro || { aura report; exit 1; }  # a missed gate is on the page, too
	aura report
	@echo
	@aura results

setup: .venv/ready

# Plain dvc needs the same environment variables as aura. Python runs the lines of .pth files when it starts, in the
# order of their names; a copy, because importing aura itself there would hide the aura of another folder.
.venv/ready: requirements.txt pyproject.toml aura/core/dvc_environment.py set_up.sh
	@git rev-parse --verify --quiet HEAD > /dev/null 2>&1 || { echo "error: expected a git repository with a commit here," \
	  "because DVC keeps results by commit. Install git if it is missing, then run:" \
	  "git init && git add --all && git commit -m Start" >&2; exit 1; }
	@bash set_up.sh .venv requirements.txt "$(PYTHON)"
	@echo "set-up: installs aura"
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@packages=$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  cp aura/core/dvc_environment.py "$$packages/aura_dvc_environment.py" && \
	  echo 'import aura_dvc_environment as aura; aura.quiet_interrupts(); aura.prepare(); del aura' > "$$packages/0_aura.pth"
	@.venv/bin/aura lock register
	@.venv/bin/aura plots
	@touch $@

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

# Pages of what programs may import, in docs/api.
docs: setup
	python docs/make_api.py

# The TPU compiler for `aura tpu plan`, beside the environment: 213 MB to fetch, 690 MB on disk, Linux on x86-64 only.
tpu-tools: .venv-tpu/ready

.venv-tpu/ready: requirements-tpu.txt .venv/ready
	pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade --target .venv-tpu -r $<
	touch $@

.venv-bench/ready: benchmarks/requirements.txt
	@bash set_up.sh .venv-bench $< "$(PYTHON)"
	touch $@

# Other readers of exported tokenizers, for benchmarks/readers.py.
.venv-readers/ready: benchmarks/requirements-readers.txt
	@bash set_up.sh .venv-readers $< "$(PYTHON)"
	touch $@

# PyTorch, for benchmarks/pretrain.py alone: on Linux it brings CUDA, 5 GB on disk.
.venv-torch/ready: benchmarks/requirements-torch.txt
	@bash set_up.sh .venv-torch $< "$(PYTHON)"
	touch $@

# Of the benchmarks, those that need no corpus; the others say at their top what they are given.
bench: setup .venv-bench/ready
	python benchmarks/stages.py
	python benchmarks/sharing.py
