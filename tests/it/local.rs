//! Candidates whose weights evalctl serves itself, on tiny random weights.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Folder, tell, until, wait, weights};

/// A folder with a golden set and tiny random weights of its own, so that their path is nobody else's.
fn folder(samples: usize, names: &[&str]) -> Folder {
    let folder = Folder::new();
    let row = |i| json!({ "id": format!("s{i}"), "ticket": format!("ticket {i}"), "expected": "a" });
    folder.write("data.jsonl", (0..samples).map(|i| format!("{}\n", row(i))).collect::<String>());
    for (seed, name) in (1..).zip(names) {
        weights::random(&folder, name, 1024, seed);
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
        return;
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

fn suite(candidates: &[&str], more: &str) -> String {
    let mut text = "name: local\ndataset: { path: data.jsonl, target: expected }\nprompt: { user: '{{ ticket }}' }\n\
                    scorers: [exact: {}]\ncandidates:\n"
        .to_owned();
    for candidate in candidates {
        text.push_str(&format!("  - {{ {candidate}, params: {{ temperature: 0, max_output_tokens: 48 }} }}\n"));
    }
    text + more
}

const SMALL: &str = "id: small, local: { weights: small, parallel: 1 }";

/// The processes that serve weights below this folder.
fn servers(folder: &Folder) -> Vec<u32> {
    let mine = folder.path().to_str().unwrap();
    let serves = |entry: &std::fs::DirEntry| -> Option<u32> {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        // Relative paths are relative to where the process stands.
        let place = std::fs::read_link(entry.path().join("cwd")).ok()?;
        (words.get(1)? == "serve" && place.to_str()? == mine).then_some(id)
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(Result::ok).filter_map(|entry| serves(&entry)).collect()
}

fn answers(folder: &Folder, run: &str) -> Vec<(String, String)> {
    let text = folder.read(&format!("{run}/records.jsonl"));
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut answers: Vec<(String, String)> =
        records.map(|record| (record["task"].to_string(), record["answer"]["text"].to_string())).collect();
    answers.sort();
    answers
}

#[test]
fn weights_answer_the_same_again_and_are_told_in_the_manifest() {
    let folder = folder(24, &["small"]);
    let again = "id: again, local: { weights: ./small, parallel: 1 }, in_flight: 3";
    folder.write("suite.yaml", suite(&[SMALL, again], "baseline: small\n"));
    let output = folder.run(&["run", "suite.yaml", "--out", "one"]).expect(0);
    assert_eq!(output.err.matches("loading ").count(), 1, "weights that are shared are loaded once: {}", output.err);
    folder.run(&["run", "suite.yaml", "--out", "two", "-q"]).expect(0);
    assert_eq!(answers(&folder, "one"), answers(&folder, "two"));
    let report = folder.json("one/report.json");
    for candidate in report["candidates"].as_array().unwrap() {
        assert_eq!(candidate["counts"]["scored"], 24, "{candidate}");
    }
    assert!(report["notes"].to_string().contains("local_speed"));
    let comparison = &report["comparisons"][0];
    assert_eq!(comparison["discordant"], json!({ "candidate_only": 0, "baseline_only": 0 }), "{comparison}");
    let weights = &folder.json("one/manifest.json")["candidates"][0]["weights"];
    assert!(weights["quantisation"].is_string(), "{weights}");
    assert!(weights["parameters"].as_u64().unwrap() > 1000 && weights["threads"].as_u64().unwrap() > 0, "{weights}");
    assert!(!weights["files"].as_array().unwrap().is_empty() && weights["device"].is_string(), "{weights}");
    assert_eq!(servers(&folder), [0; 0]);
    // Nothing is left to ask, also when the weights have moved.
    std::fs::rename(folder.path().join("small"), folder.path().join("moved")).unwrap();
    folder.write("suite.yaml", suite(&[SMALL, again], "baseline: small\n").replace("small, par", "moved, par"));
    let before = folder.read("one/records.jsonl");
    folder.run(&["run", "suite.yaml", "--out", "one", "--resume", "-q"]).expect(0);
    assert_eq!(folder.read("one/records.jsonl"), before, "the same bytes answer the same");
}

#[test]
fn no_server_outlives_a_run_that_is_killed() {
    let folder = folder(5000, &["small"]);
    folder.write("suite.yaml", suite(&[SMALL], ""));
    for signal in ["-KILL", "-TERM", "-INT"] {
        let arguments = ["run", "suite.yaml", "--out", signal.trim_start_matches('-'), "-q"];
        let mut child = folder.evalctl(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let records = folder.path().join(signal.trim_start_matches('-')).join("records.jsonl");
        until("the first answer", || records.metadata().is_ok_and(|facts| facts.len() > 0));
        assert_eq!(servers(&folder).len(), 1);
        tell(&child, signal);
        let begun = Instant::now();
        wait(&mut child, Duration::from_secs(30));
        until("the server's end", || servers(&folder).is_empty());
        if signal == "-KILL" {
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_server_that_dies_is_its_candidates_failure_and_not_the_runs() {
    let folder = folder(200, &["small", "other"]);
    let other = "id: other, local: { weights: other, parallel: 1 }";
    folder.write("suite.yaml", suite(&[SMALL, other], ""));
    let mut child = folder
        .evalctl(["run", "suite.yaml", "--out", "run", "-q"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let records = folder.path().join("run/records.jsonl");
    until("ten answers", || std::fs::read_to_string(&records).is_ok_and(|text| text.lines().count() >= 10));
    let victim = servers(&folder).into_iter().find(|id| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("small")
    });
    let killed = std::process::Command::new("kill").args(["-KILL", &victim.unwrap().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(wait(&mut child, Duration::from_secs(120)).code(), Some(0), "the run goes on");
    let report = folder.json("run/report.json");
    let counts = |index: usize| report["candidates"][index]["counts"].clone();
    assert_eq!(counts(1)["scored"], 200);
    let failed = counts(0)["failed"].as_u64().unwrap();
    assert!(failed > 0, "{}", counts(0));
    assert_eq!(failed + counts(0)["scored"].as_u64().unwrap(), 200);
    assert!(folder.read("run/records.jsonl").contains("was killed (signal 9)"));
}

/// Each is refused before anything is asked, by a message that says what is wrong with which file.
#[test]
fn weights_that_cannot_be_used_are_refused_before_the_first_request() {
    let folder = folder(3, &["small"]);
    let small = |name: &str| -> PathBuf {
        copy(&folder.path().join("small"), &folder.path().join(name));
        folder.path().join(name)
    };
    let torn = small("torn").join("model.safetensors");
    let bytes = std::fs::read(&torn).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::remove_file(small("mute").join("tokenizer.json")).unwrap();
    std::fs::remove_file(small("hollow").join("model.safetensors")).unwrap();
    // A GGUF file of version 3: tensors, entries, and the one entry that names the architecture.
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let counts = [3_u32.to_le_bytes().as_slice(), &0_u64.to_le_bytes(), &1_u64.to_le_bytes()].concat();
    let entry = [text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text("bloom")].concat();
    let gguf = [b"GGUF".as_slice(), &counts, &entry].concat();
    folder.write("other.gguf", &gguf);
    folder.write("torn.gguf", &gguf[..gguf.len() - 9]);
    let cases = [
        ("torn", vec!["model.safetensors"]),
        ("mute", vec!["tokenizer"]),
        ("hollow", vec!["hollow", "safetensors"]),
        ("other.gguf", vec!["bloom", "what works: Llama"]),
        ("torn.gguf", vec!["torn.gguf"]),
        ("none.gguf", vec!["none.gguf"]),
    ];
    for (name, said) in cases {
        folder.write("suite.yaml", suite(&[&format!("id: x, local: {{ weights: {name} }}")], ""));
        for command in [vec!["run", "suite.yaml", "--out", "run"], vec!["check", "suite.yaml"]] {
            let output = folder.run(&command).expect(2);
            for part in &said {
                assert!(output.err.contains(part), "{name}: {}", output.err);
            }
            assert!(!folder.path().join("run").exists(), "{name}");
        }
    }
    assert_eq!(servers(&folder), [0; 0]);
}
