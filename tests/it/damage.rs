//! A bit that flips on a disk: what is stored of a run is named as damaged, or is read as it was written.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::server::{self, Model, Step};
use crate::support::{Folder, Output, finish, until, wait};

/// Files whose bits are flipped, by what a command that reads them says.
struct Victim {
    file: &'static str,
    command: &'static [&'static str],
}

const VICTIMS: [Victim; 5] = [
    Victim { file: "run/records.jsonl", command: &["report", "run", "--format", "json"] },
    Victim { file: "run/scores-1.jsonl", command: &["report", "run", "--format", "json"] },
    Victim { file: "run/manifest.json", command: &["report", "run", "--format", "json"] },
    Victim { file: "run/under_way.jsonl", command: &["run", "suite.yaml", "--out", "run", "--resume", "-q", "--json"] },
    Victim { file: "reports/damage/probes.json", command: &["check", "suite.yaml"] },
];

fn next(random: &mut u64, below: usize) -> usize {
    *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*random >> 33) as usize % below
}

/// A run of two candidates with graded, binary and label marks, failures, prices and a session that was killed.
fn run() -> (Folder, Model) {
    let (folder, model) = killed();
    let ended = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
    assert!(matches!(ended.code, Some(0 | 1 | 4)), "{ended:?}");
    (folder, model)
}

/// Its first session alone.
fn killed() -> (Folder, Model) {
    let has_hung = Arc::new(AtomicBool::new(false));
    let hangs = Arc::clone(&has_hung);
    let model = Model::start(move |asked| {
        let text = asked.text();
        match text {
            // The first session is killed over it.
            "q7" if !hangs.swap(true, Ordering::SeqCst) => vec![Step::Hang],
            "q3" => server::error(500, &[], "down"),
            "q4" | "q5" => server::answer(asked, "red"),
            _ => server::answer(asked, "green"),
        }
    });
    let folder = Folder::new();
    let row = |n: usize| json!({"id": format!("s{n}"), "question": format!("q{n}"), "target": "green", "group": format!("g{}", n / 2)});
    folder.write("data.jsonl", (0..12).map(|n| format!("{}\n", row(n))).collect::<String>());
    let candidate = |id: &str| {
        format!(
            "  - id: {id}\n    openai: {{ model: {id}, base_url: \"{}\" }}\n    in_flight: 1\n    retries: 0\n    \
             price: {{ input_per_mtok_usd: 1, output_per_mtok_usd: 4 }}\n",
            model.base_url()
        )
    };
    folder.write(
        "suite.yaml",
        format!(
            "name: damage\ndataset: {{ path: data.jsonl, cluster: group }}\nprompt: {{ user: \"{{{{ question }}}}\" }}\n\
             candidates:\n{}{}baseline: old\n\
             scorers: [{{ label: {{ classes: [red, green] }} }}, {{ agreement: {{}} }}, {{ exact: {{}} }}]\n\
             gates:\n  - {{ metric: exact, non_inferior: {{ margin: 0.5 }} }}\nlimits: {{ max_usd: 1 }}\n",
            candidate("old"),
            candidate("new"),
        ),
    );
    // What it finds decides what is asked.
    folder.run(&["probe", "suite.yaml"]);
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the request that hangs", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        has_hung.load(Ordering::SeqCst)
    });
    child.kill().unwrap();
    wait(&mut child, std::time::Duration::from_secs(10));
    (folder, model)
}

#[test]
fn a_flipped_line_end_forgets_no_money() {
    let (folder, _model) = killed();
    let log = folder.read("run/under_way.jsonl");
    let line = log.trim_end();
    assert!(!line.contains("\"usd\":\"0\""), "{line}");
    for end in ["J", "\u{b}", ""] {
        folder.write("run/under_way.jsonl", format!("{line}{end}"));
        let output = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]).expect(5);
        assert!(output.err.contains("under_way.jsonl"), "{}", output.err);
    }
    folder.write("run/under_way.jsonl", log);
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "--resume", "-q"]);
    assert!(output.err.contains("did not end in order"), "{output:?}");
}

/// What a command says: for a report, all of it but for the moment at which it was made, and notes on what may have been
/// under way: without its last line that file says more, and is to be believed.
fn said(output: &Output) -> (Option<i32>, String) {
    let mut said = output.out.clone();
    if let Ok(mut report) = serde_json::from_str::<Value>(&said) {
        report.as_object_mut().unwrap().remove("generated");
        let notes = report["notes"].as_array_mut().unwrap();
        notes.retain(|note| !note["text"].as_str().unwrap().contains("did not end in order"));
        said = report.to_string();
    }
    (output.code, said)
}

