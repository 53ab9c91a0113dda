//! The whole program against a server that does everything a broken one does.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::{self, Asked, Model, Step};
use crate::support::{Folder, finish, tell, until, wait};

/// What the server does, by what the question says.
const KINDS: [&str; 16] = [
    "plain",
    "late",
    "close",
    "reset",
    "cut",
    "rubbish",
    "not-json",
    "stream-error",
    "no-done",
    "once-429",
    "ever-429",
    "once-500",
    "ever-500",
    "bad-request",
    "html",
    "redirect",
];

fn script(asked: &Asked, seen: &HashMap<String, usize>) -> Vec<Step> {
    let text = asked.text();
    let is_first = seen.get(&key(asked)).copied().unwrap_or(0) <= 1;
    let ok = || server::answer(asked, "yes");
    match text.split(' ').next().unwrap() {
        "late" => vec![Step::Wait(Duration::from_secs(20))],
        "close" => vec![Step::Close],
        "reset" => vec![Step::Reset],
        "cut" => vec![server::stream_head(), server::piece("ye"), Step::Reset],
        "rubbish" => vec![Step::Send(b"\0\xff\xfe not http at all\r\n\r\n".to_vec()), Step::Close],
        "not-json" => server::plain(200, &[("content-type", "application/json")], "{\"choices\": [oops"),
        "stream-error" => vec![
            server::stream_head(),
            server::event(&json!({ "error": { "message": "overloaded", "code": 503 } })),
            Step::End,
        ],
        "no-done" => vec![
            server::stream_head(),
            server::piece("yes"),
            server::event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })),
            Step::End,
        ],
        "once-429" if is_first => server::error(429, &[("retry-after-ms", "150")], "slow down"),
        "ever-429" => server::error(429, &[("retry-after", "0")], "slow down"),
        "once-500" if is_first => server::error(500, &[], "hiccup"),
        "ever-500" => server::error(500, &[], "broken"),
        "bad-request" => server::error(400, &[], "no such thing"),
        "html" => server::plain(200, &[("content-type", "text/html")], "<html>hello</html>"),
        "redirect" => server::plain(302, &[("location", "http://127.0.0.1:9/elsewhere")], ""),
        _ => ok(),
    }
}

fn key(asked: &Asked) -> String {
    format!("{} {}", asked.body["model"], asked.text())
}

/// A server by the script above.
fn broken() -> Model {
    let seen = std::sync::Mutex::new(HashMap::new());
    Model::start(move |asked| {
        let mut seen = seen.lock().unwrap();
        *seen.entry(key(asked)).or_insert(0) += 1;
        script(asked, &seen)
    })
}

fn suite(base_url: &str, candidates: &[(&str, &str)], more: &str) -> String {
    let mut text = "name: http\ndataset: { path: data.jsonl }\nprompt: { user: \"{{ q }}\" }\ncandidates:\n".to_owned();
    for (id, entries) in candidates {
        text.push_str(&format!(
            "  - id: {id}\n    openai: {{ model: {id}, base_url: \"{base_url}\" }}\n    {entries}\n"
        ));
    }
    text.push_str("scorers:\n  - contains: { any: [\"yes\"] }\n");
    text.push_str(more);
    text
}

fn rows(questions: impl Iterator<Item = String>) -> String {
    questions.enumerate().map(|(i, q)| format!("{}\n", json!({ "id": format!("s{i}"), "q": q }))).collect()
}

