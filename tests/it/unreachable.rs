//! Services that cannot be reached, before a run or in the middle of it; and that a run in which a candidate answered
//! nothing is never taken for a good one.

use serde_json::{Value, json};

use crate::support::server::{self, Asked, Closed, Model, Step};
use crate::support::{Folder, Output, finish};

const ROWS: usize = 40;

/// Rows, and recorded answers to them.
fn begin() -> Folder {
    let folder = Folder::new();
    let rows = (0..ROWS).map(|i| format!("{}\n", json!({ "id": format!("s{i}"), "q": format!("q {i}"), "t": "yes" })));
    folder.write("data.jsonl", rows.collect::<String>());
    let answers = (0..ROWS).map(|i| {
        format!("{}\n", json!({ "id": format!("s{i}"), "text": "yes", "ms": 700 + i, "usd": "0.0002", "no": "down" }))
    });
    folder.write("answers.jsonl", answers.collect::<String>());
    folder
}

const TODAY: &str = "recorded: { path: answers.jsonl, text: text, latency_ms: ms, cost_usd: usd }";

fn service(base_url: &str) -> String {
    format!("openai: {{ model: m, base_url: \"{base_url}\", stream: false }}\n    retries: 0")
}

/// A suite of candidates, each given as its id and its other entries.
fn suite(folder: &Folder, candidates: &[(&str, String)], more: &str) {
    let mut text = "name: reach\ndataset: { path: data.jsonl, target: t }\nprompt: { user: \"{{ q }}\" }\n\
                    scorers:\n  - exact: {}\ncandidates:\n"
        .to_owned();
    for (id, entries) in candidates {
        text.push_str(&format!("  - id: {id}\n    {entries}\n"));
    }
    text.push_str(more);
    folder.write("suite.yaml", text);
}

fn yes(asked: &Asked) -> Vec<Step> {
    server::answer(asked, "yes")
}

#[track_caller]
fn said(output: &Output, texts: &[&str]) {
    for text in texts {
        assert!(output.err.contains(text), "{text:?} is not in:\n{}", output.err);
    }
}

/// The command that a message ends with, behind `mark`.
#[track_caller]
fn command<'a>(output: &'a Output, mark: &str) -> Vec<&'a str> {
    let rest = output.err.split(mark).nth(1).unwrap_or_else(|| panic!("no {mark:?} in:\n{}", output.err));
    let line = rest.trim_start().lines().next().unwrap();
    line.strip_prefix("evalctl ").unwrap_or_else(|| panic!("{line}")).split(' ').collect()
}

fn counts(report: &Value, candidate: usize, name: &str) -> u64 {
    report["candidates"][candidate]["counts"][name].as_u64().unwrap()
}

#[test]
fn a_server_that_is_not_there_is_said_before_anything_is_sent_or_written() {
    let (dead, live) = (Closed::new(), Model::start(yes));
    let folder = begin();
    let priced = format!("{}\n    price: {{ per_hour_usd: 3.13 }}", service(&dead.base_url()));
    let candidates = [("today", TODAY.to_owned()), ("dead", priced), ("live", service(&live.base_url()))];
    let more = "baseline: today\ngates: [{ metric: cost_usd, at_most_ratio: 0.5, candidates: [dead] }]\n\
                limits: { max_failures: 100% }\n";
    suite(&folder, &candidates, more);
    let output = folder.run(&["run", "suite.yaml", "--out", "run"]).expect(3);
    assert_eq!(output.out, "");
    said(&output, &["`dead` cannot be reached at ", &dead.origin(), "refused", "nothing was sent"]);
    assert!(!output.err.contains("`live`"), "{}", output.err);
    assert_eq!(live.count(), 0, "nobody is asked while one is missing");
    assert!(!folder.path().join("run").exists());
    // The same command, as it is printed, works when the server is there.
    let command = command(&output, "run again:");
    assert_eq!(command, ["run", "suite.yaml", "--out", "run"]);
    let model = dead.open(yes);
    let output = finish(folder.evalctl(command));
    assert!(matches!(output.code, Some(0 | 1 | 4)), "{}", output.err);
    assert_eq!((model.count(), live.count()), (ROWS, ROWS));
    assert_eq!(folder.json("run/report.json")["is_complete"], true);
}

