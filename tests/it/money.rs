//! What a run may spend, over all its sessions and however they end.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::{self, Model, Step};
use crate::support::{Folder, insist, tell, until, wait};

const IN_FLIGHT: usize = 8;

/// Requests that the cap allows.
const ALLOWED: usize = 60;

/// Each request costs a cent, whatever is asked and answered.
fn suite(base_url: &str) -> String {
    format!(
        "name: money\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ question }}}}\" }}\ncandidates:\n  \
         - id: a\n    openai: {{ model: m, base_url: \"{base_url}\" }}\n    in_flight: {IN_FLIGHT}\n    \
         price: {{ per_request_usd: 0.01 }}\nscorers:\n  - exact: {{}}\nlimits: {{ max_usd: 0.60 }}\n"
    )
}

fn dataset(samples: usize) -> String {
    (0..samples).map(|i| format!("{{\"id\": \"s{i}\", \"question\": \"q{i}\", \"target\": \"yes\"}}\n")).collect()
}

fn model() -> Model {
    Model::start(|asked| {
        let mut steps = vec![Step::Wait(Duration::from_millis(1 + (asked.n % 5) as u64))];
        steps.extend(server::answer(asked, "yes"));
        steps
    })
}

fn next(random: &mut u64, below: usize) -> usize {
    *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*random >> 33) as usize % below
}

/// The ways in which a session ends before its tasks do.
const ENDS: [&str; 5] = ["kill", "twice", "hang up", "terminate", "disk full"];

/// One run in sessions that end in random ways at random moments, by what the server has seen; then as often as it takes
/// until nothing is left to do. The server counts what it was asked.
fn history(seed: u64) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(2 * ALLOWED));
    folder.write("suite.yaml", suite(&model.base_url()));
    let mut said = Vec::new();
    for session in 0..2 + next(&mut random, 5) {
        let end = ENDS[next(&mut random, ENDS.len())];
        said.push(end);
        let mut arguments = vec!["run", "suite.yaml", "--out", "run", "-q"];
        if session > 0 {
            arguments.push("--resume");
        }
        let program = folder.evalctl(&arguments);
        let mut command = if end == "disk full" {
            // Files may grow to a size that the records pass sooner or later; writing more is an error.
            let blocks = 2 + next(&mut random, 30);
            let mut shell = std::process::Command::new("bash");
            shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
            shell.arg(program.get_program()).args(program.get_args()).current_dir(folder.path()).env_clear();
            shell.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", folder.path());
            shell.stdin(Stdio::null());
            shell
        } else {
            program
        };
        let enough = model.count() + next(&mut random, 20);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_over = |child: &mut Child| child.try_wait().unwrap().is_some();
        until("requests", || end == "disk full" || model.count() >= enough || is_over(&mut child));
        if child.try_wait().unwrap().is_none() {
            match end {
                "kill" => child.kill().unwrap(),
                "twice" => {
                    tell(&child, "-INT");
                    tell(&child, "-INT");
                }
                "hang up" => tell(&child, "-HUP"),
                "terminate" => tell(&child, "-TERM"),
                _ => {}
            }
        }
        wait(&mut child, Duration::from_secs(60));
    }
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
    let asked = model.count();
    assert!(asked <= ALLOWED, "seed {seed}, {said:?}: {asked} requests, {ALLOWED} allowed\n{}", output.err);
    let records = folder.read("run/records.jsonl").lines().count();
    let kills = said.len();
    assert!(records <= asked && asked <= records + kills * IN_FLIGHT, "seed {seed}, {said:?}: {records} of {asked}");
    // What is not spent is held for what may have been sent.
    assert!(
        output.code == Some(3) || output.code == Some(0),
        "seed {seed}, {said:?}: {:?} {}",
        output.code,
        output.err
    );
    let report = folder.json("run/report.json");
    let spent: f64 = report["candidates"][0]["spend_usd"].as_str().unwrap_or("0").parse().unwrap();
    let text = folder.read("run/records.jsonl");
    let answered = text.lines().filter(|line| line.contains("\"answer\":")).count() as f64 / 100.0;
    let others: Vec<&str> = text.lines().filter(|line| !line.contains("\"answer\":")).collect();
    assert!(
        (spent - answered).abs() < 1e-9,
        "seed {seed}, {said:?}: {spent} in the report, {answered} answered; {others:#?}\n{}",
        output.err
    );
}

/// Thousand of them: `EVALCTL_HISTORIES=1000 cargo test --release --test it money::`.
#[test]
fn no_history_of_sessions_passes_the_cap() {
    let histories = std::env::var("EVALCTL_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for seed in 1..=histories {
        history(seed);
    }
}

/// Starts a run whose answers never come, and gives it when all its slots are taken.
fn hanging(folder: &Folder, model: &Model, more: &[&str]) -> Child {
    let enough = model.count() + IN_FLIGHT;
    let arguments = [&["run", "suite.yaml", "--out", "run", "-q"], more].concat();
    let mut command = folder.evalctl(&arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("requests", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        model.count() >= enough
    });
    child
}

