//! Kill -9 at any moment, then resume: nothing is lost, nothing is asked twice, and the report is that of a run that was
//! left alone.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::server::{self, Model};
use crate::support::{Folder, tell, until, wait};

const SAMPLES: usize = 1000;
const IN_FLIGHT: usize = 8;

fn dataset(samples: usize) -> String {
    (0..samples).map(|i| format!("{{\"id\": \"s{i}\", \"question\": \"q{i}\", \"target\": \"a{i}\"}}\n")).collect()
}

fn suite(base_url: &str, more: &str) -> String {
    let candidate = |id: &str| {
        format!("  - id: {id}\n    openai: {{ model: {id}, base_url: \"{base_url}\" }}\n    in_flight: {IN_FLIGHT}\n")
    };
    format!(
        "name: crash\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ question }}}}\" }}\ncandidates:\n{}{}\
         baseline: old\nscorers:\n  - exact: {{}}\ngates:\n  - {{ metric: exact, non_inferior: {{ margin: 0.05 }} }}\n{more}",
        candidate("old"),
        candidate("new"),
    )
}

/// Answers rightly but for some samples that depend on the model only; a little late, as a model is.
fn model() -> Model {
    Model::start(|asked| {
        let number: usize = asked.text().trim_start_matches('q').parse().unwrap_or(0);
        let is_wrong = number.is_multiple_of(if asked.body["model"] == "old" { 10 } else { 9 });
        let text = if is_wrong { "no idea".to_owned() } else { format!("a{number}") };
        let mut steps = vec![server::Step::Wait(Duration::from_millis(1 + (number % 3) as u64))];
        steps.extend(server::answer(asked, &text));
        steps
    })
}

/// What a report says of answers, without what differs from run to run.
fn essence(report: &Value) -> Value {
    let is_stable = |metric: &&Value| {
        let name = metric["name"].as_str().or(metric["metric"].as_str()).unwrap();
        !name.contains("_ms")
    };
    let stable = |list: &Value| Value::Array(list.as_array().unwrap().iter().filter(is_stable).cloned().collect());
    let candidates = report["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|candidate| serde_json::json!([candidate["id"], candidate["counts"], stable(&candidate["metrics"])]));
    serde_json::json!({
        "verdict": report["verdict"],
        "candidates": candidates.collect::<Vec<_>>(),
        "comparisons": stable(&report["comparisons"]),
        "gates": report["gates"],
    })
}

/// How often each task stands in the records.
fn tasks(records: &str) -> HashMap<String, usize> {
    let mut tasks = HashMap::new();
    for line in records.lines() {
        let record: Value = serde_json::from_str(line).expect("every line is whole");
        *tasks.entry(record["task"].to_string()).or_default() += 1;
    }
    tasks
}

#[test]
fn twenty_kills_lose_nothing_and_ask_nothing_twice() {
    let kills = 20;
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(SAMPLES));
    folder.write("suite.yaml", suite(&model.base_url(), ""));
    let tasks_in_all = 2 * SAMPLES;
    let mut random = 12345_u64;
    for kill in 0..kills {
        let mut arguments = vec!["run", "suite.yaml", "--out", "run", "-q"];
        if kill > 0 {
            arguments.push("--resume");
        }
        // Some moment in the next twentieth of the work, by what the server has seen: no clock decides.
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let enough = model.count() + 1 + (random >> 33) as usize % (tasks_in_all / kills);
        let mut child = folder.evalctl(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("requests", || model.count() >= enough || child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        wait(&mut child, Duration::from_secs(10));
    }
    folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]).expect(0);
    let most = tasks_in_all + kills * 2 * IN_FLIGHT;
    assert!(model.count() <= most, "{} requests for {tasks_in_all} tasks; at most {most}", model.count());
    let stored = tasks(&folder.read("run/records.jsonl"));
    assert_eq!(stored.len(), tasks_in_all);
    assert!(stored.values().all(|times| *times == 1), "a task was recorded twice");

    let undisturbed = Folder::new();
    undisturbed.write("data.jsonl", dataset(SAMPLES));
    undisturbed.write("suite.yaml", suite(&model.base_url(), ""));
    undisturbed.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    assert_eq!(essence(&folder.json("run/report.json")), essence(&undisturbed.json("run/report.json")));
}

#[test]
fn a_torn_last_line_is_healed_and_said() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(20));
    folder.write("suite.yaml", suite(&model.base_url(), ""));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]);
    let records = folder.read("run/records.jsonl");
    folder.write("run/records.jsonl", &records[..records.len() - 7]);
    let before = model.count();
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
    assert!(output.err.contains("was torn"), "{}", output.err);
    assert_eq!(model.count(), before + 1, "only the torn task is asked again");
    assert_eq!(tasks(&folder.read("run/records.jsonl")).len(), 40);
    let notes = folder.json("run/report.json")["notes"].to_string();
    assert!(notes.contains("torn"), "{notes}");
    assert_eq!(folder.json("run/report.json")["is_complete"], true);
}