#[test]
fn all_that_cannot_be_reached_are_said_together_and_only_those_that_are_asked() {
    let dead = [Closed::new(), Closed::new()];
    let folder = begin();
    let nowhere = "http://no-such-host.invalid:8000/v1";
    let away = format!("openai: {{ model: m, base_url: \"{nowhere}\", api_key_env: KEY }}");
    let candidates = [
        ("one", service(&dead[0].base_url())),
        ("two", service(&dead[1].base_url())),
        ("away", away),
        ("today", TODAY.to_owned()),
    ];
    suite(&folder, &candidates, "");
    let mut run = folder.evalctl(["run", "suite.yaml", "--out", "run", "--limit", "3", "--candidate", "one"]);
    run.args(["--candidate", "away"]).env("KEY", "sk-1234567890");
    let output = finish(run).expect(3);
    said(&output, &["`one`", &dead[0].origin(), "`away`", "http://no-such-host.invalid:8000"]);
    said(&output, &["evalctl run suite.yaml --out run --candidate one --candidate away --limit 3"]);
    assert!(!output.err.contains("`two`"), "{}", output.err);
    // Whoever answers from this machine is not looked for.
    folder.run(&["run", "suite.yaml", "--out", "run", "-q", "--candidate", "today"]).expect(0);
    // Nobody is moved aside for a run that cannot begin.
    let fresh = ["run", "suite.yaml", "--out", "run", "-q", "--fresh", "--candidate", "one"];
    said(&folder.run(&fresh).expect(3), &["--fresh"]);
    assert!(!folder.path().join("run.1").exists());
    // Nothing is sent, so a service that is not needed any more may be gone.
    let model = Model::start(yes);
    suite(&folder, &[("one", service(&model.base_url())), ("today", TODAY.to_owned())], "");
    folder.run(&["run", "suite.yaml", "--out", "done", "-q"]).expect(0);
    let gone = model.end();
    folder.run(&["run", "suite.yaml", "--out", "done", "--resume", "-q"]).expect(0);
    drop(gone);
}

#[test]
fn a_proxy_is_respected_and_named_when_it_may_be_what_is_missing() {
    // The proxy answers in the place of a service that cannot be reached from here.
    let proxy = Model::start(yes);
    let folder = begin();
    let away = "openai: { model: m, base_url: \"http://service.invalid/v1\", stream: false, api_key_env: KEY }";
    suite(&folder, &[("away", away.to_owned())], "");
    let run = |out: &str, proxy: &str| {
        let mut run = folder.evalctl(["run", "suite.yaml", "--out", out, "-q"]);
        finish({
            run.env("KEY", "sk-1234567890").env("http_proxy", proxy);
            run
        })
    };
    run("one", proxy.base_url().trim_end_matches("/v1")).expect(0);
    assert_eq!(proxy.count(), ROWS, "the look before the run sends no request, not even to a proxy");
    assert!(proxy.asked()[0].path.starts_with("http://service.invalid/v1/"), "{}", proxy.asked()[0].path);
    let gone = proxy.end();
    let output = run("two", &gone.origin()).expect(3);
    said(&output, &["`away`", "http://service.invalid", "`http_proxy` names a proxy"]);
}

/// Answers on connections that are not used again; the tenth answer is the last one, and no connection comes about after it.
fn dies_after_ten(asked: &Asked) -> Vec<Step> {
    let mut steps = if asked.n == 9 { vec![Step::Shut] } else { Vec::new() };
    steps.extend(last(asked));
    steps
}

/// Closes the connection after the answer. One question is refused.
fn last(asked: &Asked) -> Vec<Step> {
    let (status, body) = if asked.text() == "q 3" {
        (400, json!({ "error": { "message": "not \u{1b}[31mthis" } }))
    } else {
        (200, json!({ "choices": [{ "index": 0, "message": { "content": "yes" }, "finish_reason": "stop" }] }))
    };
    let headers = [("content-type", "application/json"), ("connection", "close")];
    let mut steps = server::plain(status, &headers, &body.to_string());
    steps.push(Step::Close);
    steps
}

