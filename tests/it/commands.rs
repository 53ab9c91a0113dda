//! Each command from its arguments to its output, and figures of small sets against figures worked by hand.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::{self, Model};
use crate::support::{Folder, Output, finish, wait};

/// Checks a report against the published schema.
#[track_caller]
fn assert_report(folder: &Folder, report: &Value) {
    let schema: Value = serde_json::from_str(&folder.run(&["schema", "--report"]).expect(0).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(report).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    for candidate in report["candidates"].as_array().unwrap() {
        let of = |name: &str| candidate["counts"][name].as_u64().unwrap();
        assert_eq!(of("scored") + of("unscored") + of("failed") + of("dropped"), of("tasks"));
    }
}

/// Runs `suite.yaml` into `run` and gives its report, checked against the schema.
#[track_caller]
fn report_of(folder: &Folder, code: i32) -> Value {
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(code);
    let report = folder.json("run/report.json");
    assert_report(folder, &report);
    assert_eq!(report["exit_code"], code);
    report
}

#[track_caller]
fn metric(report: &Value, candidate: usize, name: &str) -> Value {
    let metrics = report["candidates"][candidate]["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

#[track_caller]
fn assert_near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

/// The files that `init` writes.
fn begun() -> Folder {
    let folder = Folder::new();
    folder.run(&["init"]).expect(0);
    folder
}

#[test]
fn what_init_writes_is_sound_and_runs() {
    let folder = begun();
    let checked = folder.run(&["check", "suite.yaml"]).expect(0);
    assert!(checked.out.contains("no problems found"), "{}", checked.out);
    assert_eq!(checked.err, "");
    let run = folder.run(&["run", "suite.yaml"]).expect(4);
    assert!(run.out.contains("INCONCLUSIVE") && run.out.contains("exit code 4"), "{}", run.out);
    let report = folder.json("reports/opening-hours/latest/report.json");
    assert_report(&folder, &report);
    assert_eq!(report["verdict"], "inconclusive");
    for file in ["manifest.json", "records.jsonl", "scores-1.jsonl", "report.md", "report.csv", "flips.csv"] {
        assert!(!folder.read(&format!("reports/opening-hours/latest/{file}")).is_empty());
    }
    let json = folder.run(&["run", "suite.yaml", "--json", "-q"]).expect(4);
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["verdict"], "inconclusive");
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn init_never_overwrites() {
    let folder = begun();
    folder.write("suite.yaml", "mine");
    let before = files(folder.path());
    let again = folder.run(&["init"]).expect(2);
    assert!(
        again.err.contains("suite.yaml` is already there") && again.err.contains("evalctl init DIR"),
        "{}",
        again.err
    );
    assert_eq!(again.out, "");
    assert_eq!(files(folder.path()), before);
    let other = Folder::new();
    other.write("new/answers/candidate.jsonl", "mine");
    let again = other.run(&["init", "new"]).expect(2);
    assert!(again.err.contains("new/answers/candidate.jsonl"), "{}", again.err);
    assert_eq!(files(other.path()).len(), 1, "all or nothing");
    other.run(&["init", "below/it"]).expect(0);
    other.run(&["check", "below/it/suite.yaml"]).expect(0);
}

#[test]
fn the_schema_of_suites_accepts_suites_and_rejects_mistakes() {
    let folder = begun();
    let schema: Value = serde_json::from_str(&folder.run(&["schema"]).expect(0).out).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let suite = json!({
        "name": "opening-hours",
        "decision": "May the opening-hours assistant move to another model?",
        "dataset": { "path": "data.jsonl", "target": "expected" },
        "prompt": { "system": "Answer with JSON only, with the keys `day` and `opens`.", "user": "{{ question }}" },
        "output": { "schema": "schema.json" },
        "candidates": [
            { "id": "current", "recorded": { "path": "answers/current.jsonl", "latency_ms": "latency_ms" } },
            { "id": "candidate", "recorded": { "path": "answers/candidate.jsonl", "latency_ms": "latency_ms" } },
        ],
        "baseline": "current",
        "scorers": [{ "label": { "field": "/day" } }, { "number": { "field": "/opens" } }, { "schema": {} }],
        "gates": [
            { "metric": "label", "non_inferior": { "margin": 0.05 } },
            { "metric": "schema", "at_least": 0.9 },
            { "metric": "latency_ms.mean", "at_most_ratio": 0.8 },
        ],
    });
    // JSON is YAML: what is checked against the schema is, to the program, the suite that `init` writes.
    let parse = |text: &str| evalctl::suite::parse(Path::new("suite"), text.as_bytes()).1.unwrap();
    assert_eq!(parse(&suite.to_string()), parse(&folder.read("suite.yaml")));
    let errors: Vec<String> = validator.iter_errors(&suite).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    let reject = |change: &dyn Fn(&mut Value)| {
        let mut wrong = suite.clone();
        change(&mut wrong);
        assert!(!validator.is_valid(&wrong), "{wrong}");
        folder.write("wrong.yaml", wrong.to_string());
        folder.run(&["check", "wrong.yaml"]).expect(2);
    };
    reject(&|suite| suite["promt"] = json!({}));
    reject(&|suite| suite["candidates"][0]["recorded"]["texts"] = json!("x"));
    reject(&|suite| suite["scorers"][0] = json!({ "lable": {} }));
    reject(&|suite| suite["gates"][1]["at_lest"] = json!(1));
    reject(&|suite| suite["repeats"] = json!("many"));
    reject(&|suite| {
        suite.as_object_mut().unwrap().remove("dataset");
    });
}

#[test]
fn a_report_rendered_again_is_the_same() {
    let folder = begun();
    let run = folder.run(&["run", "suite.yaml", "--out", "run"]).expect(4);
    let names = ["report.json", "report.md", "report.csv"];
    let stored = names.map(|name| folder.read(&format!("run/{name}")));
    for (format, stored) in ["json", "md", "csv"].iter().zip(&stored) {
        let again = folder.run(&["report", "run", "--format", format]).expect(4);
        assert_eq!(again.out, *stored, "{format}");
        assert_eq!(again.err, "");
    }
    assert_eq!(folder.run(&["report", "run"]).expect(4).out, run.out);
    for name in names {
        std::fs::remove_file(folder.path().join("run").join(name)).unwrap();
    }
    assert_eq!(folder.run(&["report", "run", "--format", "terminal,md,json,csv"]).expect(4).out, run.out);
    assert_eq!(names.map(|name| folder.read(&format!("run/{name}"))), stored);
    assert!(!folder.path().join("run/scores-2.jsonl").exists(), "rendering marks nothing");
}

#[test]
fn marking_again_gives_the_same_report_and_keeps_the_old_marks() {
    let folder = begun();
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    let report = folder.read("run/report.json");
    // Nothing is asked: the answers are gone.
    std::fs::remove_dir_all(folder.path().join("answers")).unwrap();
    folder.run(&["score", "run"]).expect(4);
    assert_eq!(folder.read("run/report.json"), report);
    assert_eq!(folder.read("run/scores-2.jsonl"), folder.read("run/scores-1.jsonl"));
}

#[test]
fn other_scorers_mark_anew_and_other_gates_are_told_first() {
    let folder = begun();
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    let records = folder.read("run/records.jsonl");
    let suite = folder.read("suite.yaml");
    let scorers = suite.replace("- schema: {}", "- schema: {}\n  - contains: { any: [day] }");
    folder.write("scorers.yaml", &scorers);
    std::fs::remove_dir_all(folder.path().join("answers")).unwrap();
    folder.run(&["score", "run", "--suite", "scorers.yaml"]).expect(4);
    let report = folder.json("run/report.json");
    assert_report(&folder, &report);
    assert_eq!(report["scorers"].as_array().unwrap().last().unwrap(), "contains");
    assert!(metric(&report, 0, "contains")["value"].is_number());
    assert!(!report["notes"].to_string().contains("gates_changed"), "{}", report["notes"]);
    folder.write("gates.yaml", suite.replace("margin: 0.05", "margin: 0.5"));
    let judged = folder.run(&["score", "run", "--suite", "gates.yaml"]);
    let report = folder.json("run/report.json");
    assert_report(&folder, &report);
    assert!(report["notes"].as_array().unwrap().iter().any(|note| note["kind"] == "gates_changed"));
    let first = |text: &str| text.lines().take(8).collect::<Vec<_>>().join(" ").to_lowercase();
    for text in [judged.out.as_str(), &folder.read("run/report.md")] {
        assert!(first(text).contains("gates are not those"), "{text}");
    }
    assert_eq!(folder.read("run/records.jsonl"), records, "marking asks nobody");
    assert!(folder.path().join("run/scores-3.jsonl").is_file());
    // What is rendered later rests on the same marks, so on the same gates.
    std::fs::remove_file(folder.path().join("gates.yaml")).unwrap();
    let rendered = folder.run(&["report", "run", "--format", "json"]);
    assert_eq!((rendered.code, rendered.out), (judged.code, folder.read("run/report.json")));
    assert!(report["notes"].as_array().unwrap().iter().any(|note| note["kind"] == "other_suite"));
    folder.run(&["score", "run"]).expect(4);
    let report = folder.json("run/report.json");
    assert!(!report["notes"].to_string().contains("other_suite"), "{}", report["notes"]);
    assert_eq!(folder.run(&["report", "run", "--format", "json"]).expect(4).out, folder.read("run/report.json"));
}

#[test]
fn completions_are_scripts() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = folder.run(&["completions", shell]).expect(0);
        assert!(output.out.contains("evalctl") && output.out.contains("retry-failed"), "{shell}");
    }
    folder.run(&["completions", "nosuchshell"]).expect(2);
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let folder = begun();
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    for (arguments, code) in [
        (&["schema"][..], 0),
        (&["completions", "bash"], 0),
        (&["--help"], 0),
        (&["check", "suite.yaml"], 0),
        (&["report", "run"], 4),
        (&["run", "suite.yaml", "--json"], 4),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = folder.evalctl(arguments);
        let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let status = wait(&mut child, Duration::from_secs(60));
        assert_eq!(status.code(), Some(code), "{arguments:?}");
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_file_gets_no_escapes_and_lines_fit() {
    let folder = begun();
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(4);
    for columns in ["60", "80", "100", "200", "0", "1", "junk"] {
        let width = columns.parse().unwrap_or(100_usize).clamp(60, 200);
        for arguments in [&["run", "suite.yaml"][..], &["report", "run"], &["score", "run"]] {
            let mut command = folder.evalctl(arguments);
            command.env("COLUMNS", columns).env("TERM", "xterm-256color");
            if columns == "80" {
                command.env("NO_COLOR", "1");
            }
            let Output { out, err, .. } = finish(command).expect(4);
            assert!(!out.contains('\u{1b}') && !err.contains(['\u{1b}', '\r']), "{out}{err}");
            for line in out.lines() {
                let wide = unicode_width::UnicodeWidthStr::width(line);
                assert!(wide <= width, "{wide} columns of {width}: {line}");
            }
        }
    }
    let mut command = folder.evalctl(["check", "suite.yaml"]);
    command.env("COLUMNS", "80");
    for line in finish(command).expect(0).out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Rows `s0`, `s1`, … with these targets.
fn rows<'a>(targets: impl IntoIterator<Item = &'a str>) -> String {
    let numbered = targets.into_iter().enumerate();
    lines(numbered.map(|(index, target)| json!({ "id": format!("s{index}"), "input": index, "target": target })))
}

#[test]
fn a_program_answers_from_a_clean_environment() {
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["a"; 4]));
    let script = "names=$(tr '\\0' '\\n' < /proc/$$/environ | cut -d= -f1 | sort | tr '\\n' ' ')\n\
                  while read -r line; do printf '{\"text\":\"%s\",\"usage\":{\"input_tokens\":7}}\\n' \"$names\"; done\n";
    folder.write("answer.sh", script);
    folder.write(
        "suite.yaml",
        "name: program\ndataset: { path: data.jsonl }\nprompt: { user: '{{ input }}' }\n\
         candidates:\n  - id: program\n    command: { program: [sh, answer.sh], env: [NAMED] }\n\
         scorers: [{ exact: {} }]\n",
    );
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    command.envs([("NAMED", "1"), ("OPENAI_API_KEY", "secret"), ("LANG", "C"), ("TMPDIR", "/tmp"), ("OTHER", "1")]);
    finish(command).expect(0);
    let report = folder.json("run/report.json");
    assert_report(&folder, &report);
    assert_eq!(report["candidates"][0]["counts"]["scored"], 4);
    assert_near(&metric(&report, 0, "input_tokens")["value"], 7.0);
    for line in folder.read("run/records.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["answer"]["text"], "EVALCTL_PROGRAM HOME LANG NAMED PATH TMPDIR ", "{record}");
    }
}

#[test]
fn a_program_that_ends_or_babbles_fails_the_task_and_not_the_run() {
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["ok", "crash", "ok", "babble", "ok", "refuse", "ok", "empty"]));
    let script = "while read -r line; do case \"$line\" in\n\
                  *crash*) echo 'out of luck' >&2; exit 3;;\n\
                  *babble*) echo 'no json';;\n\
                  *refuse*) echo '{\"error\":\"not today\"}';;\n\
                  *empty*) echo '{}';;\n\
                  *) echo '{\"text\":\"ok\"}';;\n\
                  esac; done\n";
    folder.write("answer.sh", script);
    folder.write(
        "suite.yaml",
        "name: program\ndataset: { path: data.jsonl }\nprompt: { user: '{{ target }}' }\n\
         candidates:\n  - { id: program, command: { program: [sh, answer.sh] }, retries: 0 }\n\
         scorers: [{ exact: {} }]\nlimits: { max_failures: 100% }\n",
    );
    let report = report_of(&folder, 0);
    let candidate = &report["candidates"][0];
    assert_eq!(candidate["counts"], json!({ "tasks": 8, "scored": 4, "unscored": 0, "failed": 4, "dropped": 0 }));
    let failures = &candidate["failures"];
    assert_eq!(
        (failures.as_array().unwrap().len(), &failures[0]["kind"], &failures[0]["count"]),
        (1, &json!("program"), &json!(4))
    );
    assert_eq!(failures[0]["example"]["sample"], "s1", "the first one");
    assert!(failures[0]["example"]["message"].as_str().unwrap().starts_with("program: "), "{failures}");
    assert_near(&metric(&report, 0, "failure_rate")["value"], 0.5);
    let records = folder.read("run/records.jsonl");
    for said in
        ["exit status: 3", "out of luck", "not the JSON that is wanted", "not today", "neither `text` nor `tool_calls`"]
    {
        assert!(records.contains(said), "{said:?} is not in {records}");
    }
}

