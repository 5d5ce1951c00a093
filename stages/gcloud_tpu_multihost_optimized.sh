#!/usr/bin/env bash
# The guide's launcher: `setup` and `launch_optimized` are `aura tpu setup` and `aura tpu launch`; every other verb of
# `aura tpu` goes through, too, and older verbs for the same. docs/tpu.md lists the variables that count.
set -euo pipefail
cd "$(dirname "$0")/.."
verb=${1:-}
case $verb in
launch_optimized | launch_pretrain_optimized | launch_pretrain_hf | launch_pretrain_hf_optimized) verb=launch ;;
describe) verb=status ;;
tail) verb=logs ;;
esac
shift || true
[ ! -d .venv/bin ] || PATH="$PWD/.venv/bin:$PATH"
exec python -m aura tpu ${verb:+"$verb"} "$@"
