#!/usr/bin/env bash
# Training steps on a GPU beside torch.compile: 125M and 350M at 1,024 and 4,096 tokens, bfloat16, random tokens.
#
#     benchmarks/gpu.sh [--smallest] [option of benchmarks/pretrain.py ...]
#
# PYTHON   a Python (3.11 or newer) with JAX for the GPU and torch; python3 by default
# TORCH    a Python with torch, if PYTHON has none; '' leaves the peer out
# WHEELS   a folder of wheels that PYTHON lacks; they are unpacked into a temporary folder, nothing is built or fetched
# LIMIT    seconds per case, 115 by default: four cases in under 8 minutes. A case that fails leaves the others.
#
# aura's step needs flax, optax, numpy, pydantic, pydantic-core, annotated-types, pyyaml, rich, zstandard and xxhash, and
# the programs psutil. --smallest runs one tiny case on any device.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON-python3} torch=${TORCH-${PYTHON-python3}}
cases="125m-1024 350m-1024 125m-4096 350m-4096" measure="--rounds 3 --steps 10"
if [ "${1-}" = --smallest ]; then cases=smallest measure="--rounds 1 --steps 1"; shift; fi
if [ -n "${WHEELS-}" ]; then
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --target "$unpacked" "$WHEELS"/*.whl || exit
    export PYTHONPATH=$unpacked
fi
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
failed=0
for case in $cases; do
    timeout --kill-after=5 "${LIMIT-115}" "$python" -u benchmarks/pretrain.py \
        --once --cases "$case" $measure --torch "$torch" "$@" || { echo "$case: ended with $?"; failed=1; }
done
exit $failed