#[test]
fn a_script_answers_in_chunks_and_fails_where_it_should() {
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["abcdefgh", "abcdefgh", "fail", "abcdefgh"]));
    folder.write(
        "suite.yaml",
        "name: script\ndataset: { path: data.jsonl }\nprompt: { user: '{{ input }}' }\n\
         candidates:\n  - id: script\n    retries: 0\n    scripted: { reply: '{{ target }}', chunks: 4, gap: 2ms, \
         first_after: 5ms, fail_where: \"target == 'fail'\" }\n\
         scorers: [{ exact: {} }]\nlimits: { max_failures: 100% }\n",
    );
    let report = report_of(&folder, 0);
    let failure = &report["candidates"][0]["failures"][0];
    assert_eq!(
        (&failure["kind"], &failure["count"], &failure["example"]["sample"]),
        (&json!("status"), &json!(1), &json!("s2"))
    );
    assert_near(&metric(&report, 0, "exact")["value"], 1.0);
    assert_eq!(metric(&report, 0, "exact")["missing"], 1);
    for line in folder.read("run/records.jsonl").lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        if record["answer"].is_null() {
            continue;
        }
        let chunks = record["timing"]["chunks_us"].as_array().unwrap();
        assert_eq!(chunks.len(), 4, "{record}");
        let us = |value: &Value| value.as_u64().unwrap();
        assert!(us(&chunks[0]) >= 5_000 && us(&chunks[3]) >= 11_000, "{record}");
        assert!(us(&record["timing"]["done_us"]) >= us(&chunks[3]));
    }
}

