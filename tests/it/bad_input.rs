//! Input that is wrong: exit code 2, a message that says what, where and what to do, and nothing else.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};

use crate::support::{Folder, Output, finish};

/// A suite with nothing wrong in it; tests replace a part of it.
const SUITE: &str = r#"name: small
dataset: { path: data.jsonl }
prompt: { user: "{{ input }}" }
candidates:
  - id: one
    scripted: { reply: "{{ target }}" }
  - id: two
    scripted: { reply: "x" }
baseline: one
scorers:
  - exact: {}
gates:
  - { metric: exact, at_least: 0.5 }
"#;

const ROWS: &str = r#"{"id":"a","input":"1","target":"x"}
{"id":"b","input":"2","target":"x"}
{"id":"c","input":"3","target":"y"}
"#;

/// What stands in for candidate `two` where it must be of another kind.
const TWO: &str = r#"scripted: { reply: "x" }"#;

/// A suite and its rows, before something is put wrong.
struct Case {
    folder: Folder,
    suite: String,
    variables: Vec<(&'static str, &'static str)>,
}

impl Case {
    fn new() -> Case {
        let folder = Folder::new();
        folder.write("data.jsonl", ROWS);
        Case { folder, suite: SUITE.to_owned(), variables: Vec::new() }
    }

    /// The suite with a part replaced.
    #[track_caller]
    fn but(part: &str, by: &str) -> Case {
        Case::new().and(part, by)
    }

