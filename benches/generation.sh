#!/usr/bin/env bash
# Tokens a second at one sequence on the CPU, evalctl's decoder against llama.cpp on the same Q8_0 files, in turn.
# llama.cpp comes as source with llama-cpp-python: the first call builds it (10 to 15 minutes on two cores).
#
#     benches/generation.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
cargo build --release --locked
venv="$target/bench-generation"
if [ ! -e "$venv/ready" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r benches/generation.txt
    touch "$venv/ready"
fi
"$venv/bin/python" benches/generation.py "$target/release/evalctl" "$target" "${1:-5}"
