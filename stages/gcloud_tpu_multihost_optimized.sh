#!/usr/bin/env bash
# The guide's launcher: `setup` and `launch_optimized` are `aura tpu setup` and `aura tpu launch`; every other verb of
# `aura tpu` goes through, too. NAME, PROJECT, ZONE, SPM_MODEL, MODEL_SIZE, SEQ_LEN, BATCH_SIZE, STEPS, LR, DATASET count.
set -euo pipefail
cd "$(dirname "$0")/.."
verb=${1:-}
[ "$verb" != launch_optimized ] || verb=launch
shift || true
[ ! -d .venv/bin ] || PATH="$PWD/.venv/bin:$PATH"
exec python -m aura tpu ${verb:+"$verb"} "$@"
