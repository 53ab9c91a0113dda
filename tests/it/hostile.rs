//! Answers and golden sets that try to act on whatever shows them: nothing of it gets through unescaped.

use serde_json::{Value, json};

use crate::support::{Folder, Output, finish};

/// Texts that act on a terminal, on Markdown, on a spreadsheet, or on the reader's eyes.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "plain",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{1b}]8;;http://evil.invalid\u{7}click\u{1b}]8;;\u{7}",
        "\u{9b}2Jcleared",
        "a\0b",
        "\u{202e}drawkcab\u{2066}isolate",
        "zero\u{200b}width\u{feff}\u{2060}",
        "\u{e0041}\u{e0042}tags",
        "over\rwritten",
        "tab\tbed",
        "two\nlines\u{2028}three",
        "# heading",
        "| cell | cell |",
        "[link](http://evil.invalid)",
        "![image](http://evil.invalid/p.png)",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "`code` ``` fence",
        "**bold** _it_ ~~no~~",
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        " =1+1",
        "\u{ff1d}1+1",
        "',\"quoted\",'",
        "--flag",
        "&lt;b&gt; &amp;",
        "<http://evil.invalid>",
        "http://evil.invalid/auto",
        "1. list",
        "> quote",
        "\u{7f}\u{8}\u{8}rubbed out",
        "{{ 7 * 7 }} {% raw %}",
        "\u{300}\u{301}\u{302}marks",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("long ".repeat(200_000));
    texts
}

const SUITE: &str = r#"
name: hostile
decision: "\x1b[31m <script>alert(2)</script> | `x`"
dataset: { path: data.jsonl, cluster: group, tags: [tag] }
candidates:
  - id: current
    recorded: { path: answers.jsonl, text: current, finish: finish, failure: failure }
  - id: "=evil<script>|`[x](http:e)"
    recorded: { path: answers.jsonl, text: next, finish: finish }
baseline: current
scorers:
  - label: { ignore_case: false }
  - exact: { name: "<b>|`=exact" }
  - contains: {}
gates:
  - { metric: label, at_least: 0.9 }
  - { metric: "<b>|`=exact", non_inferior: { margin: 0.02 } }
limits: { max_failures: 100% }
"#;

/// A run over the texts as ids, classes, clusters, tags, answers, failures and finish reasons.
fn folder() -> Folder {
    let folder = Folder::new();
    let texts = texts();
    let (mut rows, mut answers) = (String::new(), String::new());
    for (index, text) in texts.iter().enumerate() {
        // An id of more than 4,096 characters is refused.
        let id = if text.len() > 4096 { &text[..4096] } else { text };
        let row = json!({ "id": id, "input": text, "target": text, "group": text, "tag": text, text.clone(): 1 });
        rows.push_str(&format!("{row}\n"));
        // Half of them flip, so that ids are listed both ways; a few fail in their own words.
        let other = &texts[(index + 1) % texts.len()];
        let (current, next) = if index % 2 == 0 { (text, other) } else { (other, text) };
        let failure = (index % 5 == 4).then_some(text);
        let answer = json!({ "id": id, "current": current, "next": next, "finish": text, "failure": failure });
        answers.push_str(&format!("{answer}\n"));
    }
    folder.write("data.jsonl", rows);
    folder.write("answers.jsonl", answers);
    folder.write("suite.yaml", SUITE);
    folder
}

/// What may not stand in any output: all that moves a cursor, reorders or hides.
fn is_forbidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) {
        let around: String = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("{what} holds {c:?} after {around:?}");
    }
    assert!(text.len() < 1 << 20, "{what} has {} bytes", text.len());
}

#[track_caller]
fn assert_cells_harmless(what: &str, text: &str) {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let mut cells = 0;
    for record in reader.records() {
        for cell in &record.unwrap() {
            cells += 1;
            let first = cell.trim_start().chars().next();
            let is_formula = first.is_some_and(|c| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(c));
            assert!(!is_formula || cell.parse::<f64>().is_ok(), "{what} has the cell {cell:?}");
        }
    }
    assert!(cells > 20, "{what} has {cells} cells");
}

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    let output = folder.run(arguments);
    assert!(matches!(output.code, Some(1 | 4)), "{:?}\n{}", output.code, output.err);
    output
}

#[test]
fn nothing_hostile_gets_into_what_is_shown() {
    let folder = folder();
    let output = run(&folder, &["run", "suite.yaml", "--out", "run"]);
    assert_harmless("standard output", &output.out);
    assert_harmless("standard error", &output.err);
    for form in ["terminal", "md", "csv"] {
        let output = run(&folder, &["report", "run", "--format", form]);
        assert_harmless(form, &output.out);
        assert_harmless("standard error", &output.err);
    }
    for name in ["run/report.md", "run/report.csv", "run/flips.csv"] {
        assert_harmless(name, &folder.read(name));
    }
    assert_cells_harmless("report.csv", &folder.read("run/report.csv"));
    assert_cells_harmless("flips.csv", &folder.read("run/flips.csv"));
    // The texts are there, so the test has something to find.
    assert!(folder.read("run/flips.csv").contains("[31mred"), "{}", folder.read("run/flips.csv"));
    let scored = run(&folder, &["score", "run"]);
    assert_harmless("standard output of score", &scored.out);
    assert_harmless("standard error of score", &scored.err);
}

