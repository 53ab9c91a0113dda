//! Scorers that need no truth, and the rows on which candidates disagree, ready for labels.

use serde_json::{Value, json};

use crate::support::server::{self, Asked, Model};
use crate::support::{Folder, finish};

/// Lines of a capture: texts, JSON, calls and a failure in turn.
fn capture(folder: &Folder, requests: u64) {
    let lines = (0..requests).map(|n| {
        let question = json!([{"role": "system", "content": "Answer."}, {"role": "user", "content": format!("Q:{n}")}]);
        let calls = json!([{"id": "c", "name": "look", "arguments": "{\"n\": 1}"}]);
        let (answer, failure) = match n % 4 {
            0 => (json!({"text": format!("Answer {n}"), "finish": "stop", "usage": {}}), Value::Null),
            1 => (
                json!({"text": format!("{{\"n\": {n}, \"of\": [1, 2, 3]}}"), "finish": "stop", "usage": {}}),
                Value::Null,
            ),
            2 => (json!({"text": "", "tool_calls": calls, "finish": "tool", "usage": {}}), Value::Null),
            _ => (Value::Null, json!({"status": {"status": 500, "detail": "x"}})),
        };
        let line = json!({
            "evalctl": "capture/1", "turn": 1, "id": format!("q{n}"), "conversation": format!("c{n}"),
            "arrived_us": 1_700_000_000_000_000 + n * 1000, "precision": "ms", "model": "old-1",
            "messages": question, "target": answer["text"].as_str().filter(|text| !text.is_empty()),
            "answer": answer, "failure": failure, "latency_ms": 250.5,
            "source": {"kind": "chat", "file": "log.jsonl", "row": n + 1},
        });
        format!("{line}\n")
    });
    folder.write("capture.jsonl", lines.collect::<String>());
}

/// As logged, but: every eighth text is another, and one field of four of all JSON.
fn similar(asked: &Asked) -> Vec<server::Step> {
    let n: u64 = asked.text().trim_start_matches("Q:").parse().unwrap();
    server::answer(
        asked,
        &match n % 4 {
            0 if n.is_multiple_of(8) => "I can\u{2019}t help with that, whatever you may say to me.".to_owned(),
            0 => format!("Answer  {n}\n"),
            1 => format!("```json\n{{\"of\": [1.0, 2, 4], \"n\": {n}}}\n```"),
            _ => "No call".to_owned(),
        },
    )
}

const SCORERS: &str = "scorers:\n  - agreement: {}\n  - agreement: { name: calls, by: tools }\n  - length: { at_least: 0.5, at_most: 2 }\n  \
                       - refusal: { phrases: [\"I can't\"] }\n";

fn suite(folder: &Folder, model: &Model, scorers: &str) {
    let base = model.base_url();
    folder.write(
        "suite.yaml",
        format!(
            "name: traffic\ndataset: {{ path: elsewhere.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\n{scorers}\
             candidates:\n  - id: one\n    openai: {{ model: m, base_url: \"{base}\" }}\n    timeout: 20s\n\
             limits: {{ max_failures: 50% }}\n"
        ),
    );
}

