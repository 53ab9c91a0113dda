#!/usr/bin/env bash
# A million samples with two recorded answers each: scored, compared, judged and reported. Prints wall time and peak memory.
# Needs python3 and GNU time, and a release build:  benches/million.sh
set -euo pipefail
cd "$(dirname "$0")/.."
program="${CARGO_TARGET_DIR:-$PWD/target}/release/evalctl"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

python3 - "$work" <<'PY'
import random, sys
work = sys.argv[1]
random.seed(1)
classes = ["billing", "shipping", "returns", "account", "other"]
with open(f"{work}/data.jsonl", "w") as data, open(f"{work}/a.jsonl", "w") as a, open(f"{work}/b.jsonl", "w") as b:
    for i in range(1_000_000):
        target = classes[i % 5]
        data.write('{"id":"sample-%07d","question":"Something that happened to customer %d","target":"%s"}\n' % (i, i % 5000, target))
        for file, right in ((a, 0.90), (b, 0.89)):
            output = target if random.random() < right else random.choice(classes)
            file.write('{"id":"sample-%07d","output":"%s","latency_ms":%.1f,"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n'
                       % (i, output, random.uniform(200, 900), random.randint(50, 500), random.randint(1, 9)))
candidate = "  - id: {0}\n    recorded: {{ path: {0}.jsonl, latency_ms: latency_ms, usage: usage }}\n    price: {{ input_per_mtok_usd: 1, output_per_mtok_usd: 2 }}\n"
open(f"{work}/suite.yaml", "w").write("name: million\ndataset: { path: data.jsonl }\ncandidates:\n" + candidate.format("a") + candidate.format("b")
    + "baseline: a\nscorers:\n  - exact: {}\ngates:\n  - { metric: exact, non_inferior: { margin: 0.02 } }\n")
PY
cd "$work"
/usr/bin/time -f "wall %e s, user %U s, peak %M KB" "$program" run suite.yaml --out run -q --json >report.json