/// Puts a folder's files back, and takes away what was added.
fn restore(at: &Path, kept: &[(String, Vec<u8>)]) {
    for entry in std::fs::read_dir(at).unwrap() {
        let entry = entry.unwrap();
        if !kept.iter().any(|(name, _)| *name == entry.file_name().to_string_lossy()) && entry.path().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    for (name, bytes) in kept {
        std::fs::write(at.join(name), bytes).unwrap();
    }
}

fn files(at: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

/// 2,000 of them: `EVALCTL_FLIPS=2000 cargo test --release --test it damage::`.
#[test]
fn a_flipped_bit_is_named_or_changes_nothing() {
    let flips = std::env::var("EVALCTL_FLIPS").ok().and_then(|flips| flips.parse().ok()).unwrap_or(100_usize);
    let (folder, _model) = run();
    let run_folder = folder.path().join("run");
    let kept = files(&run_folder);
    let whole = VICTIMS.map(|victim| {
        let whole = finish(folder.evalctl(victim.command));
        restore(&run_folder, &kept);
        assert!(whole.code != Some(2) && whole.code != Some(5), "{}: {whole:?}", victim.file);
        said(&whole)
    });
    let (mut random, mut named) = (4_u64, 0);
    for flip in 0..flips {
        // Most of what is stored is records.
        let index = [0, 0, 0, 1, 1, 2, 2, 3, 4][flip % 9];
        let Victim { file, command } = VICTIMS[index];
        let path = folder.path().join(file);
        let before = std::fs::read(&path).unwrap();
        let (at, bit) = (next(&mut random, before.len()), next(&mut random, 8));
        let mut after = before.clone();
        after[at] ^= 1 << bit;
        std::fs::write(&path, &after).unwrap();
        let output = finish(folder.evalctl(command));
        let name = path.file_name().unwrap().to_str().unwrap();
        let lines = ["1 line of records.jsonl is damaged", "lines of records.jsonl are damaged"];
        let is_named = output.err.contains(name) || lines.iter().any(|line| output.out.contains(line));
        let near = String::from_utf8_lossy(&after[at.saturating_sub(60)..after.len().min(at + 60)]).into_owned();
        let (found, wanted) = (said(&output), &whole[index]);
        if !is_named && found != *wanted {
            let parts = |said: &str| said.replace(",\"", ",\n\"").lines().map(str::to_owned).collect::<Vec<_>>();
            let (found, wanted) = (parts(&found.1), parts(&wanted.1));
            let other: Vec<_> = found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).take(5).collect();
            panic!("flip {flip}, bit {bit} of byte {at} of {file}: …{near}…\n{other:?}\n{}", output.err);
        }
        named += usize::from(is_named);
        std::fs::write(&path, &before).unwrap();
        restore(&run_folder, &kept);
    }
    assert!(named > flips / 2, "{named} of {flips} were named");
}

#[test]
fn a_second_answer_and_a_mark_that_no_scorer_gives_are_faults() {
    let (folder, _model) = run();
    let records = folder.read("run/records.jsonl");
    let answered = records.lines().find(|line| line.contains("\"answer\"")).unwrap();
    folder.write("run/records.jsonl", format!("{records}{answered}\n"));
    let output = folder.run(&["report", "run"]).expect(5);
    assert!(output.err.contains("records.jsonl") && output.err.contains("two answers"), "{}", output.err);
    folder.write("run/records.jsonl", records);

    let scores = folder.read("run/scores-1.jsonl");
    let (header, rows) = scores.split_once('\n').unwrap();
    // As one of a version without checksums.
    let (header, _) = header.split_once(",\"crc32\"").unwrap();
    let header = format!("{header}}}");
    let first: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut row = first.clone();
        row.as_object_mut().unwrap().remove("crc32");
        change(&mut row);
        let rest = rows.split_once('\n').unwrap().1;
        folder.write("run/scores-1.jsonl", format!("{header}\n{row}\n{rest}"));
        folder.run(&["report", "run"])
    };
    changed(&|_| {}).expect(folder.run(&["report", "run"]).code.unwrap());
    for value in [json!(1.5), json!(-0.5), json!(0.5)] {
        let output = changed(&|row| row["marks"][0]["value"] = value.clone()).expect(5);
        assert!(output.err.contains("scores-1.jsonl") && output.err.contains("line 2"), "{}", output.err);
    }
    let output = changed(&|row| row["marks"] = json!([])).expect(5);
    assert!(output.err.contains("`evalctl score`"), "{}", output.err);
    folder.write("run/scores-1.jsonl", format!("{scores}{}\n", rows.lines().next().unwrap()));
    let output = folder.run(&["report", "run"]).expect(5);
    assert!(output.err.contains("a second time"), "{}", output.err);
    // A line whose checksum somebody has taken off is none.
    let (line, _) = rows.lines().next().unwrap().split_once(",\"crc32\"").unwrap();
    folder.write("run/scores-1.jsonl", scores.replacen(rows.lines().next().unwrap(), &format!("{line}}}"), 1));
    let output = folder.run(&["report", "run"]).expect(5);
    assert!(output.err.contains("not as it was written"), "{}", output.err);
    // Marking again mends it.
    folder.run(&["score", "run"]);
    assert_ne!(folder.run(&["report", "run"]).code, Some(5));
}