#[test]
fn a_server_that_dies_stops_its_candidate_only_and_a_resumed_run_asks_what_never_reached_it() {
    let (dying, live) = (Model::start(dies_after_ten), Model::start(yes));
    let folder = begin();
    let one_at_a_time = format!("{}\n    in_flight: 1", service(&dying.base_url()));
    suite(&folder, &[("dying", one_at_a_time), ("live", service(&live.base_url()))], "");
    let output = folder.run(&["run", "suite.yaml", "--out", "run"]).expect(3);
    said(&output, &["stopped: `dying` cannot be reached any more", &dying.base_url().replace("/v1", ""), "refused"]);
    said(&output, &["dying: no more requests are sent to it"]);
    let report = folder.json("run/report.json");
    assert_eq!((counts(&report, 0, "scored"), counts(&report, 0, "failed")), (9, 4), "one failed, three never left");
    assert_eq!(counts(&report, 0, "dropped"), ROWS as u64 - 13, "they were not burnt");
    assert_eq!(counts(&report, 1, "scored"), ROWS as u64, "the other went on");
    let failures = report["candidates"][0]["failures"].as_array().unwrap();
    let of = |kind: &str| failures.iter().find(|failure| failure["kind"] == kind).unwrap();
    assert_eq!((&of("status")["count"], &of("connection")["count"]), (&json!(1), &json!(3)));
    assert_eq!(of("status")["example"]["sample"], "s3");
    assert_eq!(of("connection")["example"]["sample"], "s10");
    let told = of("connection")["example"]["message"].as_str().unwrap();
    assert!(told.contains(&dying.base_url().replace("/v1", "")) && told.contains("refused"), "{told}");
    let page = folder.read("run/report.md");
    for form in [&output.out, &page] {
        assert!(form.contains("for example") && form.contains("s10") && form.contains("refused"), "{form}");
        assert!(!form.contains('\u{1b}'), "{form}");
    }
    // While it is away, a resumed run sends nothing and says how to go on.
    let command: Vec<String> = command(&output, "go on with:").iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(command, ["run", "suite.yaml", "--out", "run", "--resume"]);
    let gone = dying.end();
    let records = folder.read("run/records.jsonl");
    let again = finish(folder.evalctl(&command)).expect(3);
    said(&again, &["`dying` cannot be reached at", &gone.origin(), "evalctl run suite.yaml --out run --resume"]);
    assert_eq!(folder.read("run/records.jsonl"), records);
    // It is back: what never reached it is asked, what it had refused is not.
    let back = gone.open(last);
    finish(folder.evalctl(&command)).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!((counts(&report, 0, "scored"), counts(&report, 0, "failed")), (ROWS as u64 - 1, 1));
    assert_eq!((back.count(), live.count()), (ROWS - 10, ROWS));
    assert!(report["notes"].to_string().contains("--retry-failed"), "{}", report["notes"]);
    finish(folder.evalctl([&command[..], &["--retry-failed".to_owned()]].concat())).expect(0);
    assert_eq!(back.asked().last().unwrap().text(), "q 3");
    assert_eq!(back.count(), ROWS - 10 + 1);
}

#[test]
fn what_a_service_refused_too_often_goes_on_by_asking_it_again() {
    let model = Model::start(|_| server::error(400, &[], "broken"));
    let folder = begin();
    suite(&folder, &[("one", service(&model.base_url()))], "limits: { max_failures: 5% }\n");
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(3);
    said(&output, &["`one` has failed"]);
    let command: Vec<String> = command(&output, "go on with:").iter().map(|word| (*word).to_owned()).collect();
    let repaired = model.end().open(yes);
    finish(folder.evalctl(&command)).expect(0);
    assert_eq!(repaired.count(), ROWS, "the printed command asks all that is missing");
}