fn metric<'a>(report: &'a Value, id: &str, name: &str) -> &'a Value {
    let candidates = report["candidates"].as_array().unwrap();
    let metrics = candidates.iter().find(|candidate| candidate["id"] == id).unwrap()["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn value(report: &Value, id: &str, name: &str) -> f64 {
    let metric = metric(report, id, name);
    metric["value"].as_f64().unwrap_or_else(|| panic!("{metric}"))
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn traffic_is_scored_without_truth_and_disagreements_become_a_dataset() {
    let model = Model::start(similar);
    let folder = Folder::new();
    capture(&folder, 40);
    suite(&folder, &model, SCORERS);
    let arguments = ["replay", "capture.jsonl", "--suite", "suite.yaml", "--out", "run", "-q"];
    let told = folder.run(&[&arguments[..], &["--promote", "disagreements"]].concat());
    let told = told.expect(0);
    let report = folder.json("run/report.json");
    for name in ["agreement", "calls", "length", "refusal"] {
        assert_eq!(value(&report, "logged", name), 1.0, "{name}: what was logged agrees with itself");
    }
    // Of ten texts five are others, ten JSON answers share three fields of four, ten calls are none.
    let seen = value(&report, "one", "agreement");
    assert!((seen - (5.0 + 7.5) / 30.0).abs() < 1e-9, "{seen}");
    assert_eq!(metric(&report, "one", "agreement")["n"], 30, "a request that failed is no reference");
    assert!((value(&report, "one", "calls") - 20.0 / 30.0).abs() < 1e-9);
    assert!((value(&report, "one", "length") - 15.0 / 20.0).abs() < 1e-9);
    assert!((value(&report, "one", "refusal") - 35.0 / 40.0).abs() < 1e-9);
    let scores = folder.read("run/scores-1.jsonl");
    assert!(scores.contains("the logged request failed"), "{scores}");
    // Marked again, from the files, it is the same.
    folder.run(&["score", "run"]).expect(0);
    assert_eq!(value(&folder.json("run/report.json"), "one", "agreement"), seen);

    assert!(told.err.contains("promoted: 25 rows") && told.err.contains("promoted.jsonl"), "{}", told.err);
    let promoted = rows(&folder.read("run/promoted.jsonl"));
    let lines = rows(&folder.read("capture.jsonl"));
    let ids: Vec<&str> = promoted.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), &ids[..4]), (25, &["q0", "q1", "q2", "q5"][..]));
    let row = &promoted[1];
    for field in ["evalctl", "messages", "answer", "conversation", "source"] {
        assert_eq!(row[field], lines[1][field], "{field}");
    }
    assert_eq!((&row["target"], &row["reference"]), (&Value::Null, &lines[1]["target"]));
    let from = &row["promoted"];
    assert_eq!((from["suite"].as_str(), from["run"].as_str()), (Some("traffic"), Some("run")));
    assert_eq!((from["id"].as_str(), from["baseline"].as_str()), (Some("q1"), Some("logged")));
    assert_eq!(from["candidates"]["logged"], json!({"mark": 1.0, "text": "{\"n\": 1, \"of\": [1, 2, 3]}"}));
    assert_eq!(from["candidates"]["one"]["mark"], 0.75);
    assert_eq!(promoted[2]["promoted"]["candidates"]["logged"]["tool_calls"][0]["name"], "look");

    // It is a dataset: the targets are to be given, and until then nothing is right or wrong by `exact`.
    let again = format!(
        "name: labels\ndataset: {{ path: run/promoted.jsonl, cluster: conversation }}\n\
         prompt: {{ messages: messages }}\nscorers:\n  - exact: {{}}\n  - agreement: {{}}\n\
         candidates:\n  - id: one\n    openai: {{ model: m, base_url: \"{}\" }}\n",
        model.base_url()
    );
    folder.write("labels.yaml", again);
    folder.run(&["run", "labels.yaml", "--out", "labels", "-q"]).expect(0);
    let report = folder.json("labels/report.json");
    assert_eq!(report["samples"], 25);
    assert!(metric(&report, "one", "exact")["value"].is_null());
    assert!((value(&report, "one", "agreement") - 7.5 / 25.0).abs() < 1e-9);
}

/// Recorded answers of two candidates to twelve questions, of which the last two are nearly the same.
fn recorded(folder: &Folder, targets: bool) {
    let (mut data, mut a, mut b) = (String::new(), String::new(), String::new());
    let long = (0..60).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
    for n in 0..12 {
        let question = if n < 10 { format!("Question {n} of many") } else { format!("{long}{}", ["", "!"][n - 10]) };
        let target = if targets { json!(format!("a{n}")) } else { Value::Null };
        data += &format!("{}\n", json!({"id": n, "question": question, "target": target}));
        a += &format!("{}\n", json!({"id": n, "output": format!("a{n}")}));
        let other = match n {
            3 => format!(" a{n} \n"),
            4 | 10 | 11 => "b".to_owned(),
            _ => format!("a{n}"),
        };
        // One has no answer: a failure is none to disagree with.
        if n != 7 {
            b += &format!("{}\n", json!({"id": n, "output": other}));
        }
    }
    folder.write("data.jsonl", data);
    folder.write("a.jsonl", a);
    folder.write("b.jsonl", b);
    folder.write(
        "suite.yaml",
        "name: pair\ndataset: { path: data.jsonl }\nprompt: { user: \"Please answer: {{ question }}\" }\nbaseline: a\n\
         scorers:\n  - exact: { fold_space: false }\ncandidates:\n  - id: a\n    recorded: { path: a.jsonl }\n  \
         - id: b\n    recorded: { path: b.jsonl }\n",
    );
}

