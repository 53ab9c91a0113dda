#!/usr/bin/env bash
# Five gigabytes of log through a pipe: wall time, rows and peak memory. The log is never on the disk; only digests of it are
# written. Needs python3 and GNU time, and a release build:  benches/import.sh [GIGABYTES]
set -euo pipefail
cd "$(dirname "$0")/.."
program="${PROGRAM:-${CARGO_TARGET_DIR:-$PWD/target}/release/evalctl}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

python3 - "${1:-5}" <<'PY' | /usr/bin/time -f "wall %e s, user %U s, peak %M KB" "$program" import chat - --digest-only --out "$work/capture.jsonl"
import random, sys
random.seed(1)
words = "the order has not come and nobody at the desk could say where it is or when it may be here".split()
texts = [" ".join(random.choice(words) for _ in range(450)) for _ in range(200)]
wanted, written, n = float(sys.argv[1]) * 1e9, 0, 0
out = sys.stdout
while written < wanted:
    # Every hundredth row stands a minute late.
    at = 1760000000000 + n * 20 - (60000 if n % 100 == 0 else 0)
    row = ('{"id":"r%d","session_id":"s%d","timestamp":%d,"latency_ms":900.5,"request":{"model":"m","messages":[{"role":"user","content":"%d %s"}]},"response":"noted"}\n'
           % (n, n // 4, at, n, texts[n % 200]))
    out.write(row)
    written += len(row)
    n += 1
PY
ls -l "$work/capture.jsonl" | awk '{ print "capture:", $5, "bytes" }'