#[test]
fn a_restarted_job_gives_the_same_command_and_begins_a_run_where_there_is_none() {
    let model = Model::start(yes);
    let folder = begin();
    suite(&folder, &[("one", service(&model.base_url()))], "");
    let resume = |more: &[&str]| finish(folder.evalctl([&["run", "suite.yaml", "--resume", "-q"], more].concat()));
    let begun = resume(&[]).expect(0);
    said(&begun, &["no run of `reach` to resume yet", "reports/reach/"]);
    assert_eq!(model.count(), ROWS);
    resume(&[]).expect(0);
    assert_eq!(model.count(), ROWS, "it is found again");
    // A newer one was killed before its manifest was written: it is that one which goes on.
    let killed = "reports/reach/9999-01-01T00-00-00Z";
    folder.write(&format!("{killed}/.lock"), "");
    folder.write(&format!("{killed}/records.jsonl"), "");
    resume(&[]).expect(0);
    assert_eq!(folder.json(&format!("{killed}/report.json"))["is_complete"], true);
    assert_eq!(model.count(), 2 * ROWS);
    // The same with a folder that is named, there or not.
    resume(&["--out", "named"]).expect(0);
    resume(&["--out", "named"]).expect(0);
    folder.write("left/.lock", "");
    folder.write("left/manifest.json.part", "{");
    resume(&["--out", "left"]).expect(0);
    assert_eq!(model.count(), 4 * ROWS);
    // What others wrote is left alone.
    for (name, why) in [("notes/mine.txt", "such as `mine.txt`"), ("old/records.jsonl", "belongs to no run")] {
        folder.write(name, "mine");
        let place = name.split('/').next().unwrap();
        said(&resume(&["--out", place]).expect(2), &[why, "help: "]);
        assert_eq!(std::fs::read_dir(folder.path().join(place)).unwrap().count(), 1);
    }
    assert_eq!(model.count(), 4 * ROWS);
}

/// Candidates that answer nothing, each in a way of its own, and one that answers. Those that are asked need `url`.
fn silent(url: &str) -> Vec<(&'static str, String)> {
    let refused = "recorded: { path: answers.jsonl, text: text, latency_ms: ms, cost_usd: usd, failure: no }";
    vec![
        ("log", refused.to_owned()),
        ("script", "scripted: { reply: \"yes\", fail_where: \"true\" }".to_owned()),
        ("program", "command: { program: [\"false\"] }".to_owned()),
        ("service", service(url)),
    ]
}

#[test]
fn who_answers_nothing_passes_nothing_in_no_command_and_with_no_gates() {
    let model = Model::start(|_| server::error(400, &[], "out of \u{1b}[31morder"));
    let folder = begin();
    let limits = "limits: { max_failures: 100% }\n";
    let bars = [
        "",
        "gates: [{ metric: failure_rate, at_most: 1 }, { metric: cost_usd, at_most: 1 }]\n",
        "baseline: today\ngates: [{ metric: cost_usd, at_most_ratio: 0.5 }, { metric: exact, non_inferior: { margin: 0.9 } }]\n",
    ];
    for (id, entries) in silent(&model.base_url()) {
        for (index, gates) in bars.iter().enumerate() {
            let out = format!("{id}-{index}");
            let good = ("today", TODAY.to_owned());
            let candidates =
                if gates.is_empty() { vec![(id, entries.clone())] } else { vec![(id, entries.clone()), good] };
            suite(&folder, &candidates, &format!("{gates}{limits}"));
            let run = folder.run(&["run", "suite.yaml", "--out", &out, "-q"]);
            let report = folder.json(&format!("{out}/report.json"));
            assert!(counts(&report, 0, "failed") == ROWS as u64 && report["is_complete"] == true, "{out}: {report}");
            assert!(matches!(run.code, Some(1 | 4)), "{out}: {:?}\n{}", run.code, run.out);
            assert!(gates.is_empty() || report["verdict"] != "pass", "{out}: {}", report["verdict"]);
            assert!(report["verdict"] == Value::Null || !gates.is_empty());
            for gate in report["gates"].as_array().unwrap().iter().filter(|gate| gate["candidate"] == id) {
                assert!(gate["verdict"] != "pass", "{out}: {gate}");
            }
            let text = run.out.to_lowercase();
            assert!(text.contains("answered n") && text.contains("for example s0"), "{out}: {}", run.out);
            assert!(!run.out.contains('\u{1b}'));
            assert_eq!(report["candidates"][0]["failures"][0]["example"]["sample"], "s0");
            assert_eq!(folder.run(&["score", &out]).code, run.code, "{out}");
            assert_eq!(folder.run(&["report", &out, "--format", "md,json"]).code, run.code, "{out}");
        }
    }
}