#[test]
fn only_what_a_change_touches_is_asked_again() {
    let model = model();
    let folder = Folder::new();
    let write = |data: String, suite: String| {
        folder.write("data.jsonl", data);
        folder.write("suite.yaml", suite);
    };
    let plain = || suite(&model.base_url(), "");
    let resume = |what: &str, wanted: usize| {
        let before = model.count();
        let output = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
        assert!(output.code.is_some_and(|code| code <= 4), "{}", output.err);
        assert_eq!(model.count() - before, wanted, "{what}");
        assert_eq!(folder.json("run/report.json")["is_complete"], true, "{what}");
    };
    write(dataset(10), plain());
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]);
    assert_eq!(model.count(), 20);
    resume("nothing has changed", 0);
    let reversed: String = dataset(10).lines().rev().map(|line| format!("{line}\n")).collect();
    write(reversed, plain());
    resume("rows in another order", 0);
    write(dataset(10).replace("\"a3\"", "\"other\""), plain());
    resume("another target", 0);
    write(dataset(12), plain());
    resume("two more rows", 4);
    write(dataset(12), plain().replace("margin: 0.05", "margin: 0.5"));
    resume("another gate", 0);
    assert!(folder.json("run/report.json")["notes"].to_string().contains("gates_changed"));
    write(dataset(12).replace("\"q3\"", "\"q33\""), plain());
    resume("one question is another", 2);
    let params = plain().replace("model: new", "model: new, stream: false");
    write(dataset(12).replace("\"q3\"", "\"q33\""), params);
    resume("one candidate is asked in another way", 12);
    write(dataset(12).replace("\"q3\"", "\"q33\""), plain());
    resume("the old way again, for which there are answers", 0);
}

#[test]
fn a_run_that_is_not_ours_to_go_on_with_stays_as_it_is() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(5));
    folder.write("suite.yaml", suite(&model.base_url(), ""));
    folder.write("other.yaml", suite(&model.base_url(), "").replace("name: crash", "name: other"));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]);
    let (manifest, records) = (folder.read("run/manifest.json"), folder.read("run/records.jsonl"));
    let torn = &records[..records.len() - 7];
    folder.write("run/records.jsonl", torn);
    let asked = model.count();
    let refused = |suite: &str, said: &str, code: i32| {
        let output = folder.run(&["run", suite, "--out", "run", "--resume", "-q"]).expect(code);
        assert!(output.err.contains(said), "{}", output.err);
        assert_eq!(folder.read("run/records.jsonl"), torn, "it was not healed");
    };
    refused("other.yaml", "holds a run of the suite `crash`, and this suite is `other`", 2);
    assert_eq!(folder.read("run/manifest.json"), manifest);
    folder.write("run/manifest.json", manifest.replace("evalctl-run/1", "evalctl-run/9"));
    refused("suite.yaml", "evalctl-run/9", 5);
    folder.write("mine/records.jsonl", "my own records, without an end of line");
    let output = folder.run(&["run", "suite.yaml", "--out", "mine", "-q"]).expect(2);
    assert!(output.err.contains("belongs to no run"), "{}", output.err);
    assert_eq!(folder.read("mine/records.jsonl"), "my own records, without an end of line");
    assert_eq!(model.count(), asked, "nothing was sent");
}

#[test]
fn a_golden_set_that_changed_and_a_suite_that_changed_are_told() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(10));
    let first = suite(&model.base_url(), "");
    folder.write("suite.yaml", &first);
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]);
    folder.write("data.jsonl", dataset(12));
    folder.write("suite.yaml", suite(&model.base_url(), "# changed\n"));
    for times in 1..=2 {
        folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
        let notes = folder.json("run/report.json")["notes"].to_string();
        assert!(notes.contains("dataset_changed"), "{times}: {notes}");
        let sessions = folder.json("run/manifest.json")["sessions"].clone();
        assert_eq!(sessions[0]["suite_text"], first.as_str(), "what the first session asked by is kept");
        assert_eq!(sessions[times]["suite_text"], Value::Null);
    }
}

#[test]
fn a_run_that_is_under_way_is_not_moved_aside() {
    let model = Model::start(|asked| match asked.n {
        0 => vec![server::Step::Wait(Duration::from_secs(60))],
        _ => server::answer(asked, "a"),
    });
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(5));
    folder.write("suite.yaml", suite(&model.base_url(), ""));
    let arguments = ["run", "suite.yaml", "--out", "run", "-q"];
    let mut child = folder.evalctl(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a request", || model.count() > 0);
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "--fresh", "-q"]).expect(5);
    assert!(output.err.contains("in use by another evalctl"), "{}", output.err);
    assert!(!folder.path().join("run.1").exists());
    child.kill().unwrap();
    wait(&mut child, Duration::from_secs(10));
}

/// The report is longer than a pipe holds, and nobody reads more of it than its first byte: so the program is at it when
/// the signal comes.
#[test]
fn ctrl_c_is_heard_when_all_is_asked_and_nobody_reads_the_report() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(20));
    let why = "Why not? ".repeat(30_000);
    folder.write("suite.yaml", suite(&model.base_url(), &format!("decision: \"{why}\"\n")));
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut report = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut report, &mut [0]).unwrap();
    tell(&child, "-INT");
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("evalctl score run"), "{line}");
    assert_eq!(wait(&mut child, Duration::from_secs(60)).code(), Some(3));
    drop(report);
    folder.run(&["score", "run"]);
    assert_eq!(folder.json("run/report.json")["is_complete"], true, "nothing is lost");
}
