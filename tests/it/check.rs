//! What `check` makes of the answers, targets and prompts that it has: faults that make a run pointless are refused, by
//! `run` too; the rest are notes.

use crate::support::{Folder, Output};

const SUITE: &str = r#"name: triage
dataset: { path: gold.csv, id: ticket, target: intent }
prompt:
  system: You route tickets.
  user: "{{ body }}"
output: { schema: triage.json }
candidates:
  - id: today
    recorded: { path: answers.csv, text: response, latency_ms: ms, cost_usd: usd }
  - id: vllm
    openai: { model: triage-8b, base_url: "http://127.0.0.1:9/v1" }
    params: { max_output_tokens: 64 }
baseline: today
scorers:
  - label: { field: /intent }
  - schema: {}
gates:
  - { metric: schema, at_least: 0.5 }
"#;

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "intent": { "enum": ["billing", "fault", "cancel"] },
    "priority": { "type": "integer" }
  },
  "required": ["intent"]
}"#;

/// Twelve tickets with their labels, and an answer to each.
fn triage() -> Folder {
    let folder = Folder::new();
    let mut gold = "ticket,body,intent\n".to_owned();
    let mut answers = "ticket,response,ms,usd\n".to_owned();
    for index in 0..12 {
        let intent = ["billing", "fault", "cancel"][index % 3];
        gold.push_str(&format!("T-{index},ticket number {index} about {intent},{intent}\n"));
        answers.push_str(&format!("T-{index},\"{{\"\"intent\"\": \"\"{intent}\"\"}}\",{},0.001\n", 100 + index));
    }
    folder.write("gold.csv", gold);
    folder.write("answers.csv", answers);
    folder.write("triage.json", SCHEMA);
    folder.write("suite.yaml", SUITE);
    folder
}

/// Replaces a part of a file.
#[track_caller]
fn change(folder: &Folder, file: &str, part: &str, by: &str) {
    let text = folder.read(file);
    assert!(text.contains(part), "{file} has no {part:?}");
    folder.write(file, text.replace(part, by));
}