#[test]
fn whatever_a_server_does_the_counts_add_up_and_retries_are_bounded() {
    let each = 6;
    let model = broken();
    let folder = Folder::new();
    folder.write("data.jsonl", rows((0..KINDS.len() * each).map(|i| format!("{} {i}", KINDS[i % KINDS.len()]))));
    let entries = "retries: 2\n    timeout: 1500ms\n    in_flight: 24";
    let limits = "limits: { max_failures: 100% }\n";
    folder.write("suite.yaml", suite(&model.base_url(), &[("one", entries), ("two", entries)], limits));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    let each = each as u64;
    for candidate in report["candidates"].as_array().unwrap() {
        let counts = &candidate["counts"];
        let count = |name: &str| counts[name].as_u64().unwrap();
        assert_eq!(count("tasks"), KINDS.len() as u64 * each);
        assert_eq!(count("scored") + count("unscored") + count("failed") + count("dropped"), count("tasks"));
        assert_eq!(count("scored"), 4 * each, "plain, no-done, once-429, once-500: {candidate}");
        assert_eq!(count("dropped"), 0);
        let failures: HashMap<String, u64> = candidate["failures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| (f["kind"].as_str().unwrap().to_owned(), f["count"].as_u64().unwrap()))
            .collect();
        let wanted = [
            ("timeout", 1),
            ("lost", 3),
            ("cut", 1),
            ("protocol", 2),
            ("service", 1),
            ("rate_limited", 1),
            ("status", 3),
        ];
        let wanted: HashMap<String, u64> = wanted.iter().map(|(kind, n)| ((*kind).to_owned(), n * each)).collect();
        assert_eq!(
            failures,
            wanted,
            "{}",
            folder.read("run/records.jsonl").lines().take(40).collect::<Vec<_>>().join("\n")
        );
    }
    let mut asked: HashMap<String, Vec<Asked>> = HashMap::new();
    for one in model.asked() {
        asked.entry(key(&one)).or_default().push(one);
    }
    for (key, times) in &asked {
        let kind = key.split(' ').nth(1).unwrap();
        let wanted = match kind {
            "late" | "close" | "reset" | "rubbish" | "ever-429" | "ever-500" => 3,
            "once-429" | "once-500" => 2,
            _ => 1,
        };
        assert_eq!(times.len(), wanted, "{key}");
        if kind == "once-429" {
            assert!(times[1].at - times[0].at >= Duration::from_millis(150), "{key} came back too early");
        }
    }
}

#[test]
fn time_to_first_token_is_that_of_the_server() {
    let model = Model::start(|_| {
        let ms = Duration::from_millis;
        server::streamed(&[(ms(30), "ye"), (ms(10), "s"), (ms(10), ", it is")])
    });
    let folder = Folder::new();
    let samples = 60;
    folder.write("data.jsonl", rows((0..samples).map(|i| format!("q {i}"))));
    folder.write("suite.yaml", suite(&model.base_url(), &[("one", "in_flight: 1")], ""));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let mut by_question = HashMap::new();
    for asked in model.asked() {
        by_question.insert(asked.text().to_owned(), asked);
    }
    let mut off_us: Vec<i64> = Vec::new();
    for line in folder.read("run/records.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let number = record["task"]["sample"].as_str().unwrap().trim_start_matches('s').to_owned();
        let asked = &by_question[&format!("q {number}")];
        // The first chunk says only who speaks; the second is the first token.
        let server_us = (model.sent(asked.n)[1] - asked.at).as_micros() as i64;
        let chunks = record["timing"]["chunks_us"].as_array().unwrap();
        assert_eq!(chunks.len(), 3, "three pieces of content: {record}");
        off_us.push(chunks[0].as_i64().unwrap() - server_us);
    }
    off_us.sort_unstable_by_key(|off| off.abs());
    // The machine does other things meanwhile (the other tests), which delays a request on its way or the server's own
    // reading of the clock. What the clock of the program adds is seen in the requests that nothing disturbed.
    // Unoptimised, the program takes the better part of a millisecond to read a chunk.
    let bar_us = if cfg!(debug_assertions) { 5000 } else { 1000 };
    assert!(off_us[2].abs() < bar_us, "the least disturbed are {} µs off: {off_us:?}", off_us[2]);
    assert!(off_us[samples / 2].abs() < 10_000, "{off_us:?}");
    let ttft = &folder.json("run/report.json")["candidates"][0]["metrics"];
    let ttft = ttft.as_array().unwrap().iter().find(|m| m["name"] == "ttft_ms.p50").unwrap();
    assert!(ttft["value"].as_f64().unwrap() >= 30.0, "{ttft}");
}

#[test]
fn keys_reach_no_file_and_no_message() {
    let (key, other) = ("sk-very-secret-0123456789", "header-secret-987654321");
    let model = Model::start(|asked| {
        let said = format!("bad key {} and {}", asked.headers["authorization"], asked.headers["x-team"]);
        let piece =
            |delta: Value| server::event(&json!({ "model": said, "choices": [{ "index": 0, "delta": delta }] }));
        let end = || server::stream_end(2);
        match asked.n % 6 {
            // A good answer may hold it, too: in one piece, cut in two, or in a tool's arguments.
            3 => server::answer(asked, &said),
            4 => {
                let (head, tail) = said.split_at(said.find("secret").unwrap());
                [
                    vec![server::stream_head(), piece(json!({ "content": head })), piece(json!({ "content": tail }))],
                    end(),
                ]
                .concat()
            }
            5 => {
                let arguments = json!({ "said": said }).to_string();
                let call = json!([{ "index": 0, "id": said, "function": { "name": said, "arguments": arguments } }]);
                let piece = piece(json!({ "reasoning_content": said, "tool_calls": call }));
                [vec![server::stream_head(), piece], end()].concat()
            }
            0 => server::error(401, &[], &said),
            1 => vec![server::stream_head(), server::event(&json!({ "error": { "message": said } })), Step::End],
            _ => server::plain(200, &[("content-type", "text/html")], &format!("<p>{said}</p>")),
        }
    });
    let folder = Folder::new();
    folder.write("data.jsonl", rows((0..12).map(|i| format!("q {i}"))));
    let text =
        suite(&model.base_url(), &[("one", "headers: { x-team: \"${TEAM}\" }")], "limits: { max_failures: 100% }\n");
    folder.write("suite.yaml", text.replace("model: one", "model: one, api_key_env: MY_KEY"));
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run"]);
    command.env("MY_KEY", key).env("TEAM", other);
    let output = finish(command).expect(0);
    assert_eq!(model.asked()[0].headers["authorization"], format!("Bearer {key}"), "the key was sent");
    let mut all = output.out + &output.err;
    for entry in std::fs::read_dir(folder.path().join("run")).unwrap() {
        all.push_str(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    let records = folder.read("run/records.jsonl");
    let answered: Vec<&str> = records.lines().filter(|line| line.contains("\"answer\"")).collect();
    assert_eq!(answered.len(), 6, "good answers, with what they said");
    assert!(answered.iter().all(|line| line.contains("[key]")), "{answered:?}");
    assert!(!all.contains(key) && !all.contains(other), "a key was written");
}

#[test]
fn too_many_failures_stop_the_run_and_it_can_be_resumed() {
    let mended = Arc::new(AtomicUsize::new(0));
    let is_mended = Arc::clone(&mended);
    let model = Model::start(move |asked| match is_mended.load(Ordering::SeqCst) {
        0 => server::error(400, &[], "broken"),
        _ => server::answer(asked, "yes"),
    });
    let folder = Folder::new();
    folder.write("data.jsonl", rows((0..200).map(|i| format!("q {i}"))));
    folder.write("suite.yaml", suite(&model.base_url(), &[("one", "in_flight: 2")], "limits: { max_failures: 5% }\n"));
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(3);
    assert!(output.err.contains("has failed 11 times, 10 were allowed"), "{}", output.err);
    assert!(output.err.contains("--resume"), "{}", output.err);
    let counts = folder.json("run/report.json")["candidates"][0]["counts"].clone();
    assert_eq!(counts["failed"].as_u64().unwrap() + counts["dropped"].as_u64().unwrap(), 200);
    assert!(model.count() <= 13, "{} requests after the budget was spent", model.count());
    mended.store(1, Ordering::SeqCst);
    folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "--retry-failed", "-q"]).expect(0);
    assert_eq!(folder.json("run/report.json")["candidates"][0]["counts"]["scored"], 200);
}

#[test]
fn a_deadline_stops_the_run() {
    let model = Model::start(|asked| {
        let mut steps = vec![Step::Wait(Duration::from_millis(50))];
        steps.extend(server::answer(asked, "yes"));
        steps
    });
    let folder = Folder::new();
    folder.write("data.jsonl", rows((0..500).map(|i| format!("q {i}"))));
    folder.write("suite.yaml", suite(&model.base_url(), &[("one", "in_flight: 1")], "limits: { deadline: 300ms }\n"));
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(3);
    assert!(output.err.contains("deadline of 300ms"), "{}", output.err);
    let counts = folder.json("run/report.json")["candidates"][0]["counts"].clone();
    assert_eq!(counts["scored"].as_u64(), Some(model.count() as u64), "what was asked was finished");
}

/// Sends a signal by the system's own program, so that no test needs unsafe code.
#[test]
fn ctrl_c_once_finishes_what_is_in_flight_and_twice_leaves_at_once() {
    let hangs = Arc::new(AtomicUsize::new(0));
    let is_hanging = Arc::clone(&hangs);
    let model = Model::start(move |asked| {
        if is_hanging.load(Ordering::SeqCst) == 1 {
            return vec![Step::Hang];
        }
        let mut steps = vec![Step::Wait(Duration::from_millis(20))];
        steps.extend(server::answer(asked, "yes"));
        steps
    });
    let folder = Folder::new();
    let samples = 300;
    folder.write("data.jsonl", rows((0..samples).map(|i| format!("q {i}"))));
    folder.write("suite.yaml", suite(&model.base_url(), &[("one", "in_flight: 4")], ""));
    let start =
        |arguments: &[&str]| folder.evalctl(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let asked_for = |count: usize| until("requests", || model.count() >= count);
    let mut child = start(&["run", "suite.yaml", "--out", "run", "-q"]);
    asked_for(20);
    tell(&child, "-INT");
    assert_eq!(wait(&mut child, Duration::from_secs(30)).code(), Some(3));
    let asked = model.count();
    assert_eq!(folder.read("run/records.jsonl").lines().count(), asked, "every answer that was asked for is kept");
    assert_eq!(folder.json("run/report.json")["is_complete"], false);

    hangs.store(1, Ordering::SeqCst);
    let mut child = start(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
    asked_for(asked + 4);
    tell(&child, "-INT");
    tell(&child, "-INT");
    std::thread::sleep(Duration::from_millis(50));
    tell(&child, "-INT");
    assert_eq!(wait(&mut child, Duration::from_secs(10)).code(), Some(3), "it leaves although the server hangs");

    hangs.store(0, Ordering::SeqCst);
    folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]).expect(0);
    assert_eq!(model.count(), samples + 4, "only what hung was asked twice");
}

#[test]
fn a_request_says_what_the_suite_and_the_row_say() {
    let model = Model::start(|asked| server::answer(asked, "{\"a\": 1}"));
    let folder = Folder::new();
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    let messages = json!([{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" }]);
    let row =
        json!({ "id": "1", "chat": messages, "tools": tools, "params": { "temperature": 0.5, "tool_choice": "auto" } });
    folder.write("data.jsonl", format!("{row}\n"));
    let schema = json!({ "type": "object", "properties": { "b": {}, "a": { "type": "integer" } } });
    folder.write("schema.json", schema.to_string());
    folder.write(
        "suite.yaml",
        format!(
            "name: shape\ndataset: {{ path: data.jsonl }}\nprompt: {{ messages: chat }}\noutput: {{ schema: schema.json }}\n\
             candidates:\n  - id: one\n    openai: {{ model: m, base_url: \"{}\", max_tokens_field: max_tokens }}\n    \
             params: {{ temperature: 0, seed: 7, max_output_tokens: 9, stop: [\"END\"], extra: {{ top_k: 3 }} }}\n    \
             headers: {{ x-project: blue }}\nscorers:\n  - schema: {{}}\n",
            model.base_url()
        ),
    );
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let asked = &model.asked()[0];
    let wanted = json!({
        "model": "m", "messages": messages, "tools": tools, "tool_choice": "auto", "temperature": 0.5, "seed": 7,
        "max_tokens": 9, "stop": ["END"], "top_k": 3, "stream": true, "stream_options": { "include_usage": true },
        "response_format": {
            "type": "json_schema", "json_schema": { "name": "answer", "strict": true, "schema": schema },
        },
    });
    assert_eq!(asked.body, wanted);
    assert_eq!(asked.headers["x-project"], "blue");
    assert!(!asked.headers.contains_key("authorization"), "a loopback server needs no key");
}

#[test]
fn no_candidate_has_more_in_flight_than_it_may_nor_runs_far_ahead() {
    let open = Arc::new(std::sync::Mutex::new(HashMap::<String, (usize, usize)>::new()));
    let watched = Arc::clone(&open);
    let model = Model::start(move |asked| {
        // A request is open from here until its candidate's next one on the same connection; what counts is how many
        // are answered late at once, which the waits below make visible.
        let name = asked.body["model"].as_str().unwrap().to_owned();
        watched.lock().unwrap().entry(name.clone()).or_default().0 += 1;
        let mut steps = vec![Step::Wait(Duration::from_millis(if name == "slow" { 20 } else { 1 }))];
        steps.extend(server::answer(asked, "yes"));
        let other = if name == "slow" { "fast" } else { "slow" };
        let mut counts = watched.lock().unwrap();
        let ahead = counts[&name].0.saturating_sub(counts.get(other).map_or(0, |(n, _)| *n));
        let most = &mut counts.get_mut(&name).unwrap().1;
        *most = (*most).max(ahead);
        steps
    });
    let folder = Folder::new();
    folder.write("data.jsonl", rows((0..300).map(|i| format!("q {i}"))));
    folder.write("suite.yaml", suite(&model.base_url(), &[("slow", "in_flight: 4"), ("fast", "in_flight: 4")], ""));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let ahead = open.lock().unwrap()["fast"].1;
    assert!(ahead <= 4 * 4 + 4 + 4, "`fast` was {ahead} requests ahead of `slow`");
    // Requests of one candidate overlap by their recorded times; never more than its slots.
    for candidate in ["slow", "fast"] {
        let mut edges: Vec<(u64, i32)> = Vec::new();
        for line in folder.read("run/records.jsonl").lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["task"]["candidate"] == candidate {
                let sent = record["timing"]["sent_us"].as_u64().unwrap();
                edges.extend([(sent, 1), (sent + record["timing"]["done_us"].as_u64().unwrap(), -1)]);
            }
        }
        edges.sort_unstable();
        let mut now = 0;
        let most = edges
            .iter()
            .map(|(_, step)| {
                now += step;
                now
            })
            .max()
            .unwrap();
        assert!(most <= 4, "{candidate} had {most} in flight");
    }
}