#[test]
fn repeats_of_a_sample_are_averaged() {
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["x"; 3]));
    // One process, one request at a time: every third answer is wrong.
    folder.write(
        "answer.sh",
        "n=0\nwhile read -r line; do n=$((n+1)); if [ $((n % 3)) = 0 ]; then t=y; else t=x; fi; echo \"{\\\"text\\\":\\\"$t\\\"}\"; done\n",
    );
    folder.write(
        "suite.yaml",
        "name: repeats\nrepeats: 2\ndataset: { path: data.jsonl }\nprompt: { user: '{{ input }}' }\n\
         candidates:\n  - { id: program, in_flight: 1, command: { program: [sh, answer.sh] } }\n\
         scorers: [{ exact: {} }]\n",
    );
    let report = report_of(&folder, 0);
    assert_eq!(report["candidates"][0]["counts"]["tasks"], 6);
    let exact = metric(&report, 0, "exact");
    // Samples: 1, ½, ½. The robust variance is below that of six answers, so d = 0.2 · 1 + 0.8 · 2 with two wrong; t(5) and
    // t(2) at 97.5 % are 2.570582 and 4.302653.
    assert_eq!((exact["n"].clone(), exact["method"].clone()), (json!(3), json!("clustered_wilson")));
    let effective = 6.0 / 1.8 * (2.570_581_8_f64 / 4.302_652_7).powi(2);
    is_wilson(&exact, 2.0 / 3.0, effective);
}