#[test]
fn markdown_holds_no_element_and_no_link() {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let folder = folder();
    run(&folder, &["run", "suite.yaml", "--out", "run", "-q"]);
    let text = folder.read("run/report.md");
    let mut seen = 0;
    for event in Parser::new_ext(&text, Options::all()) {
        seen += 1;
        match event {
            Event::Html(html) | Event::InlineHtml(html) => panic!("report.md holds the element {html}"),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                panic!("report.md links to {dest_url}")
            }
            _ => {}
        }
    }
    assert!(seen > 100);
}

#[test]
fn the_report_is_valid_json_by_its_schema() {
    let folder = folder();
    let output = run(&folder, &["run", "suite.yaml", "--out", "run", "--json"]);
    assert_harmless("standard error", &output.err);
    let schema: Value = serde_json::from_str(&folder.run(&["schema", "--report"]).expect(0).out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let stored = folder.json("run/report.json");
    let errors: Vec<String> = validator.iter_errors(&stored).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    assert_eq!(serde_json::from_str::<Value>(&output.out).unwrap(), stored);
    // A program may print a piece of it, so even here nothing acts on a terminal.
    for c in folder.read("run/report.json").chars() {
        assert!(!c.is_control() || c == '\n', "report.json holds {c:?}");
    }
}

#[test]
fn counts_add_up_whatever_the_texts_are() {
    let folder = folder();
    run(&folder, &["run", "suite.yaml", "--out", "run", "-q"]);
    let report = folder.json("run/report.json");
    let tasks = texts().len() as u64;
    for candidate in report["candidates"].as_array().unwrap() {
        let counts = &candidate["counts"];
        let of = |name: &str| counts[name].as_u64().unwrap();
        assert_eq!(of("tasks"), tasks);
        assert_eq!(of("scored") + of("unscored") + of("failed") + of("dropped"), tasks, "{counts}");
    }
    let failed = (0..tasks).filter(|index| index % 5 == 4).count() as u64;
    assert_eq!(report["candidates"][0]["counts"]["failed"], failed);
    assert_eq!(report["candidates"][1]["counts"]["failed"], 0);
}

#[test]
fn messages_about_hostile_files_are_harmless() {
    let good = "{\"id\":\"a\",\"input\":\"1\",\"target\":\"x\"}\n";
    for text in texts() {
        let twice =
            format!("{good}{}\n{}\n", json!({ "id": text, "input": text }), json!({ "id": text, "input": "z" }));
        let broken = format!("{good}{{\"id\": {text}\n");
        for (rows, entry) in [(twice, "id"), (broken, "id")] {
            let folder = Folder::new();
            folder.write("data.jsonl", rows);
            folder.write(
                "suite.yaml",
                format!(
                    "name: x\ndataset: {{ path: data.jsonl, id: {entry} }}\nprompt: {{ user: '{{{{ inptu }}}}' }}\n\
                     candidates: [{{ id: one, scripted: {{ reply: x }} }}]\n"
                ),
            );
            let output = folder.run(&["check", "suite.yaml"]).expect(2);
            assert_eq!(output.out, "");
            assert_harmless("standard error", &output.err);
            assert!(output.err.len() < 20_000, "{} bytes", output.err.len());
            assert!(output.err.contains("data.jsonl:"), "{}", output.err);
        }
    }
}

#[test]
fn hostile_arguments_and_suites_are_shown_harmlessly() {
    let folder = Folder::new();
    folder.write("data.jsonl", "{\"id\":\"a\",\"target\":\"x\"}\n");
    for text in texts().iter().filter(|text| !text.contains('\0') && text.len() < 1000) {
        let quoted = json!(text).to_string();
        let suites = [
            format!("name: x\n{quoted}: 1\n"),
            format!(
                "name: {quoted}\ndataset: {{ path: {quoted} }}\ncandidates: [{{ id: {quoted}, scripted: {{ reply: {quoted} }} }}]\nbaseline: \"no {{\"\ngates: [{{ metric: {quoted}, at_least: 1 }}]\n"
            ),
            format!(
                "name: x\ndataset: {{ path: data.jsonl }}\ncandidates: [{{ id: a, recorded: {{ path: {quoted}, on: {quoted} }} }}]\nscorers: [{{ regex: {{ pattern: \"(\" }} }}]\n"
            ),
        ];
        for suite in suites {
            folder.write("suite.yaml", suite);
            let output = folder.run(&["check", "suite.yaml"]).expect(2);
            assert_harmless("standard error", &output.err);
        }
        let mut command = folder.evalctl(["check", text]);
        command.env("COLUMNS", "80");
        let output = finish(command);
        assert_harmless("standard error", &output.err.replace('\t', " "));
        for arguments in [["report", text], ["score", text]] {
            let output = folder.run(&arguments);
            assert!(matches!(output.code, Some(2 | 0)), "{:?}", output.code);
            assert_harmless("standard error", &output.err);
        }
    }
}
