//! `evalctl replay`: every request at its time, everything accounted for, what was logged as the baseline.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::{self, Asked, Model, Step};
use crate::support::{Folder, Output, finish, tell, until, wait};

/// Lines of a capture, `gap_ms` apart; every fourth request was answered by a call.
fn capture(folder: &Folder, requests: u64, gap_ms: u64) {
    let lines = (0..requests).map(|n| {
        let question = json!([{"role": "system", "content": "Answer."}, {"role": "user", "content": format!("Q:{n}")}]);
        let calls = if n % 4 == 3 { json!([{"id": "c", "name": "look", "arguments": "{\"n\":1}"}]) } else { json!([]) };
        let line = json!({
            "evalctl": "capture/1", "turn": 1 + n / 10, "id": format!("q{n}"), "conversation": format!("c{}", n % 10),
            "arrived_us": 1_700_000_000_000_000 + n * gap_ms * 1000, "precision": "ms", "model": "old-1",
            "messages": question, "params": {"temperature": 0.0, "extra": {"store": true}}, "target": format!("A{n}"),
            "answer": {"text": format!("A{n}"), "tool_calls": calls, "finish": if n % 4 == 3 { "tool" } else { "stop" },
                       "usage": {"input_tokens": 10, "output_tokens": 5}},
            "latency_ms": 250.5, "ttft_ms": 80.25, "cost_usd": "0.002",
            "source": {"kind": "chat", "file": "log.jsonl", "row": n + 1},
        });
        format!("{line}\n")
    });
    folder.write("capture.jsonl", lines.collect::<String>());
}

/// Makes every request of the capture a conversation of its own.
fn each_alone(folder: &Folder) {
    let alone = |(index, line): (usize, &str)| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["conversation"] = json!(format!("alone {index}"));
        format!("{line}\n")
    };
    folder.write("capture.jsonl", folder.read("capture.jsonl").lines().enumerate().map(alone).collect::<String>());
}

fn suite(folder: &Folder, candidates: &[(&str, &Model)], more: &str) {
    let mut text = "name: traffic\ndataset: { path: elsewhere.jsonl }\nprompt: { user: \"{{ input }}\" }\n\
                    scorers:\n  - exact: {}\ncandidates:\n"
        .to_owned();
    for (id, model) in candidates {
        text.push_str(&format!(
            "  - id: {id}\n    openai: {{ model: m, base_url: \"{}\" }}\n    timeout: 20s\n    \
             price: {{ per_request_usd: 0.001 }}\n",
            model.base_url()
        ));
    }
    text.push_str(more);
    folder.write("suite.yaml", text);
}

fn question(asked: &Asked) -> u64 {
    asked.text().trim_start_matches("Q:").parse().unwrap()
}

/// Answers as was logged, but for every fifth.
fn similar(asked: &Asked) -> Vec<Step> {
    assert!(asked.body.get("store").is_none(), "what was only meant for the logged service: {}", asked.body);
    let n = question(asked);
    server::answer(asked, &if n.is_multiple_of(5) { "other".to_owned() } else { format!("A{n}") })
}

fn replay(folder: &Folder, more: &[&str]) -> Output {
    let arguments = ["replay", "capture.jsonl", "--suite", "suite.yaml", "--out", "run", "-q"];
    finish(folder.evalctl([&arguments[..], more].concat()))
}

fn candidate<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["candidates"].as_array().unwrap().iter().find(|candidate| candidate["id"] == id).unwrap()
}