/// What `check` prints of a suite in order, in one line, after a look at its width.
#[track_caller]
fn checked(folder: &Folder) -> String {
    let Output { out, err, .. } = folder.run(&["check", "suite.yaml"]).expect(0);
    assert_eq!(err, "");
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What `check` and `run` both refuse a suite with.
#[track_caller]
fn refused(folder: &Folder, said: &[&str]) -> String {
    let check = folder.run(&["check", "suite.yaml"]).expect(2);
    let run = folder.run(&["run", "suite.yaml", "--out", "run"]).expect(2);
    assert_eq!((check.err.as_str(), check.out.as_str()), (run.err.as_str(), ""));
    assert!(!folder.path().join("run/records.jsonl").exists());
    for text in said {
        assert!(check.err.contains(text), "{text:?} is not in:\n{}", check.err);
    }
    check.err
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn a_good_suite_is_shown_with_its_answers_and_a_prompt() {
    let said = checked(&triage());
    says(
        &said,
        &[
            "suite.yaml: no problems found samples 12",
            "candidate today (baseline): recorded answers.csv, 12 requests answers 12 of 12 rows have one price",
            "prompt as row `T-0` renders it: system You route tickets. user ticket number 0 about billing gate 1",
        ],
    );
    assert!(!said.contains("note"), "{said}");
}

#[test]
fn answers_that_lack_rows_or_cannot_be_read_in_part_are_notes() {
    let folder = triage();
    change(&folder, "answers.csv", "T-3,", "T-3 b,");
    change(&folder, "answers.csv", ",104,", ",fast,");
    change(&folder, "answers.csv", ",105,", ",,");
    change(&folder, "gold.csv", "T-11,", "T-11 ,");
    says(
        &checked(&folder),
        &[
            "answers 10 of 12 rows have one; the file has 12 answers",
            "note 2 of 12 rows have no answer and will count as failures, such as `T-3`; 1 of them only because of space \
             around `ticket`",
            "note 1 of 10 answers have no value in `ms`",
            "note 1 of 9 values of `ms` cannot be read, and those answers will count as failures: `ms` is",
            "\"fast\" (row `T-4`)",
        ],
    );
}

#[test]
fn answers_to_no_row_are_refused() {
    let folder = triage();
    let spaced = folder.read("gold.csv").replace("T-", " T-");
    folder.write("gold.csv", spaced);
    refused(
        &folder,
        &[
            "`answers.csv` answers none of the 12 rows: no `ticket` in it is the `ticket` of a row",
            "--> suite.yaml:9:",
            "values of the golden set have space around them, such as ` T-0`: without it they match",
        ],
    );
    let folder = triage();
    let other = folder.read("answers.csv").replace("T-", "X-");
    folder.write("answers.csv", other);
    refused(&folder, &["answers none of the 12 rows", "the first row has `T-0`, the first answer `X-0`"]);
}

#[test]
fn fields_that_answers_do_not_have_are_refused_together() {
    let folder = triage();
    change(
        &folder,
        "suite.yaml",
        "text: response, latency_ms: ms, cost_usd: usd",
        "text: reponse, latency_ms: usd, cost_usd: response, ttft_ms: first",
    );
    let said = refused(
        &folder,
        &[
            "no answer has the field `reponse`, which `text` names",
            "did you mean `response`?",
            "nothing in `response` can be read: `response` is",
            "no answer has the field `first`, which `ttft_ms` names",
            "the answers have `ticket`, `response`, `ms`, `usd`",
            "--> suite.yaml:9:",
        ],
    );
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
    let folder = triage();
    change(&folder, "suite.yaml", "text: response, ", "");
    refused(
        &folder,
        &["no answer has the field `output`, where its text is looked for", "name it with `text`; the answers have"],
    );
}

#[test]
fn a_field_of_the_join_that_no_row_has_is_refused() {
    let folder = Folder::new();
    folder.write(
        "gold.jsonl",
        "{\"id\":\"q0\",\"input\":\"Hi\",\"target\":\"Hello\"}\n{\"id\":\"q1\",\"input\":\"Ho\",\"target\":\"Hey\"}\n",
    );
    folder.write(
        "batch.jsonl",
        "{\"custom_id\":\"q0\",\"output\":\"Hello\"}\n{\"custom_id\":\"q1\",\"output\":\"Hey\"}\n",
    );
    let suite = |on: &str| {
        format!(
            "name: batch\ndataset: {{ path: gold.jsonl }}\ncandidates:\n  - id: a\n    recorded: {{ path: batch.jsonl, on: {on} }}\n\
             scorers:\n  - exact: {{}}\n"
        )
    };
    folder.write("suite.yaml", suite("custom_id"));
    refused(
        &folder,
        &[
            "no row of the golden set has the field `custom_id`, by which answers are found",
            "--> suite.yaml:5:40",
            "write `on: { answer: custom_id, sample: FIELD }`; the rows have `id`, `input`, `target`",
        ],
    );
    folder.write("suite.yaml", suite("{ answer: custom_id, sample: idd }"));
    refused(&folder, &["no row of the golden set has the field `idd`", "did you mean `id`?"]);
    folder.write("suite.yaml", suite("{ answer: custom_id, smaple: id }"));
    refused(&folder, &["unknown key `smaple`", "did you mean `sample`?"]);
    folder.write("suite.yaml", suite("{ answer: custom_id, sample: id }"));
    assert!(checked(&folder).contains("answers 2 of 2 rows have one"));
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let report = folder.json("run/report.json");
    assert_eq!(report["candidates"][0]["counts"]["scored"], 2, "{}", report["candidates"][0]);
    assert_eq!(report["candidates"][0]["metrics"][0]["value"], 1.0);
}

#[test]
fn pointers_and_targets_that_no_scorer_can_use_are_refused() {
    let folder = triage();
    change(&folder, "suite.yaml", "/intent", "/intend");
    refused(
        &folder,
        &[
            "`/intend` leads nowhere: the schema `triage.json` does not describe it, and none of the 12 recorded answers \
             that are JSON has it",
            "--> suite.yaml:15:21",
            "did you mean `intent`?",
        ],
    );
    let folder = triage();
    change(&folder, "suite.yaml", "  - schema: {}", "  - schema: {}\n  - number: {}");
    refused(
        &folder,
        &["`number` can mark none of the 12 rows: the target is not a number (row `T-0`)", "--> suite.yaml:17:"],
    );
    let folder = triage();
    let numbered =
        folder.read("gold.csv").replace(",billing\n", ",1\n").replace(",fault\n", ",2\n").replace(",cancel\n", ",3\n");
    folder.write("gold.csv", numbered);
    refused(
        &folder,
        &[
            "no label of the golden set is one that the schema allows at `/intent`; they are `1`, `2`, `3`",
            "the schema allows `billing`, `fault`, `cancel`",
        ],
    );
}

#[test]
fn odd_labels_are_notes() {
    let folder = triage();
    change(&folder, "gold.csv", ",billing\n", ",biling\n");
    change(&folder, "gold.csv", ",fault\n", ",fault \n");
    says(
        &checked(&folder),
        &[
            "note 4 of 12 targets have space around the label, such as `fault `; `label` ignores it",
            "note the label `biling` (4 of 12 rows) is not one that the schema allows at `/intent`; did you mean `billing`?",
        ],
    );
    let folder = triage();
    change(&folder, "suite.yaml", "label: { field: /intent }", "label: { field: /intent, classes: [billing, fault] }");
    says(
        &checked(&folder),
        &["note `label` cannot mark 4 of 12 rows: the target is not one of `classes` (first: row `T-2`)"],
    );
}

#[test]
fn prompts_that_take_nothing_from_the_rows() {
    let folder = triage();
    folder.write("prompt.txt", "Route this: {{ body }}");
    change(&folder, "suite.yaml", "\"{{ body }}\"", "file://prompt.txt");
    refused(
        &folder,
        &[
            "`prompt.user` is the text `file://prompt.txt` itself: no file is read",
            "--> suite.yaml:5:9",
            "as in `user: |`",
        ],
    );
    let folder = triage();
    change(&folder, "suite.yaml", "\"{{ body }}\"", "\"Route {body}\"");
    refused(
        &folder,
        &["`{body}` in `prompt.user` is plain text, not the field `body`", "write `{{ body }}`, with two braces"],
    );
    let folder = triage();
    change(&folder, "suite.yaml", "\"{{ body }}\"", "Say hello.");
    says(&checked(&folder), &["note all 12 rows render to the same prompt"]);
    let folder = triage();
    change(&folder, "suite.yaml", "You route tickets.", "\"Ticket {ticket}\"");
    says(&checked(&folder), &["note `{ticket}` in `prompt.system` is plain text, not the field `ticket`: write"]);
}

#[test]
fn conditions_that_compare_texts_with_numbers_are_refused() {
    let folder = Folder::new();
    folder.write("data.csv", "id,input,target,len\n1,a,x,90\n2,b,x,450\n3,c,x,1000\n");
    folder.write("data.jsonl", "{\"id\":1,\"input\":\"a\",\"target\":\"x\",\"len\":9}\n{\"id\":2,\"input\":\"b\",\"target\":\"x\",\"len\":null}\n");
    let suite = |file: &str, condition: &str, prompt: &str| {
        format!(
            "name: t\ndataset: {{ path: {file}, select: {{ where: \"{condition}\" }} }}\nprompt: {{ user: \"{prompt}\" }}\n\
             candidates:\n  - id: s\n    scripted: {{ reply: x }}\nscorers:\n  - exact: {{}}\n"
        )
    };
    let plain = "{{ input }}";
    folder.write("suite.yaml", suite("data.csv", "len > 400", plain));
    let said = refused(
        &folder,
        &[
            "`len` is a text and `400` is a number: they cannot be compared",
            "write `len | int`, or `len | float` where it has decimals",
            "--> data.csv:2",
        ],
    );
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
    folder.write("suite.yaml", suite("data.csv", "len | int > 400", plain));
    assert!(checked(&folder).contains("samples 2 "));
    folder.write("suite.yaml", suite("data.jsonl", "len < 10", plain));
    refused(
        &folder,
        &["`len` is null and `10` is a number", "write `len is not none and len < 10`", "--> data.jsonl:2"],
    );
    folder.write("suite.yaml", suite("data.jsonl", "len is not none and len < 10", plain));
    assert!(checked(&folder).contains("samples 1 "));
    folder.write("suite.yaml", suite("data.csv", "true", "{{ input }}{% if len > 400 %} long{% endif %}"));
    refused(&folder, &["`prompt.user`", "`len` is a text and `400` is a number", "--> data.csv:2"]);
}

#[test]
fn a_configuration_of_promptfoo_is_recognised() {
    let folder = Folder::new();
    folder.write(
        "suite.yaml",
        "description: mine\nprompts:\n  - file://prompt.txt\nproviders:\n  - openai:gpt-5-mini\ntests:\n  - vars: { q: a }\n",
    );
    let said = refused(
        &folder,
        &[
            "this is a configuration of promptfoo, not an evalctl suite",
            "--> suite.yaml:2:1",
            "`evalctl init` writes a suite",
        ],
    );
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn last_numbers_are_no_fragments() {
    let folder = Folder::new();
    let rows = [
        ("0", "The total is 18{,}000.", 0.0),
        ("18000", "The total is 18{,}000.", 1.0),
        ("18000", "$18\\\\,000$", 1.0),
        ("12345", "Total: 12 345", 1.0),
        ("345", "Total: 12 345", 0.0),
        ("2", "The ratio is 1/2.", 0.0),
        ("5", "That is 10^5.", 0.0),
        ("1234", "(1,234)", 0.0),
        ("4", "3 or 4", 1.0),
    ];
    let (mut gold, mut answers) = (String::new(), String::new());
    for (index, (target, answer, _)) in rows.iter().enumerate() {
        gold.push_str(&format!("{{\"id\":\"r{index}\",\"input\":\"q\",\"target\":\"{target}\"}}\n"));
        answers.push_str(&format!("{{\"id\":\"r{index}\",\"output\":\"{answer}\"}}\n"));
    }
    folder.write("gold.jsonl", gold);
    folder.write("answers.jsonl", answers);
    folder.write(
        "suite.yaml",
        "name: n\ndataset: { path: gold.jsonl }\ncandidates:\n  - id: a\n    recorded: { path: answers.jsonl }\nscorers:\n  - \
         number: { extract: { last_number: true } }\n",
    );
    folder.run(&["run", "suite.yaml", "--out", "run", "-q"]).expect(0);
    let scores = folder.read("run/scores-1.jsonl");
    let mut marks: Vec<(String, f64)> = scores
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|line| {
            Some((line.pointer("/task/sample")?.as_str()?.to_owned(), line.pointer("/marks/0/value")?.as_f64()?))
        })
        .collect();
    marks.sort_by(|one, other| one.0.cmp(&other.0));
    let expected: Vec<(String, f64)> =
        rows.iter().enumerate().map(|(index, row)| (format!("r{index}"), row.2)).collect();
    assert_eq!(marks, expected);
}
