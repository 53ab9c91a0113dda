#!/usr/bin/env bash
# Does a replay keep its times? Against nginx on loopback, which answers at once:
#
#   rate     2,000 requests a second for 60 s to each of two candidates at once
#   frozen   the same, with the second candidate's server stopped for 10 s: what does the first one notice?
#   azure    the Azure conversation trace at ten times its speed (6 minutes)
#   mooncake the Mooncake conversation trace at ten times its speed (6 minutes; a capture of some 600 MB is made first)
#
# Needs nginx and python3 on the PATH and a release build; the traces are read from the folder that
# EVALCTL_CONFORMANCE_DATA names:  benches/replay.sh [rate|frozen|azure|mooncake]..
set -euo pipefail
cd "$(dirname "$0")/.."
program="${PROGRAM:-${CARGO_TARGET_DIR:-$PWD/target}/release/evalctl}"
work="$(mktemp -d)"
servers=()
trap 'kill -CONT "${servers[@]}" 2>/dev/null || true; kill "${servers[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
ulimit -n "$(ulimit -Hn)"

ports=()
for server in 0 1; do
    port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
    mkdir -p "$work/$server"
    paths="$(for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $work/$server/$kind;"; done)"
    cat > "$work/$server/nginx.conf" <<CONF
daemon off; master_process off; pid $work/$server/nginx.pid; error_log $work/$server/error.log;
events { worker_connections 60000; }
http { access_log off; client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 100000000; keepalive_timeout 600; $paths
server { listen 127.0.0.1:$port backlog=60000;
location / { default_type application/json;
return 200 '{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}'; } } }
CONF
    nginx -c "$work/$server/nginx.conf" 2>/dev/null &
    servers+=($!)
    ports+=("$port")
done
for port in "${ports[@]}"; do
    for _ in $(seq 50); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
done

suite() { # NAME SERVERS [TIMEOUT]
    {
        printf 'name: %s\ndataset: { path: none.jsonl }\nprompt: { user: "-" }\nscorers:\n  - contains: { any: [yes] }\ncandidates:\n' "$1"
        for ((i = 0; i < $2; i++)); do
            printf '  - id: c%s\n    openai: { model: m, base_url: "http://127.0.0.1:%s/v1", stream: false }\n    timeout: %s\n    retries: 0\n' "$i" "${ports[$i]}" "${3:-30s}"
        done
        echo 'limits: { max_failures: 100% }'
    } > "$work/$1.yaml"
}

# CPU time so far that a host took for others (steal), and all of it, in ticks.
ticks() { awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print $9, all }' /proc/stat; }

# Runs a replay beside a look at its memory; prints what it came to.
measure() { # NAME CAPTURE MORE..
    local name="$1" capture="$2" resident="$work/$1.rss" before
    shift 2
    before="$(ticks)"
    "$program" replay "$capture" --suite "$work/$name.yaml" --out "$work/$name.run" -q "$@" > "$work/$name.out" 2> "$work/$name.err" &
    local run=$!
    while kill -0 "$run" 2>/dev/null; do
        awk '/VmRSS/ { print $2 }' "/proc/$run/status" 2>/dev/null >> "$resident" || true
        sleep 1
    done
    wait "$run" || { tail -3 "$work/$name.err"; }
    # shellcheck disable=SC2046
    python3 - "$name" "$work/$name.run/report.json" "$resident" $before $(ticks) <<'PY'
import json, sys
name, report, resident, *ticks = sys.argv[1:]
stolen, all_ticks = (int(ticks[i + 2]) - int(ticks[i]) for i in (0, 1))
replay = json.load(open(report))["replay"]
rss = [int(line) / 1024 for line in open(resident)]
# The beginning reads the capture, the end marks the answers: what lies between is the replay itself.
middle = rss[len(rss) // 4 : len(rss) * 3 // 4] or rss
print(f"{name}: memory {middle[0]:.0f} MB after a quarter, {middle[-1]:.0f} MB after three; at most {max(rss):.0f} MB; "
      f"the host kept {stolen / max(all_ticks, 1):.2%} of the CPU time for others")
for kept in replay["candidates"]:
    a, lag, ks = kept["accounting"], kept["lag"], kept["ks"]
    ended = a["answered"] + a["failed"] + a["timed_out"] + a["unfinished"] + sum(a["unsent"].values())
    print(f"  {kept['candidate']}: planned {a['planned']} = {ended} ({a['answered']} answered, {a['failed']} failed, "
          f"{a['timed_out']} timed out); lag p50 {lag['p50_ms']:.2f} p99 {lag['p99_ms']:.2f} max {lag['max_ms']:.2f} ms; "
          f"KS {ks:.4f}, Wasserstein {kept['wasserstein_ms']:.3f} ms; drift {kept['drift']:.1e}; "
          f"in flight {kept['in_flight_max']}; response p99 {kept['response']['p99_ms']:.1f} ms; "
          f"{'valid' if not kept['invalid'] else '; '.join(kept['invalid'])}")
PY
}

steady() { # FILE
    python3 - "$1" <<'PY'
import json, sys
with open(sys.argv[1], "w") as out:
    for n in range(120_000):
        out.write(json.dumps({"evalctl": "capture/1", "turn": 1, "id": f"r{n}", "conversation": f"r{n}", "arrived_us": n * 500,
            "precision": "us", "messages": [{"role": "user", "content": f"Question {n}: yes or no?"}], "target": "yes",
            "answer": {"text": "yes"}, "latency_ms": 5.0, "source": {"kind": "chat", "file": "made", "row": n + 1}}) + "\n")
PY
}

for case in "${@:-rate}"; do
    case "$case" in
        rate) suite rate 2; steady "$work/rate.jsonl"; measure rate "$work/rate.jsonl" ;;
        frozen)
            suite frozen 2 5s; steady "$work/frozen.jsonl"
            (sleep 25; kill -STOP "${servers[1]}"; sleep 10; kill -CONT "${servers[1]}") &
            measure frozen "$work/frozen.jsonl" ;;
        azure) suite azure 1
            "$program" import azure "$EVALCTL_CONFORMANCE_DATA/traces/azure_llm_2023_conv.csv" --out "$work/azure.jsonl" > /dev/null
            measure azure "$work/azure.jsonl" --speed 10 ;;
        mooncake) suite mooncake 1
            "$program" import mooncake "$EVALCTL_CONFORMANCE_DATA/traces/mooncake_conversation.jsonl" --out "$work/mooncake.jsonl" > /dev/null
            measure mooncake "$work/mooncake.jsonl" --speed 10 ;;
        *) echo "no such case: $case" >&2; exit 2 ;;
    esac
done
