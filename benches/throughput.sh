#!/usr/bin/env bash
# How many requests a second does `evalctl run` move, journal, marks and report included, against a load generator that
# does nothing else? Both ask the same nginx on loopback for a fixed chat completion, in turn, 32 in flight.
#
# Needs nginx, oha and python3 on the PATH, and a release build:  benches/throughput.sh [ROUNDS]
# With OTHER=PROGRAM another evalctl takes oha's place, such as one of the commit before.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds="${1:-3}"
tasks=50000
program="${CARGO_TARGET_DIR:-$PWD/target}/release/evalctl"
work="$(mktemp -d)"
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

python3 - "$work" "$tasks" <<'PY'
import json, socket, sys
work, tasks = sys.argv[1], int(sys.argv[2])
with socket.socket() as s:
    s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
text = "The answer is forty-two, as everybody knows."
usage = {"prompt_tokens": 24, "completion_tokens": 11, "total_tokens": 35}
head = {"id": "c", "object": "chat.completion", "created": 1, "model": "fixed-1"}
plain = json.dumps(head | {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], "usage": usage})
delta = lambda d, f=None: head | {"choices": [{"index": 0, "delta": d, "finish_reason": f}]}
events = [delta({"role": "assistant", "content": ""})] + [delta({"content": w + " "}) for w in text.split()] + [delta({}, "stop"), head | {"choices": [], "usage": usage}]
sse = "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"
paths = "".join(f" {k}_temp_path {work}/{k};" for k in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
open(f"{work}/nginx.conf", "w").write(f"""daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600;{paths}
server {{ listen 127.0.0.1:{port};
location /plain/ {{ default_type application/json; return 200 '{plain}'; }}
location /sse/ {{ default_type text/event-stream; return 200 '{sse}'; }} }} }}
""")
with open(f"{work}/data.jsonl", "w") as f:
    for i in range(tasks):
        f.write(json.dumps({"id": f"s{i}", "question": f"What is the answer to question {i}, the great one of life, the universe and everything?"}) + "\n")
for kind, stream in (("plain", "false"), ("sse", "true")):
    open(f"{work}/{kind}.yaml", "w").write(f"""name: {kind}
dataset: {{ path: data.jsonl }}
prompt: {{ system: Answer briefly., user: "{{{{ question }}}}" }}
candidates:
  - id: fixed
    openai: {{ model: fixed-1, base_url: "http://127.0.0.1:{port}/{kind}", stream: {stream} }}
    params: {{ temperature: 0, max_output_tokens: 64 }}
scorers:
  - contains: {{ any: [forty-two] }}
pacing: {{ closed: {{ in_flight: 32 }} }}
""")
open(f"{work}/body.json", "w").write(json.dumps({"model": "fixed-1", "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "What is the answer to question 12345, the great one of life, the universe and everything?"}], "temperature": 0, "max_completion_tokens": 64}))
open(f"{work}/port", "w").write(str(port))
PY
nginx -c "$work/nginx.conf" 2>/dev/null &
server=$!
port="$(cat "$work/port")"
for _ in $(seq 50); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done

# Tasks a second of an evalctl.
rate_of() {
    local program="$1" kind="$2" out="$3" start end
    start="$(date +%s.%N)"
    (cd "$work" && "$program" run "$kind.yaml" --out "$out" -q --json >"$out.json")
    end="$(date +%s.%N)"
    python3 - "$start" "$end" "$work/$out.json" "$tasks" <<'PY'
import json, sys
start, end, report, tasks = sys.argv[1:]
counts = json.load(open(report))["candidates"][0]["counts"]
assert counts["scored"] == int(tasks), counts
print(round(int(tasks) / (float(end) - float(start))))
PY
}

for kind in plain sse; do
    for round in $(seq "$rounds"); do
        if [ -n "${OTHER:-}" ]; then
            name="the other"
            yardstick="$(rate_of "$OTHER" "$kind" "other-$kind-$round")"
        else
            name="oha"
            yardstick="$(oha -n $((tasks * 4)) -c 32 --no-tui -m POST -T application/json -D "$work/body.json" \
                --output-format json "http://127.0.0.1:$port/$kind/chat/completions" |
                python3 -c 'import json,sys; print(round(json.load(sys.stdin)["summary"]["requestsPerSec"]))')"
        fi
        rate="$(rate_of "$program" "$kind" "run-$kind-$round")"
        python3 -c 'import sys; k, r, e, n, y = sys.argv[1:]; print(f"{k:5} round {r}: evalctl {e:>6} tasks/s, {n} {y:>7}, ratio {int(e) / int(y):.3f}")' \
            "$kind" "$round" "$rate" "$name" "$yardstick"
    done
done