fn metric(report: &Value, id: &str, name: &str) -> f64 {
    let metrics = candidate(report, id)["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap()["value"].as_f64().unwrap()
}

#[test]
fn every_candidate_gets_the_traffic_at_its_times_and_is_compared_with_the_log() {
    let (one, two) = (Model::start(similar), Model::start(similar));
    let folder = Folder::new();
    capture(&folder, 100, 10);
    // Two of ten conversations go wrong as wholes, which says little about how many would.
    suite(&folder, &[("one", &one), ("two", &two)], "gates:\n  - { metric: exact, non_inferior: { margin: 0.7 } }\n");
    let told = replay(&folder, &["--speed", "2"]).expect(0);
    assert!(told.out.contains("TIMING") && told.out.contains("as logged, 2 times as fast"), "{}", told.out);
    assert!(told.out.lines().all(|line| line.chars().count() <= 100), "{}", told.out);
    let report = folder.json("run/report.json");
    assert_eq!((report["baseline"].as_str(), report["samples"].as_u64()), (Some("logged"), Some(100)));
    assert_eq!(metric(&report, "logged", "exact"), 1.0);
    assert_eq!(metric(&report, "one", "exact"), 0.8);
    assert_eq!(metric(&report, "logged", "latency_ms.p50"), 250.5);
    assert_eq!(metric(&report, "logged", "ttft_ms.p50"), 80.25);
    assert_eq!(candidate(&report, "logged")["spend_usd"], "0.2");
    let timing = report["replay"]["candidates"].as_array().unwrap();
    assert_eq!(timing.len(), 2, "what was logged kept no times of ours");
    for (timing, model) in timing.iter().zip([&one, &two]) {
        assert_eq!(timing["accounting"]["planned"], 100);
        assert_eq!(timing["accounting"]["answered"], 100);
        assert_eq!(model.count(), 100);
        assert!(timing["lag"]["p50_ms"].as_f64().unwrap() < 5.0, "{timing}");
        assert!(timing["lag"]["p50_ms"].as_f64().unwrap() >= 0.0, "{timing}");
        let asked = model.asked();
        // 99 gaps of 5 ms.
        let took = asked[99].at.duration_since(asked[0].at).as_secs_f64();
        assert!((0.45..1.5).contains(&took), "{took}");
    }
    // Marked again, by the capture and not by the suite's own golden set, it is the same.
    let before = report["replay"].clone();
    folder.run(&["score", "run"]).expect(0);
    assert_eq!(folder.json("run/report.json")["replay"], before);
    assert!(folder.read("run/report.md").contains("## Timing"));
}

#[test]
fn what_may_not_be_in_flight_is_dropped_and_the_report_opens_with_it() {
    let model =
        Model::start(|asked| [vec![Step::Wait(Duration::from_millis(300))], server::answer(asked, "x")].concat());
    let folder = Folder::new();
    capture(&folder, 40, 10);
    suite(&folder, &[("slow", &model)], "");
    let told = replay(&folder, &["--max-in-flight", "4"]).expect(3);
    let (top, _) = told.out.split_once("Measurement").unwrap();
    assert!(top.contains("INVALID FOR LATENCY, slow") && top.contains("not an open loop from"), "{}", told.out);
    let report = folder.json("run/report.json");
    let accounting = &report["replay"]["candidates"][0]["accounting"];
    let (answered, full) = (accounting["answered"].as_u64().unwrap(), accounting["unsent"]["full"].as_u64().unwrap());
    assert_eq!((answered + full, model.count() as u64), (40, answered));
    assert!(full > 0 && told.out.contains("not sent: too many in flight"), "{}", told.out);
    let counts = &candidate(&report, "slow")["counts"];
    assert_eq!(counts["dropped"].as_u64(), Some(full), "{counts}");
    assert_eq!(counts["failed"], 0, "what was not sent is no failure of the model's");
}

#[test]
fn a_part_of_it_several_times_over_and_turns_in_their_order() {
    let model = Model::start(|asked| [vec![Step::Wait(Duration::from_millis(20))], similar(asked)].concat());
    let folder = Folder::new();
    capture(&folder, 60, 10);
    suite(&folder, &[("a", &model)], "");
    // As editors of texts save it.
    folder.write("capture.jsonl", format!("\u{feff}{}", folder.read("capture.jsonl")));
    let more =
        ["--from", "100ms", "--to", "2023-11-14T23:13:20.300+01:00", "--loop", "3", "--session-order", "dependent"];
    replay(&folder, &more).expect(0);
    // From 100 ms to 300 ms, 20 requests, three times.
    assert_eq!(model.count(), 60);
    let report = folder.json("run/report.json");
    assert_eq!(report["samples"], 20);
    assert_eq!(report["replay"]["candidates"][0]["accounting"]["answered"], 60);
    let asked: Vec<u64> = model.asked().iter().map(question).collect();
    assert_eq!(*asked.iter().min().unwrap(), 10);
    // Of one conversation, the later turn never before the earlier one.
    for conversation in 0..10 {
        let turns: Vec<u64> = asked.iter().copied().filter(|n| n % 10 == conversation).collect();
        assert_eq!(turns, [10 + conversation, 20 + conversation].repeat(3));
    }
}

#[test]
fn answers_are_judged_by_the_schema_that_their_request_asks_for() {
    let model = Model::start(|asked| server::answer(asked, if question(asked) == 2 { "[]" } else { r#"{"a": 1}"# }));
    let folder = Folder::new();
    let line = |n: usize, schema: Value| {
        json!({"evalctl": "capture/1", "turn": 1, "id": format!("q{n}"), "conversation": format!("q{n}"),
        "arrived_us": 1_700_000_000_000_000_u64, "precision": "ms", "output_schema": schema,
        "messages": [{"role": "user", "content": format!("Q:{n}")}], "answer": {"text": "{\"a\": \"x\"}"},
        "latency_ms": 10.0, "source": {"kind": "chat", "file": "f", "row": n}})
    };
    let of_type = |kind: &str| json!({"type": "object", "properties": {"a": {"type": kind}}});
    let schemas = [of_type("integer"), of_type("string"), of_type("integer"), Value::Null, json!({"type": 7})];
    let lines: Vec<String> =
        schemas.into_iter().enumerate().map(|(n, schema)| format!("{}\n", line(n, schema))).collect();
    folder.write("capture.jsonl", lines.concat());
    suite(&folder, &[("a", &model)], "");
    let text = folder.read("suite.yaml");
    folder.write("suite.yaml", text.replace("scorers:\n", "scorers:\n  - schema: {}\n"));
    replay(&folder, &[]).expect(0);
    let report = folder.json("run/report.json");
    // Of five, one asks for none and one for none that can be used: a third of the model's are right, and of the log's.
    let marks = |id: &str| (metric(&report, id, "schema") * 3.0).round();
    assert_eq!((marks("a"), marks("logged")), (1.0, 1.0));
    let metrics = candidate(&report, "a")["metrics"].as_array().unwrap();
    let schema = metrics.iter().find(|metric| metric["name"] == "schema").unwrap();
    assert_eq!(schema["n"], 3, "{schema}");
}

#[test]
fn what_comes_too_late_counts_in_every_figure() {
    let folder = Folder::new();
    let model = Model::start(|asked| {
        let wait = if question(asked).is_multiple_of(5) { 5000 } else { 1 };
        [vec![Step::Wait(Duration::from_millis(wait))], server::answer(asked, "x")].concat()
    });
    capture(&folder, 50, 4);
    each_alone(&folder);
    let gates = "gates:\n  - { metric: response_ms.p95, at_most: 100 }\nlimits: { max_failures: 100% }\n";
    suite(&folder, &[("a", &model)], gates);
    let text = folder.read("suite.yaml").replace("timeout: 20s", "timeout: 500ms\n    retries: 0");
    folder.write("suite.yaml", text);
    replay(&folder, &[]);
    let report = folder.json("run/report.json");
    let timing = &report["replay"]["candidates"][0];
    // On a machine that is held up itself, no gate on a time is decided.
    let is_valid = timing["invalid"].as_array().unwrap().is_empty();
    assert_eq!(report["exit_code"], if is_valid { 1 } else { 4 }, "{timing}");
    assert_eq!((&timing["accounting"]["timed_out"], &timing["response"]["n"]), (&json!(10), &json!(50)));
    let metrics = candidate(&report, "a")["metrics"].as_array().unwrap();
    let p95 = metrics.iter().find(|metric| metric["name"] == "response_ms.p95").unwrap();
    assert!(p95["n"] == 50 && p95["value"].as_f64().unwrap() > 450.0, "{p95}");
    // Told where nobody is told to resume a replay.
    assert!(!report["notes"].to_string().contains("--resume"), "{}", report["notes"]);
}

#[test]
fn an_invalid_replay_neither_passes_nor_fails_a_gate_on_time() {
    let folder = Folder::new();
    let model =
        Model::start(|asked| [vec![Step::Wait(Duration::from_millis(300))], server::answer(asked, "x")].concat());
    capture(&folder, 40, 1);
    for bar in ["1", "60000"] {
        let gates = format!("gates:\n  - {{ metric: response_ms.p50, at_most: {bar} }}\n");
        suite(&folder, &[("slow", &model)], &gates);
        replay(&folder, &["--max-in-flight", "4", "--wait", "--fresh"]).expect(4);
        let gate = &folder.json("run/report.json")["gates"][0];
        assert!(gate["reason"].to_string().contains("invalid for latency"), "{gate}");
    }
}

#[test]
fn what_the_log_does_not_say_is_neither_guessed_nor_dropped_in_silence() {
    let folder = Folder::new();
    let model = Model::start(|asked| [vec![Step::Wait(Duration::from_millis(1))], server::answer(asked, "x")].concat());
    let line = |n: u64| {
        json!({"evalctl": "capture/1", "turn": n + 1, "id": format!("q{n}"), "conversation": "c",
        "arrived_us": 1_700_000_000_000_000 + n * 200_000, "precision": "ms",
        "params": {"response_format": {"type": "json_object"}, "extra": {"frequency_penalty": 1, "user": null}},
        "messages": [{"role": "user", "content": format!("Q:{n}")}], "answer": {"text": "x"},
        "source": {"kind": "chat", "file": "f", "row": n + 1}})
    };
    let lines: Vec<String> = (0..4).map(|n| format!("{}\n", line(n))).collect();
    folder.write("capture.jsonl", lines.concat());
    suite(&folder, &[("a", &model)], "");
    // Without latencies nobody knows what was thought about: turns keep their times where answers come in time.
    replay(&folder, &["--session-order", "dependent"]).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!(report["replay"]["candidates"][0]["held"], 0, "{}", report["replay"]);
    assert!(
        report["notes"].to_string().contains("no candidate was given: `frequency_penalty` (4 requests)"),
        "{}",
        report["notes"]
    );
    assert!(model.asked().iter().all(|asked| asked.body["response_format"]["type"] == "json_object"));
    let told = finish(folder.evalctl([
        "replay",
        "capture.jsonl",
        "--suite",
        "suite.yaml",
        "--offline",
        "run",
        "--out",
        "run",
        "--fresh",
    ]))
    .expect(2);
    assert!(told.err.contains("`run` is the stored replay itself"), "{}", told.err);
    assert!(folder.path().join("run/report.json").exists());
    let untimed = folder.read("capture.jsonl").replace("\"arrived_us\":1700000000200000", "\"arrived_us\":null");
    folder.write("capture.jsonl", untimed);
    for more in [&["--from", "100ms"][..], &["--to", "1s", "--rate", "const:50"]] {
        let told = replay(&folder, &[more, &["--fresh"]].concat()).expect(2);
        assert!(told.err.contains("1 lines have no time, so that `--from` and `--to` cannot tell"), "{}", told.err);
    }
}

#[test]
fn a_forecast_sends_nothing_and_a_stored_replay_is_compared_again_without_asking() {
    let model = Model::start(similar);
    let folder = Folder::new();
    capture(&folder, 30, 10);
    suite(&folder, &[("a", &model)], "");
    let told = replay(&folder, &["--dry-run", "--speed", "0.5", "--loop", "2"]).expect(0);
    assert!(told.out.contains("60 in 10 conversations") && told.out.contains("$0.06"), "{}", told.out);
    assert!(told.out.contains("1s 180ms"), "two times 29 gaps of 20 ms, and one between them: {}", told.out);
    assert_eq!(model.count(), 0);
    assert!(!folder.path().join("run").exists());
    replay(&folder, &[]).expect(0);
    let first = folder.json("run/report.json");
    assert_eq!(model.count(), 30);
    let more = ["replay", "capture.jsonl", "--suite", "suite.yaml", "--offline", "run", "--out", "again", "-q"];
    folder.run(&more).expect(0);
    assert_eq!(model.count(), 30, "nobody is asked");
    let second = folder.json("again/report.json");
    assert_eq!(metric(&second, "a", "exact"), metric(&first, "a", "exact"));
    assert_eq!(metric(&second, "logged", "exact"), 1.0);
}

#[test]
fn what_cannot_be_replayed_is_said_before_anything_is_sent() {
    let model = Model::start(similar);
    let folder = Folder::new();
    suite(&folder, &[("a", &model)], "");
    let refused = |more: &[&str], words: &[&str]| {
        let told = replay(&folder, more).expect(2);
        for words in words {
            assert!(told.err.contains(words), "{}", told.err);
        }
    };
    refused(&[], &["could not read `capture.jsonl`: no such file"]);
    folder.write("capture.jsonl", "");
    refused(&[], &["`capture.jsonl` is empty", "evalctl import"]);
    folder.write("capture.jsonl", "{\"evalctl\": \"capture/9\"}\n");
    refused(&[], &["is a `capture/9`, this evalctl reads `capture/1`"]);
    std::fs::write(folder.path().join("capture.jsonl"), b"\x1f\x8b\x08 and so on").unwrap();
    refused(&[], &["is compressed", "gunzip"]);
    folder.write("capture.jsonl", "{\"id\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"?\"}]}\n");
    refused(&[], &["not those of a capture", "evalctl import"]);
    capture(&folder, 5, 10);
    for (more, words) in [
        (&["--speed", "0"][..], "`--speed`"),
        (&["--rate", "often"], "gamma:50:2"),
        (&["--late-policy", "drop"], "drop:500"),
        (&["--from", "yesterday"], "neither a time nor a duration"),
        (&["--from", "1h"], "nothing of the capture is left"),
        (&["--wait"], "--max-in-flight"),
    ] {
        let told = replay(&folder, more).expect(2);
        assert!(told.err.contains(words), "{more:?}: {}", told.err);
    }
    suite(&folder, &[("logged", &model)], "");
    refused(&[], &["`logged` cannot be the id of a candidate that is replayed", "suite.yaml"]);
    suite(&folder, &[("a", &model)], "");
    let untimed = folder.read("capture.jsonl").replace("\"arrived_us\":1700000000020000", "\"arrived_us\":null");
    folder.write("capture.jsonl", untimed);
    refused(&[], &["1 of 5 lines have no time", "--rate poisson:5"]);
    replay(&folder, &["--rate", "poisson:500"]).expect(0);
    assert_eq!(model.count(), 5);
    let again = ["--rate", "poisson:500"];
    refused(&again, &["holds a run already", "`--fresh`"]);
    assert!(!replay(&folder, &again).err.contains("--resume"), "a replay is not resumed");
}

#[cfg(unix)]
#[test]
fn a_replay_that_was_stopped_in_between_says_so() {
    let model = Model::start(similar);
    let folder = Folder::new();
    capture(&folder, 150, 10);
    suite(&folder, &[("a", &model)], "");
    let arguments = ["replay", "capture.jsonl", "--suite", "suite.yaml", "--out", "run", "-q"];
    let mut child = folder.evalctl(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
    until("requests", || model.count() >= 30);
    tell(&child, "-STOP");
    // The pause that is looked for.
    std::thread::sleep(Duration::from_secs(1));
    tell(&child, "-CONT");
    assert!(wait(&mut child, Duration::from_secs(60)).success());
    let report = folder.json("run/report.json");
    let timing = &report["replay"]["candidates"][0];
    let ms = |spread: &str, name: &str| timing[spread][name].as_f64().unwrap();
    assert_eq!(timing["accounting"]["answered"], 150);
    assert!((700.0..2500.0).contains(&ms("lag", "max_ms")), "{timing}");
    assert!(ms("response", "max_ms") > 700.0 && ms("service", "p90_ms") < 400.0, "{timing}");
    assert!(timing["invalid"].to_string().contains("kept from running"), "{timing}");
    assert!(report["replay"]["longest_pause_ms"].as_f64().unwrap() > 700.0);
}

/// Recorded exchanges with real services, in their own dialects, as a log; then a replay to a server that answers in
/// another dialect what was recorded: whatever is answered alike must agree.
#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn recorded_interactions_replayed_to_who_answers_alike_agree() {
    let folder = Folder::new();
    let data = std::env::var("EVALCTL_CONFORMANCE_DATA").expect("EVALCTL_CONFORMANCE_DATA names the folder");
    let recorded = std::fs::read_to_string(format!("{data}/api_fixtures/interactions.jsonl")).unwrap();
    let mut log = String::new();
    for (n, line) in recorded.lines().enumerate() {
        let row: Value = serde_json::from_str(line).unwrap();
        if row["status"] == 200 && row["request_json"].is_object() && row["response_json"].is_object() {
            let at = 1_700_000_000.0 + n as f64 * 0.02;
            let entry = json!({"id": format!("i{n}"), "timestamp": at, "request": row["request_json"],
                               "response": row["response_json"], "latency_ms": 100});
            log.push_str(&format!("{entry}\n"));
        }
    }
    folder.write("log.jsonl", log);
    let told = folder.run(&["import", "chat", "log.jsonl", "--out", "capture.jsonl", "--json"]).expect(0);
    let ledger: Value = serde_json::from_str(&told.out).unwrap();
    let kept = ledger["kept"].as_u64().unwrap();
    assert!(kept >= 914 / 2, "half of all interactions: {ledger}");
    // What was answered to a question, by the question; where one was answered in two ways, by the first.
    let lines: Vec<Value> =
        folder.read("capture.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = |line: &Value| line["messages"].to_string();
    let mut answers: std::collections::HashMap<String, Value> = std::collections::HashMap::new();
    for line in &lines {
        answers.entry(asked(line)).or_insert_with(|| line["answer"].clone());
    }
    let is_alike = |line: &Value| {
        let first = &answers[&asked(line)];
        first["text"] == line["answer"]["text"] && first["tool_calls"] == line["answer"]["tool_calls"]
    };
    let alike: std::collections::HashSet<String> =
        lines.iter().filter(|line| is_alike(line)).map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    // The rest are questions that were put to several models, which answered each in its own way.
    assert!(alike.len() as u64 > kept * 2 / 3, "{} of {kept}", alike.len());
    let known = answers.clone();
    let model = Model::start(move |asked| {
        let Some(answer) = known.get(&asked.body["messages"].to_string()) else {
            return server::error(400, &[], "unknown question");
        };
        let calls = answer["tool_calls"].as_array().into_iter().flatten().enumerate().map(|(index, call)| {
            let function = json!({"name": call["name"], "arguments": call["arguments"]});
            json!({"index": index, "id": call["id"], "type": "function", "function": function})
        });
        let calls: Vec<Value> = calls.collect();
        let mut message = json!({"role": "assistant", "content": answer["text"]});
        if !calls.is_empty() {
            message["tool_calls"] = Value::Array(calls);
        }
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
        server::plain(200, &[("content-type", "application/json")], &body.to_string())
    });
    folder.write(
        "suite.yaml",
        format!(
            "name: traffic\ndataset: {{ path: none.jsonl }}\nprompt: {{ user: \"-\" }}\nscorers:\n  - agreement: {{}}\n\
             candidates:\n  - id: same\n    openai: {{ model: m, base_url: \"{}\", stream: false }}\n    retries: 0\n    \
             structured: off\nlimits: {{ max_failures: 100% }}\n",
            model.base_url()
        ),
    );
    replay(&folder, &["--speed", "10"]).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!(candidate(&report, "same")["counts"]["failed"], 0, "{}", candidate(&report, "same")["failures"]);
    let (mut agreed, mut judged) = (0, 0);
    for line in folder.read("run/scores-1.jsonl").lines().skip(1) {
        let row: Value = serde_json::from_str(line).unwrap();
        let (sample, who) = (row["task"]["sample"].as_str(), row["task"]["candidate"].as_str());
        if who == Some("same") && sample.is_some_and(|sample| alike.contains(sample)) {
            let mark = row["marks"][0]["value"].as_f64();
            judged += u64::from(mark.is_some());
            agreed += u64::from(mark == Some(1.0));
        }
    }
    assert!(judged > kept / 2, "{judged} of {kept}");
    assert_eq!(agreed, judged, "what is answered alike agrees");
}

/// A machine by the hour is reserved over the log's own span, however fast the log is replayed.
#[test]
fn a_replayed_machine_costs_what_it_costs_over_the_span_of_the_log() {
    let model = Model::start(similar);
    let folder = Folder::new();
    // 40 requests, one every 30 seconds: 20 minutes.
    capture(&folder, 40, 30_000);
    each_alone(&folder);
    suite(&folder, &[("box", &model)], "gates:\n  - { metric: cost_usd, at_most_ratio: 0.5 }\n");
    folder.write("suite.yaml", folder.read("suite.yaml").replace("per_request_usd: 0.001", "per_hour_usd: 3.13"));
    let told = replay(&folder, &["--speed", "100000"]).expect(1);
    let report = folder.json("run/report.json");
    let machines = &candidate(&report, "box")["machines"];
    // 3.13 · ⅓ hour ÷ 40, thirteen times the 0.002 that the log says; the moments in which it was busy cost far less.
    let reserved = machines["reserved_usd"].as_f64().unwrap();
    assert!((reserved - 3.13 / 3.0 / 40.0).abs() < 1e-9, "{machines}");
    assert!(machines["full_use_usd"].as_f64().unwrap() < 0.001, "{machines}");
    let volume = &machines["volume"];
    assert_eq!((&volume["requests"], &volume["is_measured"]), (&json!("40"), &json!(true)));
    assert_eq!(report["gates"][0]["verdict"], "fail");
    let text = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "at full use $",
        "reserved $0.026",
        "40 requests in the log",
        "breaks even with logged at 0.435 requests a second",
    ] {
        assert!(text.contains(words), "{words}: {}", told.out);
    }
    // Marked again, the stored replay says the same.
    folder.run(&["score", "run"]).expect(1);
    assert_eq!(&candidate(&folder.json("run/report.json"), "box")["machines"], machines);
}