/// Whether a figure is a share with Wilson's interval for so many answers.
#[track_caller]
fn is_wilson(figure: &Value, share: f64, answers: f64) {
    let z = 1.959_963_984_540_054_f64;
    let scale = 1.0 + z * z / answers;
    let centre = (share + z * z / (2.0 * answers)) / scale;
    let half = z / scale * (share * (1.0 - share) / answers + z * z / (4.0 * answers * answers)).sqrt();
    assert_near(&figure["value"], share);
    for (end, expected) in [("lower", centre - half), ("upper", centre + half)] {
        assert!((figure[end].as_f64().unwrap() - expected).abs() < 1e-6, "{figure}, not {expected}");
    }
}

#[test]
fn rows_of_one_source_are_not_independent() {
    let folder = Folder::new();
    // Six sources of two rows each; marks 11 11 10 00 11 11.
    let marks = [1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1];
    let row = |index: usize| json!({ "id": format!("s{index}"), "target": "x", "source": index / 2 });
    folder.write("data.jsonl", lines((0..12).map(row)));
    let answer = |(index, mark): (usize, &u8)| json!({ "id": format!("s{index}"), "output": if *mark == 1 { "x" } else { "y" } });
    folder.write("answers.jsonl", lines(marks.iter().enumerate().map(answer)));
    folder.write(
        "suite.yaml",
        "name: clusters\ndataset: { path: data.jsonl, cluster: source }\n\
         candidates:\n  - { id: one, recorded: { path: answers.jsonl } }\nscorers: [{ exact: {} }]\n",
    );
    let report = report_of(&folder, 0);
    let exact = metric(&report, 0, "exact");
    assert_eq!((exact["n"].clone(), exact["method"].clone()), (json!(12), json!("clustered_wilson")));
    // Mean ¾. Residuals summed by source: ½ ½ −½ −1½ ½ ½, their squares 3.5. The robust variance is 6/5 · 3.5 / 144, that of
    // twelve answers ¾ · ¼ / 11; with three wrong, d = 0.3 · (their ratio) + 0.7 · 2. t(11) and t(5) at 97.5 % are 2.200985
    // and 2.570582.
    let ratio = (6.0 / 5.0 * 3.5 / 144.0) / (0.75 * 0.25 / 11.0);
    let effective = 12.0 / (0.3 * ratio + 0.7 * 2.0) * (2.200_985_2_f64 / 2.570_581_8).powi(2);
    is_wilson(&exact, 0.75, effective);
}