#[test]
fn rows_of_a_golden_set_keep_their_targets_and_near_duplicates_are_folded() {
    let folder = Folder::new();
    recorded(&folder, true);
    let arguments = ["run", "suite.yaml", "--out", "run", "-q", "--promote", "disagreements"];
    let told = folder.run(&arguments).expect(0);
    assert!(told.err.contains("promoted: 3 rows") && told.err.contains("1 near-duplicate folded"), "{}", told.err);
    let promoted = rows(&folder.read("run/promoted.jsonl"));
    let ids: Vec<u64> = promoted.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [3, 4, 10], "by the mark, which minds blanks here");
    assert_eq!((&promoted[0]["target"], &promoted[0]["reference"]), (&json!("a3"), &Value::Null));
    assert_eq!(promoted[1]["promoted"]["candidates"]["b"], json!({"mark": 0.0, "text": "b"}));
    assert_eq!(promoted[2]["promoted"]["duplicates"], 1);
    // What was promoted before may have been labelled.
    folder.write("run/promoted.jsonl", "mine\n");
    let told = folder.run(&[&arguments[..], &["--resume"]].concat()).expect(0);
    assert_eq!(folder.read("run/promoted.1.jsonl"), "mine\n", "{}", told.err);
    assert_eq!(rows(&folder.read("run/promoted.jsonl")), promoted);
}

#[test]
fn without_targets_answers_are_compared_and_without_a_baseline_nothing_is() {
    let folder = Folder::new();
    recorded(&folder, false);
    let arguments = ["run", "suite.yaml", "--out", "run", "-q", "--promote", "disagreements"];
    folder.run(&arguments).expect(0);
    let promoted = rows(&folder.read("run/promoted.jsonl"));
    let ids: Vec<u64> = promoted.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [4, 10], "blanks make no other answer");
    assert_eq!(promoted[0]["promoted"]["candidates"]["a"], json!({"mark": null, "text": "a4"}));

    folder.write("b.jsonl", folder.read("a.jsonl"));
    let told = folder.run(&["run", "suite.yaml", "--out", "same", "-q", "--promote", "disagreements"]).expect(0);
    assert!(told.err.contains("promoted: no row"), "{}", told.err);
    assert!(!folder.path().join("same/promoted.jsonl").exists());

    folder.write("suite.yaml", folder.read("suite.yaml").replace("baseline: a\n", ""));
    let told = folder.run(&["run", "suite.yaml", "--out", "none", "-q", "--promote", "disagreements"]).expect(2);
    assert!(told.err.contains("needs a baseline") && !folder.path().join("none").exists(), "{}", told.err);
    finish(folder.evalctl(["run", "suite.yaml", "--promote", "all"])).expect(2);
}

#[test]
fn entries_that_cannot_be_are_refused_with_their_place() {
    let folder = Folder::new();
    recorded(&folder, true);
    let wrong = "scorers:\n  - length: {}\n  - length: { name: l, at_least: 3, at_most: 2 }\n  \
                 - length: { name: m, at_most: -1 }\n  - refusal: { phrases: [\" \"] }\n  - agreement: { by: truth }";
    let suite = folder.read("suite.yaml").replace("scorers:\n  - exact: { fold_space: false }", wrong);
    folder.write("suite.yaml", suite);
    let told = folder.run(&["check", "suite.yaml"]).expect(2);
    for words in [
        "suite.yaml:6:",
        "the scorer has no bound",
        "`at_least` is more than `at_most`",
        "`at_most` must be 0 or more",
        "every answer contains the empty text",
        "`auto`, `text`, `json`",
    ] {
        assert!(told.err.contains(words), "{words}: {}", told.err);
    }
}