    #[track_caller]
    fn and(mut self, part: &str, by: &str) -> Case {
        assert!(self.suite.contains(part), "the suite has no {part:?}");
        self.suite = self.suite.replace(part, by);
        self
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Case {
        self.folder.write(name, content);
        self
    }

    fn variable(mut self, name: &'static str, value: &'static str) -> Case {
        self.variables.push((name, value));
        self
    }

    fn go(&self, arguments: &[&str]) -> Output {
        self.folder.write("suite.yaml", &self.suite);
        let mut command = self.folder.evalctl(arguments);
        command.envs(self.variables.iter().copied());
        finish(command)
    }

    /// Runs it, expects it to be refused with all of these texts, and gives the message.
    #[track_caller]
    fn refused(&self, said: &[&str]) -> String {
        let run = self.refused_by(&["run", "suite.yaml", "--out", "run"], said);
        let checked = self.refused_by(&["check", "suite.yaml"], &[]);
        assert_eq!(run, checked, "`check` must say what `run` says");
        run
    }

    #[track_caller]
    fn refused_by(&self, arguments: &[&str], said: &[&str]) -> String {
        let output = self.go(arguments).expect(2);
        assert_eq!(output.out, "", "a refusal prints nothing to standard output");
        assert!(output.err.starts_with("error: "), "{}", output.err);
        assert!(!output.err.contains("os error"), "{}", output.err);
        for text in said {
            assert!(output.err.contains(text), "{text:?} is not in:\n{}", output.err);
        }
        assert!(!self.folder.path().join("run/records.jsonl").exists(), "nothing was sent, so nothing is recorded");
        assert!(!self.folder.path().join("reports").exists(), "a refusal leaves no run folder");
        output.err
    }
}

/// How many faults a message tells.
fn faults(message: &str) -> usize {
    message.lines().filter(|line| line.starts_with("error: ")).count()
}

#[test]
fn the_suite_of_these_tests_is_sound() {
    Case::new().go(&["check", "suite.yaml"]).expect(0);
    let output = Case::new().go(&["run", "suite.yaml", "--out", "run"]);
    assert!(matches!(output.code, Some(0 | 1 | 4)), "{}", output.err);
}

#[test]
fn a_suite_that_cannot_be_read() {
    let case = Case::new();
    case.refused_by(&["run", "nope.yaml"], &["`nope.yaml`", "no such file", "help: ", "evalctl init"]);
    case.refused_by(&["run", "."], &["`.` is a folder", "help: "]);
    for (text, said) in [
        (&b""[..], &["the suite is empty", "--> suite.yaml", "evalctl init"][..]),
        (b"name: x\ndecision: caf\xe9\n", &["0xE9", "UTF-8", "--> suite.yaml:2:14"]),
        (b"name: x\ndataset: [\nprompt: y\n", &["not valid YAML", "--> suite.yaml:3:", " 3 | prompt: y", "help: "]),
        (b"name: x\n\tdataset: y\n", &["not valid YAML", "--> suite.yaml:", "tab", "help: "]),
        (b"just words\n", &["expected a mapping", "--> suite.yaml:1:1"]),
    ] {
        let folder = Folder::new();
        folder.write("suite.yaml", text);
        let output = folder.run(&["run", "suite.yaml"]).expect(2);
        assert_eq!(output.out, "");
        for said in said {
            assert!(output.err.contains(said), "{said:?} is not in:\n{}", output.err);
        }
    }
}

#[test]
fn three_faults_are_told_together() {
    let case = Case::but("prompt:", "promt:").and("- exact: {}", "- exacct: {}").and("at_least", "at_lest");
    let message = case.refused(&[
        "unknown key `promt`\n  --> suite.yaml:3:1\n   |\n 3 | promt: {",
        "did you mean `prompt`?",
        "unknown key `exacct` in `scorers[0]`\n  --> suite.yaml:11:5",
        "did you mean `exact`?",
        "unknown key `at_lest` in `gates[0]`\n  --> suite.yaml:13:22",
        "did you mean `at_least`?",
    ]);
    assert_eq!(faults(&message), 3, "{message}");
}

#[test]
fn faults_of_the_suite_its_templates_and_its_files_are_told_together() {
    let case =
        Case::but("{{ input }}", "{{ inptu }}").and("baseline: one", "baseline: onee\noutput: { schema: s.json }");
    let message = case.refused(&["baseline `onee`", "`s.json`", "unknown variable `inptu`"]);
    assert_eq!(faults(&message), 3, "{message}");
}

#[test]
fn faults_within_the_suite() {
    for (part, by, said) in [
        ("- exact", "- exat", &["unknown key `exat`", ":11:5", "did you mean `exact`?"][..]),
        ("baseline:", "bse:", &["unknown key `bse`", ":9:1", "known keys: "]),
        ("baseline: one", "baseline: one\nrepeats: many", &["expected a whole number", "`many`", ":10:10"]),
        ("baseline: one", "baseline: one\nrepeats: -1", &["expected a whole number", ":10:10"]),
        ("baseline: one", "baseline: one\nseed: yes", &["expected a whole number", ":10:7"]),
        ("scorers:\n  - exact: {}", "scorers: exact", &["expected a list", ":10:10"]),
        ("id: two", "id: one", &["two candidates have the id `one`", ":7:9"]),
        ("baseline: one", "baseline: onee", &["`onee` is no candidate", ":9:11", "did you mean `one`?"]),
        ("metric: exact", "metric: exat", &["`exat`", ":13:15", "did you mean `exact`?"]),
        ("at_least: 0.5", "at_least: 0.5, at_most: 0.9", &["both `at_least` and `at_most`", ":13:", "two gates"]),
        (TWO, "command: { program: [nosuch-program] }", &["`nosuch-program` is in no folder of `PATH`", ":8:14"]),
        (TWO, "command: { program: [./nosuch] }", &["`./nosuch` is no program that can be run", ":8:14"]),
        (TWO, "command: { program: [] }", &["must name a program", ":8:"]),
        (TWO, "command: { program: [cat], env: [NOT_SET] }", &["`NOT_SET` is not set", ":8:14"]),
        (TWO, "scripted: { reply: \"{{ targt }}\" }", &["unknown variable `targt`", ":8:", "did you mean `target`?"]),
        (TWO, "scripted: { reply: x, fail_where: \"inptu == 1\" }", &["`inptu`", ":8:", "did you mean `input`?"]),
        (
            "id: two\n    ",
            "id: two\n    recorded: { path: data.jsonl }\n    ",
            &["`recorded`", "`scripted`", "suite.yaml:"],
        ),
    ] {
        let message = Case::but(part, by).refused(said);
        assert_eq!(faults(&message), 1, "{message}");
    }
}

#[test]
fn keys_come_from_variables_that_are_set() {
    let openai = "openai: { model: m }";
    for value in [None, Some(""), Some("  ")] {
        let mut case = Case::but(TWO, openai);
        if let Some(value) = value {
            case = case.variable("OPENAI_API_KEY", value);
        }
        case.refused(&[
            "candidate `two`",
            "`OPENAI_API_KEY` is not set",
            "--> suite.yaml:8:13",
            "export OPENAI_API_KEY=",
        ]);
    }
    let key = "sk-abcdef1234567890abcdef1234567890";
    for (entry, place) in [
        (format!("openai: {{ model: m }}\n    headers: {{ authorization: \"Bearer {key}\" }}"), ":9:"),
        (format!("openai: {{ model: m, api_key: {key} }}"), ":8:25"),
        (format!("openai: {{ model: m, api_key_env: {key} }}"), ":8:38"),
        (format!("openai: {{ model: m }}\n    headers: {{ x-api-key: \"${{{key}}}\" }}"), "suite.yaml:9:"),
        (format!("command: {{ program: [cat], env: [{key}] }}"), ":8:"),
    ] {
        let case = Case::but(TWO, &entry).variable("OPENAI_API_KEY", "set");
        let message = case.refused(&[place]);
        assert!(!message.contains("abcdef"), "a key must not be shown:\n{message}");
    }
}

#[test]
fn templates_are_read_before_anything_is_sent() {
    let block = "prompt:\n  user: |\n    Dear model,\n    {{ inptu }}\n";
    for (by, place) in [
        ("prompt: { user: \"{{ inptu }}\" }\n", "--> suite.yaml:3:17\n"),
        (block, "--> suite.yaml:6:8\n   |\n 6 |     {{ inptu }}"),
    ] {
        let case = Case::but("prompt: { user: \"{{ input }}\" }\n", by);
        let message = case.refused(&["unknown variable `inptu`", place, "did you mean `input`?"]);
        assert_eq!(faults(&message), 1, "one fault of the suite, not one a row:\n{message}");
    }
    Case::but("{{ input }}", "{{ input ").refused(&["syntax error", "--> suite.yaml:3:"]);
    Case::but("prompt: { user: \"{{ input }}\" }\n", "prompt:\n  user: |\n    a\n    {% if %}\n").refused(&[
        "syntax error",
        "--> suite.yaml:6:",
        "{% if %}",
    ]);
}

#[test]
fn a_template_that_fails_for_some_rows_names_them() {
    let case =
        Case::but("{{ input }}", "{{ extra }}").file("data.jsonl", format!("{ROWS}{{\"id\":\"d\",\"extra\":1}}\n"));
    let message = case.refused(&["`prompt.user`", "unknown variable `extra`", "--> data.jsonl:1", "--> data.jsonl:3"]);
    assert_eq!(faults(&message), 3, "{message}");
}

#[test]
fn schemas_that_are_none() {
    let with_schema = || Case::but("baseline: one", "baseline: one\noutput: { schema: s.json }");
    with_schema().refused(&["`s.json`", "no such file", "--> suite.yaml:10:19"]);
    with_schema().file("s.json", "{\n  \"type\": \n}").refused(&["the schema is not JSON", "--> s.json:3:1"]);
    with_schema().file("s.json", "{\"type\": \"strin\"}").refused(&[
        "`s.json`: not a usable JSON Schema",
        "/type",
        ":10:19",
    ]);
    with_schema().file("s.json", "[1]").refused(&["`s.json`: not a usable JSON Schema", ":10:19"]);
    let remote = r#"{"$ref": "http://example.invalid/x.json"}"#;
    let message = with_schema().file("s.json", remote).refused(&["http://example.invalid/x.json", "`$defs`", ":10:19"]);
    assert!(!message.contains("feature"), "{message}");
    let file = r#"{"$ref": "file:///etc/hostname"}"#;
    with_schema().file("s.json", file).refused(&["file:///etc/hostname", "`$defs`"]);
    with_schema()
        .file("s.json", r##"{"$ref": "#/$defs/none"}"##)
        .refused(&["`s.json`: not a usable JSON Schema", "/$defs/none"]);
    with_schema().and("s.json", "'.'").refused(&["it is a folder", ":10:19"]);
}

#[test]
fn golden_sets_that_cannot_be_used() {
    let path = "path: data.jsonl";
    Case::but(path, "path: dat.jsonl").refused(&["`dat.jsonl`: no such file", "--> suite.yaml:2:18", "help: "]);
    Case::but(path, "path: .").refused(&["a folder, not a file", "--> suite.yaml:2:18"]);
    Case::but(path, "path: data.xls").file("data.xls", "x").refused(&["`data.xls`", ".jsonl"]);
    Case::new().file("data.jsonl", "").refused(&["`data.jsonl`: the file is empty"]);
    Case::new().file("data.jsonl", "\n\n\n").refused(&["the file has no rows", "--> data.jsonl"]);
    let mut bytes = ROWS.as_bytes().to_vec();
    bytes.extend(b"{\"id\":\"d\",\"input\":\"\xff\"}\n");
    Case::new().file("data.jsonl", bytes).refused(&["0xff", "not UTF-8", "--> data.jsonl:4:20"]);
    let twice = format!("{ROWS}{{\"id\":\"b\",\"input\":\"9\"}}\n");
    Case::new().file("data.jsonl", twice).refused(&["the id `b`", "data.jsonl:2", "--> data.jsonl:4"]);
    Case::new().file("data.jsonl", ROWS.replace("\"c\",", "\"c,")).refused(&[
        "not JSON",
        "--> data.jsonl:3:",
        " 3 | {\"id\":\"c,",
    ]);
    Case::new().file("data.jsonl", "[1]\n").refused(&["must be a JSON object", "--> data.jsonl:1:1"]);
    let with_where = |by: &str| Case::but(path, &format!("path: data.jsonl, select: {{ where: \"{by}\" }}"));
    let message = with_where("inptu == '1'").refused(&["`inptu`", "--> suite.yaml:2:", "did you mean `input`?"]);
    assert_eq!(faults(&message), 1, "{message}");
    with_where("input ==").refused(&["syntax error", "--> suite.yaml:2:"]);
    with_where("input + 1").refused(&["`dataset.select.where`", "--> data.jsonl:1"]);
    with_where("input == 'none'").refused(&["`dataset.select.where` is true for none of the 3 rows"]);
    for entry in ["cluster: customr", "target: goal", "tags: [lang]", "id: key"] {
        let name = entry.split(": ").nth(1).unwrap().trim_matches(['[', ']']);
        Case::but(path, &format!("path: data.jsonl, {entry}")).refused(&[
            &format!("no row has the field `{name}`"),
            "data.jsonl",
            "help: ",
        ]);
    }
}

#[test]
fn csv_files_that_cannot_be_used() {
    for (text, said) in [
        ("id,input,target\na,1,x\nb,2\n", &["this row has 2 cells, the header has 3", "--> data.csv:3"][..]),
        ("id,input,input\na,1,x\n", &["two columns have the name `input`", "--> data.csv:1"]),
        ("id,input,target\na,\"1,x\n", &["never closed", "--> data.csv:2"]),
        ("id,input,target\n", &["no rows", "data.csv"]),
    ] {
        Case::but("path: data.jsonl", "path: data.csv").file("data.csv", text).refused(said);
    }
}

#[test]
fn answers_that_cannot_be_used() {
    let recorded = || Case::but(TWO, "recorded: { path: answers.jsonl }");
    recorded().refused(&["`answers.jsonl`: no such file", "--> suite.yaml:8:23"]);
    recorded().file("answers.jsonl/inner", "").refused(&["a folder, not a file", "--> suite.yaml:8:23"]);
    recorded().file("answers.jsonl", "").refused(&["`answers.jsonl`: the file is empty"]);
    let twice = "{\"id\":\"a\",\"output\":\"x\"}\n{\"id\":\"a\",\"output\":\"y\"}\n";
    recorded().file("answers.jsonl", twice).refused(&[
        "`id` is `a`",
        "answers.jsonl:1",
        "--> answers.jsonl:2",
        "unique",
    ]);
    let broken = "{\"id\":\"a\",\"output\":\"x\"}\n{\"id\":\n";
    recorded().file("answers.jsonl", broken).refused(&["not JSON", "--> answers.jsonl:2:"]);
    let other = "{\"key\":\"a\",\"output\":\"x\"}\n";
    recorded().file("answers.jsonl", other).refused(&["`id`", "answers.jsonl"]);
}

#[test]
fn a_line_of_a_gigabyte_is_refused_in_little_memory() {
    let case = Case::new();
    let mut file = OpenOptions::new().write(true).truncate(true).open(case.folder.path().join("data.jsonl")).unwrap();
    // A hole takes no room on the disk and reads as one line of zeros.
    file.write_all(b"{\"id\":\"").unwrap();
    file.seek(SeekFrom::Start(1 << 30)).unwrap();
    file.write_all(b"\"}\n").unwrap();
    drop(file);
    case.folder.write("suite.yaml", SUITE);
    let mut command = std::process::Command::new("sh");
    // 768 MiB of address space: less than the line, and enough for threads and buffers.
    command.args(["-c", "ulimit -v 786432; exec \"$0\" run suite.yaml --out run", env!("CARGO_BIN_EXE_evalctl")]);
    command.current_dir(case.folder.path());
    let output = finish(command).expect(2);
    assert_eq!(output.out, "");
    assert!(output.err.contains("data.jsonl:1") && output.err.contains("MiB"), "{}", output.err);
}

#[test]
fn command_lines_that_cannot_be() {
    let case = Case::new().file("file", "x").file("old/manifest.json", "{}");
    let run = |more: &[&'static str]| [&["run", "suite.yaml"], more].concat();
    case.refused_by(&run(&["--candidate", "onee"]), &["`--candidate onee`", "did you mean `one`?"]);
    case.refused_by(&run(&["--candidate", "zzzzzz"]), &["`--candidate zzzzzz`", "candidates: one, two"]);
    case.refused_by(&run(&["--out", "file"]), &["`file` is a file", "--out"]);
    case.refused_by(&run(&["--out", "file/run"]), &["file/run", "--out"]);
    case.refused_by(&run(&["--out", "old"]), &["`old` holds a run already", "--resume", "--fresh"]);
    case.refused_by(&run(&["--resume", "--out", "."]), &["`.` holds no run to resume", "`data.jsonl`", "help: "]);
    case.refused_by(&run(&["--fresh"]), &["--out"]);
    case.refused_by(&run(&["--resume", "--fresh", "--out", "old"]), &["--fresh", "--resume"]);
    case.refused_by(&run(&["--limit", "0"]), &["--limit"]);
    case.refused_by(&run(&["--no-such-flag"]), &["--no-such-flag"]);
    case.refused_by(&["run"], &["<SUITE>", "Usage: "]);
    case.refused_by(&["rnu", "suite.yaml"], &["rnu", "Usage: "]);
    case.refused_by(&["report", "none"], &["`none` is no run folder", "help: "]);
    case.refused_by(&["score", "."], &["`.` is no run folder", "help: "]);
    case.refused_by(&["report", "old", "--format", "pdf"], &["pdf", "terminal, md, json, csv"]);
    assert!(!case.folder.path().join("none").exists(), "a refusal makes no folder");
    assert_eq!(case.folder.read("old/manifest.json"), "{}", "a refusal changes nothing");
    let nothing = case.go(&[]).expect(2);
    assert_eq!(nothing.out, "");
    assert!(nothing.err.contains("Usage: evalctl <COMMAND>"));
}

#[test]
fn help_and_version_are_results() {
    let folder = Folder::new();
    for arguments in [&["--help"][..], &["-h"], &["run", "--help"], &["help", "score"]] {
        let output = folder.run(arguments).expect(0);
        assert!(output.out.contains("Usage: evalctl"), "{}", output.out);
        assert_eq!(output.err, "");
    }
    let output = folder.run(&["--version"]).expect(0);
    assert_eq!(output.out, format!("evalctl {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(output.err, "");
}

/// Ids as they stand in a run's records, in order of the golden set.
fn ids(folder: &Folder) -> Vec<String> {
    let records = folder.read("run/records.jsonl");
    let mut ids: Vec<String> = records
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["task"]["sample"].as_str().unwrap().to_owned()
        })
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn byte_order_marks_and_carriage_returns_are_read_past() {
    let rows = format!("\u{feff}{}", ROWS.replace('\n', "\r\n"));
    let answers = "\u{feff}{\"id\":\"a\",\"output\":\"x\"}\r\n{\"id\":\"b\",\"output\":\"x\"}\r\n{\"id\":\"c\",\"output\":\"y\"}\r\n";
    let csv = "\u{feff}id,input,target\r\na,1,x\r\nb,2,x\r\nc,3,y\r\n";
    let answers_csv = "\u{feff}id,output\r\na,x\r\nb,x\r\nc,y\r\n";
    for (dataset, rows, recorded, answers) in
        [("data.jsonl", rows.as_str(), "answers.jsonl", answers), ("data.csv", csv, "answers.csv", answers_csv)]
    {
        let mut case = Case::but(TWO, &format!("recorded: {{ path: {recorded} }}"))
            .and("path: data.jsonl", &format!("path: {dataset}"))
            .file(dataset, rows)
            .file(recorded, answers);
        case.suite = format!("\u{feff}{}", case.suite.replace('\n', "\r\n"));
        let output = case.go(&["run", "suite.yaml", "--out", "run"]);
        assert!(matches!(output.code, Some(0 | 4)), "{}{}", output.out, output.err);
        assert_eq!(ids(&case.folder), ["a", "b", "c"], "{dataset}");
        let report = case.folder.json("run/report.json");
        for candidate in report["candidates"].as_array().unwrap() {
            assert_eq!(candidate["counts"]["scored"], 3, "{dataset}: {candidate}");
            assert_eq!(candidate["metrics"][0]["value"], 1.0, "{dataset}: {candidate}");
        }
    }
}

#[test]
fn a_full_disk_ends_the_run_and_a_resumed_one_equals_an_undisturbed_one() {
    let count = 60;
    let rows: String =
        (0..count).map(|i| format!("{{\"id\":\"s{i:02}\",\"input\":\"{i}\",\"target\":\"x\"}}\n")).collect();
    let answers: String = (0..count)
        .map(|i| {
            let text = if i % 3 == 0 { "x".to_owned() } else { format!("{i} {}", "y".repeat(20_000)) };
            format!("{{\"id\":\"s{i:02}\",\"output\":\"{text}\"}}\n")
        })
        .collect();
    let case =
        Case::but(TWO, "recorded: { path: answers.jsonl }").file("data.jsonl", rows).file("answers.jsonl", answers);
    case.folder.write("suite.yaml", &case.suite);
    let mut command = std::process::Command::new("sh");
    // No file may grow past 512 blocks of 512 bytes or 1 KiB, as the shell counts them; the answers are more.
    let limited = "trap '' XFSZ; ulimit -f 512; exec \"$0\" run suite.yaml --out disk/run";
    command.args(["-c", limited, env!("CARGO_BIN_EXE_evalctl")]).current_dir(case.folder.path());
    let output = finish(command).expect(5);
    assert_eq!(output.out, "");
    for said in ["could not write", "disk/run/records.jsonl", "evalctl run suite.yaml --out disk/run --resume"] {
        assert!(output.err.contains(said), "{said:?} is not in:\n{}", output.err);
    }
    let records = std::fs::read(case.folder.path().join("disk/run/records.jsonl")).unwrap();
    assert!(!records.is_empty() && records.len() < 1 << 20);
    assert_eq!(records.last(), Some(&b'\n'), "what could not be written as a whole is taken back");
    let whole = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).is_ok();
    assert!(records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).all(whole));
    let resumed = case.go(&["run", "suite.yaml", "--out", "disk/run", "--resume"]);
    let undisturbed = case.go(&["run", "suite.yaml", "--out", "calm/run"]);
    assert_eq!(resumed.code, undisturbed.code);
    let report = |path: &str| {
        let mut report = case.folder.json(path);
        // These tell the two runs apart, and should.
        for field in ["started", "notes"] {
            report.as_object_mut().unwrap().remove(field);
        }
        for candidate in report["candidates"].as_array_mut().unwrap() {
            // The scripted candidate's times are measured.
            candidate["metrics"].as_array_mut().unwrap().retain(|metric| metric["unit"] != "ms");
        }
        report["comparisons"].as_array_mut().unwrap().retain(|comparison| comparison["unit"] != "ms");
        report
    };
    assert_eq!(report("disk/run/report.json"), report("calm/run/report.json"));
    assert_eq!(case.folder.json("disk/run/report.json")["candidates"][1]["counts"]["scored"], count);
}