#[test]
fn classes_are_counted_as_by_hand() {
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["a", "a", "a", "b", "b", "c"]));
    let said = ["a", "A", "b", "b", "a", "zzz"].iter().enumerate();
    folder
        .write("answers.jsonl", lines(said.map(|(index, said)| json!({ "id": format!("s{index}"), "output": said }))));
    folder.write(
        "suite.yaml",
        "name: classes\ndataset: { path: data.jsonl }\n\
         candidates:\n  - { id: one, recorded: { path: answers.jsonl } }\nscorers: [{ label: { classes: [a, b, c] } }]\n",
    );
    let report = report_of(&folder, 0);
    assert_near(&metric(&report, 0, "label")["value"], 0.5);
    // F1: a 2·2/(3+3), b 2·1/(2+2), c 0; their mean 7/18.
    assert_near(&metric(&report, 0, "label.macro_f1")["value"], 7.0 / 18.0);
    let confusion = &report["candidates"][0]["confusions"][0];
    let cells = [("a", Some("a"), 2), ("a", Some("b"), 1), ("b", Some("a"), 1), ("b", Some("b"), 1), ("c", None, 1)];
    let cells = cells
        .map(|(expected, predicted, count)| json!({ "expected": expected, "predicted": predicted, "count": count }));
    assert_eq!(confusion["cells"], json!(cells));
    let classes = confusion["classes"].as_array().unwrap();
    assert_near(&classes[0]["precision"], 2.0 / 3.0);
    assert_near(&classes[0]["recall"], 2.0 / 3.0);
    assert_near(&classes[1]["precision"], 0.5);
    assert_eq!(classes[2]["precision"], Value::Null);
    assert_near(&classes[2]["recall"], 0.0);
    assert_near(&classes[2]["f1"], 0.0);
    let support: Vec<&Value> = classes.iter().map(|class| &class["support"]).collect();
    assert_eq!(support, [3, 2, 1]);
}

#[test]
fn a_class_of_its_own_for_every_sample_stays_small() {
    let count = 20_000;
    let folder = Folder::new();
    folder
        .write("data.jsonl", rows((0..count).map(|i| format!("c{i}")).collect::<Vec<_>>().iter().map(String::as_str)));
    folder.write(
        "suite.yaml",
        "name: classes\ndataset: { path: data.jsonl }\nprompt: { user: '{{ id }}' }\n\
         candidates: [{ id: one, scripted: { reply: '{{ target }}' } }]\nscorers: [{ label: {} }]\n",
    );
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let text = folder.read("run/report.json");
    assert!(text.len() < 600 * count, "{} bytes", text.len());
    let confusion = &serde_json::from_str::<Value>(&text).unwrap()["candidates"][0]["confusions"][0];
    assert_eq!(confusion["cells"].as_array().unwrap().len(), count);
    assert!(folder.read("run/report.md").len() < 100_000);
}