#[test]
fn a_baseline_that_answered_nothing_leaves_nothing_to_pass() {
    let folder = begin();
    let broken = ("broken", "scripted: { reply: \"yes\", fail_where: \"true\" }".to_owned());
    let more = "baseline: broken\ngates: [{ metric: exact, at_least: 0.5 }]\nlimits: { max_failures: 100% }\n";
    suite(&folder, &[broken, ("today", TODAY.to_owned())], more);
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    let report = folder.json("run/report.json");
    assert_eq!((&report["verdict"], &report["candidates"][1]["verdict"]), (&json!("inconclusive"), &json!("pass")));
    assert!(output.out.contains("1 of 2 candidates answered nothing"), "{}", output.out);
}

/// A capture of `ROWS` questions, with or without what was answered.
fn capture(folder: &Folder, has_answers: bool) {
    let lines = (0..ROWS).map(|n| {
        let mut line = json!({
            "evalctl": "capture/1", "turn": 1, "id": format!("q{n}"), "conversation": format!("c{n}"),
            "arrived_us": 1_700_000_000_000_000_u64 + n as u64 * 1000, "precision": "ms", "model": "old",
            "messages": [{ "role": "user", "content": format!("q {n}") }],
            "source": { "kind": "chat", "file": "log.jsonl", "row": n + 1 },
        });
        if has_answers {
            line["answer"] = json!({ "text": "yes", "finish": "stop" });
            line["latency_ms"] = json!(200.5);
        }
        format!("{line}\n")
    });
    folder.write("capture.jsonl", lines.collect::<String>());
}

#[test]
fn a_replay_says_so_too_and_its_log_need_not_hold_answers() {
    let folder = begin();
    let replay = |out: &str| {
        folder.run(&["replay", "capture.jsonl", "--suite", "suite.yaml", "--rate", "const:500", "--out", out, "-q"])
    };
    capture(&folder, true);
    let dead = Closed::new();
    let candidate = |url: &str| [("new", service(url))];
    suite(&folder, &candidate(&dead.base_url()), "limits: { max_failures: 100% }\n");
    let output = replay("run").expect(3);
    said(&output, &["`new` cannot be reached at", &dead.origin(), "nothing was sent", "give the same command again"]);
    assert!(!folder.path().join("run").exists());
    // It is there when it is looked for, and gone before the first request. Nobody resumes a replay.
    let once = Closed::new();
    suite(&folder, &candidate(&once.base_url()), "limits: { max_failures: 100% }\n");
    let once = once.open_once();
    let output = replay("gone").expect(3);
    said(&output, &["stopped: `new` cannot be reached any more", &once.join().unwrap().origin()]);
    assert!(!output.err.contains("--resume"), "{}", output.err);
    let accounting = &folder.json("gone/report.json")["replay"]["candidates"][0]["accounting"];
    assert_eq!((&accounting["failed"], &accounting["unfinished"]), (&json!(5), &json!(ROWS - 5)), "{accounting}");
    // One that refuses every request is there.
    let model = Model::start(|_| server::error(400, &[], "out of order"));
    suite(&folder, &candidate(&model.base_url()), "limits: { max_failures: 100% }\n");
    let output = replay("refused").expect(4);
    assert_eq!(model.count(), ROWS);
    assert!(output.out.contains("1 of 1 candidates answered nothing"), "{}", output.out);
    folder.run(&["score", "refused"]).expect(4);
    // Times can be taken from a log without answers: nobody was asked for those.
    let model = Model::start(yes);
    suite(&folder, &candidate(&model.base_url()), "limits: { max_failures: 100% }\n");
    capture(&folder, false);
    replay("timed").expect(0);
    assert_eq!(counts(&folder.json("timed/report.json"), 0, "failed"), 0);
}