#[test]
fn what_an_unfinished_session_may_have_sent_is_counted_and_said() {
    for (signal, ended) in [("-KILL", Value::Null), ("-INT", json!("left"))] {
        let model =
            Model::start(|asked| if asked.n < IN_FLIGHT { vec![Step::Hang] } else { server::answer(asked, "yes") });
        let folder = Folder::new();
        folder.write("data.jsonl", dataset(2 * ALLOWED));
        folder.write("suite.yaml", suite(&model.base_url()));
        let mut child = hanging(&folder, &model, &[]);
        insist(&mut child, signal);
        let output = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]).expect(3);
        let note =
            "up to 8 requests were sent whose answers are not recorded; up to $0.08 that they may have cost counts";
        assert!(output.err.contains(note), "{}", output.err);
        assert!(folder.json("run/report.json")["notes"].to_string().contains(note));
        assert_eq!(model.count(), ALLOWED, "{signal}");
        assert_eq!(folder.json("run/manifest.json")["sessions"][0]["ended"], ended);
        assert_eq!(folder.json("run/manifest.json")["sessions"][1]["ended"], "stopped");
    }
}

#[test]
fn a_terminal_that_goes_ends_a_run_in_order() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(20_000));
    folder.write("suite.yaml", suite(&model.base_url()).replace("limits: { max_usd: 0.60 }\n", ""));
    let mut child = hanging(&folder, &model, &[]);
    // A shell and the system may both say it.
    tell(&child, "-HUP");
    tell(&child, "-HUP");
    assert_eq!(wait(&mut child, Duration::from_secs(60)).code(), Some(3));
    assert_eq!(folder.read("run/records.jsonl").lines().count(), model.count(), "what was asked is recorded");
    assert_eq!(folder.json("run/manifest.json")["sessions"][0]["ended"], "stopped");
}

#[test]
fn links_in_a_run_folder_are_not_followed() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(5));
    folder.write("suite.yaml", suite(&model.base_url()));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let mine = folder.write("mine.txt", "mine");
    let parts = ["report.json.part", "report.md.part", "report.csv.part", "flips.csv.part", "manifest.json.part"];
    for name in
        [".lock", "records.jsonl", "manifest.json", "under_way.jsonl", "scores-2.jsonl.part"].iter().chain(&parts)
    {
        let place = folder.path().join("run").join(name);
        let kept = std::fs::read(&place).ok();
        let _ = std::fs::remove_file(&place);
        std::os::unix::fs::symlink(&mine, &place).unwrap();
        for arguments in [&["score", "run"][..], &["run", "suite.yaml", "--out", "run", "--resume", "-q"]] {
            let output = folder.run(arguments);
            if [".lock", "records.jsonl", "manifest.json"].contains(name) {
                assert_eq!(output.code, Some(5), "{name}: {}", output.err);
                assert!(output.err.contains("it is a link"), "{name}: {}", output.err);
            }
            assert_eq!(folder.read("mine.txt"), "mine", "{name}");
        }
        let _ = std::fs::remove_file(&place);
        if let Some(kept) = kept {
            std::fs::write(&place, kept).unwrap();
        }
    }
}

#[test]
fn a_full_disk_at_a_resume_advises_to_free_space_and_no_other_folder() {
    let model = model();
    let folder = Folder::new();
    folder.write("data.jsonl", dataset(20));
    folder.write("suite.yaml", suite(&model.base_url()));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q", "--limit", "10"]).expect(0);
    let before = model.count();
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_evalctl")]);
    shell.args(["run", "suite.yaml", "--out", "run", "--resume", "-q"]).current_dir(folder.path());
    let output = crate::support::finish(shell).expect(5);
    assert!(output.err.contains("then go on: evalctl run suite.yaml --out run --resume"), "{}", output.err);
    assert!(!output.err.contains("another folder"), "{}", output.err);
    assert_eq!(model.count(), before, "nothing was sent");
}

#[test]
fn two_imports_to_one_file_do_not_mix() {
    let folder = Folder::new();
    let rows = |letter: char| -> String {
        let row =
            |i| json!({ "messages": [{ "role": "user", "content": format!("{letter} {i}") }] }).to_string() + "\n";
        (0..20_000).map(row).collect()
    };
    folder.write("a.jsonl", rows('a'));
    folder.write("b.jsonl", rows('b'));
    let start = |log: &str| {
        let mut command = folder.evalctl(["import", "chat", log, "--out", "capture.jsonl"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut both = [start("a.jsonl"), start("b.jsonl")];
    let codes = both.each_mut().map(|child| wait(child, Duration::from_secs(60)).code());
    let written = codes.iter().position(|code| *code == Some(0));
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    let letter = ["\"a ", "\"b "][written.unwrap()];
    let capture = folder.read("capture.jsonl");
    assert_eq!(capture.lines().count(), 20_000);
    assert!(capture.lines().all(|line| line.contains(letter)));
    assert!(folder.read("capture.jsonl.ledger.json").contains(["a.jsonl", "b.jsonl"][written.unwrap()]));
}