#[test]
fn money_is_exact() {
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["x"; 3]));
    let used = [(1000, 500, 250), (137, 61, 1500), (0, 0, 10)];
    let answers = used.iter().enumerate().map(|(index, (input, output, ms))| {
        // Nothing is counted of an answer that says nothing.
        let text = if *output == 0 { "" } else { "x" };
        json!({ "id": format!("s{index}"), "output": text, "ms": ms,
                "usage": { "input_tokens": input, "output_tokens": output } })
    });
    folder.write("answers.jsonl", lines(answers));
    let recorded = "recorded: { path: answers.jsonl, usage: usage, latency_ms: ms }";
    folder.write(
        "suite.yaml",
        format!(
            "name: money\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: '{{{{ input }}}}' }}\ncandidates:\n\
             \x20 - {{ id: token, {recorded}, price: {{ input_per_mtok_usd: 0.15, output_per_mtok_usd: 0.60 }} }}\n\
             \x20 - {{ id: request, {recorded}, price: {{ per_request_usd: 0.1 }} }}\n\
             \x20 - {{ id: both, {recorded}, price: {{ per_request_usd: 0.1, input_per_mtok_usd: 0.3 }} }}\n\
             \x20 - {{ id: hour, {recorded}, price: {{ per_hour_usd: 3.6 }} }}\n\
             \x20 - {{ id: live, scripted: {{ reply: x, first_after: 3ms }}, price: {{ per_hour_usd: 3.6 }} }}\n\
             \x20 - {{ id: unknown, scripted: {{ reply: x }}, price: {{ input_per_mtok_usd: 1 }} }}\n\
             \x20 - {{ id: unpriced, {recorded} }}\n"
        ),
    );
    let report = report_of(&folder, 0);
    let spend = |index: usize| report["candidates"][index]["spend_usd"].clone();
    // 1137 · 0.15 + 561 · 0.60 = 170.55 + 336.60 = 507.15 millionths.
    assert_eq!(spend(0), "0.00050715");
    // The blank answer is in what was spent, and in no mean.
    assert_eq!(metric(&report, 0, "cost_usd")["value"], "0.000253575");
    assert_eq!(spend(1), "0.3");
    assert_eq!(metric(&report, 1, "cost_usd")["value"], "0.1");
    // 1137 · 0.3 = 341.1 millionths on top.
    assert_eq!(spend(2), "0.3003411");
    for (index, reason) in [(5, "no input tokens"), (6, "no price")] {
        assert_eq!(spend(index), Value::Null);
        let said = report["candidates"][index]["spend_reason"].as_str().unwrap();
        assert!(said.contains(reason), "{said}");
        assert_eq!(metric(&report, index, "cost_usd")["value"], Value::Null);
    }
    // 3.6 dollars an hour are a billionth of a dollar a microsecond, while at least one request is in flight.
    for (index, id) in [(3, "hour"), (4, "live")] {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for line in folder.read("run/records.jsonl").lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["task"]["candidate"] == id {
                let start = record["timing"]["sent_us"].as_u64().unwrap();
                spans.push((start, start + record["timing"]["done_us"].as_u64().unwrap()));
            }
        }
        assert_eq!(spans.len(), 3);
        spans.sort_unstable();
        if id == "hour" {
            // Recorded answers do not say when they came: they count as one after another.
            let mut now = 0;
            for span in &mut spans {
                *span = (now, now + span.1);
                now = span.1;
            }
        }
        let (mut busy, mut until) = (0, 0);
        for (start, end) in spans {
            busy += end.max(until) - start.max(until);
            until = until.max(end);
        }
        assert!(busy >= if id == "hour" { 1_500_000 } else { 3_000 });
        let dollars = format!("{}.{:09}", busy / 1_000_000_000, busy % 1_000_000_000);
        assert_eq!(spend(index), dollars.trim_end_matches('0'), "{id}");
    }
}

/// A hundred samples with marks and times that leave each kind of gate room for each verdict.
fn judged() -> Folder {
    let folder = Folder::new();
    let row = |index: usize| json!({ "id": format!("s{index}"), "target": "x" });
    folder.write("data.jsonl", lines((0..100).map(row)));
    let answer = |index: usize, is_right: bool, is_polite: bool, ms: usize| {
        let thanks = if is_polite { " please" } else { "" };
        json!({ "id": format!("s{index}"), "output": format!("{}{thanks}", if is_right { "x" } else { "y" }), "ms": ms })
    };
    // The baseline is wrong on 8 samples, the candidate on 10 others: a loss of 2 points is neither sure nor ruled out.
    let base = |index: usize| answer(index, !(90..98).contains(&index), true, 100 + index);
    folder.write("current.jsonl", lines((0..100).map(base)));
    let next = |index: usize| {
        let is_even = index.is_multiple_of(2);
        answer(index, index >= 10, is_even, 98 + index + if is_even { 5 } else { 0 })
    };
    folder.write("next.jsonl", lines((0..100).map(next)));
    folder
}

/// Gates with their verdicts: every kind reaches every one.
const GATES: [(&str, &str); 12] = [
    ("{ metric: right, at_least: 0.8 }", "pass"),
    ("{ metric: right, at_least: 0.9 }", "inconclusive"),
    ("{ metric: right, at_least: 0.97 }", "fail"),
    ("{ metric: latency_ms.mean, at_most: 170 }", "pass"),
    ("{ metric: latency_ms.mean, at_most: 150 }", "inconclusive"),
    ("{ metric: latency_ms.mean, at_most: 120 }", "fail"),
    ("{ metric: latency_ms.mean, at_most_ratio: 1.5 }", "pass"),
    ("{ metric: latency_ms.mean, at_most_ratio: 1.003 }", "inconclusive"),
    ("{ metric: latency_ms.mean, at_most_ratio: 0.5 }", "fail"),
    ("{ metric: right, non_inferior: { margin: 0.2 } }", "pass"),
    ("{ metric: right, non_inferior: { margin: 0.02 } }", "inconclusive"),
    ("{ metric: polite, non_inferior: { margin: 0.1 } }", "fail"),
];

