#!/usr/bin/env bash
# How often gates pass at the very bar, where at most 5 % may: 10,000 simulated runs for each row of the table in
# docs/statistics.md, from records to verdict.  benches/sizes.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
EVALCTL_SIZE_RUNS="${1:-10000}" cargo test --release --locked --test it sizes:: -- --nocapture | grep '^|'
