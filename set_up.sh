#!/usr/bin/env bash
# set_up.sh FOLDER LOCK [PYTHON] makes a virtual environment with the packages of a lock, for the Makefile. Without PYTHON
# it takes the newest supported Python on PATH. uv installs if it is on PATH, otherwise pip.
# set_up.sh pythons prints the supported Pythons on PATH, the newest first.
set -euo pipefail
folder=$1 lock=${2:-} asked=${3:-}
range='s/^requires-python = ">=3\.\([0-9]*\),<3\.\([0-9]*\)"$/\1 \2/p'
read -r lowest beyond < <(sed -n "$range" pyproject.toml)
highest=$((beyond - 1))

fail() {
  echo "error: $*" >&2
  exit 1
}

# Prints the path of a Python if it is a supported one. For that of a virtual environment, this is the one below it,
# because the environment may be the one that is made anew.
supported() {
  "$1" -c "import sys; $lowest <= sys.version_info[1] <= $highest or sys.exit(1); print(sys._base_executable)" 2>/dev/null
}

version() {
  "$1" --version 2>/dev/null || echo "no program that runs"
}

# Prints the supported Pythons on PATH, the newest first.
on_path() {
  local minor found=
  for ((minor = highest; minor >= lowest; minor--)); do
    supported "python3.$minor" && found=yes
  done
  [ -n "$found" ] || supported python3
}

choose_python() {
  if [ -z "$asked" ]; then
    on_path | head -n 1 | grep . || fail "expected Python 3.$lowest to 3.$highest on PATH, found none." \
      "Install one of them, or name it: make PYTHON=/path/to/python3.$highest"
  else
    supported "$asked" || fail "PYTHON=$asked: expected Python 3.$lowest to 3.$highest, got $(version "$asked")." \
      "Install one of these Pythons, or leave PYTHON out: the newest of them on PATH is taken"
  fi
}

# One line for every 25 packages, because pip is silent for a minute or prints 500 lines.
show_progress() {
  local line fetched=0
  while read -r line; do
    case $line in
      "Collecting "* | "Processing "*) ((++fetched % 25)) || echo "set-up: fetched $fetched of $packages packages" ;;
      "Installing collected "*) echo "set-up: unpacks them, which takes as long again" ;;
    esac
  done
}

if [ "$folder" = pythons ]; then
  on_path
  exit
fi
case $PWD in
  # The programs of a virtual environment begin with its path in quotes, and PATH parts folders by colons.
  *[\":]*) fail "expected a folder without \" and : in its path, got $PWD. Move the clone, or give it another name" ;;
esac
python=$(choose_python)
packages=$(grep -c '^[a-zA-Z0-9].*==' "$lock")
rm -rf "$folder"
echo "set-up: makes $folder with $(version "$python")"
"$python" -m venv "$folder"
if command -v uv >/dev/null; then
  echo "set-up: installs $packages packages of $lock with uv"
  [ -z "${HOME:-}" ] || [ -w "$HOME" ] || export UV_NO_CACHE=1 # uv keeps its cache there
  uv pip install --quiet --python "$folder/bin/python" --require-hashes --requirement "$lock"
else
  echo "set-up: installs $packages packages of $lock with pip, which takes one to two minutes; uv on PATH would take seconds"
  "$folder/bin/pip" install --disable-pip-version-check --require-hashes --requirement "$lock" | show_progress
fi