fn judged_suite(gates: &[&str]) -> String {
    let gates: String = gates.iter().map(|gate| format!("  - {gate}\n")).collect();
    format!(
        "name: judged\ndataset: {{ path: data.jsonl }}\nbaseline: current\ncandidates:\n\
         \x20 - {{ id: current, recorded: {{ path: current.jsonl, latency_ms: ms }} }}\n\
         \x20 - {{ id: next, recorded: {{ path: next.jsonl, latency_ms: ms }} }}\n\
         scorers:\n  - regex: {{ name: right, pattern: \"^x\" }}\n  - regex: {{ name: polite, pattern: please }}\n\
         gates:\n{gates}"
    )
}

#[test]
fn every_kind_of_gate_reaches_every_verdict() {
    let folder = judged();
    folder.write("suite.yaml", judged_suite(&GATES.map(|(gate, _)| gate)));
    let report = report_of(&folder, 1);
    let found = report["gates"].as_array().unwrap();
    assert_eq!(found.len(), GATES.len());
    for ((gate, verdict), found) in GATES.iter().zip(found) {
        assert_eq!(found["verdict"], *verdict, "{gate}: {found}");
        assert_eq!(found["candidate"], "next");
        let of = |name: &str| found[name].as_f64().unwrap();
        assert!(of("lower") <= of("observed") && of("observed") <= of("upper"), "{found}");
    }
    assert_eq!(report["verdict"], "fail");
    for (verdict, code) in [("pass", 0), ("inconclusive", 4), ("fail", 1)] {
        // With the passing gates beside it: the worst verdict is the run's.
        let with = |(_, found): &&(&str, &str)| *found == verdict || *found == "pass";
        let gates: Vec<&str> = GATES.iter().filter(with).map(|(gate, _)| *gate).collect();
        folder.write("suite.yaml", judged_suite(&gates));
        let out = format!("run-{verdict}");
        let output = folder.run(&["run", "suite.yaml", "--out", &out, "-q"]).expect(code);
        assert!(output.out.contains(&verdict.to_uppercase()), "{}", output.out);
        let report = folder.json(&format!("{out}/report.json"));
        assert_eq!(report["verdict"], verdict);
        assert_report(&folder, &report);
    }
    folder.write("suite.yaml", judged_suite(&[]).replace("gates:\n", ""));
    folder.run(&["run", "suite.yaml", "--out", "measured", "-q"]).expect(0);
    assert_eq!(folder.json("measured/report.json")["verdict"], Value::Null);
}

#[test]
fn a_choice_that_leaves_nobody_to_judge_is_refused() {
    let folder = judged();
    folder.write("suite.yaml", judged_suite(&[GATES[0].0]));
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "--candidate", "current", "-q"]).expect(2);
    assert!(output.err.contains("leaves nobody whom a gate"), "{}", output.err);
    assert!(!folder.path().join("run").exists());
    folder.run(&["check", "suite.yaml", "--candidate", "current"]).expect(2);
    let named = "{ metric: right, at_least: 0.1, candidates: [current] }";
    folder.write("suite.yaml", judged_suite(&[GATES[0].0, named]));
    let output = folder.run(&["run", "suite.yaml", "--out", "run", "--candidate", "current", "-q"]);
    assert!(output.code.is_some_and(|code| code != 2), "its own gate is judged: {}", output.err);
    assert_eq!(folder.json("run/report.json")["gates"].as_array().unwrap().len(), 1);
}

#[test]
fn a_sample_of_which_one_repeat_failed_is_missing() {
    let seen = std::sync::Mutex::new(std::collections::HashMap::new());
    let model = Model::start(move |asked| {
        let mut seen = seen.lock().unwrap();
        let times = seen.entry(format!("{} {}", asked.body["model"], asked.text())).or_insert(0);
        *times += 1;
        let is_first = *times == 1;
        if asked.body["model"] == "new" && !is_first {
            server::error(400, &[], "no")
        } else {
            server::answer(asked, "x")
        }
    });
    let folder = Folder::new();
    folder.write("data.jsonl", rows(["x"; 200]));
    let url = model.base_url();
    folder.write(
        "suite.yaml",
        format!(
            "name: repeats\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: '{{{{ id }}}}' }}\nbaseline: old\nrepeats: 2\n\
             candidates:\n\
             \x20 - {{ id: old, openai: {{ model: old, base_url: '{url}' }} }}\n\
             \x20 - {{ id: new, openai: {{ model: new, base_url: '{url}' }} }}\n\
             scorers: [exact: {{}}]\nlimits: {{ max_failures: 100% }}\n\
             gates:\n  - {{ metric: exact, at_least: 0.5 }}\n  - {{ metric: exact, non_inferior: {{ margin: 0.05 }} }}\n"
        ),
    );
    let report = report_of(&folder, 4);
    assert_eq!(report["candidates"][1]["counts"]["failed"], 200);
    for gate in report["gates"].as_array().unwrap() {
        assert_eq!(gate["verdict"], "inconclusive", "every answer is right, but half of them are missing: {gate}");
    }
}

/// Every set is judged twice: with some answers lost, and with the same answers wrong. What is lost must not be judged
/// better, nor, where all could be wrong and the gate still pass, worse.
#[test]
fn lost_answers_are_judged_as_wrong_ones_at_best() {
    struct Set {
        name: &'static str,
        /// Index to target, cluster, and whether the answer is lost.
        rows: Vec<(&'static str, usize, bool)>,
        more: &'static str,
        gates: &'static str,
        verdicts: [&'static str; 2],
    }
    let rows = |n: usize, of: &dyn Fn(usize) -> (&'static str, usize, bool)| (0..n).map(of).collect::<Vec<_>>();
    let own = "  - { metric: exact, at_least: 0.87, candidates: [next] }\n";
    let sets = [
        Set {
            name: "a class that is lost altogether is not in macro F1",
            rows: rows(1000, &|i| (if i < 10 { "y" } else { "x" }, i, i < 10)),
            more: "",
            gates: "  - { metric: label.macro_f1, at_least: 0.9, candidates: [next] }\n",
            verdicts: ["inconclusive", "fail"],
        },
        Set {
            name: "the spread of a clustered share grows with what is lost",
            rows: rows(110, &|i| ("x", i, i < 10)),
            more: "cluster",
            gates: own,
            verdicts: ["inconclusive", "inconclusive"],
        },
        Set {
            name: "and so it does with repeats",
            rows: rows(110, &|i| ("x", i, i < 10)),
            more: "repeats",
            gates: own,
            verdicts: ["inconclusive", "inconclusive"],
        },
        Set {
            name: "what is lost lies in few clusters",
            rows: rows(1300, &|i| ("x", i % 10, i < 1000 && i % 10 < 3)),
            more: "cluster",
            gates: "  - { metric: exact, at_least: 0.65, candidates: [next] }\n  - { metric: exact, non_inferior: { margin: 0.3 } }\n",
            verdicts: ["inconclusive", "inconclusive"],
        },
        Set {
            name: "so few that it does not matter",
            rows: rows(3000, &|i| ("x", i % 50, i < 3)),
            more: "cluster",
            gates: "  - { metric: exact, non_inferior: { margin: 0.08 } }\n",
            verdicts: ["pass", "pass"],
        },
        Set {
            name: "no target, so nothing to lose",
            rows: rows(2000, &|i| (if i % 2 == 0 { "x" } else { "" }, i, false)),
            more: "",
            gates: "  - { metric: exact, non_inferior: { margin: 0.05 } }\n  - { metric: exact, at_least: 0.9 }\n\
                    \x20 - { metric: label.macro_f1, non_inferior: { margin: 0.05 } }\n",
            verdicts: ["pass", "pass"],
        },
    ];
    for set in sets {
        let folder = Folder::new();
        let row = |(index, (target, cluster, is_lost)): (usize, &(&str, usize, bool))| {
            let mut row = json!({ "id": format!("s{index}"), "source": cluster, "lost": is_lost, "said": target });
            if !target.is_empty() {
                row["target"] = json!(target);
            }
            row
        };
        folder.write("data.jsonl", lines(set.rows.iter().enumerate().map(row)));
        let more = match set.more {
            "cluster" => ("cluster: source", ""),
            "repeats" => ("id: id", "repeats: 2\n"),
            _ => ("id: id", ""),
        };
        let ways = ["reply: '{{ said }}', fail_where: lost", "reply: \"{{ 'none' if lost else said }}\""];
        for (way, verdict) in ways.iter().zip(set.verdicts) {
            let text = format!(
                "name: lost\ndataset: {{ path: data.jsonl, {} }}\nprompt: {{ user: '{{{{ id }}}}' }}\nbaseline: now\n{}\
                 candidates:\n  - {{ id: now, scripted: {{ reply: '{{{{ said }}}}' }} }}\n  - {{ id: next, scripted: {{ {way} }} }}\n\
                 scorers: [{{ exact: {{}} }}{}]\nlimits: {{ max_failures: 100% }}\ngates:\n{}",
                more.0,
                more.1,
                if set.gates.contains("label") { ", { label: {} }" } else { "" },
                set.gates
            );
            folder.write("suite.yaml", text);
            let out = format!("run-{}", way.len());
            let output = folder.run(&["run", "suite.yaml", "--out", &out, "-q"]);
            let report = folder.json(&format!("{out}/report.json"));
            assert_eq!(report["verdict"], verdict, "{}, {way}: {}", set.name, output.out);
        }
    }
}

#[test]
fn only_the_chosen_candidates_and_samples_are_asked() {
    let folder = judged();
    folder.write("suite.yaml", judged_suite(&[]).replace("gates:\n", ""));
    folder.run(&["run", "suite.yaml", "--out", "run", "--limit", "7", "--candidate", "current", "-q"]);
    let report = folder.json("run/report.json");
    assert_report(&folder, &report);
    assert_eq!(report["candidates"].as_array().unwrap().len(), 1);
    assert_eq!(report["candidates"][0]["counts"]["tasks"], 7);
    assert_eq!(folder.read("run/records.jsonl").lines().count(), 7);
}
